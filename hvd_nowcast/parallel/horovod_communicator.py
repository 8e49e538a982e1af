"""The communicator of many ranks: Horovod for tensors, mpi4py for small values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hvd_nowcast.parallel.communicator import RankGroup, SingleProcess


class HorovodCommunicator:
    """Sums by Horovod, values by a communicator of our own; both on one MPI.

    Only Horovod's operations are used. Its Keras layer averages nothing under Keras 3 and says
    nothing about it.

    Parameters
    ----------
    horovod
        The initialised module ``horovod.tensorflow``.
    world
        ``MPI.COMM_WORLD``; small values travel on a duplicate of it.
    """

    def __init__(self, horovod: Any, world: Any) -> None:
        self._horovod = horovod
        self._world = world
        self._values = world.Dup()
        self.rank: int = world.Get_rank()
        self.size: int = world.Get_size()
        self.local_rank: int = horovod.local_rank()
        self._sets: dict[tuple[int, ...], Any] = {}

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        """Sum of each tensor over all ranks, in one grouped all-reduce."""
        summed: list[Any] = self._horovod.grouped_allreduce(
            list(tensors), op=self._horovod.Sum, name=name
        )
        return summed

    def group(self, groups: Sequence[Sequence[int]]) -> RankGroup:
        """The one of some groups that this rank belongs to; collective."""
        some = [tuple(ranks) for ranks in groups if 1 < len(ranks) < self.size]
        if unknown := [ranks for ranks in some if ranks not in self._sets]:
            self._restart_with(unknown)
        (mine,) = (tuple(ranks) for ranks in groups if self.rank in ranks)
        if len(mine) == 1:
            return SingleProcess()
        together = self._sets.get(mine, self._horovod.global_process_set)
        return HorovodGroup(self._horovod, together, len(mine))

    def _restart_with(self, groups: Sequence[tuple[int, ...]]) -> None:
        # Horovod allows new sets of ranks later too, but then asks for them in every cycle.
        self._horovod.shutdown()
        self._sets |= {ranks: self._horovod.ProcessSet(list(ranks)) for ranks in groups}
        self._horovod.init(comm=self._world, process_sets=list(self._sets.values()))

    def broadcast_variables(self, variables: Sequence[Any], root: int = 0) -> None:
        """Give every rank the values that one of them has."""
        import tensorflow as tf

        # Horovod's own form takes one collective per variable, and traces a graph each time.
        tensors = [getattr(variable, "value", variable) for variable in variables]
        for dtype in sorted({tensor.dtype.name for tensor in tensors}):
            same = [tensor for tensor in tensors if tensor.dtype.name == dtype]
            flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in same], 0)
            flat = self._horovod.broadcast(flat, root, name=f"variables_{dtype}")
            parts = tf.split(flat, [tensor.shape.num_elements() for tensor in same])
            for tensor, part in zip(same, parts, strict=True):
                tensor.assign(tf.reshape(part, tensor.shape))

    def gather(self, value: Any) -> list[Any]:
        """One value of each rank, in rank order; JSON on the way, because pickle runs code."""
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self._values.Allgather(np.array([text.size], np.int64), sizes)
        joined = np.empty(int(sizes.sum()), np.uint8)
        self._values.Allgatherv(text, (joined, sizes))
        ends = np.cumsum(sizes)
        return [
            json.loads(joined[end - size : end].tobytes())
            for end, size in zip(ends, sizes, strict=True)
        ]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self._values.Barrier()

    def abort(self, status: int) -> None:
        """End the processes of all ranks at once."""
        self._world.Abort(status)

    def close(self) -> None:
        """Wait for all ranks, then stop Horovod; mpi4py ends MPI with the process."""
        self.barrier()
        self._horovod.shutdown()


class HorovodGroup:
    """Some of the ranks: a Horovod process set.

    Parameters
    ----------
    horovod
        The initialised module ``horovod.tensorflow``.
    process_set
        The ranks.
    size
        How many they are.
    """

    def __init__(self, horovod: Any, process_set: Any, size: int) -> None:
        self._horovod = horovod
        self._process_set = process_set
        self.size = size

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        """Sum of each tensor over the group, in one grouped all-reduce."""
        summed: list[Any] = self._horovod.grouped_allreduce(
            list(tensors), op=self._horovod.Sum, name=name, process_set=self._process_set
        )
        return summed

    def all_to_all(self, values: Any, counts: Any, name: str) -> Any:
        """Give each rank of the group its part of some numbers, and take those it gives."""
        received, _ = self._horovod.alltoall(
            values, counts, name=name, process_set=self._process_set
        )
        return received

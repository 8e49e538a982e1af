"""Who works with whom: sums over all ranks. A communicator of one needs neither MPI nor Horovod."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol


class RankGroup(Protocol):
    """Some of the ranks, for tensors alone."""

    @property
    def size(self) -> int:
        """Number of ranks in the group."""

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        """Sum of each tensor over the group, see `Communicator.sum_tensors`."""

    def all_to_all(self, values: Any, counts: Any, name: str) -> Any:
        """Give each rank of the group its part of some numbers, and take those it gives.

        Parameters
        ----------
        values
            Numbers for the first rank of the group, then those for the second, and so on.
        counts
            How many are for each, int32 of shape (ranks,).
        name
            The collective is matched by it across ranks.

        Returns
        -------
        tensorflow.Tensor
            Numbers from the first rank, then those from the second, and so on.
        """


class Communicator(Protocol):
    """What the program needs to know of the other ranks.

    Every method but `abort` is collective: all ranks call it, in the same order.
    """

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    @property
    def local_rank(self) -> int:
        """Number of this process on its node, from 0."""

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        """Sum of each tensor over all ranks, in one collective; also inside ``tf.function``.

        Parameters
        ----------
        tensors
            All of one type, of the same shapes on all ranks.
        name
            The collective is matched by it across ranks.
        """

    def group(self, groups: Sequence[Sequence[int]]) -> RankGroup:
        """The one of some groups that this rank belongs to.

        Parameters
        ----------
        groups
            Ranks of each group, rising; every rank is in one of them.
        """

    def broadcast_variables(self, variables: Sequence[Any], root: int = 0) -> None:
        """Give every rank the values that one of them has."""

    def gather(self, value: Any) -> list[Any]:
        """One value of each rank, in rank order, on every rank; anything JSON can hold."""

    def barrier(self) -> None:
        """Wait for all ranks."""

    def abort(self, status: int) -> None:
        """End the processes of all ranks at once, without waiting for any of them."""

    def close(self) -> None:
        """Leave in good order."""


class SingleProcess:
    """The communicator of one."""

    rank = 0
    size = 1
    local_rank = 0

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        """The tensors themselves."""
        return list(tensors)

    def all_to_all(self, values: Any, counts: Any, name: str) -> Any:
        """The numbers themselves."""
        return values

    def group(self, groups: Sequence[Sequence[int]]) -> RankGroup:
        """Itself."""
        return self

    def broadcast_variables(self, variables: Sequence[Any], root: int = 0) -> None:
        """Nobody to send to."""

    def gather(self, value: Any) -> list[Any]:
        """A list of one."""
        return [value]

    def barrier(self) -> None:
        """Nobody to wait for."""

    def abort(self, status: int) -> None:
        """Nobody else to end."""

    def close(self) -> None:
        """Nothing to leave."""


def describe_rank(rank: int) -> str:
    """Rank and host for a message about this process."""
    return f"rank {rank} on {socket.gethostname()}"

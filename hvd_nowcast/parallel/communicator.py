"""Who works with whom: sums over all ranks. A communicator of one needs neither MPI nor Horovod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Communicator(Protocol):
    """What the training loop needs to know of the other ranks."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def sum_tensors(self, tensors: Sequence[Any]) -> list[Any]:
        """Sum of each tensor over all ranks, in one collective."""

    def agree(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""


class SingleProcess:
    """The communicator of one."""

    rank = 0
    size = 1

    def sum_tensors(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors themselves."""
        return list(tensors)

    def agree(self, flag: bool) -> bool:
        """The flag itself."""
        return flag

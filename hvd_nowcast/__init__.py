"""Train, verify and run deep-learning models of radar nowcasting with Horovod over MPI.

For programs of your own that call Keras' ``fit`` on many ranks: `connect`, `DistributedModel` and
`LearningRateWarmup`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvd_nowcast.parallel.communicator import Communicator

__version__ = "0.1.0"
__all__ = ["DistributedModel", "LearningRateWarmup", "connect"]


def connect() -> Communicator:
    """Join the ranks that mpirun, horovodrun or srun started; one process alone needs neither.

    Returns
    -------
    Communicator
        With ``rank`` and ``size``, for `DistributedModel` and for dividing the data.
    """
    from hvd_nowcast.parallel.startup import connect as connect_ranks

    return connect_ranks(os.environ)


def __getattr__(name: str) -> Any:
    # TensorFlow takes seconds to import, which ``hvd-nowcast --help`` need not wait for.
    if name in ("DistributedModel", "LearningRateWarmup"):
        from hvd_nowcast.parallel import distributed_model

        return getattr(distributed_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

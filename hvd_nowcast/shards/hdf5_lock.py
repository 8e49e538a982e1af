"""The one lock of this process around HDF5, which is not safe to use from two threads.

Training reads ahead in a thread of its own while a validation reads, and files that nobody needs
any more are closed whenever Python finds them. Re-entrant, because that may happen in the middle of
anything the same thread does.
"""

import os
import threading

_lock = threading.RLock()


def hdf5_lock() -> threading.RLock:
    """The lock; a forked process has its own, because nobody there could release the parent's."""
    return _lock


def _renew() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)

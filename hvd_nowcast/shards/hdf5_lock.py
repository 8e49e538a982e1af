"""The one lock of this process around HDF5, which is not safe to use from two threads.

Training reads ahead in a thread of its own while a validation reads, and files that nobody needs
any more are closed whenever Python finds them. Re-entrant, because that may happen in the middle of
anything the same thread does.
"""

import threading

HDF5_LOCK = threading.RLock()

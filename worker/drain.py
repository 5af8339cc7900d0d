"""The parent's word to its child: finish your chunk and hand your job back.

Celery's warm shutdown waits for the running task, for ever if need be, and tells it nothing.
"""

import mmap
import os
import signal
import threading

_flag = mmap.mmap(-1, 1)  # one byte that parent and forked children share


def draining() -> bool:
    """Whether this worker is to stop."""
    return _flag[0] != 0


def start(within: float) -> None:
    """Says so to the child, and ends what still runs after `within` seconds. In the parent."""
    _flag[0] = 1
    timer = threading.Timer(within, os.kill, (os.getpid(), signal.SIGQUIT))
    timer.daemon = True
    timer.start()

"""The child's word to its parent: what it loads beforehand is loaded, jobs may come."""

import mmap

_flag = mmap.mmap(-1, 1)  # one byte that parent and forked children share


def ready() -> bool:
    """Whether the child has said so; a child that is forked in place of a dead one has not."""
    return _flag[0] != 0


def say(is_ready: bool) -> None:
    """In the child."""
    _flag[0] = is_ready

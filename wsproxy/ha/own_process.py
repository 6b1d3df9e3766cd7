"""
What a process of ``ha`` asks the kernel for itself: what it is called, and that it adopts who loses its parent.

Used by ``pair.keeper`` and ``resource``. Must not know whose process it is.
"""

from __future__ import annotations

import ctypes
import os

# linux/prctl.h
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def call_process(name: str) -> None:
    """Has this process called so in ``ps`` and ``top``; 15 bytes."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def become_reaper() -> None:
    """
    Orphans among our descendants are our children from now on.

    Raises:
        OSError: the kernel does not know that.
    """
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

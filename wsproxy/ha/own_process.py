"""
What a process of ``ha`` asks the kernel for itself: what it is called, that it adopts who loses its parent, that its memory stays.

Used by ``pair.keeper`` and ``resource``. Must not know whose process it is.
"""

from __future__ import annotations

import ctypes
import os
from typing import NoReturn

# bits/mman-linux.h: what is there and what will be, each page when it is used first: not what is only reserved.
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
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
        _raise()


def lock_memory() -> None:
    """
    No page of this process goes to a disk any more.

    Raises:
        OSError: it may not, or not so much.
    """
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        _raise()


def _raise() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))

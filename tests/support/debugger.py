"""A debugger that holds a process, as gdb would: nothing but SIGKILL reaches it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # linux/ptrace.h
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Stops the process until the block ends; skips the test where this user may debug nobody."""
    if _libc.ptrace(_SEIZE, pid, None, None):
        pytest.skip(f"this machine lets nobody debug: {os.strerror(ctypes.get_errno())}")
    _libc.ptrace(_INTERRUPT, pid, None, None)
    os.waitpid(pid, _WALL)
    try:
        yield
    finally:
        _libc.ptrace(_DETACH, pid, None, None)
        with suppress(
            ChildProcessError
        ):  # it was killed meanwhile: its parent hears of that from now on
            os.waitpid(pid, _WALL | os.WNOHANG)

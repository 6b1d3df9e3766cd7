"""AddressSanitizer is there when it is said to be: without this, ``make test-asan`` could pass with nothing watched."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsproxy._fast import (
    access_log,
    access_text,
    affinity,
    balance,
    changes,
    chunked,
    dates,
    head,
    logfields,
    logfollow,
    loglines,
    logtries,
    paths,
    select,
    state,
    takeover,
    trailers,
    upgrade,
    waiting,
)

pytestmark = [
    pytest.mark.asan,
    pytest.mark.skipif("WSPROXY_ASAN" not in os.environ, reason="only in make test-asan"),
]

# Reads one byte behind a block of exactly its size; libasan watches memcpy wherever it is called from.
ONE_BYTE_TOO_FAR = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
block = libc.malloc(100)
print(len(ctypes.string_at(block, 100)), flush=True)
ctypes.string_at(block, 101)
print("not seen")
"""


@pytest.mark.parametrize(
    "module",
    [
        access_log,
        access_text,
        affinity,
        balance,
        changes,
        chunked,
        dates,
        head,
        logfields,
        logfollow,
        loglines,
        logtries,
        paths,
        select,
        state,
        takeover,
        trailers,
        upgrade,
        waiting,
    ],
    ids=lambda m: m.__name__,
)
def test_parsers_under_test_are_the_instrumented_ones(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    assert Path("build/asan/lib").resolve() in path.resolve().parents
    assert b"__asan_report_load" in path.read_bytes()


def test_runtime_watches_this_process() -> None:
    is_poisoned = ctypes.CDLL(None).__asan_address_is_poisoned
    is_poisoned.argtypes = [ctypes.c_void_p]
    data = ctypes.create_string_buffer(3)
    assert not is_poisoned(ctypes.addressof(data))


def test_read_one_byte_too_far_is_reported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_BYTE_TOO_FAR], capture_output=True, text=True, check=False
    )
    assert done.stdout == "100\n"
    assert done.returncode == 99
    assert "heap-buffer-overflow" in done.stderr
    assert "100-byte region" in done.stderr

"""AddressSanitizer is there when it is said to be: without this, ``make test-asan`` could pass with nothing watched."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import sanitized
from wsproxy._fast.decide import affinity, balance, cluster
from wsproxy._fast.http import chunked, dates, head, paths, trailers, upgrade
from wsproxy._fast.logs import fields as logfields
from wsproxy._fast.logs import follow as logfollow
from wsproxy._fast.logs import lines as loglines
from wsproxy._fast.logs import tries as logtries
from wsproxy._fast.state import changes, queue, segment, takeover
from wsproxy._fast.tell import access_line, mask, readable

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
        access_line,
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
        mask,
        paths,
        readable,
        cluster,
        segment,
        takeover,
        trailers,
        upgrade,
        queue,
    ],
    ids=lambda m: m.__name__,
)
def test_parsers_under_test_are_the_instrumented_ones(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    assert Path("build/asan/lib").resolve() in path.resolve().parents
    assert b"__asan_report_load" in path.read_bytes()


# A parent that ends well, and a child that does not: as a supervisor and its worker.
CHILD_TOO_FAR = f"""
import os
child = os.fork()
if child == 0:
    exec({ONE_BYTE_TOO_FAR!r})
os.waitpid(child, 0)
"""


def test_report_of_any_process_fails_whoever_started_it() -> None:
    """With its text; and with nothing else where nothing was wrong."""
    with (
        pytest.raises(sanitized.SanitizerError, match="heap-buffer-overflow") as caught,
        sanitized.environment() as environment,
    ):
        subprocess.run(
            [sys.executable, "-c", CHILD_TOO_FAR], env={**os.environ, **environment}, check=True
        )
    assert "100-byte region" in str(caught.value)
    with sanitized.environment() as environment:
        subprocess.run([sys.executable, "-c", ""], env={**os.environ, **environment}, check=True)


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

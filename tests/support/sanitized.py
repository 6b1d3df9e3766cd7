"""
Whole proxies under AddressSanitizer: what they are started with, and what it reported of any of their processes.

Driven by ``tests.support.proxy`` in ``make test-asan``, and by the traffic fuzzer, which is not instrumented itself. The build,
and where it lies, is scripts/build-asan's. uvloop and OpenSSL are not instrumented; what they are given to free is watched.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WANTED = "WSPROXY_ASAN"


class SanitizerError(AssertionError):
    """A process read or wrote what it must not; the text is AddressSanitizer's report."""


def is_wanted() -> bool:
    """Whether proxies are to run with the instrumented extensions."""
    return _WANTED in os.environ


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """
    What is to be added to the environment of a proxy: nothing where none is to be instrumented.

    Raises:
        SanitizerError: in the end, where the proxy, a worker or its admin process was reported; whatever else went wrong.
    """
    if not is_wanted():
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield {
                "LD_PRELOAD": os.environ["WSPROXY_ASAN_RUNTIME"],
                "PYTHONMALLOC": "malloc",  # as in scripts/test-asan
                "PYTHONPATH": os.environ["WSPROXY_ASAN_LIB"],
                # One file for each process: standard error may be a pipe that nobody reads any more.
                "ASAN_OPTIONS": f"{os.environ['ASAN_OPTIONS']}:log_path={folder}/report",
            }
        finally:
            if found := sorted(Path(folder).glob("report.*")):
                raise SanitizerError("\n\n".join(map(_text, found)))


def plain_environment() -> dict[str, str]:
    """The environment of this process for one that is not instrumented, but starts proxies that are."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (is_wanted() and name in ("LD_PRELOAD", "PYTHONMALLOC"))
    }


def _text(report: Path) -> str:
    return report.read_text(errors="backslashreplace")

"""
Runs one target under libFuzzer; ends with the process.

Driven by ``__main__``, which preloads the runtime of AddressSanitizer and libFuzzer and puts the instrumented extensions
first on the path. Refuses to run with others: a fuzzer that watches nothing finds nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Python modules whose branches count too; the extensions count by themselves.
PYTHON_UNDER_TEST = ["wsproxy.config", "wsproxy.routing", "wsproxy.logs", "wsproxy.replay"]
# Of one input, under AddressSanitizer. Ordinary ones take about 1 ms; a pattern that backtracks takes for ever.
MOST_CPU_S = 2.0


def bounded(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, which also fails where it takes more CPU time than MOST_CPU_S."""

    def measured(data: bytes) -> None:
        start = time.process_time()
        target(data)
        taken = time.process_time() - start
        assert taken < MOST_CPU_S, f"took {taken:.1f} s of CPU time; allowed is {MOST_CPU_S} s"

    return measured


def check_instrumented(build: Path) -> None:
    """Raises RuntimeError where the parsers or this process are not the instrumented ones."""
    head = importlib.import_module("wsproxy._fast.http.head")
    path = Path(str(head.__file__)).resolve()
    if build.resolve() not in path.parents:
        msg = f"found {path}; allowed is a module in {build}"
        raise RuntimeError(msg)
    code = path.read_bytes()
    for symbol in (b"__asan_report_load", b"__sanitizer_cov_8bit_counters_init"):
        if symbol not in code:
            msg = f"found no {symbol.decode()} in {path}; allowed is a build by scripts/fuzz"
            raise RuntimeError(msg)
    ctypes.CDLL(None).__asan_address_is_poisoned  # noqa: B018  # AttributeError: no AddressSanitizer in this process


def main(target: str, build: Path, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")  # by name: there only after `make fuzz`
    with atheris.instrument_imports(include=PYTHON_UNDER_TEST, enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    check_instrumented(build)
    atheris.Setup([sys.argv[0], *arguments], bounded(targets.TARGETS[target]))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

"""
Runs one target under libFuzzer; ends with the process.

Driven by ``__main__``, which preloads the runtime of AddressSanitizer and libFuzzer and puts the instrumented extensions
first on the path. Refuses to run with others: a fuzzer that watches nothing finds nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from pathlib import Path
from typing import Any

# Python modules whose branches count too; the extensions count by themselves.
PYTHON_UNDER_TEST = ["wsproxy.config", "wsproxy.routing"]


def check_instrumented(build: Path) -> None:
    """Raises RuntimeError where the parsers or this process are not the instrumented ones."""
    head = importlib.import_module("wsproxy._fast.head")
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
    atheris.Setup([sys.argv[0], *arguments], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

"""
Extensions only; everything else about the package is in pyproject.toml.

``WSPROXY_ASAN=1`` builds with AddressSanitizer (``make test-asan``).
``WSPROXY_FUZZ=1`` builds with that and the branch counters that libFuzzer reads, by clang (``make fuzz``).
``WSPROXY_DEBUG=1`` turns Cython's bounds checks and asserts on (``make build-debug``).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

ASAN = os.environ.get("WSPROXY_ASAN") == "1"
FUZZ = os.environ.get("WSPROXY_FUZZ") == "1"
DEBUG = os.environ.get("WSPROXY_DEBUG") == "1"

Options.warning_errors = True

compile_args = ["-O1", "-g", "-fno-omit-frame-pointer"] if ASAN or FUZZ or DEBUG else ["-O3"]
link_args: list[str] = []
if ASAN:
    compile_args += ["-fsanitize=address", "-fsanitize-recover=address"]
    link_args += ["-fsanitize=address"]
if FUZZ:
    compile_args += ["-fsanitize=address,fuzzer-no-link"]
    link_args += ["-fsanitize=address,fuzzer-no-link"]

fast = Path("wsproxy/_fast")
extensions = [
    Extension(
        ".".join(source.with_suffix("").parts),
        [source.as_posix()],
        extra_compile_args=[*compile_args, "-Wno-unused-function", "-Wno-unreachable-code"],
        extra_link_args=link_args,
    )
    for source in sorted(fast.glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        language_level=3,
        build_dir="build/cython-asan" if ASAN else "build/cython-fuzz" if FUZZ else "build/cython",
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "nonecheck": False,
            "overflowcheck": False,
            "freethreading_compatible": False,
        },
    ),
    # here rather than on a command line, so that pip has it, too
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)

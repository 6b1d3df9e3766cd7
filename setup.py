"""
Extensions only; everything else about the package is in pyproject.toml.

``WSPROXY_ASAN=1`` builds with AddressSanitizer (``make test-asan``).
``WSPROXY_FUZZ=1`` builds with that and the branch counters that libFuzzer reads, by clang (``make fuzz``).
``WSPROXY_DEBUG=1`` turns Cython's bounds checks and asserts on (``make build-debug``).
All three end the process where something borrows from bytes that are gone (``_fast/base/borrowed.pxd``).
``WSPROXY_PYTHON_ONLY=1`` compiles nothing (``scripts/bootstrap``, which has the extensions built in place after it).

A name that nothing declares fails the build (``scripts/declared_names.py``).

What all modules have in common is read once (docs/decisions/0028).

Where ccache is installed it is used: a second checkout, or a branch that comes back, compiles nothing again.
"""

import gc
import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from collections import Counter
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent  # pip runs this file from elsewhere

ASAN = os.environ.get("WSPROXY_ASAN") == "1"
FUZZ = os.environ.get("WSPROXY_FUZZ") == "1"
DEBUG = os.environ.get("WSPROXY_DEBUG") == "1"

PYTHON_ONLY = os.environ.get("WSPROXY_PYTHON_ONLY") == "1"

if "CC" not in os.environ and shutil.which("ccache"):
    os.environ["CC"] = f"ccache {sysconfig.get_config_var('CC')}"
    # Paths below here are relative to ccache, so that two checkouts share what they compile.
    os.environ.setdefault("CCACHE_BASEDIR", os.getcwd())
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")

# Debug information of the whole takes a quarter of the compiler's time, and nobody reads it. -O3 takes another quarter, and a
# request costs the same without (wsproxy/bench, `--against`).
compile_args = ["-O1", "-g", "-fno-omit-frame-pointer"] if ASAN or FUZZ or DEBUG else ["-g0"]
# Compiled at -O1 a module takes two thirds of the compiler's time, and a request costs the same but for these (callgrind; from 2 to
# 50 % of their own instructions).
HOT = {
    "decide.affinity",
    "decide.decide",
    "decide.match",
    "http.head",
    "net.poller",
    "net.stream",
    "proxy.account",
    "proxy.intake",
    "proxy.upstream",
    "tell.access_line",
    "tell.access_parts",
    "tell.exposition",  # no request passes through, but each scrape: at -O0 nearly twice the time
    "tell.mask",
    "tell.secrets",
}
# Its loops over bytes become vectors at -O3 only: a search for control characters takes a fifth, 400 instructions a request.
VECTORS = "http.fields"
# What no request passes through, or a few lines of it (`make bench-gate` counts them): -O0 takes two fifths.
COLD = {
    "base.orphan",
    "decide.compression",
    "decide.edge",
    "decide.maintain",
    "decide.match_block",
    "decide.match_draft",
    "decide.match_tables",
    "decide.operate",
    "decide.probes",
    "decide.view",
    "http.codings",
    "http.trace_context",
    "http.trailers",
    "http.upgrade",
    "logs.simulate",
    "net.appends",
    "net.below",
    "net.datagrams",
    "net.libssl",
    "net.pipe",
    "proxy.asked",
    "proxy.engine",
    "proxy.exchange",
    "proxy.explained",
    "proxy.running",
    "proxy.slow",
    "proxy.squeeze",
    "state.board",
    "state.changes",
    "state.client_counts",
    "state.operator",
    "state.queue",
    "state.segment",
    "state.takeover",
    "tell.trace",
    "tell.witness",
}


# For them Cython's short ways through Python's objects are only more to compile: an eighth.
NO_SHORT_WAYS = [
    "-DCYTHON_CLINE_IN_TRACEBACK=0",
    "-DCYTHON_FAST_THREAD_STATE=0",
    "-DCYTHON_UNPACK_METHODS=0",
    "-DCYTHON_USE_DICT_VERSIONS=0",
    "-DCYTHON_USE_PYLONG_INTERNALS=0",
]


def level_of(module: str) -> list[str]:
    """Of a module of ``_fast``, where it is not built to be looked at."""
    if ASAN or FUZZ or DEBUG:
        return []
    if module == VECTORS:
        return ["-O3"]
    if module in HOT or module == "shared":  # keywords of calls from Python are read there
        return ["-O2"]
    if module in COLD:
        return ["-O0", *NO_SHORT_WAYS]
    return ["-O1"]


# Modules of one level share what the compiler made of Python's headers: a fifth of its time for a small one. ccache would compile all
# anew, and who looks for faults sees each file by itself.
PRECOMPILE = not (ASAN or FUZZ or DEBUG or "ccache" in os.environ.get("CC", ""))
WORTH_IT = 8  # modules of one level
HEADERS = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <math.h>
#include <stdatomic.h>
"""
# What the compiler warns of takes it a tenth of its time. Who looks for faults hears it: the checked builds, of which CI makes one.
WARNINGS = ["-Wno-unused-function", "-Wno-unreachable-code"] if ASAN or FUZZ or DEBUG else ["-w"]
link_args: list[str] = []
if ASAN or FUZZ or DEBUG:
    compile_args += ["-DWSPROXY_CHECKED=1"]
if ASAN:
    compile_args += ["-fsanitize=address", "-fsanitize-recover=address"]
    link_args += ["-fsanitize=address"]
if FUZZ:
    compile_args += ["-fsanitize=address,fuzzer-no-link"]
    link_args += ["-fsanitize=address,fuzzer-no-link"]

fast = Path("wsproxy/_fast")
# The load generator of `wsproxy bench`: not of the fast path, and no part of a proxy that runs.
others = Path("wsproxy/bench")
# What Cython would put into each module that makes a class or reads arguments: a seventh of the compiler's time.
SHARED = "wsproxy._fast.shared"
# Of that no module uses these: three quarters of the compiler's time for it. One that did could not be imported.
NOT_SHARED = ["AutoPickle", "MemoryView"]


def extension(module: str, source: str) -> Extension:
    """One module."""
    return Extension(
        module,
        [source],
        extra_compile_args=[*compile_args, *level_of(module.split(".", 2)[2]), *WARNINGS],
        extra_link_args=link_args,
    )


extensions = [
    extension(".".join(source.with_suffix("").parts), source.as_posix())
    for source in sorted([*fast.rglob("*.pyx"), *others.glob("*.pyx")])
]
extensions.append(extension(SHARED, f"{SHARED.replace('.', '/')}.c"))  # Cython writes it, too

DIRECTIVES = {
    "boundscheck": DEBUG,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": DEBUG,
    "nonecheck": False,
    "overflowcheck": False,
    "freethreading_compatible": False,
    "auto_pickle": False,  # nobody sends them anywhere: a tenth of the C code
    "emit_code_comments": False,  # less to write and to read
    "binding": False,  # plain C functions: nobody asks them for a signature
}


class BuildExtensions(build_ext):
    """
    Cython runs where something is built: pip starts this file twice more, to ask what is needed and what the package is called.

    A module is compiled again where its own flags changed, too: each has them in a file that it depends on.
    """

    def run(self) -> None:
        """All modules."""
        variant = "-asan" if ASAN else "-fuzz" if FUZZ else "-debug" if DEBUG else ""
        made_of = to_c(self.extensions, f"build/cython{variant}")
        for extension, made in zip(self.extensions, made_of, strict=True):
            extension.sources = made.sources
            extension.depends = [*made.depends, self.flags_of(extension)]
        super().run()

    def build_extensions(self) -> None:
        """All modules, whose flags are known by now."""
        if PRECOMPILE and is_gcc(self.compiler.compiler_so):
            each_has = Counter(tuple(each.extra_compile_args) for each in self.extensions)
            for flags, count in each_has.items():
                if count > WORTH_IT:
                    self.precompile(list(flags))
        super().build_extensions()

    def precompile(self, flags: list[str]) -> None:
        """
        Reads Python's headers once for all modules with these flags.

        A gcc that cannot do that, or does not like what is there, reads the headers themselves.
        """
        header = Path(
            self.build_temp, "headers", f"{zlib.crc32(repr(flags).encode()):08x}", "python.h"
        )
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(HEADERS)
        command = [
            *self.compiler.compiler_so,
            *(f"-I{each}" for each in self.compiler.include_dirs),
        ]
        command += [*flags, "-x", "c-header", header.as_posix(), "-o", f"{header}.gch"]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        if done.returncode == 0:
            for each in self.extensions:
                if each.extra_compile_args == flags:
                    each.extra_compile_args = [*flags, "-include", header.as_posix()]

    def flags_of(self, extension: Extension) -> str:
        """The file with the flags of one module, touched only where they are others."""
        path = Path(self.build_temp, "flags", extension.name)
        flags = " ".join([*extension.extra_compile_args, *extension.extra_link_args])
        if not says(path, flags):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(flags)
        return path.as_posix()


def is_gcc(command: list[str]) -> bool:
    """Others have precompiled headers, too, but end where they do not like one."""
    said = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return "Free Software Foundation" in said.stdout


def says(path: Path, words: str) -> bool:
    """Whether the file is there and has these words."""
    return path.exists() and path.read_text() == words


def to_c(modules: list[Extension], build_dir: str) -> list[Extension]:
    """The same with the C code of Cython for their sources."""
    sys.path.insert(0, str(HERE / "scripts"))
    import declared_names  # noqa: PLC0415
    import pxd_once  # noqa: PLC0415
    from Cython.Build import cythonize  # noqa: PLC0415
    from Cython.Compiler import Options  # noqa: PLC0415

    Options.warning_errors = True
    declared_names.install()
    forks = pxd_once.install([module.name for module in modules])
    # Cython's trees are full of circles that live until a module is done: looking for garbage took a third of its time.
    gc.disable()
    directives = Path(build_dir, "directives")
    said = repr((DIRECTIVES, NOT_SHARED))
    made: list[Extension] = cythonize(
        modules,
        language_level=3,
        build_dir=build_dir,
        compiler_directives=DIRECTIVES,
        shared_utility_qualified_name=SHARED,
        shared_utility_features_disabled=NOT_SHARED,
        force=not says(directives, said),  # Cython looks at the sources only
    )
    forks.wait()
    directives.write_text(said)
    gc.enable()
    return made


setup(
    ext_modules=[] if PYTHON_ONLY else extensions,
    cmdclass={"build_ext": BuildExtensions},
    # here rather than on a command line, so that pip has it, too
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)

"""
The floor: a proxy in C that does nothing but relay (``floor.c``), compiled where it is first wanted.

Driven by ``proxies``. Kept in the user's cache under a name that follows from its source, so that it is compiled once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wsproxy.bench.programs import Program

SOURCE = Path(__file__).with_name("floor.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-O2", "-Wall")
COMPILE_S = 60


@dataclass(frozen=True, slots=True)
class Compiled(Program):
    """A program that is one file of C; its version is that file's."""

    source: Path = SOURCE

    def find(self) -> Path | None:
        """Where it is, compiled if it was not yet; None without a compiler. I/O."""
        path = built_path(self.source)
        if path.exists():
            return path
        compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
        if compiler is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            made = Path(directory) / path.name
            argv = [compiler, *FLAGS, "-o", str(made), str(self.source)]
            done = subprocess.run(argv, capture_output=True, timeout=COMPILE_S, check=False)
            if done.returncode != 0:  # a compiler without headers
                return None
            made.replace(path)  # two runs at once: both have made the same
        return path

    def version(self) -> str:
        """The source's digest."""
        return f"{self.source.name} {_digest(self.source)}"


def built_path(source: Path) -> Path:
    """Where the program of this source lies once it is compiled."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "wsproxy" / f"{source.stem}-{_digest(source)}"


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()[:12]


FLOOR = Compiled("floor", (), None)

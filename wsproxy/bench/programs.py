"""
The programs that a run needs: where they are, what version, and how to get what is missing.

Driven by ``__main__``. Installs Debian packages with apt-get, only as root, and says so; otherwise names what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Debian keeps servers in sbin, which is not on a user's PATH
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
INSTALL_S = 300
VERSION_S = 20


@dataclass(frozen=True, slots=True)
class Program:
    """A program by the names that distributions give it, and the Debian package that brings it."""

    name: str
    commands: tuple[str, ...]
    package: str | None
    version_arguments: tuple[str, ...] = ("-v",)

    def find(self) -> Path | None:
        """Where it is; None where it is not installed."""
        for command in self.commands:
            found = shutil.which(command, path=SEARCH_PATH)
            if found is not None:
                return Path(found)
        return None

    def version(self) -> str:
        """The first line that says a version. I/O."""
        path = self.find()
        if path is None:
            return "not installed"
        done = subprocess.run(
            [path, *self.version_arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=VERSION_S,
            check=False,  # wrk -v ends with 1
        )
        lines = done.stdout.strip().splitlines()
        return lines[0] if lines else "no version printed"


NGINX = Program("nginx", ("nginx",), "nginx-light")
HAPROXY = Program("haproxy", ("haproxy",), "haproxy")
CADDY = Program("caddy", ("caddy",), "caddy", ("version",))
HTTPD = Program("httpd", ("apache2", "httpd"), "apache2")
OPENSSL = Program("openssl", ("openssl",), "openssl", ("version",))
WRK = Program("wrk", ("wrk",), "wrk")
TASKSET = Program("taskset", ("taskset",), "util-linux", ("--version",))
# the one that belongs to the Python that runs us (.venv/bin), before any other on PATH
WSPROXY = Program(
    "wsproxy", (str(Path(sys.executable).parent / "wsproxy"), "wsproxy"), None, ("--version",)
)


class MissingProgramsError(Exception):
    """Programs that are not installed and that we may not install."""


def missing(programs: Iterable[Program]) -> list[Program]:
    """Those that are not installed, in order, each once."""
    return [program for program in dict.fromkeys(programs) if program.find() is None]


def install_command(programs: Iterable[Program]) -> list[str]:
    """How to install the packages of these programs on Debian; empty where none of them comes in a package."""
    packages = sorted({program.package for program in programs if program.package is not None})
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages] if packages else []


def ensure(programs: Iterable[Program]) -> None:
    """
    Returns when all programs are there, after apt-get where we are root and it exists.

    Raises: MissingProgramsError, which names them and the command that installs them.
    """
    absent = missing(programs)
    command = install_command(absent)
    if command and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        print(
            f"missing: {', '.join(program.name for program in absent)}; running: {' '.join(command)}",
            file=sys.stderr,
        )
        # runlevel 1 keeps Debian's packages from starting the servers that they bring: they would take CPU and port 80
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        # a fresh machine has no package lists, or old ones
        for step in (["apt-get", "update", "-qq"], command):
            subprocess.run(step, env=environment, stdout=sys.stderr, timeout=INSTALL_S, check=False)
        absent = missing(programs)
        command = install_command(absent)
    if absent:
        advice = f"; on Debian: {' '.join(command)}" if command else ""
        wsproxy = "; wsproxy comes with: make build" if WSPROXY in absent else ""
        msg = f"not installed: {', '.join(program.name for program in absent)}{advice}{wsproxy}"
        raise MissingProgramsError(msg)

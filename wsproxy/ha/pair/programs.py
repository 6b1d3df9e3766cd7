"""
Programs of the system that a node needs: keepalived, ip, nft. Found by name, run with words that are ours, waited for.

Used by ``keepalived``, ``linger`` and ``drill_acts``. No shell, no standard input but what is given.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from wsproxy.errors import StartError

# Longer than any of them takes; keepalived reads its file, ip and nft ask the kernel.
RUN_S = 30.0
_PACKAGES = {"keepalived": "keepalived", "ip": "iproute2", "nft": "nftables"}


def find_program(name: str) -> str:
    """
    Its path. # I/O.

    Raises:
        StartError: there is none.
    """
    # Who is no login shell may not have the system's own folders.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise StartError(f"found no program {name} on this machine; allowed is one (apt install {_PACKAGES[name]})")  # fmt: skip
    return found


def run_program(name: str, *words: str, given: str = "") -> tuple[int, str]:
    """
    Exit code, and all that it said; ``given`` is its standard input. # I/O.

    Raises:
        StartError: there is none, or it does not end.
    """
    try:
        done = subprocess.run(  # noqa: S603  # a program of the system, no shell
            [find_program(name), *words], input=given, capture_output=True, text=True, check=False, timeout=RUN_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartError(f"{name}: {error}") from error
    return done.returncode, (done.stdout + done.stderr).strip()

"""A listening socket that the kernel gives connections of others, from a service manager (systemd's Transparent=)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import WAIT_S
from tests.support.transparent import COMMANDS, MEANT

PROJECT = Path(__file__).parents[4]


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "nft"))),
    reason="needs root, unshare, ip and nft",
)
def test_address_that_a_client_meant_is_told_and_not_that_of_the_socket() -> None:
    prefix = ("unshare", "--net", "sh", "-ec", f'{COMMANDS}\nexec "$@"', "sh")
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False, timeout=WAIT_S)
    if tried.returncode:
        pytest.skip(f"no such namespace here: {tried.stderr.decode().strip()}")
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.support.transparent"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    told, meant = done.stdout.splitlines() or [done.stderr, ""]
    assert told == meant
    assert str(MEANT) in meant

"""A command of wsproxy as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.process import COMMAND_S


def run_command(
    command: str, *arguments: str | Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """What it printed and how it ended; never with a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", command, *map(str, arguments)],
        capture_output=True,
        input=stdin,
        timeout=COMMAND_S,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in out + err, err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)

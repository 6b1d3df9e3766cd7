"""Prometheus' own checker of metrics and rules: Debian's package ``prometheus`` has it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MISSING = "promtool is not installed: apt-get install prometheus; what it checks is NOT checked"


def promtool(*arguments: str | Path, data: bytes = b"") -> str:
    """What it says where it finds anything; skips the test where there is none on this machine."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip(MISSING)
    done = subprocess.run([found, *arguments], input=data, capture_output=True, check=False)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, text
    return text

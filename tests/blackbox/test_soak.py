"""A short soak: every kind of event of ``tests.soak`` once or more often, under load; ``make soak`` goes on for an hour."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.soak.bed import PROJECT


@pytest.mark.timeout(400)
def test_short_soak() -> None:
    """Nothing is lost, nothing is left, and nothing is said that nobody expects."""
    command = (sys.executable, "-m", "tests.soak", "--minutes", "0.6", "--seed", "1")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]

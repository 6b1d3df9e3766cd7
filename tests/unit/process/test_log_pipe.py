"""The pipe behind standard error: what is said last, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.process import WAIT_S

# The child is a worker: it holds standard error for a while after its supervisor has failed.
FAULT = """
import os
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import set_up_logging

with LogPipe():
    set_up_logging("info")
    if os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
    raise RuntimeError("a fault of ours")
"""


def test_fault_is_told_while_workers_still_run(tmp_path: Path) -> None:
    """Once, as one message; it was lost with the pipe that the workers hold."""
    said = tmp_path / "stderr"
    with (
        said.open("wb") as stderr,
        subprocess.Popen(
            (sys.executable, "-c", FAULT), stdin=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        assert process.wait(WAIT_S) == 1
        assert process.stdin is not None
        process.stdin.close()
    [line] = said.read_text().splitlines()
    assert "CRITICAL" in line
    assert "internal error: the process ends" in line
    assert "RuntimeError: a fault of ours" in line

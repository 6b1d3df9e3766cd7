"""How a process ends with its event loop."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.process import WAIT_S

# The signal comes where it does harm: the loop has closed its end of the pipe for signals, or has forgotten its handlers.
SCRIPT = """
import asyncio, os, signal, sys
from wsproxy.dataplane.tasks import run

class Loop(asyncio.SelectorEventLoop):
    def _close_self_pipe(self):
        super()._close_self_pipe()
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self):
        super().close()
        os.kill(os.getpid(), signal.SIGTERM)

async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await ended.wait()

if sys.argv[1] == "ours":
    run(main(), Loop)
else:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
"""


@pytest.mark.parametrize(("how", "is_quiet"), [("ours", True), ("asyncio's", False)])
def test_signal_that_comes_as_the_loop_is_closed_is_nobodys(how: str, is_quiet: bool) -> None:
    """The loop's own way is told beside, so that this is known to be the moment that matters."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ((done.returncode, done.stderr) == (0, "")) is is_quiet, done

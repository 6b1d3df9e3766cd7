"""What ends a process whose parent has ended, also while it runs no Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A parent that forks a child, waits until it is prepared, and ends. The child writes its pid; it is told of its parent's end
# as the supervisor's children are (PR_SET_PDEATHSIG), and then does what a hanging process does.
FAMILY = """
import os, signal, sys, time
from wsproxy._fast.base.orphan import end_orphaned
from wsproxy.process.system import end_with_parent
ready, told = os.pipe()
if os.fork() == 0:
    parent = os.getppid()
    end_orphaned(parent, 1)
    end_with_parent(signal.SIGCONT, parent)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if {obeys} else None)
    os.kill(os.getpid(), signal.SIGCONT)
    os.write(1, b"%d\\n" % os.getpid())
    os.write(told, b"x")
    while True:
        {does}
os.read(ready, 1)
"""
# Nothing of Python runs within one of these.
HANGS = "sum(range(10 ** 12))"


def outlive(does: str, *, obeys: bool = True) -> str:
    """What is left on the pipe of a family whose parent has ended: returns when the child has, as it holds the pipe."""
    text = FAMILY.format(does=does, obeys=obeys)
    done = subprocess.run(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, timeout=60, check=True
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("does", "obeys"),
    [("time.sleep(60)", True), ("time.sleep(60)", False), (HANGS, True)],
    ids=["it obeys SIGTERM", "it is deaf", "it hangs in C"],
)
def test_child_ends_after_its_parent(does: str, obeys: bool) -> None:
    """A SIGCONT that anybody else sends, as each gets first, does nothing."""
    assert int(outlive(does, obeys=obeys)) > 0

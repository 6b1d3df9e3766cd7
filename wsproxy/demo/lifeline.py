"""
Makes a process end when the one that started it ends, however that ends: a demo killed by SIGKILL leaves no orphan.

Driven by ``demo.cluster`` and ``demo.show``: ``python -m wsproxy.demo.lifeline PARENT COMMAND ...`` becomes COMMAND, with
the same pid. Must not stay in between: the pid that the demo prints and kills is the server's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_child(
    command: Sequence[str], *, log: IO[bytes], is_talking: bool = False
) -> subprocess.Popen[bytes]:
    """
    ``command`` (the first word is a path), started so that it ends with this process; its output goes to ``log``.

    Only for the main thread: the kernel watches the thread that forks. ``is_talking``: standard output is a pipe.
    """
    return subprocess.Popen(  # noqa: S603  # the command is our own
        [sys.executable, "-P", "-m", "wsproxy.demo.lifeline", str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if is_talking else log,
        stderr=log,
        process_group=0,  # Ctrl-C is for the demo alone, which then ends its children in order
    )


def end_with_parent(parent_pid: int) -> None:
    """
    SIGTERM comes when the parent ends; this process ends now if the parent is gone already.

    The kernel keeps the order over exec. Children forked later do not have it: their own parent looks after them.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent_pid:  # it ended before the order was given
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Becomes the command of ``arguments``; does not return."""
    end_with_parent(int(arguments[0]))
    # The demo waits for its signals with all of them blocked, and a child inherits that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execv(arguments[1], arguments[1:])  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])

"""
One program of a resource that runs: how it is started, what it said, how it ended.

Driven by ``keeper``. No shell, a clean environment, the root folder, no input, a session of its own. Must not wait: ``keeper`` reaps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsproxy.config.problems import printable
from wsproxy.ha.resource.processes import MARK, kill

# What programs of a resource find, whatever wsproxy was started with.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}  # fmt: skip
# Of what it said last, for the log.
KEPT_BYTES = 2000
# Of one look at what it says: one that prints without end must not be listened to for ever, there is a moment to stop it by.
_READS = 16


def environment_of(mark: str, member: str, resource: str, token: int) -> dict[str, str]:
    """See the module; docs/high-availability.md lists them."""
    return {
        **ENVIRONMENT,
        MARK: mark,
        "WSPROXY_HA_MEMBER": member,
        "WSPROXY_HA_NAME": resource,
        "WSPROXY_HA_TOKEN": str(token),
    }


@dataclass(slots=True)
class Command:
    """``code`` None: it runs."""

    what: str
    pid: int
    output: int  # descriptor to be read: nobody else empties it
    process: subprocess.Popen[bytes]
    code: int | None = None
    said: bytearray = field(default_factory=bytearray)

    def read(self) -> bool:
        """Takes what it said; False: nobody writes any more, and ``output`` is closed."""
        for _ in range(_READS):
            try:
                data = os.read(self.output, 65536)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                os.close(self.output)
                self.output = -1
                return False
            self.said += data
            del self.said[:-KEPT_BYTES]
        return True

    def note_end(self, status: int) -> None:
        """It was reaped."""
        self.code = os.waitstatus_to_exitcode(status)
        self.process.returncode = self.code

    def end_now(self) -> None:
        """Its whole session's first group, and itself, unless it was reaped: the number may be another's then."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.code is None:
            kill([self.pid])

    @property
    def words(self) -> str:
        """How it ended, and its last line."""
        if self.code is None:
            how = "still runs"
        elif self.code < 0:
            how = f"was killed by {signal.Signals(-self.code).name}"
        else:
            how = f"ended with exit code {self.code}"
        lines = self.said.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}{f' ({printable(last[:300])})' if last else ''}"


def _heed_signals() -> None:
    """What was started in a shell's background ignores SIGINT and SIGQUIT, and so would all that it starts; Popen sees to SIGPIPE and its like."""
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)


def begin(what: str, words: Sequence[str], environment: Mapping[str, str]) -> Command:
    """
    It runs.

    Raises:
        OSError: it cannot be run.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.set_blocking(writing, True)
        process = subprocess.Popen(  # noqa: S603  # the operator's own, from a file of theirs
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_heed_signals,  # a keeper has one thread
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return Command(what, process.pid, reading, process)


@dataclass(slots=True)
class Look:
    """What the last looks found. ``status``: the exit code of the last one that ended since ``asked_at``."""

    ask_at: float = 0.0
    status: int | None = None
    misses: int = 0
    has_children: bool = False


def drain(fd: int) -> None:
    """Nothing is left in a pipe that only wakes somebody."""
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 4096)

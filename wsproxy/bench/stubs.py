"""
The process with the stub servers, as its parent sees it: started, told to end and start servers, ended.

Driven by ``paced_bed``. I/O.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wsproxy.bench.processes import StartError

STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Stubs:
    """All stub servers of a run."""

    process: subprocess.Popen[str]

    def down(self, port: int) -> None:
        """Ends one as a kill would; returns when it is gone."""
        self._say(f"down {port}")

    def up(self, port: int) -> None:
        """Starts it again; returns when it listens."""
        self._say(f"up {port}")

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "ok\n":
            msg = f"the stub servers did not do: {line}"
            raise StartError(msg)


@contextmanager
def running_stubs(ports: Sequence[int], core: int) -> Iterator[Stubs]:
    """
    Servers on these ports of 127.0.0.1, on this core; ended on the way out.

    Raises: StartError.
    """
    argv = ["taskset", "-c", str(core), sys.executable, "-m", "wsproxy.bench.stub"]
    with subprocess.Popen(
        [*argv, *map(str, ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                msg = "the stub servers did not start"
                raise StartError(msg)
            yield Stubs(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # its end ends them
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

"""
The load generator: one bounded run of wrk, and its result.

Driven by ``measure``. The result comes from ``done()`` in ``configs/request.lua``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from wsproxy.bench.programs import WRK
from wsproxy.bench.render import RESULT_MARKER

# wrk ends by itself after its duration; what it may need on top to connect, and to wait for late answers
GRACE_S = 15


class WrkError(Exception):
    """wrk did not end well, or did not print a result."""


class WrkResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What wrk counted in one run; the names are those printed by ``request.lua``."""

    requests: int
    duration_us: int
    body_and_head_bytes: int
    connect_errors: int
    read_errors: int
    write_errors: int
    status_errors: int
    timeouts: int
    p50_us: int
    p99_us: int

    @property
    def errors(self) -> int:
        """Everything that was not a good answer."""
        return (
            self.connect_errors
            + self.read_errors
            + self.write_errors
            + self.status_errors
            + self.timeouts
        )

    @property
    def requests_per_second(self) -> float:
        """Completed requests over wrk's own clock."""
        return self.requests / (self.duration_us / 1e6)


def find_wrk() -> Path:
    """
    Its path. I/O.

    Raises: WrkError where it is not installed.
    """
    found = WRK.find()
    if found is None:
        msg = "wrk is not installed"
        raise WrkError(msg)
    return found


def parse_output(text: str) -> WrkResult:
    """
    The result in wrk's output.

    Raises: WrkError where there is none, or not exactly the expected fields.
    """
    for line in text.splitlines():
        if line.startswith(RESULT_MARKER):
            try:
                return msgspec.json.decode(line.removeprefix(RESULT_MARKER), type=WrkResult)
            except msgspec.DecodeError as error:
                msg = f"wrk printed a result that cannot be read: {error}"
                raise WrkError(msg) from error
    msg = f"wrk printed no result: {text.strip()[-400:]!r}"
    raise WrkError(msg)


def command(
    program: Path, core: int, script: Path, url: str, connections: int, seconds: int
) -> list[str]:
    """One thread on one core; ``url`` names scheme, address and port."""
    return [
        *(
            "taskset",
            "-c",
            str(core),
            str(program),
            "--threads",
            "1",
            "--connections",
            str(connections),
        ),
        *("--duration", f"{seconds}s", "--timeout", "5s", "--latency", "--script", str(script)),
        url,
    ]


def run_wrk(argv: list[str], seconds: int) -> WrkResult:
    """
    The result of one run; blocks for its duration. I/O.

    Raises: WrkError.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"wrk did not end within {seconds + GRACE_S} s"
        raise WrkError(msg) from error
    if done.returncode != 0:
        msg = f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]!r}"
        raise WrkError(msg)
    return parse_output(done.stdout)

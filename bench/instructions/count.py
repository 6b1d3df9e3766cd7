"""
Runs what is to be counted under callgrind, and reads its dumps.

``count_pieces`` is one process without sockets; ``count_requests`` a whole proxy, whose worker is told to count from outside, when
it is warm. A worker does other things by the clock (sweeps, in Python and uvloop), so of a proxy only what wsproxy, libc and OpenSSL
take is counted: the same in every run but for a thousandth.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.instructions.callgrind import read_dump
from bench.instructions.subject import LONG, MARK, SHORT
from bench.lab import Lab, ask, lab
from bench.micro.heads import FIELDS
from wsproxy.bench.machine import PROJECT

WARM = 100
COUNTED = 400
COUNT_S = 900  # valgrind is fifty times as slow, on a machine that others use
# A browser's, with its session among other cookies: affinity finds the clone id of lab's only server.
HEAD = b"\r\n".join(
    (
        b"GET /app/small HTTP/1.1",
        *(field for field in FIELDS if not field.startswith(b"Cookie:")),
        b"Cookie: theme=dark; JSESSIONID=0000QWERTZUIOPASDFGHJKLYX:one; consent=1",
        *(b"", b""),
    )
)
CLOSING_HEAD = HEAD.replace(b"Connection: keep-alive", b"Connection: close")
OBJECTS = ("/wsproxy/_fast/", "/libc.so", "/libc-", "/libssl", "/libcrypto")

Counts = dict[str, dict[str, float]]


def callgrind(out: Path, *more: str) -> tuple[str, ...]:
    """What stands before a command that is to be counted; dumps are called ``out.PID.NUMBER``."""
    return ("valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}.%p", *more)


def count_pieces(only: tuple[str, ...]) -> Counts:
    """Instructions of one call of each piece, or of those that are named, by function. Starts a process that ends by itself."""
    with tempfile.TemporaryDirectory(prefix="wsproxy-count-") as name:
        folder = Path(name)
        done = subprocess.run(
            [
                *callgrind(folder / "dump", f"--dump-before={MARK}"),
                *(sys.executable, "-m", "bench.instructions.subject", name, *only),
            ],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=COUNT_S,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(
                f"cannot count: the subject ended with {done.returncode}:\n{done.stderr}"
            )
        dumps = sorted(folder.glob("dump.*.*"), key=lambda path: int(path.suffix[1:]))
        counts = [read_dump(path) for path in dumps]
    names = done.stdout.splitlines()
    assert len(counts) >= 3 * len(names), f"found {len(counts)} dumps of {len(names)} pieces"
    return {
        piece: per_call(counts[3 * at + 2], counts[3 * at + 1], LONG - SHORT)
        for at, piece in enumerate(names)
    }


def per_call(longer: Counter[str], shorter: Counter[str], calls: int) -> dict[str, float]:
    """The difference of two runs for each of the calls by which they differ."""
    names = longer.keys() | shorter.keys()
    found = {name: (longer[name] - shorter[name]) / calls for name in names}
    return {name: round(cost, 1) for name, cost in sorted(found.items()) if round(cost, 1)}


def count_requests(only: tuple[str, ...]) -> Counts:
    """Instructions of a worker for one whole request, by function. Starts proxies, which it ends."""
    return {
        name: _count(traffic, secure=secure, logged=logged)
        for name, (traffic, secure, logged) in REQUESTS.items()
        if not only or name in only
    }


def _keep_alive(place: Lab, until_warm: Callable[[], None]) -> None:
    with place.connect() as sock:
        for _ in range(WARM):
            ask(sock, HEAD)
        until_warm()
        for _ in range(COUNTED):
            ask(sock, HEAD)


def _anew(place: Lab, until_warm: Callable[[], None]) -> None:
    for number in range(WARM + COUNTED):
        if number == WARM:
            until_warm()
        with place.connect() as sock:
            ask(sock, CLOSING_HEAD)
            while sock.recv(4096):
                pass


def _count(
    traffic: Callable[[Lab, Callable[[], None]], None], *, secure: bool, logged: bool
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="wsproxy-count-") as name:
        out = Path(name, "dump")
        settings = f'[log]\naccess = "{Path(name, "access.log")}"\n' if logged else ""
        with lab(
            secure=secure,
            settings=settings,
            under=callgrind(out, "--instr-atstart=no", "--trace-children=yes"),
        ) as place:
            pid = str(place.worker)
            traffic(place, lambda: _tell(pid, "instrumentation", "on"))
            _tell(pid, "dump")
        found = read_dump(
            Path(f"{out}.{pid}.1"), lambda path: any(each in path for each in OBJECTS)
        )
    return per_call(found, Counter(), COUNTED)


def _tell(pid: str, *what: str) -> None:
    """By vgdb, which comes with valgrind: callgrind_control does not know a process that has given itself a title."""
    done = subprocess.run(
        ["vgdb", f"--pid={pid}", *what],
        capture_output=True,
        text=True,
        timeout=COUNT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"cannot count: vgdb ended with {done.returncode}: {done.stderr}")


# the client's behaviour, whether both sides have TLS, whether there is an access log
REQUESTS = {
    "small request": (_keep_alive, False, False),
    "small request, logged": (_keep_alive, False, True),
    "request on a new connection": (_anew, False, False),
    "TLS request": (_keep_alive, True, False),
}

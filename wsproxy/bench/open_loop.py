"""
An open loop: what is sent when (``Script``), one run of it through a proxy, and what it comes to (``judge``).

Driven by ``paced_runs``. Requests are due at times that do not depend on answers; times count from there. The script is the same for
every proxy of a round. ``judge`` and the makers of scripts are pure.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wsproxy.bench import cputime, traffic
from wsproxy.bench.bed import Contestant, cpu_time
from wsproxy.bench.generator import Columns, Plan, column
from wsproxy.bench.machine import Cores
from wsproxy.bench.results import Paced, Window
from wsproxy.bench.site import Site

WINDOW_S = 0.5
TIMEOUT_S = 10.0
GRACE_S = 15.0
SEED = 19  # the same times for every proxy, in every run
OK = 200


class OpenLoopError(Exception):
    """The load generator did not do its work."""


@dataclass(slots=True)
class Script:
    """Requests by number, and for each job: which, when, of which server's session (a port, 0: nobody's), what the server does."""

    requests: list[bytes] = field(default_factory=list)
    which: array[int] = field(default_factory=lambda: array("i"))
    due_us: array[int] = field(default_factory=lambda: array("q"))
    owner: array[int] = field(default_factory=lambda: array("i"))
    service_us: array[int] = field(default_factory=lambda: array("q"))
    status: array[int] = field(default_factory=lambda: array("i"))

    def add(
        self, due_us: int, request: int, owner: int, service_us: int = 0, status: int = OK
    ) -> None:
        """One more job, not before the last one."""
        self.which.append(request)
        self.due_us.append(due_us)
        self.owner.append(owner)
        self.service_us.append(service_us)
        self.status.append(status)

    def __len__(self) -> int:
        """Jobs."""
        return len(self.due_us)

    @property
    def seconds(self) -> float:
        """Up to the last job."""
        return self.due_us[-1] / 1e6 if self.due_us else 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is done at a time of the run; ``port`` of the server that it is done to."""

    at_s: float
    do: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that is not there for a while; until the end if nothing else is said."""

    port: int
    from_s: float
    to_s: float = float("inf")

    def is_near(self, from_s: float, to_s: float) -> bool:
        """Whether a request that was under way then may have met it."""
        return from_s <= self.to_s and to_s >= self.from_s


def steady(
    site: Site, port: int, rate: float, seconds: float, *, new_share: float = 0.25
) -> Script:
    """
    Requests of all kinds at ``rate`` a second, at random times (a Poisson process: clients know nothing of each other).

    ``new_share`` of them come without a session, so that the balance shows.
    """
    draw = random.Random(SEED)
    script = Script()
    visits = traffic.visits(site)
    numbers = {}
    for at, visit in enumerate(visits):
        for is_new in (False, True):
            cookie = traffic.cookie(at) if is_new else visit.cookie
            numbers[at, is_new] = len(script.requests)
            script.requests.append(spell(visit.host, port, visit.path, cookie))
    due = 0.0
    number = 0
    while (due := due + draw.expovariate(rate)) < seconds:
        visit = visits[number % len(visits)]
        is_new = draw.random() < new_share or visit.owner is None
        owner = 0 if is_new or visit.owner is None else visit.owner.port
        script.add(int(due * 1e6), numbers[number % len(visits), is_new], owner)
        number += 1
    return script


def spell(
    host: str,
    port: int,
    path: str,
    cookie: str,
    *,
    method: str = "GET",
    say: str = "",
    body: bytes = b"",
) -> bytes:
    """A request as it is sent; ``say``: what a stub server shall do."""
    headers = traffic.browser_headers(traffic.host_field(host, port), "small")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Cookie: {cookie}")
    if say:
        lines.append(f"X-Bench-Say: {say}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass(frozen=True, slots=True)
class Ran:
    """One run as it was seen."""

    columns: Columns
    cpu: cputime.CpuTime
    wall_s: float


def run(
    contestant: Contestant,
    script: Script,
    connections: int,
    cores: Cores,
    directory: Path,
    events: Sequence[Event] = (),
) -> Ran:
    """
    One run through one proxy; ``events`` in order of time. Blocks until the last answer. I/O.

    Raises: OpenLoopError.
    """
    plan = Plan(
        contestant.port, script.requests, script.which.tobytes(), script.due_us.tobytes(), connections,
        int(TIMEOUT_S * 1e6),
    )  # fmt: skip
    plan_file, result_file = directory / "plan", directory / "result"
    plan_file.write_bytes(msgspec.msgpack.encode(plan))
    argv = ["taskset", "-c", str(cores.wrk), sys.executable, "-m", "wsproxy.bench.generator"]
    before, clock = cpu_time(contestant.service), time.monotonic()
    with subprocess.Popen(
        [*argv, str(plan_file), str(result_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            start_s = int(process.stdout.readline() or 0) / 1e6
            for event in events if start_s else ():
                time.sleep(max(0.0, start_s + event.at_s - time.monotonic()))
                event.do()
            _, said = process.communicate(timeout=script.seconds + TIMEOUT_S + GRACE_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            msg = f"the load generator did not end within {script.seconds + TIMEOUT_S + GRACE_S:.0f} s"
            raise OpenLoopError(msg) from error
        except BaseException:  # Ctrl-C, SIGTERM: nobody waits for the rest of a minute
            process.kill()
            raise
    wall_s = time.monotonic() - clock
    if process.returncode != 0:
        msg = f"the load generator ended with status {process.returncode}: {said.strip()[-400:]}"
        raise OpenLoopError(msg)
    columns = msgspec.msgpack.decode(result_file.read_bytes(), type=Columns)
    return Ran(columns, cpu_time(contestant.service).since(before), wall_s)


def judge(
    script: Script, ran: Ran, names: dict[int, str], outages: Sequence[Outage] = (), **about: object
) -> Paced:
    """What a run comes to. Pure. ``names`` of servers by port; ``about``: proxy, round and phase."""
    columns = ran.columns
    done, status = column(columns.done), column(columns.status, "i")
    server = column(columns.server, "i")
    times: list[int] = []
    windows: list[tuple[list[int], list[int], Counter[str]]] = [
        ([], [], Counter()) for _ in range(int(script.seconds / WINDOW_S) + 1)
    ]
    errors = with_owner = kept = moved = 0
    for at, due in enumerate(script.due_us):
        took = max(0, done[at] - due - script.service_us[at])
        all_times, bad, by_server = windows[int(due / 1e6 / WINDOW_S)]
        all_times.append(took)
        times.append(took)
        if status[at] != script.status[at]:
            errors += 1
            bad.append(at)
            continue
        if not script.owner[at]:
            by_server[names.get(server[at], "")] += 1
            continue
        own = [outage for outage in outages if outage.port == script.owner[at]]
        if any(outage.is_near(due / 1e6, done[at] / 1e6) for outage in own):
            moved += server[at] != script.owner[at]
        elif not any(due / 1e6 >= outage.from_s for outage in own):
            with_owner += 1
            kept += server[at] == script.owner[at]
    times.sort()
    late = sorted(column(columns.late))
    used_us = ran.cpu.user_us + ran.cpu.system_us
    found: dict[str, object] = {
        "requests": len(script),
        "seconds": script.seconds,
        "cpu_us": used_us / max(len(script), 1),
        "core_busy": used_us / 1e6 / ran.wall_s,  # of one core
        "p50_us": percentile(times, 0.5),
        "p99_us": percentile(times, 0.99),
        "p999_us": percentile(times, 0.999),
        "most_us": times[-1] if times else 0,
        "errors": errors,
        "again": columns.again,
        "with_owner": with_owner,
        "kept": kept,
        "moved": moved,
        "late_p99_us": percentile(late, 0.99),
        "windows": [
            Window(len(all_times), len(bad), percentile(sorted(all_times), 0.99), dict(by_server))
            for all_times, bad, by_server in windows
        ],
    }
    return msgspec.convert(found | about, type=Paced)


def percentile(ordered: Sequence[int], share: float) -> int:
    """The value that ``share`` of them do not exceed; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def even_after(paced: Paced, server: str, back_s: float, expected: float) -> float | None:
    """Seconds from a server's return to the first half second with nine tenths of its share of new sessions; None: not in this run."""
    for at, window in enumerate(paced.windows):
        begin_s = at * WINDOW_S
        total = sum(window.by_server.values())
        if (
            begin_s >= back_s
            and total
            and window.by_server.get(server, 0) / total >= 0.9 * expected
        ):
            return begin_s - back_s + WINDOW_S
    return None

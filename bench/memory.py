"""
``python -m bench.memory``: what connections cost a worker in memory. Prints a table; ends with 1 where a bound is broken.

Two claims are measured (issue 5): a stream of any length costs a few MiB, however slowly it is read; an idle connection costs
3 KiB. Figures are the process's own memory: what the kernel holds in socket buffers is the same for every proxy.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from bench import lab as laboratory
from bench.lab import Lab, Memory, lab, raise_descriptors, request

MIB = 1 << 20
GIB = 1 << 30
# One read buffer, what transports hold of both sides, and what the allocator keeps: measured 1 to 3.
MOST_STREAM_MIB = 8.0
MOST_IDLE_KIB = 3.0
# A connection over TLS has two contexts of OpenSSL; no bound is promised, this one only shows when it grows.
MOST_SECURE_IDLE_KIB = 64.0
SECURE_SHARE = 5  # a handshake takes its time: so many fewer idle connections over TLS
SAMPLE_S = 0.02
SETTLE_S = 1.0
SLOW_S = 8.0  # how long the slow side is slow, before it reads the rest as fast as it can
WARM_UP = 100
SPARE_DESCRIPTORS = 500
SETTINGS = "[timeouts]\nkeepalive_s = 3600\nbody_s = 60\n"


@dataclass(slots=True)
class Row:
    """One measurement; memory in KiB."""

    what: str
    before: Memory
    peak: Memory
    after: Memory
    figure: float  # what the bound is for; of private memory
    unit: str
    bound: float
    seconds: float

    @property
    def is_kept(self) -> bool:
        """Whether the bound holds."""
        return self.figure <= self.bound


@contextmanager
def watched(place: Lab) -> Iterator[list[Memory]]:
    """The highest memory of the worker so far, always in the first place of the list; sampled until the end."""
    highest = [place.memory()]
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_S):
            highest[0] |= place.memory()

    sampling = threading.Thread(target=sample, daemon=True)
    sampling.start()
    try:
        yield highest
    finally:
        is_over.set()
        sampling.join()
        highest[0] |= place.memory()


def download(place: Lab, count: int, slow_s: float = 0.0) -> None:
    """One answer of so many bytes, read to its end; in the beginning slowly."""
    hurry = threading.Event()
    with place.connect() as sock:
        sock.sendall(request("GET", f"/down/{count}"))
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(4096)
        here = len(data.partition(b"\r\n\r\n")[2])
        if slow_s:
            threading.Timer(slow_s, hurry.set).start()
        laboratory.read_bytes(sock, count - here, hurry if slow_s else None)


def upload(place: Lab, count: int, slow_s: float = 0.0) -> None:
    """One request of so many bytes, read to its end by the app server; in the beginning slowly."""
    place.app.hurry.clear()
    path = "/slowly" if slow_s else "/up"
    with place.connect() as sock:
        if slow_s:
            threading.Timer(slow_s, place.app.hurry.set).start()
        sock.sendall(request("POST", path, f"Content-Length: {count}"))
        laboratory.send_bytes(sock, count)
        laboratory.read_answer(sock)


def measure_stream(
    place: Lab, what: str, run: Callable[[Lab, int, float], None], count: int, slow_s: float
) -> Row:
    """The worker's memory while one stream runs through it."""
    run(place, MIB, 0.0)  # buffers that a first stream makes are no growth
    before = place.memory()
    begun = time.monotonic()
    with watched(place) as highest:
        run(place, count, slow_s)
    seconds = time.monotonic() - begun
    growth = (highest[0] - before).private / 1024
    return Row(what, before, highest[0], place.memory(), growth, "MiB", MOST_STREAM_MIB, seconds)


def measure_idle(place: Lab, what: str, count: int, bound: float) -> Row:
    """The worker's memory for each of ``count`` connections that had one answer and wait for the next request."""
    head = request("GET", "/small")
    before = place.memory()
    begun = time.monotonic()
    kept = []
    try:
        for _ in range(count):
            sock = place.connect()
            kept.append(sock)
            laboratory.ask(sock, head)
        time.sleep(SETTLE_S)
        held = place.memory()
        seconds = time.monotonic() - begun
        cpu = idle_cpu_ms(place)
    finally:
        for sock in kept:
            sock.close()
    time.sleep(SETTLE_S)
    each = (held - before).private / count
    what = f"{what}: {cpu:.1f} ms CPU a second"
    return Row(what, before, held, place.memory(), each, "KiB each", bound, seconds)


def idle_cpu_ms(place: Lab) -> float:
    """CPU time a second that the worker takes while nobody sends anything, in ms."""

    def used_ns() -> int:
        with open(f"/proc/{place.worker}/schedstat") as file:
            return int(file.read().split()[0])

    before, begun = used_ns(), time.monotonic()
    time.sleep(4 * SETTLE_S)
    return (used_ns() - before) / 1e6 / (time.monotonic() - begun)


def warm_up(place: Lab) -> None:
    """What a worker allocates once is no growth."""
    for _ in range(WARM_UP):
        with place.connect() as sock:
            laboratory.ask(sock, request("GET", "/small"))


def measure_streams(gigabytes: float, slow_s: float, *, secure: bool) -> list[Row]:
    """Download and upload, as fast as it goes and with a side that is slow for ``slow_s``; TLS on both sides or on none."""
    count, slow_count = int(gigabytes * GIB), int(min(gigabytes, 1.0) * GIB)
    rows = []
    with lab(secure=secure, settings=SETTINGS) as place:
        warm_up(place)
        for what, run in (("download", download), ("upload", upload)):
            name = f"{'TLS' if secure else 'plain'}, {what} of"
            rows.append(measure_stream(place, f"{name} {count / GIB:g} GiB", run, count, 0.0))
            slow = f"{name} {slow_count / GIB:g} GiB, read slowly for {slow_s:g} s"
            rows.append(measure_stream(place, slow, run, slow_count, slow_s))
    return rows


def measure_connections(count: int, *, secure: bool) -> list[Row]:
    """Idle connections, and as many again: what the first ones left behind is used by the second."""
    kind, bound = ("TLS", MOST_SECURE_IDLE_KIB) if secure else ("plain", MOST_IDLE_KIB)
    with lab(secure=secure, settings=SETTINGS) as place:
        warm_up(place)
        return [
            measure_idle(place, f"{kind}, {count} idle connections{again}", count, bound)
            for again in ("", " again")
        ]


def show(rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table(title="memory of one worker, KiB (RSS / Pss / private)")
    for name in ("what", "before", "peak", "after", "growth", "bound", "seconds", ""):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        table.add_row(
            row.what,
            *(
                f"{each.rss} / {each.pss} / {each.private}"
                for each in (row.before, row.peak, row.after)
            ),
            f"{row.figure:.2f} {row.unit}",
            f"{row.bound:g}",
            f"{row.seconds:.1f}",
            "ok" if row.is_kept else "TOO MUCH",
        )
    console.print(table)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--idle", type=click.IntRange(1, 100_000), default=10_000, show_default=True)
@click.option("--gigabytes", type=click.FloatRange(0.01, 100), default=5.0, show_default=True)
@click.option("--plain/--no-plain", default=True, help="connections without TLS")
@click.option("--tls/--no-tls", default=True, help="connections with TLS on both sides")
def main(idle: int, gigabytes: float, plain: bool, tls: bool) -> None:
    """Measure a worker's memory: streams of GIGABYTES, and IDLE connections that wait for their next request."""
    raise_descriptors(idle + SPARE_DESCRIPTORS)
    rows: list[Row] = []
    for secure in [False] * plain + [True] * tls:
        rows += measure_connections(idle // SECURE_SHARE if secure else idle, secure=secure)
        rows += measure_streams(gigabytes, SLOW_S, secure=secure)
    show(rows, Console(width=None if sys.stdout.isatty() else 190))
    sys.exit(0 if all(row.is_kept for row in rows) else 1)


if __name__ == "__main__":
    main()

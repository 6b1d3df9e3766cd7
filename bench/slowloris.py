"""
``python -m bench.slowloris``: what thousands of clients that drip their heads cost everybody else. Prints a table.

Rounds without them, with them, and with all of them at once alternate. Normal requests come at a fixed rate on a kept connection and on new ones: that way
a worker that stands still shows in the times, and not in fewer requests. The dripping clients are a process of
their own: each sends a byte now and then, is cut off after ``timeouts.head_s``, and comes again.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized

import click
from rich.console import Console
from rich.table import Table

from bench import lab as laboratory
from bench.lab import Lab, lab, raise_descriptors, request

HEAD_S = 10.0  # the default of timeouts.head_s
SETTINGS = f"[timeouts]\nhead_s = {HEAD_S}\nkeepalive_s = 3600\n"
BEGINNING = b"GET /small HTTP/1.1\r\nHost: shop.example\r\nX-Slow: "
SOURCES = 50  # addresses that they come from, so that no two have the same port within a minute
TURNS_S = 0.02
# Of normal requests: far from what a worker can do, so that nobody waits for anybody but the attack.
NORMAL_RATE = 200
NEW_CONNECTION_EVERY = 5
WARM_UP_S = 1.0
FILL_S = 60.0
END_S = 20.0
SPARE_DESCRIPTORS = 500
QUIET = "nobody"


class Dripper:
    """Keeps ``count`` connections open that never finish their head."""

    def __init__(self, port: int, count: int, drip_s: float) -> None:
        """Opens them with ``fill``; each gets a byte every ``drip_s``."""
        self._port = port
        self._count = count
        self._drip_s = drip_s
        self._made = 0
        self._socks: list[socket.socket] = []
        self._selector = selectors.EpollSelector()

    def fill(self, most: int) -> None:
        """Connects as many as are missing, and so many at most."""
        for _ in range(min(most, self._count - len(self._socks))):
            sock = socket.socket()
            self._made += 1
            sock.bind((f"127.0.0.{2 + self._made % SOURCES}", 0))
            sock.connect(("127.0.0.1", self._port))
            sock.setblocking(False)
            sock.send(BEGINNING)
            self._socks.append(sock)
            self._selector.register(sock, selectors.EVENT_READ)

    def turn(self, share: float) -> None:
        """A byte on a ``share`` of them, those that waited longest first."""
        due = max(1, min(int(len(self._socks) * share), len(self._socks)))
        for sock in self._socks[:due]:
            with contextlib.suppress(OSError):  # cut: it is readable too
                sock.send(b"y")
        self._socks = self._socks[due:] + self._socks[:due]

    def drop_ended(self) -> int:
        """Closes those that were answered or cut off; how many."""
        ended = set()
        for key, _ in self._selector.select(0):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            ended.add(sock)
            self._selector.unregister(sock)
            sock.close()
        if ended:
            self._socks = [sock for sock in self._socks if sock not in ended]
        return len(ended)

    def run(
        self,
        fill_s: float,
        ready: Synchronized[int],
        cut: Synchronized[int],
        stop: Synchronized[int],
    ) -> None:
        """Until ``stop``; all of them connect within ``fill_s``, and so do those that come again."""
        step = max(1, int(self._count * TURNS_S / fill_s)) if fill_s else self._count
        try:
            while not stop.value:
                ended = self.drop_ended()
                cut.value += ended
                self.fill(step)
                if ended or len(self._socks) == self._count:
                    ready.value = 1
                self.turn(TURNS_S / self._drip_s)
                time.sleep(TURNS_S)
        except OSError as error:  # the worker ended first
            if error.errno != errno.ECONNREFUSED:
                raise
        finally:
            for sock in self._socks:
                sock.close()
            self._selector.close()


def drip(
    port: int,
    count: int,
    drip_s: float,
    fill_s: float,
    ready: Synchronized[int],
    cut: Synchronized[int],
    stop: Synchronized[int],
) -> None:
    """The dripping process; real attackers take no time from normal clients, so it goes last."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(5)
    raise_descriptors(count + SPARE_DESCRIPTORS)
    Dripper(port, count, drip_s).run(fill_s, ready, cut, stop)


@contextmanager
def dripping(port: int, count: int, drip_s: float, fill_s: float) -> Iterator[Synchronized[int]]:
    """So many dripping clients from now on; how many were cut off so far."""
    context = multiprocessing.get_context("spawn")
    ready, cut, stop = (context.Value("i", 0) for _ in range(3))
    arguments = (port, count, drip_s, fill_s, ready, cut, stop)
    process = context.Process(target=drip, args=arguments, daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + FILL_S
        while not ready.value:
            if not process.is_alive() or time.monotonic() > deadline:
                raise SystemExit("cannot begin: the dripping clients did not come up")
            time.sleep(0.1)
        yield cut
    finally:
        stop.value = 1
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()


@dataclass(slots=True)
class Round:
    """Times of normal requests in ms, and CPU time of the worker in ms a second."""

    times_ms: list[float]
    new_times_ms: list[float]  # with a connection of their own
    cpu_ms: float
    cut: int = 0


def percentile(times: list[float], percent: int) -> float:
    """The time that so many percent do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def used_ms(place: Lab) -> float:
    """CPU time of the worker until now. I/O."""
    with open(f"/proc/{place.worker}/schedstat") as file:
        return int(file.read().split()[0]) / 1e6


def probe(place: Lab, seconds: float) -> Round:
    """Normal requests for so long, at ``NORMAL_RATE``. I/O."""
    head = request("GET", "/small")
    kept: list[float] = []
    new: list[float] = []
    with place.connect() as sock:
        laboratory.ask(sock, head)
        begun, cpu = time.monotonic(), used_ms(place)
        for number in range(int(seconds * NORMAL_RATE)):
            planned = begun + number / NORMAL_RATE
            time.sleep(max(0.0, planned - time.monotonic()))
            at = time.perf_counter()
            if number % NEW_CONNECTION_EVERY == 0:
                with place.connect() as fresh:
                    laboratory.ask(fresh, head)
                new.append((time.perf_counter() - at) * 1e3)
            else:
                laboratory.ask(sock, head)
                kept.append((time.perf_counter() - at) * 1e3)
        took = time.monotonic() - begun
        return Round(kept, new, (used_ms(place) - cpu) / took)


def measure(connections: int, seconds: float, rounds: int, drip_s: float) -> dict[str, list[Round]]:
    """Rounds of each kind, by what it is; in turns, so that what disturbs the machine disturbs all of them."""
    attacks = {
        f"{connections} dripping clients": HEAD_S,
        f"{connections} that come, and are cut off, together": 0.0,
    }
    found: dict[str, list[Round]] = {name: [] for name in (QUIET, *attacks)}
    with lab(settings=SETTINGS) as place:
        probe(place, WARM_UP_S)
        for _ in range(rounds):
            found[QUIET].append(probe(place, seconds))
            for name, fill_s in attacks.items():
                with dripping(place.port, connections, drip_s, fill_s) as cut:
                    before = cut.value
                    found[name].append(probe(place, seconds))
                    found[name][-1].cut = cut.value - before
    return found


def show(found: dict[str, list[Round]], console: Console) -> None:
    """The table: medians over the rounds, with the lowest and the highest."""
    title = f"normal requests, ms; {NORMAL_RATE} a second, every {NEW_CONNECTION_EVERY}th on a new connection; median of rounds [lowest, highest]"
    table = Table(title=title)
    columns = ("p50", "p99", "kept: p99", "new: p99", "longest", "worker: CPU ms a s", "cut off")
    table.add_column("beside them")
    for name in columns:
        table.add_column(name, justify="right")

    def cell(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"

    for name, rounds in found.items():
        table.add_row(
            name,
            cell([percentile(each.times_ms + each.new_times_ms, 50) for each in rounds]),
            cell([percentile(each.times_ms + each.new_times_ms, 99) for each in rounds]),
            cell([percentile(each.times_ms, 99) for each in rounds]),
            cell([percentile(each.new_times_ms, 99) for each in rounds]),
            cell([max(each.times_ms + each.new_times_ms) for each in rounds]),
            cell([each.cpu_ms for each in rounds]),
            str(sum(each.cut for each in rounds)),
        )
    console.print(table)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--connections", type=click.IntRange(1, 50_000), default=5_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 300), default=15.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--drip", "drip_s", type=click.FloatRange(0.1, 60), default=3.0, show_default=True)
def main(connections: int, seconds: float, rounds: int, drip_s: float) -> None:
    """Measure normal requests beside CONNECTIONS clients that send a byte every DRIP seconds."""
    raise_descriptors(connections + SPARE_DESCRIPTORS)
    found = measure(connections, seconds, rounds, drip_s)
    show(found, Console(width=None if sys.stdout.isatty() else 190))


if __name__ == "__main__":
    main()

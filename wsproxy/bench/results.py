"""
What a run found, as it is kept in ``bench/results``: all rounds, and the arithmetic from rounds to figures.

Made by ``measure``, shown by ``report``. Pure; the arithmetic is medians, spreads and per-round paired ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

import msgspec


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One proxy in one round; CPU times are per completed request."""

    proxy: str
    round: int
    requests: int
    seconds: float
    requests_per_second: float
    cpu_user_us: float
    cpu_system_us: float
    p50_us: int
    p99_us: int
    status_errors: int
    socket_errors: int
    short_answers: bool  # fewer bytes than so many good answers must have
    core_busy: float  # share of the core that the proxy used: at 1.0 it was the bottleneck
    core_foreign: float  # share of the core that somebody else used
    load_average: float  # of the machine, 1 minute, at the end

    @property
    def cpu_us(self) -> float:
        """User and system time together."""
        return self.cpu_user_us + self.cpu_system_us

    @property
    def is_clean(self) -> bool:
        """Whether every answer was a good one."""
        return self.status_errors == 0 and self.socket_errors == 0 and not self.short_answers


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Half a second of a run with requests at their times; ``p99_us`` of those that were due in it."""

    requests: int
    errors: int
    p99_us: int
    by_server: dict[str, int]


class Paced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    One proxy in one run with requests at their times.

    Times are from when a request was due, without what the server took by its own account (a log's service times).
    """

    proxy: str
    round: int
    phase: str  # what happened: nothing, "killed", "reload"
    requests: int
    seconds: float
    cpu_us: float  # of the proxy, a request
    core_busy: float
    p50_us: int
    p99_us: int
    p999_us: int
    most_us: int
    errors: int  # no answer in time, or another status than the server gave
    again: int  # sent once more, as the proxy had closed the connection
    with_owner: int  # requests of sessions whose server was up all the time
    kept: int  # of these, those that reached it
    moved: int  # answered by another one, as their own was down
    late_p99_us: int  # how late the load generator itself was
    windows: list[Window]
    even_s: float | None = None  # from a server's return to its share of new sessions

    @property
    def is_clean(self) -> bool:
        """Whether every request was answered as it should be."""
        return self.errors == 0 and self.kept == self.with_owner


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of one proxy in one round, KiB (Pss): before, and what a connection adds that is idle, or awaits its answer."""

    proxy: str
    round: int
    connections: int
    before_kib: int
    idle_kib: float
    active_kib: float


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proxy that did not start, did not do its duty, or broke while it was measured."""

    proxy: str
    reasons: list[str]


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where it was measured."""

    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    system: str
    python: str


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it was measured; ``duties`` and ``notes`` are sentences for the reader."""

    rounds: int
    seconds: int
    warmup_seconds: int
    connections: int
    proxy_core: int
    wrk_core: int
    upstream_core: int
    upstream_servers: int
    order: list[str]
    duties: list[str]
    notes: dict[str, str]
    # not in files that were kept before 2026-12
    workers: int = 1  # of each proxy, and so many cores from ``proxy_core`` on
    upstream: str = "one nginx"  # what stands for the servers
    configuration: str = ""  # the plugin-cfg.xml that all proxies carried out
    left_out: list[str] = []  # of it, for all of them
    cannot: dict[str, list[str]] = {}  # what a proxy has no words for


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One scenario of one run: the content of a result file."""

    scenario: str
    title: str
    started: str  # UTC, ISO 8601
    commit: str
    machine: Machine
    versions: dict[str, str]
    method: Method
    failures: list[Failure]
    measurements: list[Measurement]
    paced: list[Paced] = []
    held: list[Held] = []

    def of(self, proxy: str) -> list[Measurement]:
        """One proxy's rounds in order."""
        return [measurement for measurement in self.measurements if measurement.proxy == proxy]

    @property
    def proxies(self) -> list[str]:
        """Those with at least one round, in the order measured."""
        return list(dict.fromkeys(measurement.proxy for measurement in self.measurements))

    @property
    def is_good(self) -> bool:
        """Whether everybody did their duty and no answer was bad."""
        return (
            not self.failures
            and all(measurement.is_clean for measurement in self.measurements)
            # what a killed server costs is a result
            and all(paced.is_clean or paced.phase for paced in self.paced)
        )


class Spread(msgspec.Struct, frozen=True):
    """A median with what lay farthest from it."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """
    Median, smallest and largest.

    Raises: statistics.StatisticsError for no values.
    """
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def paired_ratios(
    ours: Iterable[Measurement],
    theirs: Iterable[Measurement],
    figure: Callable[[Measurement], float],
) -> Spread | None:
    """
    Ours by theirs, round by round: what disturbs a whole round cancels out.

    Only rounds that both have, and where theirs is not 0 (CPU time has a grain of 10 ms); None where there is none.
    """
    by_round = {measurement.round: measurement for measurement in theirs}
    ratios = [
        figure(own) / figure(by_round[own.round])
        for own in ours
        if own.round in by_round and figure(by_round[own.round]) > 0
    ]
    return spread(ratios) if ratios else None

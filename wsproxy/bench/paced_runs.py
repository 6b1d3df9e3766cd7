"""
Rounds with requests at their times: open loop, a server that is killed, a configuration that is read again, a user's log.

Driven by ``measure``. Blocks while the load generator runs. I/O.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from wsproxy.bench.bed import Bed, Contestant, directory_in_memory
from wsproxy.bench.machine import Cores
from wsproxy.bench.open_loop import (
    Event,
    OpenLoopError,
    Outage,
    Script,
    even_after,
    judge,
    run,
    steady,
)
from wsproxy.bench.results import Failure, Paced
from wsproxy.bench.scenarios import Scenario
from wsproxy.bench.site import Member, Site
from wsproxy.bench.wrk import WrkError, command, find_wrk, run_wrk

# Where no proxy's limit is the question: what a server of a small site has, and little enough for the stub servers of one core.
EVENT_RATE = 1000.0
PROBE_S = 1  # to see what each can do
KILLED, RELOADED = "killed", "reload"
# Of a run: a server is killed, and comes back.
DOWN_AT, UP_AT = 1 / 3, 2 / 3
HALF_WAY = 0.5


@dataclass(frozen=True, slots=True)
class Course:
    """What all rounds of a scenario share; ``scripts`` makes what is sent to a proxy's port."""

    scenario: Scenario
    bed: Bed
    cores: Cores
    rounds: int
    say: Callable[[str], None]
    scripts: Callable[[int], Script]


def run_rounds(course: Course) -> tuple[list[Paced], list[Failure]]:
    """All rounds, each proxy in turn; who breaks is in the failures, and not asked again."""
    found: list[Paced] = []
    failures: list[Failure] = []
    standing = list(course.bed.contestants)
    for number in range(1, course.rounds + 1):
        for contestant in list(standing):
            try:
                for paced in _one(course, contestant, number):
                    found.append(paced)
                    course.say(_line(paced, course.rounds))
            except (OpenLoopError, OSError) as error:
                failures.append(Failure(contestant.proxy.name, [f"round {number}: {error}"]))
                standing.remove(contestant)
                course.say(f"{contestant.proxy.name}: {error}")
            if contestant.service is not None and not contestant.service.is_running:
                failures.append(Failure(contestant.proxy.name, [f"round {number}: ended"]))
                standing.remove(contestant)
    return found, failures


def rate_of_weakest(
    scenario: Scenario, bed: Bed, cores: Cores, say: Callable[[str], None]
) -> float:
    """
    Requests a second that the slowest proxy of the bed answers in a closed loop.

    Raises: WrkError.
    """
    wrk = find_wrk()
    rates = {}
    for contestant in bed.contestants:
        if contestant.proxy.does_duties:
            url = f"http://127.0.0.1:{contestant.port}"
            argv = command(wrk, cores.wrk, contestant.wrk_script, url, 32, PROBE_S)
            rates[contestant.proxy.name] = run_wrk(argv, PROBE_S).requests_per_second
    if not rates:
        msg = "no proxy to take the rate from"
        raise WrkError(msg)
    weakest = min(rates, key=lambda name: rates[name])
    say(
        f"the weakest is {weakest}: {rates[weakest]:,.0f} requests a second; this at {scenario.load:.0%}"
    )
    return rates[weakest] * scenario.load


def open_scripts(bed: Bed, rate: float, seconds: int) -> Callable[[int], Script]:
    """The same requests at the same times for each proxy."""
    site = _site(bed)
    return lambda port: steady(site, port, rate, seconds)


def _one(course: Course, contestant: Contestant, number: int) -> Iterator[Paced]:
    kind = course.scenario.kind
    if (
        kind == "reload"
        and contestant.proxy.reload_signal is None
        and contestant.service is not None
    ):
        return
    script = course.scripts(contestant.port)
    if kind in ("open", "log"):
        yield _run(course, contestant, script, number, "")
    if kind == "log":
        yield _killed(course, contestant, script, number, HALF_WAY, None)
    elif kind == "failover":
        yield _killed(course, contestant, script, number, DOWN_AT, UP_AT)
    elif kind == "reload":
        service, sign = contestant.service, contestant.proxy.reload_signal
        if service is None or sign is None:
            return

        def read_again() -> None:
            assert contestant.rewrite is not None
            contestant.rewrite()
            os.kill(service.pid, sign)

        event = Event(script.seconds * HALF_WAY, read_again)
        yield _run(course, contestant, script, number, RELOADED, [event])


def _killed(
    course: Course,
    contestant: Contestant,
    script: Script,
    number: int,
    down: float,
    up: float | None,
) -> Paced:
    """With the server that has most to do away for a while, or to the end."""
    stubs = course.bed.stubs
    assert stubs is not None
    site = _site(course.bed)
    victim = _busiest(site, script)
    begin_s = script.seconds * down
    end_s = script.seconds * up if up is not None else float("inf")
    events = [Event(begin_s, lambda: stubs.down(victim.port))]
    if up is not None:
        events.append(Event(end_s, lambda: stubs.up(victim.port)))
    try:
        paced = _run(
            course,
            contestant,
            script,
            number,
            KILLED,
            events,
            [Outage(victim.port, begin_s, end_s)],
        )
    finally:
        stubs.up(victim.port)  # it may be up already
    if up is None:
        return paced
    share = _share(site, victim)
    return msgspec.structs.replace(paced, even_s=even_after(paced, victim.key, end_s, share))


def _run(
    course: Course,
    contestant: Contestant,
    script: Script,
    number: int,
    phase: str,
    events: list[Event] | None = None,
    outages: list[Outage] | None = None,
) -> Paced:
    names = {
        member.port: member.key
        for cluster in _site(course.bed).clusters
        for member in cluster.members
    }
    with directory_in_memory("wsproxy-bench-plan-") as directory:
        ran = run(
            contestant, script, course.scenario.connections, course.cores, directory, events or ()
        )
    paced = judge(
        script, ran, names, outages or (), proxy=contestant.proxy.name, round=number, phase=phase
    )
    if contestant.proxy.does_duties:
        return paced
    return msgspec.structs.replace(
        paced, with_owner=0, kept=0, moved=0
    )  # affinity is no matter of theirs


def _site(bed: Bed) -> Site:
    assert bed.site is not None
    return bed.site


def _busiest(site: Site, script: Script) -> Member:
    """Of those that own sessions of the script, else any that is not alone."""
    counts: dict[int, int] = {}
    for port in script.owner:
        if port:
            counts[port] = counts.get(port, 0) + 1
    members = [
        member
        for cluster in site.clusters
        if len(cluster.members) > 1
        for member in cluster.primaries
    ]
    if not members:
        msg = "no cluster has a second server: nothing can take over"
        raise OpenLoopError(msg)
    return max(members, key=lambda member: counts.get(member.port, 0))


def _share(site: Site, member: Member) -> float:
    """What it has of its cluster's new sessions, times what its cluster has of all (requests come evenly)."""
    cluster = next(each for each in site.clusters if member in each.members)
    weights = sum(each.weight for each in cluster.primaries) or 1
    samples = [site.clusters[sample.cluster] for sample in site.samples]
    return member.weight / weights * samples.count(cluster) / len(samples)


def _line(paced: Paced, rounds: int) -> str:
    what = f" {paced.phase}" if paced.phase else ""
    return (
        f"round {paced.round}/{rounds}  {paced.proxy:<13}{what} {paced.cpu_us:7.2f} us CPU a request, "
        f"p99 {paced.p99_us} us, p99.9 {paced.p999_us} us, {paced.errors} errors"
    )

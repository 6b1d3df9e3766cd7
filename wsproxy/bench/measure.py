"""
Rounds: each proxy in turn, again and again, so that all of them see the same minutes of the machine.

Driven by ``cli.bench``. Blocks while wrk runs; bounded by rounds x proxies x (warm-up + seconds).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from wsproxy.bench import cputime, machine, programs, tls, websocket
from wsproxy.bench.bed import Bed, Contestant, cpu_time, own_config, running_bed
from wsproxy.bench.machine import Cores
from wsproxy.bench.memory import HoldError, hold
from wsproxy.bench.open_loop import Script
from wsproxy.bench.paced_runs import EVENT_RATE, Course, open_scripts, rate_of_weakest, run_rounds
from wsproxy.bench.programs import Program
from wsproxy.bench.proxies import Proxy
from wsproxy.bench.results import Failure, Held, Measurement, Method, Paced, Results
from wsproxy.bench.scenarios import Scenario
from wsproxy.bench.site import Site, count_servers
from wsproxy.bench.wrk import WrkError, WrkResult, command, find_wrk, run_wrk
from wsproxy.config.model import Config

DUTIES = [
    "route by host and path to a cluster, by the clone id in the session's cookie to its server, requests without one in turn",
    "add the eight private headers, drop those that the client sent",
    "keep connections on both sides; pool those to the servers",
    "another server takes over where a session's own is down (configured, not exercised)",
    "one core",
]
LOG_DUTY = "an access log, to a file (HAProxy: to its standard output)"
NO_LOG_DUTY = "no access log"
RESUMED_DUTY = "take up the TLS session of the connection before"
CLOSES_DUTY = (
    "close the client's connection after the answer, as the client asks; keep those to the servers"
)
TLS_DUTY = f"{tls.VERSION}, {tls.CIPHER}, the same ECDSA P-256 certificate; $WSCS, $WSSI where there is an id, and $WSIS and $WSSC that say TLS"
FULL_HANDSHAKES_DUTY = "resume no TLS session"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: int
    warmup_seconds: int


def run_scenario(
    scenario: Scenario,
    chosen: list[Proxy],
    plan: Plan,
    cores: Cores,
    say: Callable[[str], None],
    config: Config | None = None,
    scripts: Scripts | None = None,
) -> Results:
    """
    Every round of one scenario; ``say`` gets a line now and then.

    ``config``: what the proxies carry out, None: our own file. ``scripts``: what is sent, where that is no scenario's own (a log).

    Raises: StartError where the upstream does not start.
    """
    started = datetime.now(tz=UTC)
    measurements: list[Measurement] = []
    config = config or own_config()
    with running_bed(scenario, chosen, cores, config) as bed:
        failures = list(bed.failures)
        for failure in failures:
            say(f"{failure.proxy}: not measured: {'; '.join(failure.reasons)}")
        paced: list[Paced] = []
        held: list[Held] = []
        if scenario.kind == "memory":
            held, more = _memory_rounds(scenario, bed, plan, say)
        elif scenario.kind in ("wrk", "websocket"):
            more = _wrk_rounds(scenario, bed, plan, cores, say, measurements)
        else:
            paced, more = _paced_rounds(scenario, bed, plan, cores, say, scripts)
        failures += more
    return Results(
        scenario=scenario.name,
        title=scenario.title,
        started=started.isoformat(timespec="seconds"),
        commit=machine.commit(),
        machine=machine.describe(),
        versions={program.name: program.version() for program in programs_needed(scenario, chosen)},
        method=_method(scenario, chosen, plan, cores, config, bed),
        failures=failures,
        measurements=measurements,
        paced=paced,
        held=held,
    )


def _wrk_rounds(
    scenario: Scenario,
    bed: Bed,
    plan: Plan,
    cores: Cores,
    say: Callable[[str], None],
    measurements: list[Measurement],
) -> list[Failure]:
    """A B C, A B C, ...: who breaks is not measured again."""
    failures = []
    standing = list(bed.contestants)
    for number in range(1, plan.rounds + 1):
        for contestant in list(standing):
            try:
                measurement = _measure(scenario, bed, contestant, number, plan, cores)
            except (WrkError, BrokenError, OSError) as error:
                failures.append(Failure(contestant.proxy.name, [f"round {number}: {error}"]))
                standing.remove(contestant)
                say(f"{contestant.proxy.name}: {error}")
            else:
                measurements.append(measurement)
                say(
                    f"round {number}/{plan.rounds}  {contestant.proxy.name:<13} {measurement.cpu_us:7.2f} us CPU a request"
                )
    return failures


def _memory_rounds(
    scenario: Scenario, bed: Bed, plan: Plan, say: Callable[[str], None]
) -> tuple[list[Held], list[Failure]]:
    found: list[Held] = []
    failures: list[Failure] = []
    context = tls.client_context(bed.certificate.certificate) if scenario.tls else None
    for number in range(1, plan.rounds + 1):
        for contestant in bed.contestants:
            assert bed.site is not None
            try:
                held = hold(contestant, bed.site, scenario.connections, context, number)
            except (HoldError, OSError) as error:
                failures.append(Failure(contestant.proxy.name, [f"round {number}: {error}"]))
                say(f"{contestant.proxy.name}: {error}")
            else:
                found.append(held)
                say(
                    f"round {number}/{plan.rounds}  {held.proxy:<13} {held.idle_kib:6.1f} KiB an idle connection, {held.active_kib:6.1f} one that waits"
                )
    return found, failures


def _paced_rounds(
    scenario: Scenario,
    bed: Bed,
    plan: Plan,
    cores: Cores,
    say: Callable[[str], None],
    scripts: Scripts | None,
) -> tuple[list[Paced], list[Failure]]:
    if not bed.contestants or bed.site is None:
        return [], []
    if scripts is not None:
        made: Callable[[int], Script] = partial(scripts, bed.site)
    else:
        try:
            rate = EVENT_RATE if scenario.has_stubs else rate_of_weakest(scenario, bed, cores, say)
        except WrkError as error:
            return [], [Failure(each.proxy.name, [str(error)]) for each in bed.contestants]
        made = open_scripts(bed, rate, plan.seconds)
    return run_rounds(Course(scenario, bed, cores, plan.rounds, say, made))


def programs_needed(scenario: Scenario, chosen: list[Proxy]) -> list[Program]:
    """What must be installed to measure these proxies; nginx is the upstream where stubs are not, and wrk asks it."""
    always = [programs.TASKSET]
    if not scenario.has_stubs:
        always += [programs.WRK, programs.NGINX]
    for_tls = [programs.OPENSSL] if scenario.tls else []
    return list(
        dict.fromkeys([*always, *for_tls, *(proxy.program for proxy in chosen if proxy.program)])
    )


def duties(scenario: Scenario) -> list[str]:
    """What was equal, a sentence each."""
    more = [
        (scenario.logs, LOG_DUTY),
        (not scenario.logs, NO_LOG_DUTY),
        (scenario.resumes, RESUMED_DUTY),
        (scenario.closes, CLOSES_DUTY),
        (scenario.tls, TLS_DUTY),
        (scenario.has_full_handshakes, FULL_HANDSHAKES_DUTY),
    ]
    return [*DUTIES, *(sentence for applies, sentence in more if applies)]


Scripts = Callable[[Site, int], Script]
"""(site, port of the proxy) -> what is sent to it."""


class BrokenError(Exception):
    """A proxy died, or served nothing."""


def _measure(
    scenario: Scenario, bed: Bed, contestant: Contestant, number: int, plan: Plan, cores: Cores
) -> Measurement:
    """One proxy, warm-up dropped. Raises: WrkError, BrokenError."""
    wrk = find_wrk()

    def load(seconds: int) -> WrkResult:
        if scenario.kind == "websocket":
            assert bed.site is not None
            return websocket.load(bed.site, contestant.port, scenario.connections, seconds)
        url = f"{scenario.scheme}://127.0.0.1:{contestant.port}"
        argv = command(wrk, cores.wrk, contestant.wrk_script, url, scenario.connections, seconds)
        return run_wrk(argv, seconds)

    if plan.warmup_seconds:
        load(plan.warmup_seconds)

    cpu_before, core_before, clock_before = (
        cpu_time(contestant.service),
        _busy_ticks(cores),
        time.monotonic(),
    )
    result = load(plan.seconds)
    cpu_after, core_after, clock_after = (
        cpu_time(contestant.service),
        _busy_ticks(cores),
        time.monotonic(),
    )

    service = contestant.service
    if service is not None and not service.is_running:
        msg = f"ended with status {service.process.returncode}: {service.log_tail()}"
        raise BrokenError(msg)
    if result.requests == 0:
        log = service.log_tail() if service is not None else ""
        msg = f"answered no request in {plan.seconds} s: {log}"
        raise BrokenError(msg)

    used = cpu_after.since(cpu_before)
    used_ticks = used.user_ticks + used.system_ticks
    wall_ticks = (clock_after - clock_before) * cputime.TICKS_PER_SECOND * len(cores.proxies)
    busy_ticks = core_after - core_before
    return Measurement(
        proxy=contestant.proxy.name,
        round=number,
        requests=result.requests,
        seconds=result.duration_us / 1e6,
        requests_per_second=result.requests_per_second,
        cpu_user_us=used.user_us / result.requests,
        cpu_system_us=used.system_us / result.requests,
        p50_us=result.p50_us,
        p99_us=result.p99_us,
        status_errors=result.status_errors,
        socket_errors=result.errors - result.status_errors,
        short_answers=result.body_and_head_bytes < result.requests * scenario.body_bytes,
        core_busy=used_ticks / wall_ticks,
        # the two clocks tick apart, so a little less than nothing is nothing
        core_foreign=max(0.0, (busy_ticks - used_ticks) / wall_ticks),
        load_average=os.getloadavg()[0],
    )


def _busy_ticks(cores: Cores) -> int:
    """Of all cores of the proxy, whoever used them."""
    return sum(cputime.read_core_time(core).busy_ticks for core in cores.proxies)


def _method(
    scenario: Scenario, chosen: list[Proxy], plan: Plan, cores: Cores, config: Config, bed: Bed
) -> Method:
    return Method(
        rounds=plan.rounds,
        seconds=plan.seconds,
        warmup_seconds=plan.warmup_seconds,
        connections=scenario.connections,
        proxy_core=cores.proxy,
        wrk_core=cores.wrk,
        upstream_core=cores.upstream,
        upstream_servers=count_servers(config),
        order=[proxy.name for proxy in chosen],
        duties=duties(scenario),
        notes={proxy.name: proxy.note for proxy in chosen if proxy.note},
        workers=len(cores.proxies),
        upstream="stubs in one process" if scenario.has_stubs else "one nginx",
        configuration=config.path,
        left_out=list(bed.site.notes) if bed.site is not None else [],
        cannot={each.proxy.name: list(each.cannot) for each in bed.contestants if each.cannot},
    )

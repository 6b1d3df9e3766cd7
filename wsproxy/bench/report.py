"""
Results for people: a rich table on a terminal, a Markdown table for documents.

Driven by ``cli.bench``. Prints what is in ``Results`` and computes nothing but spreads and paired ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.console import Console
from rich.table import Table

from wsproxy.bench.proxies import OURS
from wsproxy.bench.results import Measurement, Method, Paced, Results, Spread, paired_ratios, spread

# A proxy below this share of its core waited for wrk or the upstream: its req/s and latency are theirs, not its own
SATURATED = 0.95
# More than this by others on the proxy's core in a round, and caches and latency are no longer the proxy's own
FOREIGN_NOTICED = 0.05


_RunT = TypeVar("_RunT", Measurement, Paced)


@dataclass(frozen=True, slots=True)
class Figure(Generic[_RunT]):
    """A column: its heading, how to get it from a run, how many decimals."""

    heading: str
    value: Callable[[_RunT], float]
    decimals: int


FIGURES: tuple[Figure[Measurement], ...] = (
    Figure("CPU us/request", lambda m: m.cpu_us, 2),
    Figure("user", lambda m: m.cpu_user_us, 2),
    Figure("system", lambda m: m.cpu_system_us, 2),
    Figure("requests/s", lambda m: m.requests_per_second, 0),
    Figure("p50 us", lambda m: m.p50_us, 0),
    Figure("p99 us", lambda m: m.p99_us, 0),
    Figure("core busy %", lambda m: 100 * m.core_busy, 0),
)


# Of runs with requests at their times.
PACED_FIGURES: tuple[Figure[Paced], ...] = (
    Figure("CPU us/request", lambda p: p.cpu_us, 1),
    Figure("p50 us", lambda p: p.p50_us, 0),
    Figure("p99 us", lambda p: p.p99_us, 0),
    Figure("p99.9 us", lambda p: p.p999_us, 0),
    Figure("errors", lambda p: p.errors, 0),
    Figure("sent again", lambda p: p.again, 0),
    Figure("affinity kept %", lambda p: 100 * p.kept / p.with_owner if p.with_owner else -1, 2),
    Figure("moved", lambda p: p.moved, 0),
    Figure("even after s", lambda p: -1.0 if p.even_s is None else p.even_s, 1),
    Figure("load late p99 us", lambda p: p.late_p99_us, 0),
)
# A step of the kernel's (USER_HZ, 10 ms) is a twentieth of it.
FEW_CPU_US = 200_000
# The generator's own lateness is in every time: beyond this, times are its and not a proxy's.
LATE_NOTICED_US = 1000
RATIOS: tuple[Figure[Measurement], ...] = (
    Figure("CPU", lambda m: m.cpu_us, 3),
    Figure("requests/s", lambda m: m.requests_per_second, 2),
    Figure("p50", lambda m: m.p50_us, 2),
    Figure("p99", lambda m: m.p99_us, 2),
)


def rows(results: Results) -> list[list[str]]:
    """The figures, one row a proxy: name, each figure as ``median (low-high)``, bad answers."""
    table = []
    for proxy in results.proxies:
        rounds = results.of(proxy)
        cells = [
            show(spread(figure.value(m) for m in rounds), figure.decimals) for figure in FIGURES
        ]
        table.append([proxy, *cells, errors(rounds)])
    return table


def phases(results: Results) -> list[str]:
    """What happened in runs with requests at their times: ``""`` for nothing."""
    return list(dict.fromkeys(each.phase for each in results.paced))


def paced_rows(results: Results, phase: str) -> list[list[str]]:
    """One row a proxy; a column that says nothing for anybody is shown all the same, so that files can be compared."""
    proxies = dict.fromkeys(each.proxy for each in results.paced)
    table = []
    for proxy in proxies:
        runs = [each for each in results.paced if (each.proxy, each.phase) == (proxy, phase)]
        if runs:
            cells = [_paced_cell(figure, runs) for figure in PACED_FIGURES]
            table.append([proxy, *cells])
    return table


def _paced_cell(figure: Figure[Paced], runs: list[Paced]) -> str:
    values = [figure.value(each) for each in runs]
    return "-" if min(values) < 0 else show(spread(values), figure.decimals)


def paced_title(results: Results, phase: str) -> str:
    """Of a table."""
    first = next(each for each in results.paced if each.phase == phase)
    what = f", {phase}" if phase else ""
    return f"{results.scenario}{what}: {results.title}; {first.requests:,} requests in {first.seconds:.0f} s"


HELD = ["proxy", "before MiB", "idle connection KiB", "waiting connection KiB", "connections"]


def held_rows(results: Results) -> list[list[str]]:
    """Memory, one row a proxy."""
    table = []
    for proxy in dict.fromkeys(each.proxy for each in results.held):
        rounds = [each for each in results.held if each.proxy == proxy]
        table.append(
            [
                proxy,
                show(spread(each.before_kib / 1024 for each in rounds), 1),
                show(spread(each.idle_kib for each in rounds), 1),
                show(spread(each.active_kib for each in rounds), 1),
                f"{rounds[0].connections:,}",
            ]
        )
    return table


def ratio_rows(results: Results) -> list[list[str]]:
    """Our ratio to each peer, one row a peer; empty where we were not measured."""
    ours = results.of(OURS)
    if not ours:
        return []
    return [
        [peer, *(_ratio(ours, results.of(peer), figure) for figure in RATIOS)]
        for peer in results.proxies
        if peer != OURS
    ]


def _ratio(ours: list[Measurement], theirs: list[Measurement], figure: Figure[Measurement]) -> str:
    ratio = paired_ratios(ours, theirs, figure.value)
    return "-" if ratio is None else show(ratio, figure.decimals)


def show(value: Spread, decimals: int) -> str:
    """``median (low-high)``; the bracket only where there is a spread to see."""
    median, low, high = (
        f"{number:,.{decimals}f}" for number in (value.median, value.low, value.high)
    )
    return median if low == high else f"{median} ({low}-{high})"


def errors(rounds: list[Measurement]) -> str:
    """What went wrong in these rounds, ``0`` if nothing did."""
    status = sum(m.status_errors for m in rounds)
    sockets = sum(m.socket_errors for m in rounds)
    short = sum(m.short_answers for m in rounds)
    found = [
        f"{count} {what}"
        for count, what in ((status, "status"), (sockets, "socket"), (short, "short rounds"))
        if count
    ]
    return ", ".join(found) or "0"


def remarks(results: Results) -> list[str]:
    """What a reader must know before comparing, one sentence each."""
    found = [
        f"{failure.proxy}: FAILED, not compared: {'; '.join(failure.reasons)}"
        for failure in results.failures
    ]
    for proxy in results.proxies:
        rounds = results.of(proxy)
        # what others took counts as full: then the disturbance below is the remark to make
        if spread(m.core_busy + m.core_foreign for m in rounds).median < SATURATED:
            found.append(
                f"{proxy}: its core was not full; the load side set its requests/s and latency, compare CPU only"
            )
        disturbed = [m.round for m in rounds if m.core_foreign > FOREIGN_NOTICED]
        if disturbed:
            worst = max(m.core_foreign for m in rounds)
            found.append(
                f"{proxy}: others used up to {worst:.0%} of the proxy's core (rounds {', '.join(map(str, disturbed))})"
            )
    late = max((each.late_p99_us for each in results.paced), default=0)
    if late > LATE_NOTICED_US:
        found.append(
            f"the load generator was up to {late} us late itself (p99): its core was busy; such times are in all figures"
        )
    least = min((each.cpu_us * each.requests for each in results.paced), default=FEW_CPU_US)
    if least < FEW_CPU_US:
        found.append(
            f"a proxy used {least / 1000:.0f} ms of CPU in a run, and the kernel counts them in steps of 10 ms: CPU us/request is that coarse. "
            "Take more requests (--seconds, --rate)"
        )
    found += [
        f"{name} cannot express: {sentence}"
        for name, sentences in results.method.cannot.items()
        for sentence in sentences
    ]
    found += results.method.left_out
    found += [f"{name}: {note}" for name, note in results.method.notes.items()]
    return found


def method_sentences(results: Results) -> list[str]:
    """Machine, versions and method (STYLE.md H2)."""
    machine, method = results.machine, results.method
    return [
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib:,} MiB; {machine.system}, Linux {machine.kernel}",
        f"proxy ({'one worker' if method.workers == 1 else f'{method.workers} workers'}) alone on {_cores(method)}; wrk on core {method.wrk_core}, upstream on core {method.upstream_core}; "
        f"{method.connections} connections, {method.upstream_servers} upstream servers ({method.upstream})",
        f"{method.rounds} rounds of {method.seconds} s in the order {', '.join(method.order)}, "
        f"each after {method.warmup_seconds} s of warm-up; median (lowest-highest) over the rounds",
        f"started {results.started}, commit {results.commit}",
        *(f"{name}: {version}" for name, version in results.versions.items()),
    ]


def _cores(method: Method) -> str:
    last = method.proxy_core + method.workers - 1
    return (
        f"core {method.proxy_core}"
        if method.workers == 1
        else f"cores {method.proxy_core} to {last}"
    )


def print_results(results: Results, console: Console) -> None:
    """Everything, as tables."""
    console.print()
    for phase in phases(results):
        console.print(
            _table(paced_title(results, phase), _paced_headings(), paced_rows(results, phase))
        )
    if results.held:
        console.print(_table(f"{results.scenario}: {results.title}", HELD, held_rows(results)))
    if results.measurements or not (results.paced or results.held):
        console.print(_table(f"{results.scenario}: {results.title}", _headings(), rows(results)))
    ratios = ratio_rows(results)
    if ratios:
        console.print(
            _table(
                f"{OURS} by peer, round by round (CPU, p50, p99: below 1 is better)",
                _ratio_headings(),
                ratios,
            )
        )
    for sentence in (*remarks(results), *method_sentences(results)):
        console.print(f"  {sentence}", markup=False, highlight=False)


def markdown(results: Results) -> str:
    """Everything, as Markdown."""
    parts = [f"### {results.scenario}: {results.title}"]
    for phase in phases(results):
        parts += [
            paced_title(results, phase),
            _markdown_table(_paced_headings(), paced_rows(results, phase)),
        ]
    if results.held:
        parts.append(_markdown_table(HELD, held_rows(results)))
    if results.measurements or not (results.paced or results.held):
        parts.append(_markdown_table(_headings(), rows(results)))
    ratios = ratio_rows(results)
    if ratios:
        parts += [
            f"{OURS} by peer, round by round (CPU, p50, p99: below 1 is better):",
            _markdown_table(_ratio_headings(), ratios),
        ]
    parts.append(
        "\n".join(f"- {sentence}" for sentence in (*remarks(results), *method_sentences(results)))
    )
    return "\n\n".join(parts) + "\n"


def _paced_headings() -> list[str]:
    return ["proxy", *(figure.heading for figure in PACED_FIGURES)]


def _headings() -> list[str]:
    return ["proxy", *(figure.heading for figure in FIGURES), "bad answers"]


def _ratio_headings() -> list[str]:
    return ["peer", *(figure.heading for figure in RATIOS)]


def _table(title: str, headings: list[str], cells: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in cells:
        table.add_row(*row, style=None if row[-1] == "0" or len(row) != len(FIGURES) + 2 else "red")
    return table


def _markdown_table(headings: list[str], cells: list[list[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""
Results for people: a rich table on a terminal, a Markdown table for documents.

Driven by ``__main__``. Prints what is in ``Results`` and computes nothing but spreads and paired ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from wsproxy.bench.proxies import OURS
from wsproxy.bench.results import Measurement, Results, Spread, paired_ratios, spread

# A proxy below this share of its core waited for wrk or the upstream: its req/s and latency are theirs, not its own
SATURATED = 0.95
# More than this by others on the proxy's core in a round, and caches and latency are no longer the proxy's own
FOREIGN_NOTICED = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """A column: its heading, how to get it from a measurement, how many decimals."""

    heading: str
    value: Callable[[Measurement], float]
    decimals: int


FIGURES = (
    Figure("CPU us/request", lambda m: m.cpu_us, 2),
    Figure("user", lambda m: m.cpu_user_us, 2),
    Figure("system", lambda m: m.cpu_system_us, 2),
    Figure("requests/s", lambda m: m.requests_per_second, 0),
    Figure("p50 us", lambda m: m.p50_us, 0),
    Figure("p99 us", lambda m: m.p99_us, 0),
    Figure("core busy %", lambda m: 100 * m.core_busy, 0),
)
RATIOS = (
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


def _ratio(ours: list[Measurement], theirs: list[Measurement], figure: Figure) -> str:
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
        f"proxy alone on core {method.proxy_core}; wrk on core {method.wrk_core}, upstream on core {method.upstream_core}; "
        f"{method.connections} connections, {method.upstream_servers} upstream servers (one nginx)",
        f"{method.rounds} rounds of {method.seconds} s in the order {', '.join(method.order)}, "
        f"each after {method.warmup_seconds} s of warm-up; median (lowest-highest) over the rounds",
        f"started {results.started}, commit {results.commit}",
        *(f"{name}: {version}" for name, version in results.versions.items()),
    ]


def print_results(results: Results, console: Console) -> None:
    """Everything, as tables."""
    console.print()
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
    parts = [
        f"### {results.scenario}: {results.title}",
        _markdown_table(_headings(), rows(results)),
    ]
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

"""
What changed between two results of one scenario beyond noise.

Driven by ``cli.bench --compare``. Pure. Figures of two evenings cannot be compared; ratios inside each run can: a proxy's CPU time by that
of a peer in the same rounds. So what is compared is that ratio, for each peer that both runs have. It changed where all rounds of one
run lie on one side of all rounds of the other, and the medians differ by more than ``LEAST``; machine, kernel and versions are said
where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wsproxy.bench.proxies import OURS
from wsproxy.bench.results import Measurement, Paced, Results, Spread, paired_ratios, spread

# On a machine with neighbours, medians of the same program differ by so much from run to run.
LEAST = 0.05
# One round has no range, and of two anything may be the noise.
FEWEST_ROUNDS = 3
FIGURES: tuple[tuple[str, Callable[[Measurement], float]], ...] = (
    ("CPU", lambda m: m.cpu_us),
    ("requests/s", lambda m: m.requests_per_second),
    ("p99", lambda m: m.p99_us),
)


def compared(old: Results, new: Results) -> list[str]:
    """A sentence for each change, and for what makes the runs differ; at least one."""
    lines = list(_circumstances(old, new))
    peers = [name for name in new.proxies if name != OURS and name in old.proxies]
    has_rounds = all(len(each.of(OURS)) >= FEWEST_ROUNDS for each in (old, new))
    if peers and not has_rounds:
        lines.append(f"fewer than {FEWEST_ROUNDS} rounds: nothing can be told from noise")
    changes = [
        line
        for peer in peers
        if has_rounds
        for what, figure in FIGURES
        if (line := _change(old, new, peer, what, figure))
    ]
    changes += _paced_changes(old, new)
    if peers and not has_rounds and not changes:
        return lines
    if not peers and not old.paced:
        changes.append(f"nothing to compare: no peer of {OURS} is in both")
    return [*lines, *(changes or [f"no change beyond noise since {old.started} ({old.commit})"])]


def differs(old: Spread, new: Spread) -> bool:
    """The noise rule: ranges that do not touch, and medians further apart than ``LEAST``."""
    apart = old.high < new.low or new.high < old.low
    return apart and abs(new.median / old.median - 1) > LEAST if old.median else apart


def _circumstances(old: Results, new: Results) -> Iterator[str]:
    if old.machine != new.machine:
        yield "not the same machine or kernel: ratios may differ for that alone"
    for name, version in new.versions.items():
        if name != OURS and name in old.versions and old.versions[name] != version:
            yield f"{name} was {old.versions[name]}, is {version}"
    if (old.method.rounds, old.method.seconds) != (new.method.rounds, new.method.seconds):
        yield f"rounds were {old.method.rounds} of {old.method.seconds} s, are {new.method.rounds} of {new.method.seconds} s"


def _change(
    old: Results, new: Results, peer: str, what: str, figure: Callable[[Measurement], float]
) -> str | None:
    before = paired_ratios(old.of(OURS), old.of(peer), figure)
    after = paired_ratios(new.of(OURS), new.of(peer), figure)
    if before is None or after is None or not differs(before, after):
        return None
    return f"{what} by {peer}: was {_show(before)}, is {_show(after)}"


def _paced_changes(old: Results, new: Results) -> Iterator[str]:
    """Errors and broken affinity are no noise; times of runs with requests at their times are compared as they are."""
    for phase in dict.fromkeys(each.phase for each in new.paced):
        for proxy in dict.fromkeys(each.proxy for each in new.paced):
            before, after = (_runs(each, proxy, phase) for each in (old, new))
            if not before or not after:
                continue
            where = f"{proxy}{f', {phase}' if phase else ''}"
            for what, figure in (("errors", _errors), ("sessions at another server", _broken)):
                was, now = (sum(map(figure, runs)) for runs in (before, after))
                if was != now:
                    yield f"{where}: {what}: was {was}, is {now}"
            was_p99, now_p99 = (spread(each.p99_us for each in runs) for runs in (before, after))
            if len(before) > 1 < len(after) and differs(was_p99, now_p99):
                yield f"{where}: p99: was {was_p99.median:,.0f} us, is {now_p99.median:,.0f} us"


def _runs(results: Results, proxy: str, phase: str) -> list[Paced]:
    return [each for each in results.paced if (each.proxy, each.phase) == (proxy, phase)]


def _errors(paced: Paced) -> int:
    return paced.errors


def _broken(paced: Paced) -> int:
    return paced.with_owner - paced.kept


def _show(value: Spread) -> str:
    return f"{value.median:.3f} ({value.low:.3f}-{value.high:.3f})"

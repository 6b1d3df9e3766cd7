"""
Plays cases by number, many at a time, until the time is over or something is wrong.

    python -m tests.fuzz.traffic --seed 1 --time 60          # cases 0, 1, 2, ... of this seed
    python -m tests.fuzz.traffic --seed 1 --cases 712        # one of them, again and again
    python -m tests.fuzz.traffic --seed 1 --cases 700-720    # some, in this order

Driven by ``tests.fuzz`` (``make fuzz``) and by ``tests/fuzz/test_traffic.py``. Exit status 1 where anything was found.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle

from tests.fuzz.traffic.bed import VARIANTS, Bed, Variant, running_bed
from tests.fuzz.traffic.plans import make_case
from tests.fuzz.traffic.records import Visit
from tests.support.sanitized import SanitizerError

AT_ONCE = 24
# After the first problem come its consequences.
MOST_FINDINGS = 3
LONGEST_LINE = 4000


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be played."""

    seed: str
    seconds: float
    cases: range | None = None
    at_once: int = AT_ONCE
    ignored: re.Pattern[str] | None = None

    def numbers(self) -> Iterator[int]:
        return count() if self.cases is None else cycle(self.cases)

    def again(self, variant: Variant, cases: str) -> str:
        """How to play these cases again; which of several it was, and when, is a matter of time."""
        return (
            f"again: make fuzz TARGET=traffic SEED={self.seed} CASES={cases} VARIANT={variant.name}"
        )


@dataclass(slots=True)
class Tally:
    """What was played and found with one variant."""

    variant: Variant
    played: int = 0
    requests: int = 0
    answers: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def count(self, visits: list[Visit]) -> None:
        self.played += 1
        self.requests += sum(len(each.arrivals) for each in visits)
        self.answers += sum(len(each.answers.found) for each in visits)


class Run:
    """One variant, from its first case to its last."""

    def __init__(self, bed: Bed, options: Options, tally: Tally) -> None:
        self._bed = bed
        self._options = options
        self._tally = tally
        self._numbers = options.numbers()
        self._now: list[int] = []  # cases that are played
        self._end_s = time.monotonic() + options.seconds

    async def play(self) -> None:
        """Returns when the time is over, or when something was found and what is played is over."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.at_once):
                group.create_task(self._play_some())
        if not self._tally.findings:
            last = self._tally.played
            self._note(
                f"{max(0, last - 2 * self._options.at_once)}-{last}", await self._bed.check_quiet()
            )

    async def _play_some(self) -> None:
        while time.monotonic() < self._end_s and not self._tally.findings:
            number = next(self._numbers)
            self._now.append(number)
            problems, visits = await self._bed.play(make_case(self._options.seed, number))
            self._tally.count(visits)
            self._note(str(number), problems, visits)
            self._note(f"{min(self._now)}-{max(self._now)}", self._bed.check_alive())
            self._now.remove(number)

    def _note(self, cases: str, problems: list[str], visits: list[Visit] | None = None) -> None:
        ignored = self._options.ignored
        problems = [each for each in problems if ignored is None or not ignored.search(each)]
        if not problems or len(self._tally.findings) >= MOST_FINDINGS:
            return
        rows = [*problems, *map(str, visits or ())]
        rows += [f"log: {line}" for visit in visits or () for line in self._bed.log_of(visit)]
        rows.append(self._options.again(self._tally.variant, cases))
        self._tally.findings.append("\n".join(rows))


async def play(options: Options, variant: Variant) -> Tally:
    """All cases with one variant; what its end shows (exit code, log, AddressSanitizer's report) is a finding, too."""
    tally = Tally(variant)
    start = time.monotonic()
    try:
        async with running_bed(variant) as bed:
            await Run(bed, options, tally).play()
    except* SanitizerError as group:
        # Before all others: they tell of its consequences, and of the cases that were played.
        tally.findings = [*map(str, _leaves(group)), *tally.findings]
    except* AssertionError as group:
        tally.findings += map(str, _leaves(group))
    tally.seconds = time.monotonic() - start
    return tally


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def report(tally: Tally, seed: str) -> bool:
    """Prints what came of a variant; True where nothing was found."""
    outcome = "FAILED" if tally.findings else "clean"
    print(
        f"traffic/{tally.variant.name:8} {outcome}: {tally.played:,} cases, {tally.requests:,} requests at servers, "
        f"{tally.answers:,} answers in {tally.seconds:.0f} s, seed {seed}"
    )
    for finding in tally.findings:
        print("\n".join(f"  {line[:LONGEST_LINE]}" for line in finding.splitlines()))
    sys.stdout.flush()
    return not tally.findings


def read_range(text: str) -> range:
    """``12`` or ``12-20``."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main(arguments: list[str] | None = None) -> int:
    """0 where nothing was found."""
    names = [each.name for each in VARIANTS]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.traffic", description=__doc__)
    parser.add_argument("--seed", default="", help="default: another one each time")
    parser.add_argument("--time", type=float, default=60.0, help="seconds, of all variants")
    parser.add_argument("--cases", default="", help="NUMBER or FIRST-LAST, again and again")
    parser.add_argument("--variant", default="", choices=["", *names], help="only this proxy")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="cases at the same time")
    parser.add_argument(
        "--ignore", default="", help="pattern of problems, to look behind those that are known"
    )
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the proxy would stay
    variants = [each for each in VARIANTS if given.variant in ("", each.name)]
    options = Options(
        seed=given.seed or secrets.token_hex(4),
        seconds=given.time / len(variants),
        cases=read_range(given.cases) if given.cases else None,
        at_once=given.at_once,
        ignored=re.compile(given.ignore) if given.ignore else None,
    )
    clean = [report(asyncio.run(play(options, variant)), options.seed) for variant in variants]
    return 0 if all(clean) else 1

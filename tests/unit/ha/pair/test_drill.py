"""What a drill makes of its requests, and the page that shows it."""

from __future__ import annotations

import pytest

from wsproxy.ha.pair.drill import STEPS, Dot, Drill, Held, Promise, Result, broken, line_of
from wsproxy.ha.pair.drill_report import report
from wsproxy.ha.pair.load import Sent, outcome_of


def sent(*lost: int, count: int = 100) -> list[Sent]:
    return [
        Sent(n / 100, 0.5 if n in lost else 0.002, "" if n in lost else "p1", "no answer" if n in lost else "")
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "lost", "outage_s"),
    [
        ([], 0, 0.0),
        (sent(), 0, 0.0),
        (sent(10), 1, 0.01),
        (sent(10, 11, 12), 3, 0.03),
        (sent(10, 12), 2, 0.01),  # answered in between
        (sent(10, *range(50, 60)), 11, 0.10),  # the longest of two
        (sent(*range(90, 100)), 10, 0.09),  # never again
    ],
)
def test_outage_is_the_longest_time_without_an_answer(
    requests: list[Sent], lost: int, outage_s: float
) -> None:
    """From its first lost request to the next good one."""
    found = outcome_of(requests)
    assert (found.sent, found.lost) == (len(requests), lost)
    assert found.outage_s == pytest.approx(outage_s)
    assert found.whys == (("no answer",) if lost else ())


def result(name: str = "kill", **changes: object) -> Result:
    title, promise = STEPS[name]
    fields = {"sent": 300, "has_moved": promise.moves, **changes}
    return Result(name=name, title=title, promise=promise, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (result("kill", lost=9, outage_s=0.08), ""),
        (result("kill", lost=20, outage_s=0.2), "0.20 s"),
        (result("kill", has_moved=False), "the address has not moved"),
        (result("planned", lost=1), "1 lost"),
        (result("sync-cut", has_moved=True), "the address has moved"),
        (result("vrrp-cut", both_s=0.05), "two holders for 0.05 s"),
        (result("death", outage_s=0.9), ""),
        (result("death", outage_s=1.1), "1.10 s"),
    ],
)
def test_promise_is_broken_by_what_it_names(found: Result, what: str) -> None:
    """And by nothing else."""
    assert broken(found) == what


def test_a_line_says_both() -> None:
    """What was promised and what was measured; or why it was not done."""
    kept = result("kill", lost=9, outage_s=0.08, is_kept=True)
    assert line_of(kept) == "9 of 300 lost, 0.08 s without answers, promised 0.15 s at most: kept"
    assert line_of(result("kill", skipped="no nft")) == "not done: no nft"


def a_drill() -> Drill:
    kill = result(
        "kill", lost=2, outage_s=0.02, is_kept=True, whys=("<refused>",),
        dots=[Dot(-1.0, 0.002, False), Dot(0.01, 0.5, True), Dot(0.02, 0.5, True), Dot(0.5, 0.003, False)],
        held=[Held(-1.0, True, False), Held(0.0, False, False), Held(0.1, False, True)],
    )  # fmt: skip
    return Drill(
        url="http://10.0.0.100/<who>", nodes=("10.0.0.11", "10.0.0.12"), began="2026-11-30T20:00:00+00:00", advert_s=0.2,
        versions=("1.0", "1.0"), results=[kill, result("sync-cut", skipped="no sync network")],
    )  # fmt: skip


def test_report_has_figures_a_picture_and_no_markup_of_others() -> None:
    """Nothing is loaded and nothing runs; what was not tried says why; what comes from elsewhere is text."""
    page = report(a_drill())
    assert "1 of 1 promises kept, 1 not tried" in page
    assert "not tried: no sync network" in page
    assert page.count("<svg viewBox") == 1
    assert page.count("stroke='#e15759'") == 2  # the lost ones
    assert "&lt;refused&gt;" in page
    assert "<who>" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_verdict_is_bad_where_a_promise_was_not_kept() -> None:
    """And where nothing was measured."""
    drill = a_drill()
    drill.results = [result("kill", outage_s=3.0, broken="3.00 s")]
    assert not drill.is_kept
    assert "class='verdict bad'" in report(drill)
    drill.results = []
    assert "Nothing was measured" in report(drill)


def test_each_step_promises_something() -> None:
    """A figure, or that nothing moves."""
    for name, (title, promise) in STEPS.items():
        assert title
        assert promise != Promise(text=promise.text), name

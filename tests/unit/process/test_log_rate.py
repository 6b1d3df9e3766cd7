"""How many messages of a kind are written, and what becomes of the rest."""

from __future__ import annotations

from wsproxy.process.log_rate import MOST_A_SECOND, MOST_KINDS, SUM_S, Kind, LogRate

BAD = ("wsproxy.request", 20, "%s: 400: %s")
LATE = ("wsproxy.request", 20, "%s: 408")
DOWN = ("wsproxy.servers", 40, "Marking %s down")


def sent(rate: LogRate, kind: Kind, count: int, now: float) -> int:
    """How many of so many pass."""
    passed = 0
    for number in range(count):
        if rate.passes(kind, now):
            passed += 1
        elif rate.hold(kind, now):
            rate.give_example(kind, f"{kind[2]} {number}")
    return passed


def test_so_many_a_second_pass_and_the_rest_are_one_line() -> None:
    """The line comes when the time is over, with the first that was held back, and counts from anew then."""
    rate = LogRate()
    assert sent(rate, BAD, 100, 50.0) == MOST_A_SECOND
    assert sent(rate, BAD, 100, 50.9) == 0
    assert sent(rate, BAD, 100, 51.0) == MOST_A_SECOND
    assert list(rate.due(50.0 + SUM_S - 0.1)) == []
    (told,) = rate.due(50.0 + SUM_S)
    assert str(told) == "%s: 400: %s 10 ... and 279 more like this in the last 10 s"
    assert told.level == 20
    assert list(rate.due(1000.0)) == []
    assert sent(rate, BAD, 12, 1000.0) == MOST_A_SECOND
    (told,) = rate.due(1001.0, is_end=True)
    assert str(told) == "%s: 400: %s 10 ... and 1 more like this in the last 1 s"


def test_as_many_a_second_pass_as_are_allowed() -> None:
    rate = LogRate(25)
    assert sent(rate, BAD, 100, 50.0) == 25
    assert sent(rate, LATE, 20, 50.0) == 20


def test_one_that_was_held_back_is_told_as_it_is() -> None:
    rate = LogRate()
    sent(rate, BAD, MOST_A_SECOND + 1, 0.0)
    (told,) = rate.due(SUM_S)
    assert str(told) == "%s: 400: %s 10"


def test_kinds_do_not_take_room_from_each_other() -> None:
    """A flood of one leaves the others alone, and what nobody else says (a server is down) is never held back."""
    rate = LogRate()
    sent(rate, BAD, 1000, 0.0)
    assert sent(rate, LATE, 5, 0.0) == 5
    assert sent(rate, DOWN, 1000, 0.0) == 1000


def test_kinds_have_a_bound() -> None:
    """Whoever makes up kinds (a library that builds its texts) is limited as one kind, and takes no memory."""
    rate = LogRate()
    passed = sum(
        sent(rate, ("lib", 20, f"text {number}"), MOST_A_SECOND + 1, 0.0)
        for number in range(2 * MOST_KINDS)
    )
    assert passed == (MOST_KINDS + 1) * MOST_A_SECOND
    assert len(list(rate.due(SUM_S))) == MOST_KINDS + 1


def test_kinds_of_the_past_make_room() -> None:
    """What holds nothing back is forgotten when others come."""
    rate = LogRate()
    for number in range(10 * MOST_KINDS):
        assert rate.passes(("lib", 20, f"text {number}"), float(number))
    assert sent(rate, BAD, 5, 1e6) == 5

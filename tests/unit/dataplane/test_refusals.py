"""What must not be done for each of thousands."""

from __future__ import annotations

from wsproxy.dataplane.refusals import Allowance


def test_so_much_a_second_is_allowed() -> None:
    """What one second leaves over is no more for the next."""
    allowance = Allowance(2)
    assert [allowance.take(now) for now in (7.0, 7.1, 7.9)] == [True, True, False]
    assert [allowance.take(now) for now in (8.0, 9.5, 9.6, 9.7)] == [True, True, True, False]

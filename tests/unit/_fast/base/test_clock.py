"""The clock of intervals and deadlines."""

from __future__ import annotations

import pytest

from wsproxy._fast.state.segment import now_ms

pytestmark = pytest.mark.asan


def test_clock_goes_forward() -> None:
    first = now_ms()
    assert 0 < first <= now_ms()

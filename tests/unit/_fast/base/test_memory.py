"""Memory of a Python object is written and read in place."""

from __future__ import annotations

import pytest

from wsproxy._fast.state.takeover import TakeoverTable

pytestmark = pytest.mark.asan

NOW = 1000


def test_what_c_writes_is_in_the_object_and_what_is_put_there_is_read() -> None:
    table = TakeoverTable(4)
    before = bytes(table.memory)
    table.remember_session(3, b"session", 5, NOW, NOW + 9)
    after = bytes(table.memory)
    assert after != before
    table.memory[:] = before
    assert table.find_session(3, b"session", NOW) == -1
    table.memory[:] = after
    assert table.find_session(3, b"session", NOW) == 5

"""The Date field is what email.utils makes of the same second."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy._fast.http.dates import date_line, date_line_of

pytestmark = pytest.mark.asan


def now_s() -> int:
    return int(datetime.now(UTC).timestamp())


@given(st.integers(0, 253402300799))
@example(784111777)  # RFC 9110 5.6.7
@example(0)
@example(951782400)  # 29 February 2000
@example(253402300799)  # the last second of 9999
def test_line_is_that_of_email_utils(seconds: int) -> None:
    assert date_line_of(seconds) == b"Date: %b\r\n" % formatdate(seconds, usegmt=True).encode()


def test_line_for_now_is_now() -> None:
    before = now_s()
    line = date_line()
    after = now_s()
    assert line.startswith("Date: ")
    assert line.endswith("\r\n")
    assert before <= parsedate_to_datetime(line[6:-2]).timestamp() <= after
    assert line == date_line() or now_s() > before

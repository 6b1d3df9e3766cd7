"""What of a client's tracestate stands in spans: numbers of OpenTelemetry's own, and nothing that anybody made up."""

from __future__ import annotations

import pytest

from wsproxy.trace.spans import own_state


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ([], ""),
        (["a=1,b=2"], ""),
        (["ot=th:c"], "ot=th:c"),
        (["a=1, ot=rv:0123456789abcd;th:8 ,b=2"], "ot=rv:0123456789abcd;th:8"),
        (["a=1", "ot=th:0"], "ot=th:0"),
        (["jsessionid=0000SECRETSECRETSECRET:c1"], ""),
        (["ot=th:0;jsessionid:0000SECRETSECRETSECRET"], ""),
        (["ot=th:0123456789abcde"], ""),
        (["ot=rv:0123456789abc"], ""),
        (["ot=th:C"], ""),
        (["ot=th:0\n"], "ot=th:0"),
        (["xot=th:0,ot@v=th:0"], ""),
    ],
)
def test_own_member_alone_stands_in_spans(fields: list[str], state: str) -> None:
    assert own_state(fields) == state

"""The compiled head scanner reads exactly what its oracle reads, and refuses for the same reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http_grammar import mutated, request_heads, response_heads
from tests.support.verdicts import check_request, check_response, compiled
from wsproxy._fast.http.head import has_head_end, read_request, read_response

pytestmark = pytest.mark.asan

SMALL_LIMITS = st.fixed_dictionaries(
    {
        "head_bytes": st.integers(1, 300),
        "target_bytes": st.integers(1, 40),
        "header_fields": st.integers(0, 6),
    }
)
RESPONSE_LIMITS = st.fixed_dictionaries(
    {"head_bytes": st.integers(1, 300), "header_fields": st.integers(0, 6)}
)
# Few enough letters that nonsense is often nearly a head.
ALPHABET = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"GET",
        b"/",
        b"HTTP/1.1",
        b"Host",
        b"a",
        b"\0",
        b"*",
    ]
)


@given(request_heads(), st.binary(max_size=20))
def test_good_request_is_read_alike_whatever_follows(head: bytes, body: bytes) -> None:
    outcome = check_request(head + body)
    assert isinstance(outcome, dict), outcome
    assert outcome["size"] == len(head)


@given(response_heads(), st.binary(max_size=20))
def test_good_response_is_read_alike_whatever_follows(head: bytes, body: bytes) -> None:
    outcome = check_response(head + body)
    assert isinstance(outcome, dict), outcome
    assert outcome["size"] == len(head)


@given(mutated(request_heads()))
def test_wounded_request_is_judged_alike(data: bytes) -> None:
    check_request(data)


@given(mutated(response_heads()))
def test_wounded_response_is_judged_alike(data: bytes) -> None:
    check_response(data)


@given(st.lists(ALPHABET, max_size=25).map(b"".join))
def test_nonsense_is_judged_alike(data: bytes) -> None:
    check_request(data)
    check_response(data)


@given(st.one_of(request_heads(), mutated(request_heads())), SMALL_LIMITS)
def test_request_limits_are_applied_alike(data: bytes, limits: dict[str, int]) -> None:
    check_request(data, **limits)


@given(st.one_of(response_heads(), mutated(response_heads())), RESPONSE_LIMITS)
def test_response_limits_are_applied_alike(data: bytes, limits: dict[str, int]) -> None:
    check_response(data, **limits)


# Each has a hundred prefixes and more.
PREFIXES = settings(max_examples=settings().max_examples // 4)


@PREFIXES
@given(request_heads())
def test_every_prefix_of_a_good_request_waits(head: bytes) -> None:
    assert [check_request(head[:end]) for end in range(len(head))] == [None] * len(head)


@PREFIXES
@given(response_heads())
def test_every_prefix_of_a_good_response_waits(head: bytes) -> None:
    assert [check_response(head[:end]) for end in range(len(head))] == [None] * len(head)


@PREFIXES
@given(mutated(request_heads()))
def test_prefix_of_a_request_waits_or_is_judged_as_the_whole(data: bytes) -> None:
    """What is refused or accepted early is not seen otherwise later."""
    whole = compiled(read_request(data))
    for end in range(len(data)):
        assert compiled(read_request(data[:end])) in (None, whole)


@PREFIXES
@given(mutated(response_heads()))
def test_prefix_of_a_response_waits_or_is_judged_as_the_whole(data: bytes) -> None:
    whole = compiled(read_response(data))
    for end in range(len(data)):
        assert compiled(read_response(data[:end])) in (None, whole)


@PREFIXES
@given(st.one_of(request_heads(), mutated(request_heads())))
def test_head_end_found_in_two_looks_is_the_one_found_in_one(data: bytes) -> None:
    """Resuming where the last look ended sees the same, wherever that was; and it agrees with the parser."""
    for end in range(len(data) + 1):
        first = has_head_end(data[:end])
        again = has_head_end(data, end)
        assert first in (0, has_head_end(data))
        if first == 0:
            assert again == has_head_end(data)
    outcome = compiled(read_request(data))
    if isinstance(outcome, dict):
        assert has_head_end(data) == 1
        assert has_head_end(data[: outcome["size"]]) == 1
        assert has_head_end(data[: outcome["size"] - 1]) == 0
    if has_head_end(data) != 0:
        assert outcome is not None  # an end was seen: the parser must not wait for more
    if outcome is None:
        assert has_head_end(data) == 0


HEAD = (
    b"POST http://a.b:80/p;x=1?q HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 12\r\n"
    b"Connection: x-a, te\r\nX-a:\tv w\r\nExpect: 100-continue\r\n\r\n"
)
RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nX-a: v\r\n\r\n"


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_at_each_place_is_judged_alike(byte: int) -> None:
    """No sampling: one byte inserted or replaced everywhere."""
    wound = bytes([byte])
    for at in range(len(HEAD)):
        check_request(HEAD[:at] + wound + HEAD[at:])
        check_request(HEAD[:at] + wound + HEAD[at + 1 :])
    for at in range(len(RESPONSE)):
        check_response(RESPONSE[:at] + wound + RESPONSE[at:])
        check_response(RESPONSE[:at] + wound + RESPONSE[at + 1 :])


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS", b"GET", b"trace", b"TRACED"])
@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Max-Forwards: 0\r\n",
        b"max-forwards:\t007 \r\n",
        b"Max-Forwards: 999999999999999999\r\n",
        b"Max-Forwards: 9999999999999999999\r\n",
        b"Max-Forwards:\r\n",
        b"Max-Forwards: 1, 1\r\n",
        b"Max-Forwards: 1\r\nMax-Forwards: 1\r\n",
        b"Max-Forwards: 1\r\nMax-Forwards: x\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: max-forwards\r\nMax-Forwards: 3\r\n",
    ],
)
def test_hops_and_trace_are_judged_alike(method: bytes, lines: bytes) -> None:
    for target in (b"/", b"*", b"http://a"):
        check_request(b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, target, lines))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"X-Wsproxy-Explain", b"x-wsproxy-EXPLAIN", b"X-Wsproxy-Explai", b"X-Wsproxy-Explaim",
                 b"X_Wsproxy_Explain", b"X-Wsproxy-", b"X-Wsproxy-S", b"Transfer-Encodinx", b"X-Forwarded-Host"]
            ),
            st.sampled_from([b":1", b": 1\t ", b":", b": 0", b": 11", b": 1,1", b": true"]),
        ).map(b"".join),
        max_size=4,
    )
)  # fmt: skip
def test_question_for_the_decision_is_read_alike(lines: list[bytes]) -> None:
    """Whatever stands beside it: one field of exactly this name and value asks."""
    outcome = check_request(b"\r\n".join([b"GET / HTTP/1.1", b"Host: h", *lines, b"", b""]))
    assert isinstance(outcome, dict)
    asks = {line.lower().replace(b" ", b"").strip() for line in lines}
    assert outcome["asks_why"] is (b"x-wsproxy-explain:1" in asks)

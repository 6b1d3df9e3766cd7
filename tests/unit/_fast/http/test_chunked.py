"""The compiled chunk reader finds the same payload and end as its oracle, or refuses for the same reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http_grammar import chunked_bodies, in_pieces, mutated
from tests.support.oracles.chunked import ChunkedBody, parse_chunked
from tests.support.oracles.errors import HeadError, RefusedError
from wsproxy._fast.http.chunked import read_chunks

pytestmark = pytest.mark.asan

Outcome = tuple[bytes, int, bool] | HeadError


def compiled(pieces: list[bytes]) -> Outcome:
    try:
        payload, consumed, done, _ = read_chunks(pieces)
    except ValueError as error:
        return HeadError(error.args[0])
    return payload, consumed, done


def by_oracle(data: bytes) -> Outcome:
    try:
        body: ChunkedBody = parse_chunked(data)
    except RefusedError as error:
        return error.reason
    return body.payload, body.consumed, body.done


def check(data: bytes) -> Outcome:
    """The outcome on which the oracle and the reader agree, fed whole and byte by byte."""
    outcome = by_oracle(data)
    assert compiled([data]) == outcome
    assert compiled([data[at : at + 1] for at in range(len(data))]) == outcome
    return outcome


@given(chunked_bodies(), st.binary(max_size=12))
def test_good_body_ends_where_it_ends_whatever_follows(body: bytes, rest: bytes) -> None:
    outcome = check(body + rest)
    assert isinstance(outcome, tuple), outcome
    assert outcome[1:] == (len(body), True)


@given(mutated(chunked_bodies()))
def test_wounded_body_is_judged_alike(data: bytes) -> None:
    check(data)


@given(in_pieces(st.one_of(chunked_bodies(), mutated(chunked_bodies()))))
def test_pieces_do_not_matter(pieces: list[bytes]) -> None:
    assert compiled(pieces) == by_oracle(b"".join(pieces))


@given(in_pieces(chunked_bodies()))
def test_what_goes_on_says_the_same_without_trailers(pieces: list[bytes]) -> None:
    """The forwarded bytes and an empty line are the same body to the next reader, with nothing after it."""
    payload, _, done, forwarded = read_chunks(pieces)
    again = parse_chunked(forwarded + b"\r\n")
    assert done
    assert (again.payload, again.consumed, again.done) == (payload, len(forwarded) + 2, True)


# Each has a hundred prefixes and more.
PREFIXES = settings(max_examples=settings().max_examples // 4)


@PREFIXES
@given(chunked_bodies())
def test_every_prefix_of_a_good_body_waits(body: bytes) -> None:
    for end in range(len(body)):
        outcome = check(body[:end])
        assert isinstance(outcome, tuple)
        assert outcome[1:] == (end, False)


BODY = b"5;a=b\r\nhello\r\n0a\r\n0123456789\r\n0\r\nX-T: v\r\n\r\n"


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_at_each_place_is_judged_alike(byte: int) -> None:
    wound = bytes([byte])
    for at in range(len(BODY)):
        check(BODY[:at] + wound + BODY[at:])
        check(BODY[:at] + wound + BODY[at + 1 :])


BAD_SIZES = [b"0x5", b"+5", b"-5", b" 5", b"5 ", b"5\t", b"", b"\r", b"5_0", b"g", b"\xff"]
LONG_SIZES = [b"0" * 16, b"f" * 16, b"1" + b"0" * 15, b"5;" + b"e" * 300]


@pytest.mark.parametrize("size", [*BAD_SIZES, *LONG_SIZES])
def test_bad_chunk_size_is_refused(size: bytes) -> None:
    assert check(size + b"\r\nhello\r\n0\r\n\r\n") == HeadError.BAD_CHUNK


def test_largest_chunk_size_is_taken_and_waited_for() -> None:
    assert check(b"f" * 15 + b"\r\nabc") == (b"abc", 20, False)


@pytest.mark.parametrize(
    "length", [8100, 8184, 8185, 8186, 8187, 8188, 8189, 8190, 8191, 8192, 8193]
)
def test_trailers_end_at_their_limit(length: int) -> None:
    """8192 bytes with the empty line, whatever the number of fields."""
    for lines in (1, 3):
        each = length // lines
        trailer = b"".join(b"X: " + b"v" * (each - 5) + b"\r\n" for _ in range(lines))
        outcome = check(b"0\r\n" + trailer + b"\r\n")
        if len(trailer) + 2 > 8192:
            assert outcome == HeadError.BAD_TRAILER
        else:
            assert outcome == (b"", 3 + len(trailer) + 2, True)


@pytest.mark.parametrize("length", [252, 253, 254, 255, 256, 257])
def test_size_line_ends_at_its_limit(length: int) -> None:
    """256 bytes with CR LF, counted anew for each chunk."""
    line = b"1;" + b"e" * (length - 4) + b"\r\n"
    outcome = check((line + b"x\r\n") * 3 + b"0\r\n\r\n")
    assert outcome == (
        HeadError.BAD_CHUNK if length > 256 else (b"xxx", 3 * (length + 3) + 5, True)
    )

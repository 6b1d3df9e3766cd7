"""Which answers are compressed, and what their heads say then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.decide.compression import Compression

VARY = "Vary: Accept-Encoding"
pytestmark = pytest.mark.asan
IDENTITY, GZIP, ZSTD = 0, 1, 2
AS_IT_IS, COMPRESSIBLE, KNOWN = 0, 1, 2


def compression(
    *types: str, codings: tuple[str, ...] = ("zstd", "gzip"), min_bytes: int = 100
) -> Compression:
    kinds = tuple(kind.encode() for kind in types or ("text/*", "application/json"))
    return Compression(codings=codings, types=kinds, min_bytes=min_bytes, level=5)


def head(*lines: str, status: str = "200 OK", kind: str = "text/html") -> bytes:
    typed = [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join((f"HTTP/1.1 {status}", *typed, *lines, "", "")).encode("latin-1")


def lines_of(answer: bytes) -> list[str]:
    return answer.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]


@pytest.mark.parametrize(
    ("fields", "coding"),
    [
        ((), IDENTITY),
        (("Accept-Encoding: gzip",), GZIP),
        (("accept-encoding: gzip, zstd",), ZSTD),
        (("Accept-Encoding: gzip", "Accept-Encoding: zstd;q=0.5"), GZIP),
        (("Accept-Encoding: br",), IDENTITY),
        (("Accept-Encoding: gzip;q=0",), IDENTITY),
        (("X-Accept-Encoding: gzip",), IDENTITY),
        (("Accept-Encoding: gzip", "Cache-Control: no-cache, No-Transform"), IDENTITY),
        (("Accept-Encoding: gzip", "Cache-Control: no-cache"), GZIP),
    ],
)
def test_client_takes(fields: tuple[str, ...], coding: int) -> None:
    request = "\r\n".join(("GET / HTTP/1.1", "Host: h", *fields, "", "")).encode()
    assert compression().choose_for(request) == coding
    assert compression().choose_for(request.replace(b"HTTP/1.1", b"HTTP/1.0")) == IDENTITY


def test_only_codings_that_are_offered() -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: zstd, gzip;q=0.1\r\n\r\n"
    assert compression(codings=("gzip",)).choose_for(request) == GZIP
    assert compression(codings=("gzip", "zstd")).choose_for(request) == ZSTD


@pytest.mark.parametrize(
    ("answer", "suits"),
    [
        (head(), COMPRESSIBLE),
        (head(kind="TEXT/HTML ; charset=utf-8"), COMPRESSIBLE),
        (head(kind="text/event-stream"), COMPRESSIBLE),
        (head(kind="application/json"), COMPRESSIBLE),
        (head(kind="application/jsonx"), AS_IT_IS),
        (head(kind="application/jso"), AS_IT_IS),
        (head(kind="image/png"), AS_IT_IS),
        (head(kind="text/"), AS_IT_IS),
        (head(kind="text"), AS_IT_IS),
        (head(kind="; text/html"), AS_IT_IS),
        (head(kind=""), AS_IT_IS),
        (head("Content-Length: 100"), COMPRESSIBLE),
        (head("Content-Length: 99"), AS_IT_IS),
        (head("Transfer-Encoding: chunked"), COMPRESSIBLE),
        (head(status="206 Partial Content"), AS_IT_IS),
        (head(status="204 No Content"), AS_IT_IS),
        (head(status="404 Not Found"), AS_IT_IS),
        (head(status="304 Not Modified", kind=""), KNOWN),
        (head("Content-Encoding: gzip"), AS_IT_IS),
        (head("content-encoding: br"), AS_IT_IS),
        (head("Content-Encoding: identity"), COMPRESSIBLE),
        (head("Content-Encoding:"), COMPRESSIBLE),
        (head("Cache-Control: private, No-Transform"), AS_IT_IS),
        (head("Cache-Control: no-transform=1"), AS_IT_IS),
        (head("Cache-Control: no-store, max-age=1"), COMPRESSIBLE),
        (head("Cache-Control: x-no-transform"), COMPRESSIBLE),
        (head("Content-Digest: sha-256=:a:"), AS_IT_IS),
        (head("Repr-Digest: sha-256=:a:"), AS_IT_IS),
        (head("Content-MD5: a"), AS_IT_IS),
    ],
)
def test_answer_suits(answer: bytes, suits: int) -> None:
    assert compression().edit(answer, IDENTITY)[0] == suits


@pytest.mark.parametrize(("coding", "name"), [(GZIP, "gzip"), (ZSTD, "zstd")])
def test_head_of_what_is_compressed(coding: int, name: str) -> None:
    """No length, no parts, a weak tag, the coding, and that it hangs on Accept-Encoding."""
    answer = head(
        "Content-Length: 5000", 'ETag: "abc"', "Accept-Ranges: bytes", "Vary: Cookie", "Content-Encoding: identity", "X: y",
    )  # fmt: skip
    _, edited = compression().edit(answer, coding)
    assert lines_of(edited) == [
        "Content-Type: text/html",
        'ETag: W/"abc"',
        "Vary: Cookie",
        "X: y",
        "Vary: Accept-Encoding",
        f"Content-Encoding: {name}",
    ]


@pytest.mark.parametrize("vary", ["Accept-Encoding", "Cookie, ACCEPT-ENCODING", "*"])
def test_vary_is_said_once(vary: str) -> None:
    _, edited = compression().edit(head(f"Vary: {vary}"), GZIP)
    assert [line for line in lines_of(edited) if line.startswith("Vary")] == [f"Vary: {vary}"]


def test_client_that_takes_no_coding_hears_that_others_may() -> None:
    """Else a cache would give the plain page to all; the rest of the head is untouched."""
    answer = head("Content-Length: 5000", 'ETag: "abc"', "Accept-Ranges: bytes")
    _, edited = compression().edit(answer, IDENTITY)
    assert lines_of(edited) == [*lines_of(answer), "Vary: Accept-Encoding"]


def test_what_goes_as_it_is_is_not_touched() -> None:
    answer = head("Content-Length: 5", 'ETag: "abc"')
    assert lines_of(compression().edit(answer, GZIP)[1]) == lines_of(answer)


def test_not_modified_has_the_tag_that_the_client_has() -> None:
    answer = head('ETag: "abc"', status="304 Not Modified", kind="")
    assert lines_of(compression().edit(answer, GZIP)[1]) == ['ETag: W/"abc"', VARY]
    assert lines_of(compression().edit(answer, IDENTITY)[1]) == ['ETag: "abc"', VARY]


def test_not_modified_has_vary_as_its_page_has_it() -> None:
    """RFC 9110 15.4.5; once, and not where the page goes as it is."""
    same = head("Vary: accept-encoding, Cookie", status="304 Not Modified", kind="")
    assert lines_of(compression().edit(same, GZIP)[1]) == ["Vary: accept-encoding, Cookie"]
    for line in ("Cache-Control: no-transform", "Content-Type: image/png"):
        answer = head(line, status="304 Not Modified", kind="")
        assert compression().edit(answer, GZIP)[0] == AS_IT_IS
        assert lines_of(compression().edit(answer, GZIP)[1]) == [line]


def test_weak_tag_stays() -> None:
    assert 'ETag: W/"abc"' in lines_of(compression().edit(head('ETag: W/"abc"'), GZIP)[1])


def test_what_no_config_says_is_refused() -> None:
    for wrong in (
        {"codings": ()},
        {"codings": ("gzip", "zstd", "gzip")},
        {"level": 0},
        {"level": 10},
    ):
        with pytest.raises(ValueError, match="allowed are gzip and zstd"):
            Compression(**{"codings": ("gzip",), "types": (), "min_bytes": 0, "level": 5, **wrong})  # type: ignore[arg-type]


names = st.sampled_from(
    ["ETag", "Vary", "Content-Length", "Accept-Ranges", "Cache-Control", "Content-Type", "X"]
)
values = st.sampled_from(
    ['"a"', 'W/"a"', '"', "", "*", "12345", "text/html", "no-transform,", ",", "a, accept-encoding"]
)


@given(
    fields=st.lists(st.tuples(names, values), max_size=8),
    coding=st.sampled_from([IDENTITY, GZIP, ZSTD]),
)
def test_any_head_is_edited_within_its_bytes(fields: list[tuple[str, str]], coding: int) -> None:
    """Whatever is compressed says so once, and no length of the plain body."""
    answer = head(*(f"{name}: {value}" for name, value in fields))
    try:
        suits, edited = compression().edit(answer, coding)
    except ValueError:
        return
    lines = [line.lower() for line in lines_of(edited)]
    compressed = suits == COMPRESSIBLE and coding != IDENTITY
    assert sum(line.startswith("content-encoding:") for line in lines) == compressed
    if compressed:
        assert not [
            line
            for line in lines
            if line.startswith(("content-length", "accept-ranges", 'etag: "'))
        ]

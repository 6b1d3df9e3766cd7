"""Accept-Encoding: which content coding a client gets (RFC 9110 12.5.3)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.http.codings import choose_coding

pytestmark = pytest.mark.asan
OFFERED = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, ""),
        (b"", ""),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip;q=1.0, zstd;q=0.5", "gzip"),
        (b"gzip ; q=0.5 , br\t;\tQ=0.501", "br"),
        (b"gzip;q=0", ""),
        (b"gzip;q=0.000, br;q=0.001", "br"),
        (b"*", "zstd"),
        (b"*;q=0", ""),
        (b"zstd;q=0, *", "br"),
        (b"*;q=0.5, gzip", "gzip"),
        (b"identity", ""),
        (b"identity;q=0.5, gzip;q=0.4", ""),
        (b"identity;q=0.5, gzip;q=0.5", "gzip"),
        (b"identity;q=0, gzip;q=0.1", "gzip"),
        (b"identity;q=0", ""),
        (b"gzip;q=2", ""),
        (b"gzip;q=0.1234", ""),
        (b"gzip;q=", ""),
        (b"gzip;q=0,5", ""),
        (b"gzip;level=1;q=0.5, br;q=0.4", "gzip"),
        (b"gzipped, br2, zst", ""),
        (b",,;,gzip,", "gzip"),
        (b"deflate", ""),
    ],
)
def test_coding(value: bytes | None, coding: str) -> None:
    assert choose_coding(value, OFFERED) == coding


def test_only_what_is_offered() -> None:
    assert choose_coding(b"br, zstd, gzip;q=0.1", ("gzip",)) == "gzip"
    assert choose_coding(b"gzip", ()) == ""
    with pytest.raises(KeyError):
        choose_coding(b"gzip", ("lzw",))


def oracle(value: str, offered: tuple[str, ...]) -> str:
    """The rules in plain Python."""
    weights: dict[str, float] = {}
    for element in value.split(","):
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter[:2].lower() == "q=":
                is_weight = re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", parameter[2:])
                weight = float(parameter[2:]) if is_weight else 0.0
                break
        if name:
            weights["gzip" if name.lower() == "x-gzip" else name.lower()] = weight
    best, found = 0.0, ""
    for each in offered:
        weight = weights.get(each, weights.get("*", 0.0))
        if weight > best:
            best, found = weight, each
    return "" if weights.get("identity", 0.0) > best else found


tokens = st.sampled_from(
    ["gzip", "GZip", "x-gzip", "br", "zstd", "identity", "*", "deflate", "", "gz"]
)
weights = st.sampled_from(
    ["", ";q=0", ";q=1", ";q=0.5", "; q=0.001", ";q=0.999 ", ";q=1.000", ";q=1.001", ";q=.5", ";Q=0.7", ";x=1", ";x;q=0.2", ";", ";q"]
)  # fmt: skip
elements = st.tuples(tokens, weights).map("".join)
values = st.one_of(
    st.lists(elements, max_size=6).map(", ".join),
    st.lists(st.one_of(elements, st.sampled_from([" ", "\t", ",", ";", "q=", "=", "."])), max_size=9).map("".join),
    st.text("gzip;q=01.5, *bt\t", max_size=30),
)  # fmt: skip


@given(
    value=values,
    offered=st.permutations(OFFERED).flatmap(
        lambda all_: st.sampled_from([all_, all_[:2], all_[:1]])
    ),
)
def test_parity_with_the_oracle(value: str, offered: list[str]) -> None:
    assert choose_coding(value.encode(), tuple(offered)) == oracle(value, tuple(offered))

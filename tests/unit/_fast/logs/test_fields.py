"""The compiled reader of a message's fields finds what its oracle finds: as written, cut, mutated and random."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.oracles import log_fields as oracle
from wsproxy._fast.logs.fields import FieldReader
from wsproxy._fast.logs.lines import read_lines
from wsproxy.logs.messages import SHAPES, Shape, read_fields, wanted

pytestmark = pytest.mark.asan

SHARED = Path(__file__).parents[4].parent / "shared"
LOGS = sorted([*(SHARED / "corpus" / "logs").glob("*.log"), *(SHARED / "seeds").glob("004*")])
VALUES = ["s1", "7", "-7", "", "x'y", "a;b", "a b", "a, b", "--", "123456789012", "1234567890123", "\t", "é", ",", "-", " "]  # fmt: skip
PIECES = [
    *("'", "; ", " ", ",", ".", "-", "7", "\t", "\n", " :", "score ", "1234567890123", "\udcff", "Server "),
]  # fmt: skip


def check(shape: Shape, text: bytes) -> None:
    expected = oracle.read(shape.template, text)
    assert shape.reader.read(text) == expected
    assert shape.reader.read(b"ab" + text, 2) == expected
    assert shape.reader.read_exact(text) is (expected is not None)


def written(draw: st.DataObject, shape: Shape) -> str:
    """The message with drawn fields, numbers too."""
    return re.sub(r"\{\w+(?::d)?\}", lambda _: draw.draw(st.sampled_from(VALUES)), shape.template)


@given(st.sampled_from(SHAPES), st.data())
def test_any_fields_are_read_alike(shape: Shape, draw: st.DataObject) -> None:
    check(shape, written(draw, shape).encode())


@given(st.sampled_from(SHAPES), st.data())
def test_mutated_messages_are_read_alike(shape: Shape, draw: st.DataObject) -> None:
    text = written(draw, shape)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(text)))
        end = at + draw.draw(st.integers(0, 3))
        text = text[:at] + draw.draw(st.sampled_from(["", *PIECES])) + text[end:]
    check(shape, text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.template[:40])
def test_messages_are_read_alike_up_to_every_byte(shape: Shape) -> None:
    text = re.sub(r"\{\w+(?::d)?\}", "12", shape.template).encode()
    assert shape.reader.read(text) is not None
    for end in range(len(text) + 1):
        check(shape, text[:end])
        check(shape, text[end:])


@given(
    st.lists(
        st.sampled_from(["{a}", "{b:d}", "{c}'", "{d}; ", " and ", ", x ", "7", "-"]), max_size=9
    ),
    st.lists(st.sampled_from([*VALUES, *PIECES, " and ", ", x "]), max_size=9),
)
@example(["{a}", "7"], ["x7"])
@example(["{b:d}", "7"], ["77"])
def test_any_wording_is_read_as_it_says_or_refused(parts: list[str], texts: list[str]) -> None:
    """Fields that could not be told from left to right are refused when a wording is made."""
    template = "".join(parts)
    found = list(oracle.FIELD.finditer(template))
    words = oracle.FIELD.sub("\0", template).encode().split(b"\0")
    try:
        reader = FieldReader(words, [each[2] is not None for each in found])
    except ValueError:
        return
    text = "".join(texts).encode("utf-8", "surrogateescape")
    assert reader.read(text) == oracle.read(template, text)


@pytest.mark.skipif(not LOGS, reason=f"no corpus at {SHARED}")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
def test_messages_of_the_corpus_are_read_alike(path: Path) -> None:
    """The usual wording by both, and every other by the patterns for those."""
    for line in read_lines(path.read_bytes(), wanted()):
        for shape in SHAPES:
            if shape.code == line.code:
                check(shape, line.text[line.at :])
        if line.code:
            found = read_fields(line.code, line.text, line.at)
            first = next(shape for shape in SHAPES if shape.code == line.code)
            usual = oracle.read(first.template, line.text[line.at :])
            assert usual is None or found == usual


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ([b"a"], [True]),
        ([b"a", b"1"], [True]),
        ([b"a", b"b"], [False]),
        ([b""] * 10, [True] * 9),
        ([b"", b"", b""], [True, False]),
    ],
)
def test_a_wording_that_cannot_be_read_is_refused(words: list[bytes], numbers: list[bool]) -> None:
    with pytest.raises(ValueError, match=r"found .*; allowed"):
        FieldReader(words, numbers)


@pytest.mark.parametrize("at", [-1, 2])
def test_a_beginning_beyond_the_text_is_refused(at: int) -> None:
    with pytest.raises(ValueError, match="found beginning"):
        SHAPES[0].reader.read(b"a", at)

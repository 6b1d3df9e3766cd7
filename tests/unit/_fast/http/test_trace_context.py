"""traceparent and tracestate: what is taken for a context, and that everything else is none."""

from __future__ import annotations

import pytest

from wsproxy._fast.http.trace_context import is_good_state, read_context

pytestmark = pytest.mark.asan

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
FOUND = (int(TRACE, 16), int(PARENT, 16), 1)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (GOOD, FOUND),
        (f"00-{TRACE}-{PARENT}-00", (*FOUND[:2], 0)),
        (f"00-{TRACE}-{PARENT}-03", (*FOUND[:2], 3)),
        # Other flags mean nothing, and do not go on (3.2.2.5).
        (f"00-{TRACE}-{PARENT}-ff", (*FOUND[:2], 3)),
        # A later version is read as far as this one goes (3.2.4).
        (f"01-{TRACE}-{PARENT}-01", FOUND),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", FOUND),
    ],
)
def test_contexts(value: str, found: tuple[int, int, int]) -> None:
    """Of this version and of later ones."""
    assert read_context(value.encode()) == found


@pytest.mark.parametrize(
    "value",
    [
        "",
        GOOD[:-1],
        GOOD + "-",
        GOOD + "-00",
        GOOD + " ",
        GOOD.upper(),
        GOOD.replace("-", "_"),
        f"ff-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01.",
        f"01-{TRACE}-{PARENT}-011",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE}{PARENT}--01-",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}- 1",
        "é" * 28,
    ],
)
def test_what_is_no_context(value: str) -> None:
    """Half an id would join traces that have nothing to do with each other."""
    assert read_context(value.encode()) is None


def test_every_byte_counts() -> None:
    """Whatever one byte is changed to that is no digit, there is no context."""
    for at in range(len(GOOD)):
        for other in (b"/", b":", b"`", b"g", b"A", b"\xff", b"\0"):
            changed = GOOD.encode()[:at] + other + GOOD.encode()[at + 1 :]
            assert read_context(changed) is None, changed


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("a=1",),
        ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",),
        ("a=1 ,\tb=2, ,", "c=3"),
        ("1@2=3",),
        (f"{'k' * 256}={'v' * 256}",),
        (",".join(f"k{at}=v" for at in range(32)),),
        ("a=b c",),
    ],
)
def test_states(values: tuple[str, ...]) -> None:
    """They go on."""
    assert is_good_state(*(each.encode() for each in values))


@pytest.mark.parametrize(
    "values",
    [
        ("a",),
        ("a=",),
        ("=1",),
        ("A=1",),
        ("_a=1",),
        ("a=1=2",),
        ("a=é",),
        ("a=1\x00",),
        (f"{'k' * 257}=v",),
        (f"k={'v' * 257}",),
        (",".join(f"k{at}=v" for at in range(33)),),
        (",".join(f"k{at}=v" for at in range(17)), ",".join(f"l{at}=v" for at in range(16))),
        ("a=1", "b"),
    ],
)
def test_what_is_no_state(values: tuple[str, ...]) -> None:
    """All of it is dropped, the trace is not."""
    assert not is_good_state(*(each.encode() for each in values))

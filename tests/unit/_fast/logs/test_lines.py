"""The compiled reader of log lines finds what its oracle finds, whole, cut and mutated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.oracles import log_lines as oracle
from wsproxy._fast.logs.lines import LineScanner, LogLine, read_lines
from wsproxy.logs.messages import wanted

pytestmark = pytest.mark.asan

SHARED = Path(__file__).parents[4].parent / "shared"
LOGS = sorted([*(SHARED / "corpus" / "logs").glob("*.log"), *(SHARED / "seeds").glob("004*")])
OLD = b"[Wed Oct 03 22:18:41 2012] 00000b60 00000b94 - "
NEW = b"[29/Jul/2014:11:28:47.86034] 007c0062 00000b0c - "
IBM_I = b"[29/Jul/2014:11:28:47.86034] 123456/QTMHHTTP/WEB1 007c0062 00000b0c - "
WORDS = [
    *(OLD, NEW, IBM_I, b"TRACE: ", b"DETAIL:    Cookie: a=b; c", b"ERROR: [a/b] ws_common: ", b"STATS:", b"\r", b"\n"),
    *(b"ws_common: websphereEndRequest: Ending the request", b"websphereUriMatch: Found a match '", b"[", b"]", b" - "),
    *(b"[Wed Oct  3 22:18:41 2012]", b"[29/Jul/2014:11:28:47]", b"00000b60 ", b"lib_x: y: z", b"ESI: ", b"Wed Oct", b"\xff"),
    *(b"Server s picked", b"ws_server_group: lockedServerGroupUseServer: Server s picked, weight 2.", b" ", b"\t", b"NOTICE: "),
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(b"".join)


def rows(lines: list[LogLine]) -> list[tuple[int, oracle.Record]]:
    return [
        (line.number, (line.time_us, line.pid, line.tid, line.level, line.text)) for line in lines
    ]


def check(data: bytes) -> list[LogLine]:
    found = read_lines(data, wanted())
    assert rows(found) == oracle.read_lines(data)
    for line in found:
        assert 0 <= line.at <= len(line.text)
    return found


@given(TEXTS)
@example(OLD + b"TRACE: x" + NEW + b"TRACE: y\r\r\n")
@example(b"[Wed Oct 03 22:18:41 2012] 123/ 1 2 - TRACE: x")
def test_any_text_is_read_alike(data: bytes) -> None:
    check(data)


@given(TEXTS, st.data())
def test_blocks_do_not_matter(data: bytes, draw: st.DataObject) -> None:
    scanner = LineScanner(wanted())
    found, at = [], 0
    while at < len(data):
        length = draw.draw(st.integers(1, len(data) - at))
        found += scanner.feed(data[at : at + length])
        at += length
    found += scanner.end()
    assert rows(found) == oracle.read_lines(data)
    assert scanner.lines == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert scanner.lines + scanner.glued == scanner.records + scanner.foreign + scanner.blank


@given(TEXTS)
def test_what_is_left_out_is_never_wanted(data: bytes) -> None:
    every = LineScanner(wanted())
    some = LineScanner(wanted(), wanted_only=True)
    whole = every.feed(data) + every.end()
    part = some.feed(data) + some.end()
    assert [row for row in rows(whole) if row in rows(part)] == rows(part)
    assert [line.text for line in whole if line.code] == [line.text for line in part if line.code]
    assert (every.records, every.foreign, every.blank) == (some.records, some.foreign, some.blank)


@pytest.mark.skipif(not LOGS, reason=f"no corpus at {SHARED}")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
def test_corpus_is_read_alike_up_to_every_byte(path: Path) -> None:
    data = path.read_bytes()
    check(data)
    for end in range(0, len(data), 1 if len(data) < 2000 else 37):
        check(data[:end])


@given(st.sampled_from(LOGS or [Path(__file__)]), st.data())
def test_mutated_corpus_is_read_alike(path: Path, draw: st.DataObject) -> None:
    data = bytearray(path.read_bytes()[:3000])
    for _ in range(draw.draw(st.integers(1, 5))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.sampled_from(WORDS))
    check(bytes(data))

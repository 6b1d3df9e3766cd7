"""The reader of http_plugin.log: every form of line, every kind of file, and no line lost."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from wsproxy._fast.logs.lines import LogLine
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.errors import LogRefusedError
from wsproxy.logs import plugin_reader as reader
from wsproxy.logs.messages import SHAPES, Code, read_fields, shape_of
from wsproxy.logs.plugin_reader import Reading, read_logs, read_plain

OLD = "[Wed Oct 03 22:18:41 2012] 00000b60 00000b94 - "
NEW = "[29/Jul/2014:11:28:47.86034] 007c0062 00000b0c - "
END = "TRACE: ws_common: websphereEndRequest: Ending the request"


def read(path: Path, *, wanted_only: bool = False) -> tuple[list[LogLine], Reading]:
    reading = Reading()
    lines = [
        each for block in read_logs([str(path)], reading, wanted_only=wanted_only) for each in block
    ]
    return lines, reading


def read_text(
    tmp_path: Path, text: str | bytes, *, wanted_only: bool = False
) -> tuple[list[LogLine], Reading]:
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, wanted_only=wanted_only)


def test_both_dates_are_read(tmp_path: Path) -> None:
    (old, new), _ = read_text(tmp_path, f"{OLD}{END}\n{NEW}{END}\n")
    assert (old.time_us, old.pid, old.tid) == (1349302721_000000, 0xB60, 0xB94)
    assert (new.time_us, new.pid, new.tid) == (1406633327_860340, 0x7C0062, 0xB0C)
    assert (old.level, old.code, old.text[old.at :]) == (
        LogLevel.TRACE, Code.END, b"Ending the request",
    )  # fmt: skip


def test_ibm_i_has_its_job_before_the_pid(tmp_path: Path) -> None:
    text = NEW.replace("] ", "] 123456/QTMHHTTP/WEBSRV ")
    (line,), _ = read_text(tmp_path, f"{text}{END}\n")
    assert (line.pid, line.tid, line.code) == (0x7C0062, 0xB0C, Code.END)


def test_records_that_share_a_line_are_two(tmp_path: Path) -> None:
    """The plug-in up to 8.0 writes the newline apart: two lines and two newlines."""
    lines, reading = read_text(tmp_path, f"{OLD}{END}{OLD}{END}\n\n{OLD}{END}\n")
    assert [(line.number, line.code) for line in lines if line.level > 1] == [
        (1, Code.END), (1, Code.END), (3, Code.END),
    ]  # fmt: skip
    assert (reading.lines, reading.records, reading.glued, reading.blank) == (3, 3, 1, 1)


def test_carriage_returns_are_no_part_of_a_line(tmp_path: Path) -> None:
    lines, _ = read_text(tmp_path, f"{NEW}DETAIL:    Set-Cookie: a=b\r\n{NEW}{END}\r\r\n")
    assert lines[0].text == b"   Set-Cookie: a=b"
    assert lines[1].text.endswith(b"request")


def test_header_lines_are_never_messages(tmp_path: Path) -> None:
    """What a client writes into a header must not end its request in the log."""
    (line,), _ = read_text(tmp_path, f"{NEW}DETAIL:    websphereEndRequest: Ending the request\n")
    assert line.code == 0


def test_lines_without_stamp_are_records_by_their_level_or_component(tmp_path: Path) -> None:
    text = "TRACE: ws_common: websphereGetStream: x\nws_common: websphereEndRequest: Ending the request\nwhatever: x: y\n"
    lines, reading = read_text(tmp_path, text)
    assert [line.level for line in lines] == [
        LogLevel.TRACE, LogLevel.NO_LEVEL, LogLevel.FOREIGN,
    ]  # fmt: skip
    assert lines[1].code == Code.END
    assert reading.foreign == 1


def test_client_and_path_before_the_component_are_passed_over(tmp_path: Path) -> None:
    text = f"{NEW}ERROR: [127.0.0.1://app] ws_common: websphereHandleRequest: Failed to handle request rc=10\n"
    (line,), _ = read_text(tmp_path, text)
    assert line.code == Code.FAILED
    found = read_fields(line.code, line.text, line.at)
    assert found == (10,)


def test_text_that_is_no_utf_8_stays_as_it_is(tmp_path: Path) -> None:
    data = NEW.encode() + b"DETAIL:    Cookie: a=\xff\xfe\n\xff\xff\n"
    lines, reading = read_text(tmp_path, data)
    assert lines[0].text[lines[0].at :] == b"Cookie: a=\xff\xfe"
    assert (lines[1].text, reading.foreign) == (b"\xff\xff", 1)


@pytest.mark.parametrize("cut", range(1, len(NEW + END)))
def test_an_end_that_is_cut_is_one_line(tmp_path: Path, cut: int) -> None:
    lines, reading = read_text(tmp_path, f"{NEW}{END}\n{(NEW + END)[:cut]}")
    assert (len(lines), reading.lines, reading.records + reading.foreign) == (2, 2, 2)
    assert lines[0].code == Code.END


def test_message_over_several_lines_is_one(tmp_path: Path) -> None:
    text = (
        "[Wed\nOct 03 22:18:41 2012] 00000b60 00000b94 - DETAIL: ws_common:\nwebsphereFindServerGroup: Setting the server group: c; highScore:\n"
        "7; highExactMatch: 6; affinityCookie: JSESSIONID; affinityURL: jsessionid\n....\nprose\n\n"
    )
    lines, reading = read_text(tmp_path, text)
    (record,) = (line for line in lines if line.level > 1)
    found = read_fields(record.code, record.text, record.at)
    assert found == (b"c", 7, 6, b"JSESSIONID", b"jsessionid")
    assert (record.number, reading.continued, reading.foreign, reading.blank) == (1, 3, 2, 1)


def test_prose_behind_a_whole_message_is_not_its_own(tmp_path: Path) -> None:
    lines, reading = read_text(tmp_path, f"{OLD}{END}\nThis is prose;\nand more of it\n")
    assert [line.text for line in lines[1:]] == [b"This is prose;", b"and more of it"]
    assert (reading.foreign, reading.continued) == (2, 0)


def test_left_out_records_come_back_where_something_continues_them(tmp_path: Path) -> None:
    text = f"{OLD}DETAIL: ws_common:\nwebsphereBeginRequest: Request is: host='h';\nuri='/a'\n{OLD}TRACE: x\n"
    lines, reading = read_text(tmp_path, text, wanted_only=True)
    assert [line.code for line in lines if line.code] == [Code.REQUEST_IS]
    assert (reading.lines, reading.records, reading.continued) == (4, 2, 2)


@pytest.mark.parametrize("name", ["x.gz", "x.log"])
def test_gzip_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    """Several members, as when logs are appended to each other."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(f"{NEW}{END}\n".encode()) * 3)
    lines, _ = read(path)
    assert [line.number for line in lines] == [1, 2, 3]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("content", [b"", b"x"])
def test_many_small_gzip_members_take_linear_time(tmp_path: Path, content: bytes) -> None:
    """200,000 of them took minutes: each had the rest of its block copied. Without line ends, each was looked through again."""
    member = gzip.compress(content, mtime=0)
    path = tmp_path / "x.gz"
    path.write_bytes(member * 200_000 + gzip.compress(f"\n{NEW}{END}\n".encode()))
    lines, _ = read(path)
    assert lines[-1].text == END.partition(" ")[2].encode()
    assert [each for block in read_plain([str(path)], Reading()) for each in block][-1] == (
        2,
        f"{NEW}{END}".encode(),
    )


def test_gzip_bomb_comes_out_in_blocks(tmp_path: Path) -> None:
    """A few ten kilobytes that become 60 MB in three members: never more than a block at once, and it ends."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes(20 << 20), 9) * 3)
    assert path.stat().st_size < 80_000
    reading = Reading()
    sizes = [len(block) for block in reader._blocks(str(path), reading)]
    assert sum(sizes) == 60 << 20
    assert max(sizes) <= 2 * reader.BLOCK


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_gzip_members_may_be_cut_anywhere_and_followed_by_zeros(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within the two bytes that a member begins with."""
    member = gzip.compress(b"line\n", mtime=0)
    data = member * 2 + bytes(30) + member + bytes(10)
    monkeypatch.setattr(reader, "BLOCK", cut)
    blocks = reader._plain_blocks(io.BytesIO(data), Reading())
    assert b"".join(blocks) == b"line\n" * 3


def test_what_follows_a_gzip_and_is_none_is_left_out() -> None:
    data = gzip.compress(b"line\n") + b"\0\0no gzip" + gzip.compress(b"other\n")
    assert b"".join(reader._plain_blocks(io.BytesIO(data), Reading())) == b"line\n"


def test_gzip_that_ends_too_early_gives_what_is_there(tmp_path: Path) -> None:
    text = "".join(f"{NEW}TRACE: {number}\n" for number in range(20_000))
    data = gzip.compress(text.encode())
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    lines, reading = read(tmp_path / "x")
    assert 1000 < len(lines) < 20_000
    assert reading.lines == len(lines)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(f"{NEW}{END}\n".encode() * 100))
    data[15] ^= 0xFF
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(LogRefusedError, match="damaged gzip"):
        read(tmp_path / "x")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogRefusedError, match="No such file"):
        read(tmp_path / "x")


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{NEW}{END}\n".encode())))
    lines = [line for block in read_logs(["-"], Reading()) for line in block]
    assert [line.code for line in lines] == [Code.END]


def test_lines_longer_than_a_block_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK", 7)
    lines, reading = read_text(tmp_path, f"{NEW}DETAIL:    Cookie: {'x' * 1000}\n{NEW}{END}\n")
    assert [line.code for line in lines] == [Code.COOKIE, Code.END]
    assert reading.lines == 2


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    lines, _ = read_text(tmp_path, b"x" * (5 << 20) + b"\n" + f"{NEW}{END}\n".encode())
    assert lines[-1].code == Code.END
    assert max(len(line.text) for line in lines) < 3 << 20


def test_several_files_each_begin_with_line_1(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{NEW}{END}\n{NEW}{END}\n")
        paths.append(str(tmp_path / name))
    reading = Reading()
    lines = [line.number for block in read_logs(paths, reading) for line in block]
    assert (lines, reading.lines, reading.records) == ([1, 2, 1, 2], 4, 4)


def test_plain_lines_have_numbers(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\nb\n\nc")
    rows = [row for block in read_plain([str(tmp_path / "x")], Reading()) for row in block]
    assert rows == [(1, b"a"), (2, b"b"), (3, b""), (4, b"c")]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.template[:40])
def test_every_message_that_is_written_is_read_back(tmp_path: Path, shape: Any) -> None:
    """What a writer makes of a shape is found by its beginning, and its fields come back."""
    names = list(shape.pattern.groupindex)
    fields: dict[str, object] = {
        name: 7 if b"(?P<%b>-?\\d{1,12})" % name.encode() in shape.pattern.pattern else "it's-a;b"
        for name in names
    }
    text = shape.text(**fields)
    prefix = f"{NEW}{shape.level.name}: " + (
        "" if shape.component or shape.level < LogLevel.DETAIL else "   "
    )
    (line,), _ = read_text(tmp_path, f"{prefix}{text}\n")
    assert line.code == shape.code
    found = read_fields(line.code, line.text, line.at)
    assert found is not None
    if shape is shape_of(shape.code):
        assert found == tuple(
            value if isinstance(value, int) else str(value).encode() for value in fields.values()
        )


LOGS = Path(__file__).parents[3].parent / "shared"
CORPUS = sorted([*LOGS.glob("corpus/logs/*.log"), *LOGS.glob("seeds/004*")])


@pytest.mark.skipif(not CORPUS, reason=f"no corpus at {LOGS}")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_no_line_of_the_corpus_is_lost(path: Path) -> None:
    """Each is counted once, and the end of each stands in what comes out, at its place or where it was joined."""
    lines, reading = read(path)
    counted = reading.records + reading.continued + reading.foreign + reading.blank
    assert reading.lines + reading.glued == counted
    physical = path.read_bytes().splitlines()
    assert reading.lines == len(physical)
    for number, text in enumerate(physical, 1):
        if text.strip():
            found = [line for line in lines if number - 10 < line.number <= number]
            assert any(text.split()[-1] in line.text or text in line.text for line in found) or (
                # the stamp of a record, broken over two lines
                text.strip() == b"[Wed"
            ), (number, text)

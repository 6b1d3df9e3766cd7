"""Readable twin of ``_fast.logs.lines``: what each line of http_plugin.log is."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime

LEVELS = {
    "PLUGIN": 3, "ERROR": 4, "WARNING": 5, "WARN": 5, "STATS": 6, "DETAIL": 7, "DEBUG": 8, "TRACE": 9, "INFO": 10,
}  # fmt: skip
FOREIGN, BLANK, NO_LEVEL, OTHER_LEVEL = 0, 1, 2, 10
MONTHS = b"Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"

CLOCK = rb"([ \d]\d):([ \d]\d):([ \d]\d)"
STAMP = re.compile(
    rb"\[(?:"
    rb"(?P<new>(?P<d>\d\d)/(?P<m>%b)/(?P<y>\d{4}):%b(?:\.(?P<f>\d*))?)"
    rb"|(?P<old>[^\n]{3} (?P<m2>%b) (?P<d2>[ \d]\d) %b (?P<y2>\d{4}))"
    rb")\]" % (MONTHS, CLOCK, MONTHS, CLOCK),
    re.DOTALL,
)
REST = re.compile(
    rb"[ \t]*(?P<job>[^ \t/]{0,63}/[^ \t]*[ \t]+)?(?P<pid>[0-9A-Fa-f]{1,16})[ \t]+(?P<tid>[0-9A-Fa-f]{1,16})[ \t]+"
    rb"-[ \t]*(?P<level>[A-Z]{1,16}):[ \t]?"
)
Record = tuple[int, int, int, int, bytes]  # time_us, pid, tid, level, text


def read_stamp(text: bytes) -> tuple[int, int] | None:
    """(microseconds, bytes) of the stamp at the beginning."""
    found = STAMP.match(text)
    if found is None or (found["old"] and text[3:4] == b"/"):
        return None
    groups = found.groups()
    if found["new"]:
        day, month, year = int(found["d"]), found["m"], int(found["y"])
        clock = [int(part) for part in groups[4:7]]
        fraction = found["f"] or b""
    else:
        day, month, year = int(found["d2"]), found["m2"], int(found["y2"])
        clock = [int(part) for part in groups[11:14]]
        fraction = b""
    number = MONTHS.split(b"|").index(month) + 1
    if not 1 <= day <= 31 or clock[0] > 23 or clock[1] > 59 or clock[2] > 60 or year < 1970:
        return None
    # by hand: no calendar takes 31 February, which the reader does not look for
    first = timegm(datetime(year, number, 1).timetuple())  # noqa: DTZ001
    seconds = first + (day - 1) * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
    micro = int((fraction[:6] + b"000000")[:6])
    return seconds * 1_000_000 + micro, found.end()


def read_prefix(text: bytes) -> tuple[int, int, int, int, int] | None:
    """(time_us, pid, tid, level, bytes before the text) of the record that begins here."""
    if not text.startswith(b"["):
        found = re.match(rb"([A-Z]{1,16}):[ \t]?", text)
        if found and found[1].decode() in LEVELS:
            return -1, 0, 0, LEVELS[found[1].decode()], found.end()
        if re.match(rb"(?:ws_|lib_|as_|mod_was)\w*: |ESI: ", text, re.ASCII):
            return -1, 0, 0, NO_LEVEL, 0
        return None
    stamp = read_stamp(text)
    if stamp is None:
        return None
    rest = text[stamp[1] :]
    found = REST.match(rest)
    if found is None:
        return None
    level = LEVELS.get(found["level"].decode(), OTHER_LEVEL)
    return stamp[0], int(found["pid"], 16), int(found["tid"], 16), level, stamp[1] + found.end()


def find_glued(text: bytes) -> int:
    """Where another stamped record begins; -1 nowhere."""
    for at in (found.start() for found in re.finditer(rb"\[", text)):
        if read_prefix(text[at:]):
            return at
    return -1


def read_line(text: bytes) -> list[Record]:
    """All that one line, without its newline, holds."""
    text = text.rstrip(b"\r")
    found: list[Record] = []
    if read_prefix(text) is None:
        if not text.strip(b" \t"):
            return [(-1, 0, 0, BLANK, text)]
        at = find_glued(text)
        if at < 0:
            return [(-1, 0, 0, FOREIGN, text)]
        found.append((-1, 0, 0, FOREIGN, text[:at]))
        text = text[at:]
    while text:
        prefix = read_prefix(text)
        assert prefix is not None
        text = text[prefix[4] :]
        at = find_glued(text)
        found.append((*prefix[:4], text if at < 0 else text[:at]))
        if at < 0:
            break
        text = text[at:]
    return found


def read_lines(data: bytes) -> list[tuple[int, Record]]:
    """(number, record) of everything."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [(number, record) for number, line in enumerate(lines, 1) for record in read_line(line)]

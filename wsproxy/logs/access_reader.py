"""
Access logs: requests of a common or combined log, or of wsproxy's lines of JSON, with the session and the server where the format has them.

Driven by ``cli.replay``; the requests go to ``replay.replay``. A log without ``WAS=`` (PLUGIN.md 7.5) tells no server: then nothing
of the choice can be compared. Must not lose a line: what is no request is told as None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

import msgspec

FORMATS = ("common", "combined", "json")

_LINE = re.compile(
    rb"(?:(?P<vhost>[^\s\"]+:\d+) )?(?P<client>\S+) \S+ (?P<user>\S+|\"[^\"]*\") "
    rb"\[(?P<stamp>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?)\] "
    rb"\"(?P<request>(?:[^\"\\]|\\.)*)\" (?P<status>\d{3}) (?P<size>\d+|-)(?P<rest>.*)"
)
_STAMP = re.compile(
    rb"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    rb"(?: (?P<zone>[+-]\d{4}))?"
)
_COMBINED = re.compile(rb" \"(?:[^\"\\]|\\.)*\" \"(?:[^\"\\]|\\.)*\"")
_SESSION = re.compile(rb"\bJSESSIONID=\"?(?P<value>(?:\\.|[^\s\";,\\])*)")
_SERVER = re.compile(rb"\bWAS=\"?(?P<server>[^\s\";,]+)")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"r": b"\r"}
# %D of httpd: how long it took, in microseconds. Nothing else tells a bare number from others.
_DURATION = re.compile(rb"(?:^|\s)D=\"?(?P<duration>\d{1,15})\"?(?:\s|$)")
_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
# What httpd writes for a variable or cookie that is not there.
_ABSENT = b"-"


@dataclass(slots=True)
class AccessRecord:
    """One request as an access log tells it; empty where it does not."""

    number: int
    time_us: int
    vhost: bytes
    method: bytes
    target: bytes
    status: int
    session: (
        bytes | None
    )  # value of the affinity cookie, empty: it came without; None: the line does not tell
    server: bytes  # host:port of the app server
    duration_us: int = -1  # until the answer was sent; -1: the line does not tell
    size: int = -1  # of the answer's body; -1: the line does not tell


def read_record(number: int, line: bytes, log_format: str) -> AccessRecord | None:
    """The request of one line; None: it is none of this format."""
    if log_format == "json":
        return _read_json(number, line)
    found = _LINE.match(line)
    if found is None:
        return None
    rest = found["rest"]
    if log_format == "combined":
        fields = _COMBINED.search(rest)
        if fields is None:
            return None
        rest = rest[: fields.start()] + rest[fields.end() :]
    parts = _unescaped(found["request"]).split(b" ")
    if len(parts) < 2 or not parts[1].startswith(b"/"):
        return None
    time_us = _time_us(found["stamp"])
    if time_us < 0:
        return None
    # not from the request itself, Referer or User-Agent, where a client may write what it likes
    session, server = _SESSION.search(rest), _SERVER.search(rest)
    duration = _DURATION.search(rest)
    return AccessRecord(
        number,
        time_us,
        found["vhost"] or b"",
        parts[0],
        parts[1],
        int(found["status"]),
        None
        if session is None
        else _cookie_value(session["value"])
        if session["value"] != _ABSENT
        else b"",
        server["server"] if server and server["server"] != _ABSENT else b"",
        int(duration["duration"]) if duration else -1,
        0 if found["size"] == _ABSENT else int(found["size"]),
    )


def _cookie_value(text: bytes) -> bytes:
    """As affinity reads it: without the quotes that it may come in."""
    value = _unescaped(text)
    return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value


class _JsonLine(msgspec.Struct):
    """What is read of a line that wsproxy wrote with ``access_format = "json"`` (``config.access_format``)."""

    time: datetime
    host: str
    port: int
    status: int
    duration_us: int
    request: str | None = None
    jsessionid: str | None = None
    server: str | None = None
    body_bytes: int = -1


_JSON = msgspec.json.Decoder(_JsonLine)


def _read_json(number: int, line: bytes) -> AccessRecord | None:
    try:
        found = _JSON.decode(line)
        parts = (found.request or "").encode("latin-1").split(b" ")
        if len(parts) < 2 or not parts[1].startswith(b"/"):
            return None
        return AccessRecord(
            number,
            round(found.time.timestamp() * 1_000_000),
            f"{found.host}:{found.port}".encode("latin-1"),
            parts[0],
            parts[1],
            found.status,
            (found.jsessionid or "").encode("latin-1"),
            (found.server or "").encode("latin-1"),
            found.duration_us,
            found.body_bytes,
        )
    except (msgspec.DecodeError, ValueError):
        return None


def _unescaped(value: bytes) -> bytes:
    """What was escaped by httpd, or by wsproxy."""
    if b"\\" not in value:
        return value
    return _ESCAPE.sub(
        lambda found: bytes([int(found[1], 16)]) if found[1] else _CONTROLS.get(found[2], found[2]),
        value,
    )


@lru_cache(maxsize=4096)  # the lines of a second stand together
def _time_us(stamp: bytes) -> int:
    """-1: no date."""
    found = _STAMP.fullmatch(stamp)
    assert found is not None
    month = _MONTHS.find(found["month"])
    zone = found["zone"]
    offset = timedelta()
    if zone:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
        offset = -offset if zone.startswith(b"-") else offset
    try:
        moment = datetime(
            int(found["year"]), month // 3 + 1, int(found["day"]), int(found["hour"]),
            int(found["minute"]), int(found["second"]), tzinfo=timezone(offset),
        )  # fmt: skip
    except ValueError:
        return -1
    if month < 0:
        return -1
    # the local clock, as the plug-in's log has it
    return int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000

"""What strangers can put into the logs of the real process: no session, no password, and nothing that drives a terminal."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.logfiles import described, replay_own
from tests.support.origin import Origin, OriginConnection
from tests.support.proxy import Lane, Member, Proxy, running_proxy
from wsproxy.replay.outcome import What

SECRET = (
    b"QWERTZUIOPASDFGHJKLYXCV"  # of WebSphere's form, so that its servers get the clone ids, too
)
# Line ends, escapes of a terminal, controls of C1, bidirectional controls, no UTF-8; and what stays as it is.
HOSTILE = b"\x9b31m\xff\xc2\x9b31m\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\xe2\x80\xa8\xed\xa0\x80 \xc3\xa9 \\x41 \\"
# Names in plugin-cfg.xml may have them as well.
ODD_NAME = "s&#10;[21/Nov/2026:16:17:21.30695] 1 1 - ERROR: &#x202e;"
ODD_CLONE = "c&#x9b;é"
VHOSTS = (
    '<VirtualHostGroup Name="v&#x202e;"><VirtualHost Name="*:9080"/></VirtualHostGroup>'
    '<Log Name="http_plugin.log" LogLevel="{level}"/>'
)
FORMAT = (
    '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" D=%D WAS=%{WAS}e SHOPID=%{SHOPID}C JSESSIONID=%{JSESSIONID}C C=%{Cookie}i'
    " A=%{Authorization}i X=%{X-Original-URL}i V=%V U=%U%q id=%L"
)
# Below Trace no line tells that a session has moved: replay could not know.
SETTINGS = f'[affinity]\ntakeover_s = 0\n[log]\nlevel = "debug"\naccess = "access.log"\naccess_format = \'{FORMAT}\'\n'
DRIVES_A_TERMINAL = re.compile(
    "[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
STAMP = re.compile(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{5}\] [0-9a-f]{8} [0-9a-f]{8} - [A-Z]+: ")  # fmt: skip


def head(target: bytes, *fields: bytes, first: bytes = b"GET %b HTTP/1.1") -> bytes:
    return b"\r\n".join((first % target, b"Host: h:9080", *fields, b"Connection: close", b"", b""))


REQUESTS = [
    head(b"/a/x;shopid=0001" + SECRET + b":cl0/y", b"Referer: http://u:" + SECRET + b"@h/a;jsessionid=" + SECRET + b"?x=1"),
    head(b"/a/x%3Bshopid%3D0001" + SECRET + b":cl0/y", b"X-Original-URL: /a;SHOPID=" + SECRET),
    head(b"/a/x%253Bjsessionid%253D" + SECRET),
    head(b"/a/x?jsessionid=" + SECRET + b"&shopid=" + SECRET + b"&SHOPID=" + SECRET),
    head(b"/a/x?to=http://u:" + SECRET + b"@h/&next=%2Fb%3Bjsessionid%3D" + SECRET),
    head(b"/a/x", b"Cookie: a=" + SECRET + b"; SHOPID=0001" + SECRET + b":cl0; " + SECRET, b"Authorization: Basic " + SECRET),
    head(b"/a/x", b'Cookie: SHOPID="0001' + SECRET + b':cl0"; SHOPID =' + SECRET, b"Cookie2: SHOPID=" + SECRET),
    head(b"/a/x", b"Proxy-Authorization: Basic " + SECRET, b"X-To: http://u:" + SECRET + b"@h/"),
    head(b"http://user:" + SECRET + b"@h:9080/a/x"),
    head(b"/a/x;shopid=" + SECRET + b"/" * 17000),
    head(b"/a/\x1b[31m;shopid=" + SECRET),
    head(b"/;shopid=" + SECRET, first=b"GE\x1bT %b HTTP/1.1"),
    head(b"/;shopid=" + SECRET, first=b"GET\t%b\tHTTP/1.1"),
    head(b"/nowhere;shopid=" + SECRET + b"?shopid=" + SECRET),
    head(b"/a/x", b"User-Agent: " + HOSTILE, b"Cookie: theme=" + HOSTILE + b"; SHOPID=0001S" + HOSTILE + b":c\xc2\x9b\xc3\xa9"),
    head(b"/a/x\\x41\\m'\\xzz", b"Cookie: SHOPID=0001SESSIONSESSIONSESSION99:c\xc2\x9b\xc3\xa9"),
    head(b"/a/x%0d%0a[21/Nov/2026:16:17:21.30695]%201%201%20-%20ERROR:%20fake"),
    head(b"/a/x", b"User-Agent: [21/Nov/2026:16:17:21.30695] 1 1 - ERROR: ws_server: serverSetFailoverStatus: Marking s1 down"),
    head(b"/a/bad"),
    head(b"/a/close"),
]  # fmt: skip


async def answer_oddly(connection: OriginConnection) -> None:
    """Each request on the connection; with controls, secrets and a reason that is no text."""
    request = await connection.request()
    if b" /a/bad" in request:
        await connection.send(b"HTTP/1.1 200 \x1b[31mOK\r\n\r\n")
    elif b" /a/close" not in request:
        await connection.send(
            b"HTTP/1.1 200 O" + HOSTILE + b"\r\nSet-Cookie: SHOPID=0000" + SECRET + b":cl0; Path=/\r\n"
            b"Location: http://h/a;shopid=" + SECRET + b"\r\nX-Odd: " + HOSTILE + b"\r\n$WSPT: 1:" + SECRET
            + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        )  # fmt: skip


@asynccontextmanager
async def logging_proxy(folder: Path, level: str) -> AsyncIterator[Proxy]:
    """Two servers, of which the first has an odd name and is dead, in a cluster with names of its own for sessions."""
    dead, odd = Origin(), Origin()
    dead.refuse()
    lane = Lane(
        "a",
        [
            Member(dead, f"{ODD_NAME}0", 'CloneID="dead"'),
            Member(odd, f"{ODD_NAME}1", f'CloneID="{ODD_CLONE}"'),
        ],
        'RetryInterval="600"',
        'AffinityCookie="SHOPID" AffinityURLIdentifier="shopid"',
    )
    async with (
        odd.serving(answer_oddly),
        running_proxy(
            [lane], routes=VHOSTS.format(level=level), folder=folder, settings=SETTINGS
        ) as proxy,
    ):
        for request in REQUESTS:
            async with await Client.connect(proxy.port) as client:
                await client.send(request)
                await client.rest()
        yield proxy


@pytest.mark.parametrize("level", ["Stats", "Detail", "Debug", "Trace"])
async def test_logs_tell_no_secret_and_drive_no_terminal(level: str, tmp_path: Path) -> None:
    """
    At no level; only at Trace http_plugin.log has sessions, as docs/plugin-log.md says, and still no password.

    What was escaped is read back: replay decides as the proxy did, also where names of plugin-cfg.xml had to be escaped.
    """
    async with logging_proxy(tmp_path, level) as proxy:
        pass
    plugin_log, access_log = (
        (tmp_path / name).read_bytes() for name in ("http_plugin.log", "access.log")
    )
    errors = "\n".join(proxy.lines).encode()
    for name, data in (("plug-in", plugin_log), ("access", access_log), ("errors", errors)):
        text = data.decode()
        assert not DRIVES_A_TERMINAL.search(text), (name, text)
        told = [line for line in data.splitlines() if SECRET in line]
        if name != "plug-in" or level != "Trace":
            assert not told, name
    assert all(STAMP.match(line) for line in plugin_log.decode().splitlines())
    assert len(access_log.splitlines()) == len(REQUESTS)
    assert b"uthorization: Basic" not in plugin_log
    assert b"u:" + SECRET not in plugin_log
    if level != "Stats":
        assert "é".encode() in plugin_log  # text is no control
    replay, outcomes = replay_own(tmp_path)
    assert SECRET.decode() not in repr(outcomes)  # reports go further than logs
    assert replay.summary.differences == 0, described(outcomes)
    if level in ("Debug", "Trace"):
        assert replay.summary.same[What.SERVER] > 5
        assert replay.summary.same[What.CLONES] > 2
        assert replay.summary.same[What.MARK_DOWN] == 2

"""Standard output and syslog: whole lines, in order; what is not taken is counted, and nobody waits."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from tests.support.syslog import daemon, parse
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy.config.access_format import JSON, parse_format
from wsproxy.config.access_target import FACILITIES, Target, parse_target
from wsproxy.logs.file import MOST_WAITING, LogFile
from wsproxy.logs.outlets import StdoutLog, SyslogLog, syslog_header

HEAD = b'GET /a"x HTTP/1.1\r\nHost: h\r\nUser-Agent: \xfc]\r\n\r\n'


@pytest.mark.parametrize("name", ["combined", JSON])
@pytest.mark.parametrize("facility", FACILITIES)
def test_a_line_is_a_message_of_rfc_5424(name: str, facility: str) -> None:
    items = syslog_header(facility, 'a host"]')
    log = AccessLog(items + parse_format(name), lambda lines, count: None, json=name == JSON)
    message = parse(log.line_of(HEAD).rstrip(b"\n"))
    assert (message.facility, message.severity) == (FACILITIES[facility], 6)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message.time)
    assert (message.host, message.app, message.pid) == ('ahost"]', "wsproxy", str(os.getpid()))
    assert (message.id, message.data.partition(" ")[0]) == ("access", "[origin")
    assert message.text.startswith('{"time":"' if name == JSON else "192.0.2.1 - - [")


def test_a_host_without_a_name_is_a_dash() -> None:
    log = AccessLog(
        [*syslog_header("user", "\xe4 "), *parse_format("x")], lambda lines, count: None
    )
    assert parse(log.line_of(HEAD).rstrip(b"\n")).host == "-"


def syslog_at(text: str) -> SyslogLog:
    return SyslogLog(parse_target(text), text)


def hand(log: LogFile, lines: bytes, count: int) -> None:
    """As a worker at its sweep."""
    log.hand_over(lines, count)
    log.wake()


@pytest.mark.parametrize("is_udp", [False, True])
def test_each_line_comes_as_a_datagram(is_udp: bool, tmp_path: Path) -> None:
    path = None if is_udp else tmp_path / "log"
    with daemon(path) as sock:
        where = f"udp:127.0.0.1:{sock.getsockname()[1]}" if is_udp else f"unix:{path}"
        log = syslog_at(f"syslog:{where}")
        hand(log, b"one\ntwo\n", 2)
        assert [sock.recv(99) for _ in range(2)] == [b"one", b"two"]
        hand(log, b"three\n", 1)
        assert sock.recv(99) == b"three"
        log.close()
        assert log.missing == 0


def test_a_daemon_that_starts_anew_is_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines for which nobody listened are counted, and told of once."""
    path = tmp_path / "log"
    log = syslog_at(f"syslog:unix:{path}")
    hand(log, b"none\n", 1)
    wait_for(log, 1)
    with daemon(path) as sock:
        hand(log, b"one\n", 1)
        assert sock.recv(99) == b"one"
    path.unlink()
    with daemon(path) as sock:  # its socket is another one, and the old one refuses
        hand(log, b"two\n", 1)
        assert sock.recv(99) == b"two"
    hand(log, b"three\nfour\n", 2)
    wait_for(log, 2)
    log.close()
    told = [record.getMessage() for record in caplog.records]
    assert sum("lines are dropped" in each for each in told) == 2
    assert sum("is written again" in each for each in told) == 1


def test_a_line_above_the_size_of_a_datagram_costs_that_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine whose net.core.wmem_default is small: those before and behind it go."""
    opened = SyslogLog._open

    def small(log: SyslogLog) -> socket.socket:
        sock = opened(log)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        return sock

    monkeypatch.setattr(SyslogLog, "_open", small)
    with daemon(tmp_path / "log") as sock:
        log = syslog_at(f"syslog:unix:{tmp_path}/log")
        long = b"x" * 60000 + b"\n"
        hand(log, b"one\n" + long + long + b"two\n" + long, 5)
        assert [sock.recv(99999) for _ in range(2)] == [b"one", b"two"]
        wait_for(log, 3)
        hand(log, b"three\n", 1)
        assert sock.recv(99) == b"three"
        log.close()
        assert log.missing == 0
    assert "a line is longer than this machine sends in one datagram" in caplog.text


def test_a_name_that_no_resolver_takes_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Lines are counted, again and again: the thread that writes goes on."""
    log = SyslogLog(Target("syslog", host="a" * 64, port=514), "there")
    for _ in range(2):
        hand(log, b"one\n", 1)
        wait_for(log, 1)
    log.close()
    assert "is no name of a host; lines are dropped" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "syslog:unix:/" + "a" * 107,
        "syslog:unix:/" + "\xe4" * 54,
        "syslog:udp:" + "a" * 64 + ":514",
        "syslog:udp:a..b:514",
        "syslog:udp:" + "a." * 127 + "aa:514",
        "syslog:udp::514",
        "syslog:udp:[::1:514",
        "syslog:udp:::1:514",
        "syslog:udp:[h]:514",
        "syslog:udp:a b:514",
        "syslog:udp:h:0",
        "syslog:udp:h:65536",
        "syslog:udp:h",
    ],
)
def test_what_no_datagram_can_go_to_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"found .*; allowed "):
        parse_target(text)


def test_where_datagrams_go() -> None:
    assert parse_target("syslog:unix:/" + "a" * 106).path == "/" + "a" * 106
    assert parse_target("syslog:udp:[::1]:514") == Target("syslog", host="::1", port=514)
    assert parse_target("syslog:udp:log.example.com.:1") == Target(
        "syslog", host="log.example.com.", port=1
    )


def wait_for(log: SyslogLog | StdoutLog, count: int) -> None:
    """Until so many lines are missing."""
    missing = 0
    pause = threading.Event()
    for _ in range(2000):
        missing += log.missing
        if missing == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{missing} lines are missing")


def test_a_daemon_that_takes_nothing_costs_lines_and_no_time(tmp_path: Path) -> None:
    """Handing over never waits; what came after all and what is missing is all there was."""
    path = tmp_path / "log"
    with daemon(path) as sock:
        log = syslog_at(f"syslog:unix:{path}")
        block = b"x" * 999 + b"\n"
        handed = 2 * MOST_WAITING // len(block)
        handed -= handed % 64
        for _ in range(handed // 64):
            hand(log, block * 64, 64)
        missing = log.missing
        log.close()
        sock.setblocking(False)
        came = 0
        while True:
            try:
                assert sock.recv(2000) == block[:-1]
            except BlockingIOError:
                break
            came += 1
        missing += log.missing
        assert 0 < came < handed
        assert came + missing == handed


def test_workers_share_standard_output_line_by_line() -> None:
    """Through a pipe that holds less than they write, with lines that one write does not take whole: none is torn apart."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    lock = os.memfd_create("lock")
    logs = [StdoutLog(lock, writer) for _ in range(3)]
    lines = {
        bytes([97 + at]) * size + b"\n" for at in range(3) for size in (10, 5000, 100, 4095, 9000)
    }
    for at, log in enumerate(logs):
        own = sorted(each for each in lines if each[0] == 97 + at)
        for _ in range(20):
            hand(log, b"".join(own), len(own))
    found = bytearray()
    wanted = sum(map(len, lines)) * 20
    while len(found) < wanted:
        found += os.read(reader, 65536)
    for log in logs:
        log.close()
        assert log.missing == 0
    for fd in (reader, writer, lock):
        os.close(fd)
    parts = bytes(found).splitlines(keepends=True)
    assert set(parts) == lines
    assert len(parts) == 300


def test_a_reader_that_is_gone_costs_lines(caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = os.pipe()
    lock = os.memfd_create("lock")
    os.close(reader)
    log = StdoutLog(lock, writer)
    hand(log, b"a\nb\n", 2)
    wait_for(log, 2)
    log.close()
    os.close(writer)
    os.close(lock)
    assert "stdout: Broken pipe; lines are dropped" in caplog.text


def test_standard_output_that_does_not_block_is_waited_for() -> None:
    """Whoever has the same pipe may have made it so."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        lock = os.memfd_create("lock")
        log = StdoutLog(lock, one.fileno())
        data = b"".join(b"%07d\n" % number for number in range(200_000))
        hand(log, data, 200_000)
        found = bytearray()
        while len(found) < len(data):
            found += other.recv(1 << 20)
        log.close()
        os.close(lock)
    assert bytes(found) == data

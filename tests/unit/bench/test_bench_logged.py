"""A user's log as a script, and a short run of it through wsproxy, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import COMMAND_S
from wsproxy.bench.logged import MOST_SIZE, LoggedRequests, SizedReplay, busiest
from wsproxy.bench.machine import PROJECT
from wsproxy.bench.open_loop import Script
from wsproxy.bench.programs import NGINX, TASKSET, WRK, missing
from wsproxy.bench.site import count_servers, read_site
from wsproxy.config.model import Config, Log
from wsproxy.config.settings import Settings
from wsproxy.config.several import load_several
from wsproxy.logs.access_reader import read_record
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.world import World
from wsproxy.simulate.result import without_queue
from wsproxy.simulate.traffic import Traffic

FILE = PROJECT / "plugin-cfg" / "two-clusters.xml"
ABSENT = [program.name for program in missing([NGINX, TASKSET, WRK])]


def config() -> Config:
    return load_several([FILE]).config


def line(second: int, request: str, status: int = 200, size: str = "500", more: str = "") -> bytes:
    stamp = f"30/Nov/2026:10:00:{second:02} +0000"
    return f'10.0.0.1 - - [{stamp}] "{request} HTTP/1.1" {status} {size} {more}'.encode()


def session(clone: str, name: str = "aaaabbbbccccddddeeeefff") -> str:
    port = {"s1": 9081, "s2": 9082, "s3": 9083}[clone]
    return f"D=20000 WAS=127.0.0.1:{port} JSESSIONID=0000{name}:{clone}"


def read(*lines: bytes) -> LoggedRequests:
    world = World(config(), without_queue(Settings()))
    requests = LoggedRequests(Traffic(world))
    replay = SizedReplay(world, Reading(), requests)
    for number, text in enumerate(lines, 1):
        record = read_record(number, text, "common")
        assert record is not None
        replay.take_access(record, b"shop.example", 80)
    replay.end()
    requests.traffic.close()
    return requests


def script_of(requests: LoggedRequests, seconds: float = 60, rate: float = 1) -> Script:
    found = config()
    site = read_site(found, range(20001, 20001 + count_servers(found)), Log())
    return requests.script(site, 8080, seconds, rate)


def test_paths_statuses_sizes_and_service_times_are_those_of_the_log() -> None:
    script = script_of(
        read(
            line(0, "GET /shop/a?b=1", 200, "1234", session("s2")),
            line(1, "POST /shop/b", 302, "-", session("s2")),
            line(2, "GET /elsewhere", 404, "77", "D=5000"),
        )
    )
    assert [request.split(b" HTTP")[0] for request in script.requests] == [
        b"GET /shop/a?b=1",
        b"POST /shop/b",
        b"GET /elsewhere",
    ]
    said = [request.split(b"X-Bench-Say: ")[1].split(b"\r\n")[0] for request in script.requests]
    assert said == [b"20000 1234 200", b"20000 0 302", b"5000 77 404"]
    assert [*script.status] == [200, 302, 404]
    assert [*script.owner] == [20002, 20002, 0]
    assert [*script.due_us] == [0, 1_000_000, 2_000_000]


def test_session_ids_of_the_log_are_not_sent_but_their_server_and_cookie_are() -> None:
    script = script_of(
        read(
            line(0, "GET /shop/a", more=session("s1")),
            line(1, "GET /shop/a", more=session("s1")),
            line(2, "GET /shop/a", more=session("s3", "zzzzbbbbccccddddeeeefff")),
        )
    )
    assert all(b"bbbbcccc" not in request for request in script.requests)
    # the same session, and so the same request
    assert [*script.which] == [0, 0, 1]
    assert b":s1; " in script.requests[0]
    assert b":s3; " in script.requests[1]
    assert [*script.owner] == [20001, 20001, 20003]


def test_answers_of_a_proxy_itself_and_what_is_no_request_are_not_sent_as_such() -> None:
    requests = read(
        line(0, "GET /shop/a", 503, "10", session("s1")),
        line(1, "GET /shop/ws", 101, "0", session("s1")),
        line(2, "BREW /shop/pot", 200, "10", session("s1")),
    )
    script = script_of(requests)
    assert [*script.status] == [200]
    assert requests.left_out == 2
    assert any("2 requests are left out" in note for note in requests.said)


def test_rate_makes_the_same_requests_come_faster() -> None:
    requests = read(*(line(second, f"GET /shop/{second}") for second in range(0, 50, 10)))
    assert [*script_of(requests, 60, 2).due_us] == [
        0,
        5_000_000,
        10_000_000,
        15_000_000,
        20_000_000,
    ]


def test_busiest_part_is_taken_and_the_first_of_several() -> None:
    assert busiest([0, 10, 50, 51, 52, 90], 5) == (2, 5)
    assert busiest([0, 1, 50, 51], 5) == (0, 2)
    assert busiest([0, 1, 2], 100) == (0, 3)
    requests = read(*(line(second, "GET /shop/a") for second in (0, 20, 21, 22, 40)))
    assert len(script_of(requests, 3)) == 3


def test_log_without_a_route_is_refused() -> None:
    world = World(config(), without_queue(Settings()))
    requests = LoggedRequests(Traffic(world))
    requests.traffic.close()
    with pytest.raises(ValueError, match="no request of the log has a Route"):
        script_of(requests)


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="the proxy under test needs a core of its own"
)
def test_log_of_a_user_runs_through_proxies_with_a_server_killed_half_way(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    clones = ("s1", "s2", "s3")
    log.write_bytes(
        b"\n".join(
            line(at // 50, f"GET /shop/{at}", 200, "3000", session(clones[at % 3], f"{at % 9:023}"))
            for at in range(150)
        )
    )
    argv = [
        sys.executable,
        "-m",
        "wsproxy",
        "bench",
        str(FILE),
        "--log",
        str(log),
        "--format",
        "common",
    ]
    argv += [
        "--host",
        "shop.example:80",
        "--only",
        "wsproxy,nginx",
        "--rounds",
        "1",
        "--seconds",
        "3",
    ]
    done = subprocess.run(
        [
            *argv,
            "--markdown",
            "--results",
            str(tmp_path / "kept"),
            "--html",
            str(tmp_path / "page.html"),
        ],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row.split("|") for row in done.stdout.splitlines() if row.startswith("| wsproxy |")]
    assert len(rows) == 2  # without and with a server killed
    for row in rows:
        cells = [cell.strip() for cell in row]
        assert cells[6] == "0"  # errors
        assert float(cells[8]) == 100  # affinity kept
    assert rows[0][9].strip() == "0"
    assert int(rows[1][9]) > 0  # sessions that moved
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert len([*(tmp_path / "kept").iterdir()]) == 1


def test_size_of_any_number_is_no_end_of_the_run() -> None:
    """A log may say what it wants; so large an answer is not sent."""
    script = script_of(read(line(0, "GET /shop/a", 200, "9" * 25), line(1, "GET /shop/b", 200, "7")))  # fmt: skip
    said = [request.split(b"X-Bench-Say: ")[1].split(b"\r\n")[0] for request in script.requests]
    assert [text.split()[1] for text in said] == [b"%d" % MOST_SIZE, b"7"]

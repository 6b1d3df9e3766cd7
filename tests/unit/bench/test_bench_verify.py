"""The proof before a measurement, on real proxies: who does the duties passes, who does not is turned away."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.process import COMMAND_S, WAIT_S
from wsproxy.bench import render, traffic
from wsproxy.bench.bed import cpu_time, own_config, running_bed
from wsproxy.bench.client import Answer, Client
from wsproxy.bench.floor import FLOOR
from wsproxy.bench.machine import PROJECT, assign_cores
from wsproxy.bench.measure import duties, programs_needed
from wsproxy.bench.processes import StartError, running
from wsproxy.bench.programs import NGINX, OPENSSL, TASKSET, WRK, missing
from wsproxy.bench.proxies import OURS, PROXIES, choose
from wsproxy.bench.scenarios import SCENARIOS, Scenario
from wsproxy.bench.site import HOST_NAME, Site, read_site
from wsproxy.bench.verify import answer_complaints, check_echo
from wsproxy.bench.wrk import command, run_wrk
from wsproxy.cli.bench import FULL_ROUNDS, FULL_WARMUP_SECONDS
from wsproxy.config.model import Log
from wsproxy.config.settings import ListenerSettings
from wsproxy.demo.ports import free_ports

PORT = 41004
COOKIE = traffic.cookie(1, traffic.session_cookie(1, "JSESSIONID", ":", ["17c3bq8d2"]))
ABSENT = [program.name for program in missing([NGINX, TASKSET, OPENSSL])]

needs_nginx = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
needs_wrk = pytest.mark.skipif(WRK.find() is None, reason="wrk is not installed")
needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="the proxy under test needs a core of its own"
)


def own_site() -> Site:
    """What is measured where nobody names a file."""
    return read_site(own_config(), (41001, 41002), Log())


def good_head() -> list[list[str]]:
    """What an app server sees behind a proxy that does its duty; names in the case that HAProxy sends."""
    pairs = [["host", f"{HOST_NAME}:{PORT}"], ["cookie", COOKIE]]
    pairs += [
        [name.lower(), value] for name, value in traffic.expected_private_headers(PORT).items()
    ]
    return pairs


def test_head_with_every_private_header_is_accepted() -> None:
    assert check_echo(good_head(), COOKIE, PORT) == []


@pytest.mark.parametrize("header", traffic.PRIVATE_HEADERS)
def test_missing_private_header_is_a_complaint(header: str) -> None:
    head = [pair for pair in good_head() if pair[0] != header.lower()]
    assert len(check_echo(head, COOKIE, PORT)) == 1


def test_private_header_next_to_the_clients_own_is_a_complaint() -> None:
    (complaint,) = check_echo([*good_head(), ["$WSRA", "203.0.113.66"]], COOKIE, PORT)
    assert complaint.startswith("$WSRA is ['127.0.0.1', '203.0.113.66']")


def test_private_header_of_the_client_that_passes_is_a_complaint() -> None:
    assert check_echo([*good_head(), ["$WSRU", "admin"]], COOKIE, PORT) == [
        "$WSRU of the client reached the app server"
    ]


@pytest.mark.parametrize("ids", [[], ["00"], ["(null)"], ["ab" * 32, "00"]])
def test_session_id_that_is_none_is_a_complaint(ids: list[str]) -> None:
    head = [*good_head(), *(["$WSSI", value] for value in ids)]
    assert check_echo(head, COOKIE, PORT, has_session_id=True) == [
        f"$WSSI is {ids}, not the id of a session"
    ]
    good = [*good_head(), ["$wssi", "aB" * 32]]
    assert check_echo(good, COOKIE, PORT, has_session_id=True) == []
    assert check_echo(good, COOKIE, PORT) == ["$WSSI of the client reached the app server"]


def test_changed_host_or_cookie_is_a_complaint() -> None:
    head = [
        ["host", "127.0.0.1:1"] if name == "host" else [name, value] for name, value in good_head()
    ]
    assert len(check_echo(head, COOKIE, PORT)) == 1
    assert len(check_echo(good_head(), COOKIE + "; more=1", PORT)) == 1


@needs_nginx
@needs_two_cores
def test_proxy_that_does_its_duty_is_admitted_and_leaves_nothing_behind() -> None:
    cores = assign_cores(os.sched_getaffinity(0))
    with running_bed(SCENARIOS["64k"], [PROXIES["nginx"]], cores) as bed:
        assert bed.failures == []
        (contestant,) = bed.contestants
        assert contestant.service is not None
        used = cpu_time(contestant.service)
        assert used.user_ticks + used.system_ticks >= 0
        assert contestant.wrk_script.exists()
    assert not contestant.wrk_script.parent.parent.exists()
    assert not contestant.service.is_running
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", contestant.port), 1),
    ):
        pass


Spoil = Callable[[str], str]


def _replaced(old: str, new: str) -> Spoil:
    def spoil(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return spoil


NO_AFFINITY = _replaced("@{map_blocks}", "map $host $c0_JSESSIONID { default c0; }")
NO_HEADER = _replaced("proxy_set_header $WSSN $host;", "")
# the upstream is told to close after each answer
NO_POOL = _replaced("Connection @{connection_value};", "Connection close;")
PASSES_SPOOFED = _replaced(
    "tcp_nodelay on;", "ignore_invalid_headers off; underscores_in_headers on;"
)
WRONG_STATUS = _replaced(
    "@{server_blocks}", "server { listen 127.0.0.1:@{listen_port}; return 503; }"
)
OTHER_BODY = _replaced("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_set_body short;")
CLOSES_ALWAYS = _replaced("keepalive_requests 1000000000;", "keepalive_requests 1;")
OLD_TLS = _replaced("TLSv1.2 TLSv1.3", "TLSv1.2")
OTHER_CIPHER = _replaced(
    "TLSv1.2 TLSv1.3;",
    "TLSv1.3; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
)
NO_CIPHER_HEADER = _replaced("proxy_set_header $WSCS $ssl_cipher;", "")
NO_SESSION_ID = _replaced("proxy_set_header $WSSI $ssl_session_id;", "")
PLAIN_SCHEME = _replaced("proxy_set_header $WSSC https;", "proxy_set_header $WSSC http;")
# has its own way with tickets, against OPENSSL_CONF
RESUMES = _replaced("TLSv1.2 TLSv1.3;", "TLSv1.3; ssl_conf_command NumTickets 2;")


@needs_nginx
@needs_two_cores
@pytest.mark.parametrize(
    ("scenario", "spoil", "complaint"),
    [
        ("small", NO_AFFINITY, r"a session of the server on \d+ was answered from \d+"),
        ("small", NO_HEADER, r"\$WSSN is \[\]"),
        ("small", NO_POOL, "upstream connections are not used again"),
        ("small", PASSES_SPOOFED, r"\$WSRU of the client reached the app server"),
        ("small", WRONG_STATUS, "status 503, not 200"),
        ("small", CLOSES_ALWAYS, "closes the client's connection"),
        ("close", NO_POOL, "upstream connections are not used again"),
        ("upload", OTHER_BODY, r"an upload arrived as 5 bytes, sha256 \w+"),
        ("upload", OTHER_BODY, r"upstream had read \d{3,4} bytes when it answered an upload"),
        ("tls", OLD_TLS, r"TLSv1.2 with .*, not TLSv1.3 with TLS_AES_256_GCM_SHA384"),
        ("tls", OTHER_CIPHER, r"TLSv1.3 with TLS_CHACHA20\w+, not TLSv1.3 with TLS_AES"),
        ("tls", NO_CIPHER_HEADER, r"\$WSCS is \[\], not \['TLS_AES_256_GCM_SHA384'\]"),
        ("tls", NO_SESSION_ID, r"\$WSSI is \[\], not the id of a session"),
        ("tls", PLAIN_SCHEME, r"\$WSSC is \['http'\], not \['https'\]"),
        ("tls-new", RESUMES, "resumes TLS sessions"),
    ],
)
def test_proxy_that_shirks_a_duty_is_not_measured(
    scenario: str, spoil: Spoil, complaint: str, tmp_path: Path
) -> None:
    template = tmp_path / "nginx.conf"
    template.write_text(spoil((render.TEMPLATES / "nginx.conf").read_text()))
    shirker = replace(PROXIES["nginx"], name="shirker", template=str(template))
    cores = assign_cores(os.sched_getaffinity(0))
    with running_bed(SCENARIOS[scenario], [shirker, PROXIES["nginx"]], cores) as bed:
        assert [contestant.proxy.name for contestant in bed.contestants] == ["nginx"]
        (failure,) = bed.failures
    assert failure.proxy == "shirker"
    assert any(re.match(complaint, reason) for reason in failure.reasons), failure.reasons


@needs_nginx
@needs_two_cores
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_admits_a_proxy_that_does_its_duty(scenario: Scenario) -> None:
    cores = assign_cores(os.sched_getaffinity(0))
    with running_bed(scenario, [PROXIES["nginx"], PROXIES["nginx-buffers"]], cores) as bed:
        assert bed.failures == []
        assert len(bed.contestants) == 2


@needs_nginx
@needs_two_cores
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_scenario_admits_us(scenario: Scenario) -> None:
    if scenario.tls and not hasattr(ListenerSettings, "certificates"):
        pytest.skip("wsproxy has no TLS listeners yet")
    cores = assign_cores(os.sched_getaffinity(0))
    with running_bed(scenario, [PROXIES[OURS]], cores) as bed:
        assert bed.failures == []


def test_answer_of_another_kind_is_a_complaint() -> None:
    good = Answer(200, b"x" * 128, 1, says_close=False, is_chunked=False, upload_bytes=None)
    assert answer_complaints(SCENARIOS["small"], good) == []
    assert answer_complaints(SCENARIOS["small"], replace(good, body=b"x")) == [
        "body of 1 bytes, not 128"
    ]
    chunked = replace(good, body=b"x" * SCENARIOS["chunked"].body_bytes)
    assert answer_complaints(SCENARIOS["chunked"], chunked) == ["answer is not chunked"]
    assert answer_complaints(SCENARIOS["chunked"], replace(chunked, is_chunked=True)) == []


@pytest.mark.parametrize("read", [None, 900, 2**20, 2**21])
def test_upload_that_was_answered_before_it_was_read_is_a_complaint(read: int | None) -> None:
    answer = Answer(200, b"x" * 128, 1, says_close=False, is_chunked=False, upload_bytes=read)
    assert answer_complaints(SCENARIOS["upload"], answer) == [
        f"upstream had read {read or 0} bytes when it answered an upload"
    ]
    assert answer_complaints(SCENARIOS["upload"], replace(answer, upload_bytes=2**20 + 1200)) == []


@pytest.mark.parametrize("is_closed", [True, False])
def test_connection_that_stays_open_is_noticed(is_closed: bool) -> None:
    """Who only says that it closes does not pass for one that does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(listener.getsockname()[1], None, patience_s=0.2 if not is_closed else 5)

        def answer() -> socket.socket:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
            )
            if is_closed:
                connection.close()
            return connection

        with ThreadPoolExecutor(1) as pool, closing(client):
            served = pool.submit(answer)
            assert client.exchange("GET", "/", [], b"").says_close
            assert client.is_closed_by_peer() is is_closed
            served.result().close()


@needs_nginx
def test_upstream_answers_in_four_chunks_and_reads_an_upload_first(tmp_path: Path) -> None:
    """What the scenarios promise, seen without a proxy between."""
    ports = tuple(free_ports(2))
    values = render.upstream_values(ports, 1, tmp_path)
    config = tmp_path / "upstream.conf"
    config.write_text(render.render("upstream.conf", values))
    render.write_static_files(tmp_path)
    argv = [str(NGINX.find()), "-p", str(tmp_path), "-c", str(config), "-e", "stderr"]
    with (
        running("upstream", argv, os.sched_getaffinity(0), tmp_path / "log", ports),
        socket.create_connection(("127.0.0.1", ports[0]), 5) as sock,
    ):
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Bench: chunked\r\n\r\n")
        with sock.makefile("rb") as answer:
            head = b"".join(iter(answer.readline, b"\r\n"))
            assert b"transfer-encoding: chunked" in head.lower()
            sizes = []
            while size := int(answer.readline(), 16):
                sizes.append(size)
                answer.read(size + 2)
            assert sizes == [8192] * 4
            answer.readline()
            # all but the last byte: no answer may come, so the one that comes must have seen it
            body = traffic.upload_body(2**20)
            sock.sendall(
                b"POST /x HTTP/1.1\r\nHost: a\r\nX-Bench: upload\r\nContent-Length: 1048576\r\n\r\n"
            )
            sock.sendall(body[:-1])
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.sendall(body[-1:])
            sock.settimeout(WAIT_S)
            assert sock.recv(15) == b"HTTP/1.1 200 OK"


@needs_wrk
def test_wrk_uploads_the_body_that_was_proved(tmp_path: Path) -> None:
    """Lua makes the same bytes as ``traffic.upload_body``."""
    seen: set[bytes] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # the last one: wrk leaves when its time is over
            seen.add(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        script = tmp_path / "request.lua"
        script.write_text(
            render.render("request.lua", render.wrk_values(SCENARIOS["upload"], own_site(), port))
        )
        wrk = WRK.find()
        assert wrk is not None
        core = min(os.sched_getaffinity(0))
        result = run_wrk(command(wrk, core, script, f"http://127.0.0.1:{port}", 1, 1), 1)
        server.shutdown()
    assert result.requests > 0
    assert seen == {traffic.upload_body(SCENARIOS["upload"].upload_bytes)}


def test_whole_run_is_over_within_half_an_hour() -> None:
    """With 15 s for each scenario to start its proxies, prove them, and end them."""
    rounds_s = sum(
        len(choose(None, name)) * FULL_ROUNDS * (scenario.seconds + FULL_WARMUP_SECONDS)
        for name, scenario in SCENARIOS.items()
        if scenario.is_usual
    )
    assert rounds_s + 15 * len(SCENARIOS) < 30 * 60


@needs_nginx
@needs_two_cores
def test_floor_and_no_proxy_at_all_are_measured_without_duties() -> None:
    """Both relay, with a body that goes through the pipe; the floor by a program that was compiled here."""
    if FLOOR.find() is None:
        pytest.skip("no C compiler")
    for name in ("64k", "upload", "close"):
        chosen = [PROXIES["direct"], PROXIES["floor"]]
        with running_bed(SCENARIOS[name], chosen, assign_cores(os.sched_getaffinity(0))) as bed:
            assert bed.failures == [], name
            assert len(bed.contestants) == len(chosen)


def test_tls_is_among_the_duties_and_needs_openssl_only_where_it_is() -> None:
    assert OPENSSL in programs_needed(SCENARIOS["tls"], [])
    assert OPENSSL not in programs_needed(SCENARIOS["small"], [])
    assert {WRK, NGINX} <= {*programs_needed(SCENARIOS["open50"], [])}
    assert programs_needed(SCENARIOS["failover"], []) == [TASKSET]  # stubs, and a load of our own
    assert len(duties(SCENARIOS["tls-new"])) == len(duties(SCENARIOS["small"])) + 3


def test_program_that_ends_at_once_is_a_start_error_with_its_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = [sys.executable, "-c", "import sys; sys.exit('no such directive')"]
    with (
        pytest.raises(StartError, match=r"ended with status 1: no such directive"),
        running("broken", argv, {min(os.sched_getaffinity(0))}, tmp_path / "log", (port,)),
    ):
        pass


@needs_nginx
@needs_wrk
@needs_two_cores
@pytest.mark.parametrize(
    "scenario", ["upload", "tls-new", "websocket", "open50", "failover", "reload"]
)
def test_smoke_run_of_other_scenarios_measures_and_ends_well(scenario: str) -> None:
    argv = [sys.executable, "-m", "wsproxy", "bench", "--smoke", "--only", "nginx,wsproxy"]
    done = subprocess.run(
        [*argv, "--scenario", scenario],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_nginx
@needs_wrk
@needs_two_cores
@pytest.mark.parametrize(
    "proxy",
    [
        "nginx",
        pytest.param(
            "wsproxy",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("wsproxy.cli.run") is None,
                reason="wsproxy has no run command yet",
            ),
        ),
    ],
)
def test_smoke_run_measures_and_ends_well(proxy: str) -> None:
    """The command of ``make bench-smoke``, as a user runs it, on one proxy."""
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", "bench", "--smoke", "--markdown", "--only", proxy],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {proxy} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) > 0
    assert cells[-1] == "0"


@needs_nginx
@needs_wrk
@needs_two_cores
def test_file_of_a_user_is_what_every_proxy_carries_out() -> None:
    """Two clusters, two cookies, weights; what nginx has no words for is said."""
    argv = [sys.executable, "-m", "wsproxy", "bench", "plugin-cfg/two-clusters.xml", "--smoke"]
    done = subprocess.run(
        [*argv, "--markdown", "--only", "wsproxy,nginx"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nginx cannot express: MaxConnections with a queue" in done.stdout
    assert "nothing is sent to the servers that it names" in done.stdout
    assert "5 upstream servers" in done.stdout

"""The proof before a measurement, on real proxies: who does the duties passes, who does not is turned away."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.macro import render, traffic
from bench.macro.bed import cpu_time, running_bed
from bench.macro.machine import PROJECT, assign_cores
from bench.macro.processes import StartError, free_ports, running
from bench.macro.programs import NGINX, TASKSET, WRK, missing
from bench.macro.proxies import PROXIES
from bench.macro.scenarios import SCENARIOS
from bench.macro.verify import check_echo

PORT = 41004
COOKIE = traffic.cookie(1, traffic.CLONE_IDS[0])
ABSENT = [program.name for program in missing([NGINX, TASKSET])]

needs_nginx = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
needs_wrk = pytest.mark.skipif(WRK.find() is None, reason="wrk is not installed")
needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="the proxy under test needs a core of its own"
)


def good_head() -> list[list[str]]:
    """What an app server sees behind a proxy that does its duty; names in the case that HAProxy sends."""
    pairs = [["host", f"{traffic.HOST_NAME}:{PORT}"], ["cookie", COOKIE]]
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


def _no_affinity(text: str) -> str:
    return text.replace("http://$bench_upstream", "http://every_server")


def _no_header(text: str) -> str:
    return text.replace("proxy_set_header $WSSN $host;", "")


def _no_pool(text: str) -> str:
    # the upstream is told to close after each answer
    return text.replace('proxy_set_header Connection "";', "proxy_set_header Connection close;")


def _passes_spoofed(text: str) -> str:
    return text.replace("tcp_nodelay on;", "ignore_invalid_headers off; underscores_in_headers on;")


def _wrong_status(text: str) -> str:
    return text.replace("proxy_pass http://$bench_upstream;", "return 503;")


@needs_nginx
@needs_two_cores
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_no_affinity, r"a session of the server on \d+ was answered from \d+"),
        (_no_header, r"\$WSSN is \[\]"),
        (_no_pool, "upstream connections are not used again"),
        (_passes_spoofed, r"\$WSRU of the client reached the app server"),
        (_wrong_status, "status 503, not 200"),
    ],
)
def test_proxy_that_shirks_a_duty_is_not_measured(
    spoil: Callable[[str], str], complaint: str, tmp_path: Path
) -> None:
    template = tmp_path / "nginx.conf"
    original = (render.TEMPLATES / "nginx.conf").read_text()
    template.write_text(spoil(original))
    assert template.read_text() != original
    shirker = replace(PROXIES["nginx"], name="shirker", template=str(template))
    cores = assign_cores(os.sched_getaffinity(0))
    with running_bed(SCENARIOS["small"], [shirker, PROXIES["nginx"]], cores) as bed:
        assert [contestant.proxy.name for contestant in bed.contestants] == ["nginx"]
        (failure,) = bed.failures
    assert failure.proxy == "shirker"
    assert any(re.match(complaint, reason) for reason in failure.reasons), failure.reasons


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
        [sys.executable, "-m", "bench.macro", "--smoke", "--markdown", "--only", proxy],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {proxy} |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) > 0
    assert cells[-1] == "0"

"""Output of wrk as ``wsproxy.bench.wrk`` reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wsproxy.bench.wrk import WrkError, WrkResult, command, parse_output, run_wrk

OUTPUT = """\
Running 5s test @ http://127.0.0.1:40001
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   581.10us  303.40us   9.46ms   94.61%
    Req/Sec    55.22k     4.71k   61.11k    86.00%
  274612 requests in 5.00s, 131.49MB read
WRK-RESULT {"requests":274612,"duration_us":5001234,"body_and_head_bytes":137878592,"connect_errors":1,\
"read_errors":2,"write_errors":3,"status_errors":4,"timeouts":5,"p50_us":571,"p99_us":1210}
"""


def test_result_line_is_found_among_wrks_own_text() -> None:
    result = parse_output(OUTPUT)
    assert result == WrkResult(274612, 5001234, 137878592, 1, 2, 3, 4, 5, 571, 1210)
    assert result.errors == 15
    assert result.requests_per_second == pytest.approx(54908.85, abs=0.01)


def test_output_without_result_is_an_error_that_shows_the_output() -> None:
    with pytest.raises(WrkError, match="unable to connect"):
        parse_output("unable to connect to 127.0.0.1:1 Connection refused\n")


@pytest.mark.parametrize("broken", ["WRK-RESULT {", 'WRK-RESULT {"requests":1}', "WRK-RESULT nan"])
def test_broken_result_is_an_error(broken: str) -> None:
    with pytest.raises(WrkError, match="cannot be read"):
        parse_output(broken)


def test_command_pins_one_thread() -> None:
    argv = command(
        Path("/usr/bin/wrk"), 3, Path("/x/request.lua"), "https://127.0.0.1:40001", 32, 5
    )
    assert argv[:4] == ["taskset", "-c", "3", "/usr/bin/wrk"]
    assert argv[argv.index("--threads") + 1] == "1"
    assert argv[argv.index("--connections") + 1] == "32"
    assert argv[argv.index("--duration") + 1] == "5s"
    assert argv[-1] == "https://127.0.0.1:40001"


def test_program_that_fails_is_an_error_with_its_message() -> None:
    with pytest.raises(WrkError, match=r"status 3.*no such host"):
        run_wrk(
            [
                sys.executable,
                "-c",
                "import sys; print('no such host', file=sys.stderr); sys.exit(3)",
            ],
            1,
        )

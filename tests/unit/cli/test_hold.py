"""What ``drain`` reads, and when a server is empty."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from tests.unit.cli.test_status import SERVER
from wsproxy.cli.hold import Length, is_empty, when_empty
from wsproxy.cli.main import main


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("30min", 1800), ("2h", 7200), ("1d", 86400)],
)
def test_length_of_time(text: str, seconds: float) -> None:
    assert Length().convert(text, None, None) == seconds
    assert Length().convert(seconds / 1, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "5 m", "m", "1h30m", "1e3", "٣"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="allowed is a length of time"):
        Length().convert(text, None, None)


@pytest.mark.parametrize(
    ("in_flight", "last_session_s", "empty"),
    [(0, -1, True), (1, -1, False), (0, 59.9, False), (0, 60, True), (1, 60, False)],
)
def test_server_is_empty_without_requests_and_live_sessions(
    in_flight: int, last_session_s: float, empty: bool
) -> None:
    server = msgspec.structs.replace(SERVER, in_flight=in_flight, last_session_s=last_session_s)
    assert is_empty(server, 60) is empty


@pytest.mark.parametrize(
    ("quiet_in", "words"),
    [
        (3, "some seconds"),
        (10, "10 s"),
        (59, "50 s"),
        (119, "110 s"),
        (120, "2 min"),
        (1799, "29 min"),
    ],
)
def test_time_until_it_is_empty_is_never_told_too_long(quiet_in: float, words: str) -> None:
    assert when_empty(quiet_in) == f"empty in {words} at the earliest"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["drain"], "found neither; allowed is a SERVER or HOST, or --all"),
        (["resume"], "found neither; allowed is a SERVER or HOST, or --all"),
        (["drain", "s1", "--all"], "found s1 and --all; allowed is a SERVER or HOST, or --all"),
        (["drain", "--all", "--wait"], "--for and --wait are for servers"),
        (["drain", "--all", "--for", "2h"], "--for and --wait are for servers"),
    ],
)
def test_whole_proxy_or_a_server(tmp_path: Path, words: list[str], found: str) -> None:
    """Nobody is asked before that is clear."""
    done = CliRunner().invoke(main, [*words, "--socket", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert found in " ".join(done.output.split())

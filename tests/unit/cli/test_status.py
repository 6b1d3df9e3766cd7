"""What ``status`` says of servers that are not simply up; nothing from outside reaches the terminal as it is."""

from __future__ import annotations

import msgspec
import pytest

from wsproxy.admin.control_messages import ServerStatus
from wsproxy.cli.status import lines_of, print_servers

SERVER = ServerStatus(
    cluster="shop", server="s1", address="app1:9080", role="primary", clone_id="c1", state="up",
    since="2026-11-30T06:00:00+00:00", why="", by="", until="", hold="", marked_down=False, retry_in_s=0,
    weight=2, configured_weight=2, max_connections=-1, configured_max_connections=-1, set_by="", set_why="",
    set_at="", in_flight=0, sessions=0, last_session_s=-1, requests=0, by_affinity=0, share=0, errors=0,
)  # fmt: skip
NOON, LATER = "2026-11-30T12:00:00+00:00", "2026-11-30T14:00:00+00:00"


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, []),
        (
            {"state": "drained", "hold": "drain", "since": NOON, "by": "anna (uid 7)", "until": LATER, "why": "disk"},
            [f"shop/s1: drained since {NOON}, by anna (uid 7), until {LATER}: disk"],
        ),
        (
            {"state": "down", "marked_down": True, "since": NOON, "by": "worker 1", "why": "refused", "retry_in_s": 42.0},
            [f"shop/s1: marked down since {NOON}, by worker 1, tried again in 42 s: refused"],
        ),
        (
            {"state": "down", "hold": "down", "since": NOON, "by": "root", "marked_down": True},
            [
                f"shop/s1: taken down since {NOON}, by root",
                "shop/s1: marked down besides: requests failed there",
            ],
        ),
        (
            {"weight": 5, "max_connections": 9, "set_by": "anna", "set_at": NOON, "set_why": "slow"},
            [f"shop/s1: weight 5 instead of 2, MaxConnections 9 instead of -1, set by anna at {NOON}: slow"],
        ),
    ],
    ids=["up", "drained", "marked down", "both", "numbers"],
)  # fmt: skip
def test_lines(fields: dict[str, object], lines: list[str]) -> None:
    assert lines_of(msgspec.structs.replace(SERVER, **fields)) == lines


def test_names_and_reasons_are_no_escape_codes(capsys: pytest.CaptureFixture[str]) -> None:
    evil = msgspec.structs.replace(
        SERVER, server="s\x1b[2J\u202e", state="down", hold="down", why="\x07", by="\x9b"
    )
    print_servers([evil])
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert "s\\x1b[2J\\u202e" in printed

"""
What is counted without a socket: ``python -m bench.instructions.subject FOLDER [PIECE ...]``, under callgrind (``count`` starts it).

Each piece runs three times: to be warm, SHORT times and LONG times, with a mark after each. callgrind writes what it counted
when a mark is called (``--dump-before``); the difference of the last two is what LONG - SHORT calls cost.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench.micro import affinity, heads, match, plugin_log
from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.decide.edits import rewrite_request
from wsproxy._fast.decide.match import RouteTable
from wsproxy._fast.http.head import read_request
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy.config.access_format import DEFAULT, parse_format
from wsproxy.config.settings import Settings
from wsproxy.config.xml import parse_config
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.view import make_view
from wsproxy.replay.world import World

SHORT, LONG = 50, 250
MARK = "getppid"  # of libc: nobody else asks for it here
Run = Callable[[int], object]


def mark() -> None:
    """Callgrind writes what it counted until here."""
    os.getppid()


def repeated(call: Callable[[], object]) -> Run:
    """The call so many times; what Python's loop takes is counted, too, and always the same."""

    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def matching(shape: Callable[[], tuple[RouteTable, list[match.Query]]]) -> Run:
    """So many different requests against a table."""
    table, queries = shape()
    queries = (queries * LONG)[:LONG]
    return lambda count: table.count_matches(queries[:count], 1)


def deciding(name: str) -> Run:
    """One request decided so many times, in C as a worker does it."""
    config = parse_config(affinity.make_config(), "plugin-cfg.xml").config
    plan = build_plan(config, Settings(), SharedState(64, 4))
    plan.apply()
    target, cookies = affinity.requests()[name]
    decider, view = Decider(0), make_view(plan, with_pools=False)
    request = ReplayedRequest(decider, view, b"h", 80, target, cookies)
    now = now_ms()

    def run(count: int) -> None:
        assert plan is not None  # its tables are the decider's
        request.count_decisions(now, count)

    return run


def replaying(folder: Path) -> Run:
    """So many requests of a log."""
    world = World(parse_config(plugin_log.make_config(), "plugin-cfg.xml").config)

    def run(count: int) -> None:
        path = folder / f"{count}.log"
        if not path.exists():
            plugin_log.write_log(path, count, plugin_log.PLUGIN_DEBUG)
        plugin_log.replay_seconds(path, world, count)

    return run


def pieces(folder: Path) -> dict[str, Callable[[], Run]]:
    """How each is made, by name."""
    head = heads.head(b"/shop/basket/view.jsp")
    access = AccessLog(parse_format(DEFAULT), lambda _lines, _count: None, heads.NAMES)
    return {
        "head scan": lambda: repeated(lambda: read_request(head)),
        "match, 1 route": lambda: matching(match.one_route),
        "match, 10,000 routes": lambda: matching(match.own_groups),
        "affinity": lambda: deciding("session among cookies"),
        "decide": lambda: deciding("no cookie"),
        "rewrite": lambda: repeated(lambda: rewrite_request(head, capacity=heads.ROOM)),
        "access log line": lambda: repeated(lambda: access.line_of(head)),
        "replayed request": lambda: replaying(folder),
    }


def main() -> None:
    """Runs all, or those that were named, and prints their names in the order of their dumps."""
    wanted = sys.argv[2:]
    gc.disable()
    for name, make in pieces(Path(sys.argv[1])).items():
        if wanted and name not in wanted:
            continue
        print(name)
        run = make()
        gc.collect()
        run(SHORT)
        run(LONG)
        mark()
        run(SHORT)
        mark()
        run(LONG)
        mark()


if __name__ == "__main__":
    main()

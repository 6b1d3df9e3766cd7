"""Log files that a running proxy writes, and what a replay makes of them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.support.process import WAIT_S
from wsproxy.config.settings import Settings
from wsproxy.config.xml import parse_config
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.outcome import DIFFERS, RequestOutcome
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World


def lines_of(path: Path) -> list[str]:
    """Those that are there; none where there is no file yet."""
    return path.read_text().splitlines() if path.exists() else []


async def lines_with(path: Path, pattern: str = "", count: int = 1) -> list[str]:
    """The lines of the file once so many of them match; they are written a moment later."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        lines = lines_of(path)
        if sum(bool(re.search(pattern, line)) for line in lines) >= count:
            return lines
        assert asyncio.get_running_loop().time() < deadline, "\n".join(lines)
        await asyncio.sleep(0.02)  # a file says nothing when it grows


def replay_own(
    folder: Path, settings: Settings | None = None, renamed: tuple[bytes, bytes] = (b"", b"")
) -> tuple[Replay, list[RequestOutcome]]:
    """The proxy's own http_plugin.log, decided again with its own plugin-cfg.xml; ``renamed``: in that."""
    outcomes: list[RequestOutcome] = []
    text = (folder / "plugin-cfg.xml").read_bytes()
    world = World(parse_config(text.replace(*renamed), "plugin-cfg.xml").config, settings)
    reading = Reading()
    replay = Replay(world, reading, outcomes.append)
    for lines in read_logs([str(folder / "http_plugin.log")], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    assert (reading.foreign, reading.glued) == (0, 0)
    return replay, outcomes


def described(outcomes: list[RequestOutcome]) -> str:
    """What differs, for people."""
    return "\n".join(
        f"{outcome.lines} {outcome.method} {outcome.uri} {check.what}: logged {check.logged!r}, ours {check.ours!r} {check.note}"
        for outcome in outcomes
        for check in outcome.checks
        if check.result == DIFFERS
    )

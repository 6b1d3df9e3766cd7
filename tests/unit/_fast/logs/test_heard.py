"""Whom a follower of a log asks and tells: each through a method that somebody must have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.plugin_log import PluginLog, make_world
from wsproxy._fast.logs.heard import Grouped, Heard, Matched, RareTries, Routes
from wsproxy._fast.logs.lines import LogLine
from wsproxy.logs.messages import Code
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.replay import Replay


@pytest.mark.parametrize("kind", [Heard, RareTries, Routes])
def test_what_nobody_answers_is_an_error(kind: Any) -> None:
    asked = kind.__new__(kind)
    names = {name for name in vars(kind) if callable(vars(kind)[name]) and name[0] != "_"}
    assert names
    arguments: dict[str, tuple[Any, ...]] = {
        "find_uri": ("g", "/a"),
        "rebuild": (None, "g"),
        "explain_affinity": (None, False),
        "check_first": (None, (0, 0, 0), 1),
        "read_tolerantly": (0, b"", 0),
        "keep_check": (None, "what", "same", "", "", 1, ""),
        "judge_going_on": (None, 1),
        "meet_stranger": (None, 1),
        "judge_size": (None, 1),
        "new_process": (),
    }
    for name in names:
        with pytest.raises(NotImplementedError):
            getattr(asked, name)(*arguments.get(name, (None,)))


def test_routes_need_what_they_are_asked_for() -> None:
    with pytest.raises(TypeError):
        Routes(None, ())  # type: ignore[arg-type, abstract]


def test_what_a_line_means_has_types() -> None:
    assert Matched("a", "b", b"h", 80).port == 80
    assert Grouped("g", 1, 2, b"c", b"u").exact == 2
    with pytest.raises(TypeError):
        Matched("a", None, b"h", 80)  # type: ignore[arg-type]


def test_rare_lines_are_handed_on_and_common_ones_are_not(tmp_path: Path) -> None:
    heard: list[int] = []

    class Listening(Replay):
        def on_rare(self, line: LogLine) -> None:
            heard.append(line.code)
            super().on_rare(line)

    log = PluginLog()
    log.write(Code.LOADED)
    log.simple(clone="c1")
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    reading = Reading()
    replay = Listening(make_world(), reading)
    for lines in read_logs([str(path)], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    assert heard == [Code.LOADED]
    assert replay.summary.decisions > 0

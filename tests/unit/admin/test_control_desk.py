"""Words at the desk: kept in the file, told in the ring of changes, and refused where they are none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.admin.test_state_file import plan_of
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.tell.witness import LogLevel
from wsproxy.admin.control_desk import ControlDesk
from wsproxy.admin.control_messages import KillQuestion, LogLevelQuestion, Word
from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.config.settings_told import AdminSettings
from wsproxy.errors import StartError
from wsproxy.logs.plugin_writer import LogPlan

WHO = "anna (uid 1003)"
LOG = LogPlan("/nowhere/http_plugin.log", int(LogLevel.ERROR), "new")


def proxy_of(folder: Path, state_file: str = "", log: LogPlan | None = None) -> LiveProxy:
    plan = plan_of(folder, "a", "b")
    admin = AdminSettings(state_file=state_file)
    settings = msgspec.structs.replace(plan.settings, admin=admin)
    plan = replace(plan, settings=settings, log_path="" if log is None else log.path)
    return LiveProxy(ProxyFacts(os.getpid(), "", 1, plan, log))


async def test_word_is_in_the_file_when_it_is_answered(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    desk = ControlDesk(proxy_of(tmp_path, str(file)))
    answer = await desk.hold("drain", Word("a"), WHO)
    assert answer.warnings == []
    assert json.loads(file.read_text())["servers"][0]["server"] == "a"
    await desk.hold("resume", Word("a"), WHO)
    assert json.loads(file.read_text())["servers"] == []


async def test_file_that_cannot_be_written_is_a_warning_and_the_word_holds(tmp_path: Path) -> None:
    """A full disk must not keep anybody from taking a server out."""
    desk = ControlDesk(proxy_of(tmp_path, str(tmp_path / "none" / "state.json")))
    answer = await desk.hold("drain", Word("a"), WHO)
    [warning] = answer.warnings
    assert (
        "cannot be written: No such file or directory: a restart will forget this, unless there is room before"
        in warning
    )
    assert answer.results[0].server.state == "drained"
    assert (await desk.hold("drain", Word("a"), WHO)).warnings == []  # nothing to be written


async def test_level_of_the_log_is_said_and_taken_back(tmp_path: Path) -> None:
    proxy = proxy_of(tmp_path, log=LOG)
    desk = ControlDesk(proxy)
    answer = await desk.set_log_level(LogLevelQuestion("Trace"), WHO)
    assert (answer.level, answer.configured, answer.changed) == ("Trace", "Error", True)
    assert proxy.state.log_level == LogLevel.TRACE
    assert not (await desk.set_log_level(LogLevelQuestion("Trace"), WHO)).changed
    answer = await desk.set_log_level(LogLevelQuestion("file"), WHO)
    assert (answer.level, proxy.state.log_level) == ("Error", 0)
    changes = proxy.state.changes()
    assert [change.kind for change in changes] == [ChangeKind.LOG_LEVEL_SET] * 2
    assert changes[0].detail == f"{WHO}, LogLevel Error -> Trace"
    with pytest.raises(StartError, match="found Loud; allowed is Error, Warn"):
        await desk.set_log_level(LogLevelQuestion("Loud"), WHO)


async def test_level_of_no_log_is_refused(tmp_path: Path) -> None:
    desk = ControlDesk(proxy_of(tmp_path))
    assert (await desk.set_log_level(None, WHO)).plugin_log == ""
    with pytest.raises(StartError, match=r"no http_plugin\.log is written"):
        await desk.set_log_level(LogLevelQuestion("Trace"), WHO)


@pytest.mark.parametrize("text", ["", "1-2", "0000107F-0000002a", "0000107f-0000002a "])
async def test_what_is_no_id_of_a_request_is_refused(tmp_path: Path, text: str) -> None:
    desk = ControlDesk(proxy_of(tmp_path))
    with pytest.raises(StartError, match="allowed is one as `wsproxy requests` shows it"):
        await desk.kill(KillQuestion(text), WHO)


async def test_without_workers_nothing_runs(tmp_path: Path) -> None:
    desk = ControlDesk(proxy_of(tmp_path))
    answer = await desk.requests()
    assert (answer.total, answer.requests, answer.silent) == (0, [], [])
    with pytest.raises(StartError, match="found no request 0000107f-0000002a that runs"):
        await desk.kill(KillQuestion("0000107f-0000002a"), WHO)

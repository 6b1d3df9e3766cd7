"""The agent where its disk is full, and where a pid file or a drill is not what it seems; the rest is in tests/acceptance/test_pair.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wsproxy.ha.pair.agent import Agent
from wsproxy.ha.pair.ask import Question, Reply
from wsproxy.ha.pair.drill_acts import ActError, Acts
from wsproxy.ha.pair.folder import Folder
from wsproxy.ha.pair.keepalived import CONF, Keepalived
from wsproxy.ha.pair.rules import Event, State


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path / "ha")
    found.make()
    return found


async def test_state_that_cannot_be_kept_is_a_state(folder: Folder) -> None:
    """What follows from an event is done on a full disk as well: an exception would leave half of it."""
    agent = Agent(folder)
    folder.file(".state.json.new").mkdir()  # what is written there fails, as on a full disk
    folder.file(".proxy.pid.new").mkdir()
    agent.turn(Event.START_PRIMARY)
    agent._note_proxy(4711)
    assert agent.node.state is State.PRIMARY


async def test_drill_may_not_say_yes_to_itself(folder: Folder) -> None:
    """Whoever has a key may break the node for the minutes that its operator allows, and may not make them more."""
    agent = Agent(folder)
    acts = Acts(agent, nothing)
    await acts.allow({"minutes": 1})
    for each in ("allow-drill", "configure", "stop", None):
        with pytest.raises(ActError, match="allowed in a drill is start or failover"):
            await acts.do("command", {"command": each})
    with pytest.raises(ActError, match="part of no pair"):
        await acts.do("command", {"command": "start"})


async def nothing(_question: Question) -> Reply:
    return Reply({})


def test_pid_of_somebody_else_is_not_keepalived(folder: Folder) -> None:
    """Though its command line names our file, as an editor's does: it would be ended by signals that it does not know."""
    kept = Keepalived(folder, lambda _: None, lambda: None)
    waits = [sys.executable, "-c", "print('here', flush=True); input()", str(folder.file(CONF))]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"here\n"
        for name in ("keepalived.pid", "vrrp.pid"):
            folder.write(name, f"{other.pid}\n")
        assert not kept.adopt()
        assert kept.pid is None
        kept.forget_others()  # else keepalived ends at once: it seems to run already
        assert not folder.file("keepalived.pid").exists()
        assert not folder.file("vrrp.pid").exists()
        other.communicate(b"\n")
    assert other.returncode == 0

"""What the agent does where its disk does not take what it wants to keep; the rest is in tests/acceptance/test_pair.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.ha.pair.agent import Agent
from wsproxy.ha.pair.ask import Question, Reply
from wsproxy.ha.pair.drill_acts import ActError, Acts
from wsproxy.ha.pair.folder import Folder
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

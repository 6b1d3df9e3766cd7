"""Who is asked and told: each call that the fast path makes is a method of ``slow``, and nothing is called by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wsproxy._fast
from wsproxy._fast.proxy.exchange import Phase, phases_after
from wsproxy._fast.proxy.slow import Listener, Slow
from wsproxy.dataplane.slowpath import SlowPath
from wsproxy.dataplane.witness import Witness

FOLDER = Path(wsproxy._fast.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.pyx"))


@pytest.mark.parametrize(
    ("field", "kind", "derived"), [("slow", Slow, SlowPath), ("witness", Listener, Witness)]
)
def test_every_call_is_a_typed_method_and_every_method_is_called(
    field: str, kind: type, derived: type
) -> None:
    """Cython looks up by name what a class does not declare: here it is a failure."""
    called = {
        name
        for source in SOURCES
        for name in re.findall(rf"engine\.{field}\.(\w+)\(", source.read_text())
    }
    declared = {name for name in vars(kind) if not name.startswith("_")}
    assert called == declared
    # What is not the slow path's own stands in the base.
    assert all(name in vars(derived) for name in declared)


def test_nothing_is_called_by_its_name() -> None:
    """``getattr`` with a word that is not written there."""
    found = {
        (source.name, name)
        for source in SOURCES
        for name in re.findall(r"getattr\([\w.]+, ([^\"')]+)\)", source.read_text())
    }
    assert found == set()


def test_phases_follow_each_other_by_the_table() -> None:
    over = {Phase.LINGERING, Phase.CLOSED}
    assert {each: phases_after(each) - over for each in Phase} == {
        Phase.IDLE: {Phase.CONNECTING, Phase.ANSWERING},
        Phase.CONNECTING: {Phase.CONNECTING, Phase.RELAYING, Phase.ANSWERING},
        Phase.RELAYING: {Phase.IDLE, Phase.CONNECTING, Phase.TUNNELLING, Phase.ANSWERING},
        Phase.TUNNELLING: set(),
        Phase.ANSWERING: {Phase.IDLE},
        Phase.LINGERING: set(),
        Phase.CLOSED: set(),
    }
    assert all(Phase.CLOSED in phases_after(each) for each in Phase)


def test_a_phase_is_changed_in_one_place() -> None:
    proxy = [*(FOLDER / "proxy").glob("*.p[yx][xd]")]
    bare = [each.name for each in proxy for _ in re.findall(r"self\.phase = ", each.read_text())]
    assert bare == ["exchange.pxd"]

"""Words over a restart: whole, versioned, and never against a file that was edited since."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from wsproxy._fast.decide.operate import said_of
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.control import Control
from wsproxy.admin.control_messages import MaintenanceWord, Numbers, Word
from wsproxy.admin.state_file import Told, holds_words, restore_state, write_state
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan

SERVER = (
    '<Server Name="{name}" LoadBalanceWeight="{weight}" MaxConnections="{most}">'
    '<Transport Hostname="h" Port="1"/></Server>'
)


def plan_of(folder: Path, *names: str, weight: int = 2, most: int = 50) -> Plan:
    file = folder / "plugin-cfg.xml"
    servers = "".join(SERVER.format(name=name, weight=weight, most=most) for name in names)
    more = (
        '<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="u"/>'
    )
    file.write_text(f'<Config><ServerCluster Name="farm">{servers}</ServerCluster>{more}</Config>')
    plan = build_plan(load_config(file).config, Settings(), SharedState(8, 2))
    plan.apply()
    return plan


def saved(folder: Path, *words: tuple[str, Word], numbers: Numbers | None = None) -> str:
    """The path of a file with these words."""
    control = Control(plan_of(folder, "a", "b"), "")
    for verb, word in words:
        control.hold(verb, word, "root (uid 0)")
    if numbers is not None:
        control.set_numbers(numbers, "root (uid 0)")
    path = str(folder / "state.json")
    write_state(path, control)
    return path


def lines(told: list[Told]) -> str:
    return "\n".join(f"{severity} {line}" for severity, line in told)


def test_words_hold_again(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        ("drain", Word("a", "new kernel", 3600)),
        ("down", Word("b")),
        numbers=Numbers("b", weight=5, max_connections=7),
    )
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert (
        os.listdir(tmp_path) == ["plugin-cfg.xml", "state.json"] or len(os.listdir(tmp_path)) == 2
    )
    plan = plan_of(tmp_path, "a", "b")
    told = restore_state(path, plan)
    assert {severity for severity, _ in told} == {"info"}
    live = plan.clusters[0]
    assert live is not None
    first, second = said_of(live, 0), said_of(live, 1)
    assert (first.hold, first.who, first.why) == (Hold.DRAIN, "root (uid 0)", "new kernel")
    assert 0 < first.until_ms - time.time_ns() // 1_000_000 <= 3600_000
    assert (second.hold, second.weight, second.limit) == (Hold.TAKEN_DOWN, 5, 7)
    assert (live.server_state(1)["start_weight"], live.server_state(1)["max_connections"]) == (5, 7)
    kinds = [change.kind for change in plan.state.changes()]
    assert kinds == [ChangeKind.DRAIN_ON, ChangeKind.DOWN_ON, ChangeKind.NUMBERS_SET]


def test_since_when_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, ("drain", Word("a")))
    since = json.loads(Path(path).read_text())["servers"][0]["hold"]["since_ms"]
    plan = plan_of(tmp_path, "a")
    restore_state(path, plan)
    live = plan.clusters[0]
    assert live is not None
    assert said_of(live, 0).since_ms == since


def test_file_that_was_edited_wins(tmp_path: Path) -> None:
    """For the number that it says otherwise, and only for that."""
    path = saved(tmp_path, numbers=Numbers("a", weight=5, max_connections=7))
    plan = plan_of(tmp_path, "a", "b", weight=3)
    told = lines(restore_state(path, plan))
    assert "warning" in told
    assert (
        "farm/a: plugin-cfg.xml wins: weight is 3 (it was 2), not 5, as root (uid 0) said" in told
    )
    assert "farm/a: MaxConnections is 7" in told
    live = plan.clusters[0]
    assert live is not None
    assert (said_of(live, 0).weight, said_of(live, 0).limit) == (None, 7)


def test_server_that_is_gone_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, ("drain", Word("b")))
    assert "warning" in (told := lines(restore_state(path, plan_of(tmp_path, "a"))))
    assert "farm/b is not in plugin-cfg.xml any more: dropped" in told


def test_hold_whose_time_is_over_does_not_return(tmp_path: Path) -> None:
    path = saved(tmp_path, ("drain", Word("a", for_s=3600)))
    text = json.loads(Path(path).read_text())
    text["servers"][0]["hold"]["until_ms"] = 1
    Path(path).write_text(json.dumps(text))
    plan = plan_of(tmp_path, "a")
    assert "that is over" in lines(restore_state(path, plan))
    assert plan.state.changes() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ('{"version": 2, "servers": "otherwise"}', "found version 2; this wsproxy reads 1"),
        (
            '{"version": 1, "written_at": "", "servers": [{"cluster": "farm"}]}',
            "missing required field",
        ),
    ],
)
def test_file_that_cannot_be_used_keeps_nobody_from_starting(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    told = restore_state(str(path), plan_of(tmp_path, "a"))
    assert [severity for severity, _ in told] == ["warning"]
    assert said in told[0][1]


def test_no_file_is_no_news(tmp_path: Path) -> None:
    assert restore_state(str(tmp_path / "none"), plan_of(tmp_path, "a")) == []
    nowhere = restore_state(str(tmp_path / "none" / "file"), plan_of(tmp_path, "a"))
    assert "its folder is not there" in lines(nowhere)
    assert "cannot be read" in restore_state(str(tmp_path), plan_of(tmp_path, "a"))[0][1]


def test_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = saved(tmp_path, ("drain", Word("a")))
    before = Path(path).read_text()
    control = Control(plan_of(tmp_path, "a"), "")
    Path(f"{path}.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_state(path, control)
    assert Path(path).read_text() == before


def test_maintenance_holds_again_unless_it_is_over_or_its_cluster_is_gone(tmp_path: Path) -> None:
    control = Control(plan_of(tmp_path, "a"), "")
    assert control.maintain(MaintenanceWord(True, "farm", "release", 3600), "root (uid 0)")
    assert control.maintain(MaintenanceWord(True), "root (uid 0)")
    path = tmp_path / "state.json"
    write_state(str(path), control)
    assert holds_words(str(path))
    plan = plan_of(tmp_path, "a")
    said = lines(restore_state(str(path), plan))
    assert "info admin.state_file" in said
    assert "farm is in maintenance by root (uid 0) at " in said
    assert "the whole proxy is in maintenance by root (uid 0) at " in said
    again = Control(plan, "").maintenance()
    assert [(each.cluster, each.why) for each in again] == [("", ""), ("farm", "release")]
    assert again[1].until
    saved = json.loads(path.read_text())
    saved["maintenance"] = [
        {"cluster": "gone", "who": "x", "why": "", "since_ms": 1, "until_ms": 0},
        {"cluster": "farm", "who": "x", "why": "", "since_ms": 1, "until_ms": 2},
    ]
    path.write_text(json.dumps(saved))
    plan = plan_of(tmp_path, "a")
    said = lines(restore_state(str(path), plan))
    assert "gone is not in plugin-cfg.xml any more: its maintenance is dropped" in said
    assert "farm was in maintenance by x" in said
    assert Control(plan, "").maintenance() == []

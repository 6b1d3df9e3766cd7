"""Rows of ``status``, and what words are refused: the values, without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.admin.test_state_file import plan_of
from wsproxy._fast.state.segment import now_ms
from wsproxy.admin.control import Control
from wsproxy.admin.control_messages import Numbers, Word
from wsproxy.dataplane.plan import Plan
from wsproxy.errors import StartError

WHO = "anna (uid 1003)"
STARTED = "2026-11-30T06:00:00+00:00"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, "a", "b", "c")


@pytest.fixture
def control(plan: Plan) -> Control:
    return Control(plan, STARTED)


def test_row_of_a_server_that_is_well(control: Control) -> None:
    row = control.rows("a")[0]
    assert (row.cluster, row.server, row.address, row.role) == ("farm", "a", "h:1", "primary")
    assert (row.state, row.since, row.why, row.by, row.hold) == ("up", STARTED, "", "", "")
    assert (row.weight, row.max_connections, row.in_flight, row.sessions) == (2, 50, 0, 0)
    assert row.last_session_s == -1
    assert [each.server for each in control.rows()] == ["a", "b", "c"]


def test_row_of_a_server_that_requests_have_marked(control: Control, plan: Plan) -> None:
    live = plan.clusters[0]
    assert live is not None
    live.set_down(0, 3, now_ms(), 111, b"connection refused", b"GET /x HTTP/1.1\r\n\r\n")
    row = control.rows("a")[0]
    assert (row.state, row.marked_down, row.why, row.by) == (
        "down", True, "connection refused", "worker 3",
    )  # fmt: skip
    assert 0 < row.retry_in_s <= 60
    assert row.since >= "2026"
    control.hold("drain", Word("a"), WHO)
    row = control.rows("a")[0]
    assert (row.state, row.marked_down, row.by) == ("drained", True, WHO)
    [result] = control.hold("up", Word("a"), WHO)
    assert result.changed
    assert "marked down" in result.note
    row = control.rows("a")[0]
    assert (row.state, row.marked_down) == ("drained", False)


def test_share_is_that_of_the_cluster(control: Control, plan: Plan) -> None:
    live = plan.clusters[0]
    assert live is not None
    for _ in range(3):
        live.take_server(0, 0, now_ms())
    live.take_server(1, 0, now_ms())
    assert [(each.requests, each.share) for each in control.rows()] == [
        (3, 0.75),
        (1, 0.25),
        (0, 0),
    ]


def test_pairs_of_words_do_not_mix(control: Control) -> None:
    control.hold("down", Word("a"), WHO)
    [result] = control.hold("resume", Word("a"), WHO)
    assert (result.changed, result.server.state) == (False, "down")
    assert "`wsproxy up`" in result.note
    control.hold("drain", Word("b"), WHO)
    [result] = control.hold("up", Word("b"), WHO)
    assert (result.changed, result.server.state) == (False, "drained")
    assert "`wsproxy resume`" in result.note
    [result] = control.hold("drain", Word("a"), WHO)
    assert (result.changed, result.server.state) == (True, "drained")
    assert "sessions go there again" in result.note


def test_server_is_up_since_its_hold_ended(control: Control) -> None:
    control.hold("drain", Word("a"), WHO)
    control.hold("resume", Word("a", "done"), WHO)
    row = control.rows("a")[0]
    assert (row.state, row.by) == ("up", "an operator")
    assert row.since > STARTED
    assert row.why == f"{WHO}: done"


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("drain", Word("a", for_s=-1), "for_s: found -1; allowed is"),
        ("drain", Word("a", for_s=1e12), "for_s: found 1e+12; allowed is"),
        ("resume", Word("a", for_s=5), "allowed with drain and down only"),
        ("drain", Word("a", "x" * 121), "reason: found 121 bytes"),
        ("drain", Word("a", "two\nlines"), "reason: found 9 bytes"),
        ("down", Word("z"), "found z, which is no host"),
    ],
)
def test_word_that_cannot_be_is_refused(
    control: Control, plan: Plan, verb: str, word: Word, said: str
) -> None:
    with pytest.raises(StartError) as refused:
        control.hold(verb, word, WHO)
    assert said in str(refused.value)
    assert plan.state.changes() == []


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (Numbers("a"), "found nothing to set"),
        (Numbers("a", weight=-1), 'weight: found -1; allowed is 0..100000, or "file"'),
        (Numbers("a", max_connections=-2), "max_connections: found -2; allowed is -1..1000000"),
    ],
)
def test_number_that_cannot_be_is_refused(control: Control, numbers: Numbers, said: str) -> None:
    with pytest.raises(StartError) as refused:
        control.set_numbers(numbers, WHO)
    assert said in str(refused.value)


def test_number_is_told_beside_that_of_the_file(control: Control) -> None:
    control.set_numbers(Numbers("a", weight=9, reason="bigger machine"), WHO)
    row = control.rows("a")[0]
    assert (row.weight, row.configured_weight, row.set_by, row.set_why) == (
        9, 2, WHO, "bigger machine",
    )  # fmt: skip
    [result] = control.set_numbers(Numbers("a", weight="file"), WHO)
    assert (result.server.weight, result.server.set_by) == (2, "")

"""Lines of a log become requests: each has its own, whatever stands between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.plugin_log import PluginLog, Replayed, replay_path
from wsproxy.logs.messages import Code

pytestmark = pytest.mark.asan


def follow(log: PluginLog, tmp_path: Path) -> Replayed:
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    return replay_path(path)


def test_requests_of_two_threads_are_told_apart(tmp_path: Path) -> None:
    log = PluginLog()
    servers = {1: ("n_s1", "h1", "/shop/one"), 2: ("n_s2", "h2", "/shop/two")}
    for tid, (_, _, uri) in servers.items():
        log.routed(uri, tid=tid)
    for tid, (server, _, _) in servers.items():
        log.named(server, tid=tid)
    for tid, (server, host, _) in reversed(servers.items()):
        log.served(server, host, tid=tid, status=200 + tid)
        log.write(Code.END, tid=tid)
    found = {outcome.uri: outcome for outcome in follow(log, tmp_path).outcomes}
    assert {uri: (each.server, each.status) for uri, each in found.items()} == {
        "/shop/one": ("n_s1", 201),
        "/shop/two": ("n_s2", 202),
    }


def test_lines_of_nobody_change_nothing(tmp_path: Path) -> None:
    plain, noisy = PluginLog(), PluginLog()
    plain.simple(clone="k1")
    noisy.lines.append("no line of this log")
    noisy.simple(clone="k1")
    for at in range(len(noisy.lines) - 1, 0, -1):
        noisy.lines.insert(at, "")
    told = [
        [(check.what, check.logged, check.ours) for check in follow(log, tmp_path).only().checks]
        for log in (plain, noisy)
    ]
    assert told[0] == told[1]


def test_request_that_begins_anew_ends_the_one_before(tmp_path: Path) -> None:
    """A thread has one request at a time: the log lost the end of the first."""
    log = PluginLog()
    log.routed("/shop/lost")
    log.simple(uri="/shop/whole")
    outcomes = follow(log, tmp_path).outcomes
    assert [outcome.uri for outcome in outcomes] == ["/shop/lost", "/shop/whole"]
    assert outcomes[1].server == "n_s1"

"""Each try of a request in a log, held against the one that would be made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.plugin_log import PluginLog, Replayed, replay_path
from wsproxy.logs.messages import Code

pytestmark = pytest.mark.asan


def replayed(log: PluginLog, tmp_path: Path) -> Replayed:
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    return replay_path(path)


def test_backup_while_the_primaries_are_up_differs(tmp_path: Path) -> None:
    log = PluginLog()
    log.simple(server="n_s3", host="h3")
    assert [(what, logged) for what, logged, _ in replayed(log, tmp_path).others()] == [
        ("server", "n_s3")
    ]


def test_other_server_than_the_one_that_the_session_names_differs(tmp_path: Path) -> None:
    log = PluginLog()
    log.simple(server="n_s2", host="h2", clone="k1")
    assert ("server", "n_s2", "n_s1") in replayed(log, tmp_path).others()


def test_backup_after_both_primaries_failed_is_the_same(tmp_path: Path) -> None:
    log = PluginLog()
    log.routed("/shop/a")
    for server, host in (("n_s1", "h1"), ("n_s2", "h2")):
        log.named(server)
        log.write(Code.TRANSPORT, case=3, host=host, port=9443)
        log.failed(server, host)
    log.named("n_s3")
    log.served("n_s3", "h3")
    log.write(Code.END)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert (found.only().server, found.only().status) == ("n_s3", 200)
    assert found.only().checks


def test_transport_of_another_port_differs(tmp_path: Path) -> None:
    log = PluginLog()
    log.routed("/shop/a")
    log.named("n_s1")
    log.served("n_s1", "h1", port=9999)
    log.write(Code.END)
    assert ("transport", "h1:9999", "h1:9443") in replayed(log, tmp_path).others()

"""Active probes and slow start in simulations: by the code of live traffic, in virtual time."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.simulated import AccessLog, Simulated, make_xml, simulated
from wsproxy.config.settings import Settings
from wsproxy.config.settings_probe import ProbeClusterSettings, ProbeSettings

LONG = make_xml("", "", cluster='RetryInterval="600"')
SHORT = make_xml("", "", cluster='RetryInterval="1"')
PROBED = ProbeSettings(type="tcp", interval_s=2, jitter=0.1, rise=2, fall=2)


@pytest.fixture
def log() -> AccessLog:
    """Twenty minutes, four requests a second."""
    made = AccessLog()
    for second in range(1200):
        for part in range(4):
            made.add(second + part / 4)
    return made


def run(
    log: AccessLog,
    xml: str,
    probe: ProbeSettings | None,
    down: tuple[str, ...] = ("s1@10:05:00+60s",),
    seed: int = 0,
) -> Simulated:
    settings = Settings() if probe is None else Settings(probe=probe)
    return simulated(log, xml, down=down, settings=settings, seed=seed)


def gap(found: Simulated, server: str) -> tuple[int, int]:
    """Between which seconds the server got nothing, of its longest pause; steps of the timeline are seconds by then."""
    timeline = found.after.timeline
    empty = [at for at, count in enumerate(timeline.requests[server]) if count == 0]
    runs, start = [], 0
    for at in range(len(empty)):
        if at + 1 == len(empty) or empty[at + 1] != empty[at] + 1:
            runs.append((empty[start], empty[at] + 1))
            start = at + 1
    first, last = max(runs, key=lambda each: each[1] - each[0])
    return first * timeline.step_s, last * timeline.step_s


def test_server_that_probes_bring_back_does_not_wait_for_its_retry_interval(log: AccessLog) -> None:
    """RetryInterval is ten minutes, and the server was away for one."""
    alone, probed = run(log, LONG, None), run(log, LONG, PROBED)
    first, last = gap(alone, "s1")
    assert last - first >= 600 - 6
    first, last = gap(probed, "s1")
    assert 300 <= first <= 306
    # rise x interval_s, with its jitter, and a step of the timeline.
    assert 360 - 3 <= last <= 360 + 2 * 2.2 + 3
    assert probed.server("s1").marked_down == 1
    assert alone.server("s1").marked_down == 1


def test_no_request_tries_a_server_that_probes_keep_down(log: AccessLog) -> None:
    """RetryInterval is a second: without probes a request pays for each look."""
    alone, probed = run(log, SHORT, None), run(log, SHORT, PROBED)
    assert alone.server("s1").failed_tries > 40
    assert probed.server("s1").failed_tries <= 1 + 2 * 2.2
    assert probed.after.refused == 0


def test_failed_probes_take_a_server_out_that_no_request_has_met(log: AccessLog) -> None:
    """One that is a backup, or gets hardly anything."""
    backup = SHORT.replace(
        "</ServerCluster>",
        '<PrimaryServers><Server Name="s1"/></PrimaryServers><BackupServers><Server Name="s2"/></BackupServers></ServerCluster>',
    )
    found = run(log, backup, PROBED, ("s2@10:05:00+60s",))
    assert (found.server("s2").failed_tries, found.server("s2").marked_down) == (0, 1)
    assert found.requests()["s2"] == 0
    both = run(log, backup, PROBED, ("s2@10:05:00+60s", "s1@10:05:30+60s"))
    assert both.server("s2").requests > 0, "it is back by the time that it is needed"


def test_cluster_may_be_left_out(log: AccessLog) -> None:
    probe = msgspec.structs.replace(PROBED, cluster=(ProbeClusterSettings("c", type="off"),))
    off, without = run(log, LONG, probe), run(log, LONG, None)
    assert off.after == without.after


def test_same_seed_has_the_same_probes(log: AccessLog) -> None:
    one, two = run(log, SHORT, PROBED, seed=3), run(log, SHORT, PROBED, seed=3)
    assert msgspec.json.encode(one.result) == msgspec.json.encode(two.result)


def test_weight_of_a_server_that_came_back_grows(log: AccessLog) -> None:
    """slow_start_s, with probes and without."""
    for probe in (PROBED, ProbeSettings()):
        at_once = run(log, SHORT, probe).requests()["s1"]
        slow = run(log, SHORT, msgspec.structs.replace(probe, slow_start_s=300.0)).requests()["s1"]
        # Of its half of four requests a second it has, on the average, half for five minutes.
        assert at_once - 450 < slow < at_once - 150, (probe.type, at_once, slow)

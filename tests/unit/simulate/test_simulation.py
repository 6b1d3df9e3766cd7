"""Simulation of logs: cases whose outcome can be worked out by hand."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from tests.support.plugin_log import CONFIG, PluginLog, make_world
from tests.support.simulated import TWO, AccessLog, make_xml, simulated
from wsproxy.config.settings import QueueSettings, Settings
from wsproxy.logs.messages import Code
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.replay import Replay
from wsproxy.simulate.html import write_simulation
from wsproxy.simulate.result import by_server

SID = "0000ABCDEFGHIJKLMNOPQRSTUVW"


@pytest.fixture
def log() -> AccessLog:
    return AccessLog()


def test_requests_without_session_go_by_weight(log: AccessLog) -> None:
    for second in range(30):
        log.add(second)
    found = simulated(log, make_xml('LoadBalanceWeight="2"', 'LoadBalanceWeight="1"'))
    assert found.requests(found.before) == {"s1": 30, "s2": 0}
    assert found.requests() == {"s1": 20, "s2": 10}
    assert [each.share for each in found.after.servers] == [0.6667, 0.3333]
    found = simulated(log, weight=("s2=4", "c/s1=1"))
    assert found.requests() == {"s1": 6, "s2": 24}
    assert not found.result.is_worse


def test_cluster_address_is_a_server_of_both_sides(log: AccessLog) -> None:
    """It gets what has no session; the log's own requests went where they went."""
    address = '<ClusterAddress Name="ca"><Transport Hostname="hc" Port="1"/></ClusterAddress>'
    log.add(0)
    log.add(1, server=2)
    found = simulated(log, TWO.replace("</ServerCluster>", f"{address}</ServerCluster>"))
    assert found.requests(found.before) == {"s1": 1, "s2": 1, "ca": 0}
    assert found.requests(found.after) == {"s1": 0, "s2": 0, "ca": 2}


def test_sessions_stay_with_their_servers_whatever_the_weights(log: AccessLog) -> None:
    for second in range(30):
        log.add(second, f"{SID}{second % 6}:k{second % 3 + 1}", second % 3 + 1)
    found = simulated(log, make_xml("", "", ""), weight=("s1=100",))
    assert found.requests() == {"s1": 10, "s2": 10, "s3": 10}
    assert (found.after.by_affinity, found.before.by_affinity) == (30, 30)
    assert (found.after.sessions, found.after.sessions_moved) == (6, 0)
    assert [each.sessions for each in found.after.servers] == [2, 2, 2]
    assert any("6 of 6 sessions began before the log" in note for note in found.result.notes)


def test_sessions_leave_a_server_that_is_away_and_return(log: AccessLog) -> None:
    """
    s1 is away for two minutes, RetryInterval is one.

    It fails at 10:01 and, tried again, at 10:02; at 10:03 it answers, and its session comes back by its first clone id.
    """
    for second in range(0, 600, 10):
        log.add(second, f"{SID}:k1")
    found = simulated(log, down=("s1@10:01+2m",))
    after = found.after
    assert found.requests() == {"s1": 60 - 12, "s2": 12}
    s1 = found.server("s1")
    assert (s1.failed_tries, s1.marked_down) == (2, 2)
    assert after.moves == {"back": 1, "down": 1, "full": 0, "other": 0}
    assert (after.sessions_moved, after.sessions_broken, after.refused) == (1, 0, 0)
    # all but the two tries that failed: from the second on, the cookie has both clone ids
    assert after.by_affinity == 60 - 1
    assert found.before.moves["down"] == found.before.failed_tries == 0
    assert found.result.sentence == "1 of 1 session moves, none breaks."
    assert found.result.meaning == {
        "before": "what access.log says happened",
        "after": "its requests through new.xml --down s1@10:01+2m, simulated",
    }
    # the session was answered at both
    assert [each.sessions for each in after.servers] == [1, 1]


def test_a_server_is_away_only_in_its_time(log: AccessLog) -> None:
    for second in range(100):
        log.add(second, f"{SID}{second}:k1")
    found = simulated(
        log, make_xml("", "", cluster='RetryInterval="1"'), down=("s1@10:00:10+5s", "s1@10:01+1s")
    )
    # tried each second: RetryInterval is over by then
    assert found.server("s1").failed_tries == 6
    assert found.requests() == {"s1": 94, "s2": 6}
    assert found.after.sessions_moved == 6


def test_more_than_max_connections_are_refused(log: AccessLog) -> None:
    """A request each second that takes ten: two servers with one place each serve four of twenty."""
    for second in range(20):
        log.add(second, took_s=10)
    full = make_xml('MaxConnections="1"', 'MaxConnections="1"')
    found = simulated(log, full)
    after = found.after
    assert (after.served, after.refused, after.refused_full) == (4, 16, 16)
    assert (after.statuses, found.before.statuses) == ({"200": 4, "503": 16}, {"200": 20})
    assert [each.peak_in_flight for each in after.servers] == [1, 1]
    assert (found.before.peak_in_flight, after.peak_in_flight) == (10, 2)
    assert found.result.is_worse
    assert (
        found.result.sentence
        == "no session can be told from the others; 16 of 20 requests are refused."
    )
    assert simulated(log, full, max_connections=("s1=5", "s2=5")).after.refused == 0
    assert simulated(log, max_connections=("s1=1", "s2=4")).server("s2").peak_in_flight == 4
    # a queue would hold them, but time in it is not simulated
    queue = msgspec.structs.replace(Settings(), queue=QueueSettings(size=100))
    found = simulated(log, full, settings=queue)
    assert found.after.refused == 16
    assert any("[queue] is not simulated" in note for note in found.result.notes)


def test_sessions_of_a_full_server_overflow(log: AccessLog) -> None:
    log.add(0, f"{SID}1:k1", took_s=5)
    log.add(1, f"{SID}2:k1", took_s=1)
    log.add(3, f"{SID}2:k1", took_s=1)
    log.add(9, f"{SID}2:k1", took_s=1)
    found = simulated(log, max_connections=("s1=1",))
    assert found.requests() == {"s1": 2, "s2": 2}
    # away at 10:00:01, at s2 by its own clone id at :03, back at :09
    assert found.after.moves == {"back": 1, "down": 0, "full": 1, "other": 0}
    queue = msgspec.structs.replace(Settings(), queue=QueueSettings(size=100))
    again = simulated(log, max_connections=("s1=1",), settings=queue)
    assert again.after == found.after


def test_a_server_that_answers_again_gets_its_share_again(log: AccessLog) -> None:
    """Requests of five seconds: a server that is only tried would have one at a time."""
    for second in range(60):
        log.add(second, took_s=5)
    found = simulated(log, make_xml("", "", cluster='RetryInterval="1"'), down=("s1@10:00:03+4s",))
    s1 = found.server("s1")
    assert s1.failed_tries == 3
    assert s1.requests > 20
    assert s1.peak_in_flight > 2


def test_a_faster_rate_puts_more_in_flight(log: AccessLog) -> None:
    """A request each second that takes 1.5 s: two at once, and six where four come a second."""
    for second in range(40):
        log.add(second, took_s=1.5)
    found = simulated(log, rate="x4")
    assert (found.before.peak_in_flight, found.after.peak_in_flight) == (2, 6)
    assert found.after.served == 40
    assert simulated(log, rate="x0.5").after.peak_in_flight == 1
    # the time of an outage is that of the traffic, its length is not: ten seconds of the log pass in 2.5
    found = simulated(
        log, make_xml("", cluster='RetryInterval="0"'), rate="x4", down=("s1@10:00:10+2s",)
    )
    assert found.after.refused == 8


def test_a_cluster_without_a_server_refuses(log: AccessLog) -> None:
    for second in range(10):
        log.add(second, f"{SID}{second // 2}:k1")
    found = simulated(log, make_xml(""), down=("s1@10:00:04+2s",))
    after = found.after
    # the only server of a cluster is tried by every request
    assert (after.refused, after.refused_full, after.failed_tries) == (2, 0, 2)
    assert (after.sessions_refused, after.sessions_broken) == (1, 1)
    assert found.result.is_worse


def test_clone_ids_that_nobody_has_any_more_break_sessions(log: AccessLog) -> None:
    """s2 is taken out: its sessions go to others, where they begin anew and stay."""
    for second in range(40):
        log.add(second, f"{SID}{second % 4}:k{second % 2 + 1}", second % 2 + 1)
    log.add(50, "-1", 1)
    found = simulated(log, make_xml(""), old=TWO)
    after, before, modelled = found.after, found.before, found.result.modelled
    assert modelled is not None
    assert (after.sessions_unknown_clone, after.sessions_broken) == (2, 2)
    assert (before.sessions_unknown_clone, modelled.sessions_unknown_clone) == (0, 0)
    assert found.requests(modelled)["s2"] == found.requests(before)["s2"] == 20
    assert (before.by_affinity, after.by_affinity) == (40, 38)
    assert after.moves == dict.fromkeys(("back", "down", "full", "other"), 0)
    assert [name for name, _ in by_server(found.result)] == ["s1", "s2"]
    # without the old file nobody knows what k2 was; its requests are affinity once its server is known
    before = simulated(log, make_xml("")).before
    assert (before.sessions_unknown_clone, before.sessions_broken) == (None, 0)


def test_a_session_outside_any_cluster_is_not_broken(log: AccessLog) -> None:
    log.add(0, f"{SID}:-1")
    found = simulated(log)
    assert (found.after.sessions, found.after.sessions_broken) == (1, 0)


def test_requests_without_route_are_told(log: AccessLog) -> None:
    log.add(0, path="/elsewhere", server=0)
    log.add(1)
    found = simulated(log)
    assert (found.before.unrouted, found.after.unrouted, found.after.served) == (1, 1, 1)
    found = simulated(log, TWO.replace("/a/*", "/b/*"), old=TWO)
    assert (found.before.unrouted, found.after.unrouted) == (1, 2)
    assert found.result.is_worse


def test_times_that_the_log_does_not_tell_are_assumed(log: AccessLog) -> None:
    for second in range(10):
        log.add(second, took_s=2 if second < 5 else None)
        log.add(second + 0.5, server=2, took_s=8 if second < 5 else None)
    found = simulated(log)
    assert found.result.assumed_service_times == 10
    # 2 s each at s1, 8 s each at s2: the medians of what is known
    assert [each.peak_in_flight for each in found.before.servers] == [2, 8]
    assert "the median of their server, where it tells none 2000 ms" in " ".join(found.result.notes)
    plain = AccessLog()
    plain.add(0, took_s=None)
    assert "tells none 100 ms" in " ".join(simulated(plain).result.notes)


def test_a_clock_of_whole_seconds_is_spread(log: AccessLog) -> None:
    """Ten requests of one second and 0.25 s each are three at once, not ten."""
    for _ in range(10):
        log.add(0, took_s=0.25)
    found = simulated(log)
    assert (found.before.peak_in_flight, found.after.peak_in_flight) == (3, 3)
    assert any("whole seconds" in note for note in found.result.notes)


def test_the_same_seed_gives_the_same_bytes(log: AccessLog) -> None:
    rng = random.Random(1)
    for second in range(300):
        clone = f":k{rng.randrange(3) + 1}" if second % 3 else ""
        log.add(second, clone and f"{SID}{rng.randrange(60)}{clone}", took_s=rng.random() * 5)
    xml = make_xml("", "", 'MaxConnections="2"', cluster='LoadBalance="Random"')

    def run(seed: int) -> tuple[bytes, str]:
        found = simulated(log, xml, seed=seed, down=("s2@10:02+20s",), max_connections=("s1=2",))
        return msgspec.json.encode(found.result), write_simulation(found.result, found.sides)

    assert run(7) == run(7)
    assert run(7)[0] != run(8)[0].replace(b'"seed":8', b'"seed":7')
    one = AccessLog()
    one.add(0)
    assert {simulated(one, seed=seed).requests()["s1"] for seed in range(20)} == {0, 1}


def test_the_same_configuration_gives_nearly_the_log(log: AccessLog) -> None:
    """Nobody failed: sessions are where they were, and new ones in the same shares."""
    rng = random.Random(3)
    turn = 0
    for second in range(1200):
        if second % 3:
            owner = second // 3 % 2 + 1
            log.add(second, f"{SID}{second // 3 % 100}:k{owner}", owner, rng.random())
        else:
            turn += 1
            log.add(second, "", turn % 3 // 2 + 1, rng.random())
    weights = ("s1=2", "s2=1")
    found = simulated(log, weight=weights)
    for before, after in zip(found.before.servers, found.after.servers, strict=True):
        assert abs(before.share - after.share) < 0.01
        assert before.by_affinity == after.by_affinity
        assert abs(before.peak_in_flight - after.peak_in_flight) <= 1
    assert found.after.sessions_moved == found.before.sessions_moved == 0


def test_charts_and_timeline_add_up(log: AccessLog) -> None:
    for second in range(0, 3000, 3):
        log.add(second, server=second % 2 + 1)
    found = simulated(log, down=("s1@10:10+10m",))
    for side in (found.before, found.after):
        line = side.timeline
        assert {name: sum(counts) for name, counts in line.requests.items()} == found.requests(side)
        assert max(len(counts) for counts in line.requests.values()) <= 480
        peaks = {name: max(counts) for name, counts in line.in_flight.items()}
        assert peaks == {each.server: each.peak_in_flight for each in side.servers}
    # nothing at s1 while it was away, but for the tries
    step = found.after.timeline.step_s
    away = found.after.timeline.requests["s1"][600 // step + 1 : 1200 // step]
    assert away
    assert sum(away) == 0
    page = write_simulation(found.result, found.sides)
    assert page.count("<svg viewBox") == 5  # nothing by affinity, and nothing failed before
    assert "<script" not in page
    assert "http-equiv" in page


# --- plug-in logs ---------------------------------------------------------------------------------------------------------


def written(log: PluginLog, tmp_path: Path) -> Path:
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    return path


def answered(log: PluginLog, session: str = "", server: int = 1, begun: str = "") -> None:
    """A request of half a minute; ``begun``: the session that its answer begins."""
    log.routed("/shop/a")
    if session:
        log.write(Code.PARSING, value=session)
    log.named(f"n_s{server}")
    log.second += 30
    log.served(f"n_s{server}", f"h{server}")
    if begun:
        log.write(Code.SET_COOKIE, value=f"JSESSIONID={begun}; Path=/")
    log.write(Code.END)


def set_cookies_of(path: Path) -> list[list[bytes]]:
    """Of each request, in the order in which they end."""
    found: list[list[bytes]] = []
    reading = Reading()
    replay = Replay(make_world(), reading, on_end=lambda request: found.append(request.set_cookies))
    for lines in read_logs([str(path)], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    return found


def test_cookies_that_an_answer_sets_stay_with_its_request(tmp_path: Path) -> None:
    """Fields may be written in small letters; where no request is open, none begins with one."""
    log = PluginLog()
    for tid in (1, 2):
        log.routed("/shop/a", tid=tid)
        log.named("n_s1", tid=tid)
        log.served("n_s1", "h1", tid=tid)
    log.raw("DETAIL", "   Set-Cookie: JSESSIONID=one; Path=/", 1)
    log.raw("DETAIL", "   set-cookie:\t JSESSIONID=two  ", 2)
    log.raw("DETAIL", "   Set-Cookie:", 2)
    log.raw("DETAIL", "   Set-Cookie: other=1", 1)
    log.write(Code.END, tid=1)
    log.write(Code.END, tid=2)
    log.write(Code.SET_COOKIE, value="JSESSIONID=late", tid=1)
    assert set_cookies_of(written(log, tmp_path)) == [
        [b"JSESSIONID=one; Path=/", b"other=1"],
        [b"JSESSIONID=two", b""],
    ]


def test_cookies_of_an_answer_that_no_client_saw_begin_no_session(tmp_path: Path) -> None:
    """Its status sent the request to another server: what counts is the answer of that one."""
    log = PluginLog()
    log.routed("/shop/a")
    for server, status, session in ((1, 503, "lost"), (2, 200, "kept")):
        log.named(f"n_s{server}")
        log.write(Code.REQUEST_LINE, target="/shop/a", minor=1)
        log.served(f"n_s{server}", f"h{server}", status=status)
        log.write(Code.SET_COOKIE, value=f"JSESSIONID={session}")
    log.write(Code.END)
    assert set_cookies_of(written(log, tmp_path)) == [[b"JSESSIONID=kept"]]


@pytest.mark.parametrize("written_as", ["{}:k1", '"{}:k1"', "{}"])
def test_sessions_that_begin_in_the_log_begin_by_the_new_weights(
    written_as: str, tmp_path: Path
) -> None:
    """The log shows their Set-Cookie: all began at n_s1, and half of them would not."""
    log = PluginLog()
    for number in range(20):
        session = f"0000ABCDEFGHIJKLMNOPQRSTU{number:02d}:k1"
        answered(log, begun=written_as.format(session.removesuffix(":k1")))
        for _ in range(3):
            log.second += 1
            answered(log, session)
    found = simulated(written(log, tmp_path), CONFIG)
    assert {name: count for name, count in found.requests(found.before).items() if count} == {
        "n_s1": 80
    }
    assert {name: found.requests()[name] for name in ("n_s1", "n_s2")} == {"n_s1": 40, "n_s2": 40}
    assert (found.before.by_affinity, found.after.by_affinity) == (60, 60)
    for side in (found.before, found.after):
        assert (side.sessions, side.sessions_born, side.sessions_moved) == (20, 20, 0)
    assert not any("began before the log" in note for note in found.result.notes)
    found = simulated(written(log, tmp_path), CONFIG, weight=("n_s2=6",))
    assert found.server("n_s2").share == 0.75


def test_a_session_whose_beginning_is_refused_begins_later(tmp_path: Path) -> None:
    log = PluginLog(second=36000)
    answered(log, begun=f"{SID}:k1")
    log.second += 5
    answered(log, f"{SID}:k1")
    answered(log, f"{SID}:k1")
    found = simulated(
        written(log, tmp_path), CONFIG,
        down=("n_s1@10:00+10s", "n_s2@10:00+10s", "n_s3@10:00+10s"),
    )  # fmt: skip
    after = found.after
    assert (after.refused, after.sessions_refused, after.sessions_born) == (1, 0, 1)
    # all are marked down; one gets a last chance, begins the session and keeps it
    assert (after.by_affinity, after.sessions_moved) == (1, 0)


def test_service_times_are_those_of_the_log(tmp_path: Path) -> None:
    log = PluginLog()
    log.routed("/shop/a", tid=1)
    log.named("n_s1", tid=1)
    log.second += 10
    log.routed("/shop/b", tid=2)
    log.named("n_s1", tid=2)
    log.second += 10
    log.served("n_s1", "h1", tid=1)
    log.write(Code.END, tid=1)
    log.served("n_s1", "h1", tid=2)
    log.write(Code.END, tid=2)
    log.second += 10
    log.simple()
    found = simulated(written(log, tmp_path), CONFIG)
    assert (found.before.peak_in_flight, found.after.peak_in_flight) == (2, 2)
    assert found.result.assumed_service_times == 0
    assert [us // 1_000_000 for us in found.traffic.service_us] == [20, 10, 0]


def test_requests_come_in_the_order_of_their_beginnings(tmp_path: Path) -> None:
    """The log is in the order of its lines; a request is known when it ends."""
    log = PluginLog()
    for tid in (1, 2, 3):
        log.routed("/shop/a", tid=tid)
        log.named(f"n_s{tid}", tid=tid)
        log.second += 10
    for tid in (2, 3, 1):
        log.served(f"n_s{tid}", f"h{tid}", tid=tid)
        log.write(Code.END, tid=tid)
        log.second += 1
    traffic = simulated(written(log, tmp_path), CONFIG).traffic
    assert [traffic.places[traffic.place[at]][1] for at in traffic.order] == [
        "n_s1", "n_s2", "n_s3",
    ]  # fmt: skip


def test_a_server_that_is_gone_is_known_by_its_sessions(tmp_path: Path) -> None:
    """Without the old configuration a session's second request at it is affinity, its first may not be."""
    log = PluginLog()
    for _ in range(4):
        answered(log, f"{SID}:k1", 2)
    new = CONFIG.replace("n_s2", "n_other").replace('"k2"', '"k8"')
    found = simulated(written(log, tmp_path), new)
    assert found.server("n_s2", found.before).requests == 4
    assert found.before.by_affinity == 3
    assert found.before.moves["other"] == 1  # the clone id says n_s1
    assert found.after.by_affinity == 4


def test_a_session_that_gets_its_cookie_again_is_not_a_new_one(tmp_path: Path) -> None:
    """A server that took it over sends it with the next cache id and one more clone id."""
    log = PluginLog()
    answered(log, f"{SID}:k1", 2, begun=f"0001{SID[4:]}:k1:k2")
    answered(log, f"0001{SID[4:]}:k1:k2", 1)
    found = simulated(written(log, tmp_path), CONFIG)
    assert (found.after.sessions, found.after.sessions_born, found.after.by_affinity) == (1, 0, 2)
    assert found.server("n_s1").requests == 2
    assert found.before.moves == {"back": 1, "down": 0, "full": 0, "other": 1}


def test_failures_of_the_log_stand_on_its_own_side(tmp_path: Path) -> None:
    """n_s1 failed for the log's request: it is up where nothing is said of it."""
    log = PluginLog()
    log.routed("/shop/a")
    log.write(Code.PARSING, value=f"{SID}:k1")
    log.named("n_s1")
    log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
    log.second += 60
    log.failed("n_s1", "h1")
    log.second += 7
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    log.routed("/shop/b")
    log.write(Code.NO_SERVER)
    log.write(Code.FAILED)
    found = simulated(written(log, tmp_path), CONFIG)
    before = found.before
    assert (before.failed_tries, before.marked_down, before.refused) == (1, 1, 1)
    assert found.server("n_s1", before).failed_tries == 1
    assert before.moves["other"] == 1
    after = found.after
    assert (after.failed_tries, after.refused, after.sessions_moved) == (0, 0, 0)
    assert found.server("n_s1").by_affinity == 1
    assert (
        "n_s1 failed in the log (1 failed try, 1 down mark); simulated, every server is up"
        in found.result.notes
    )
    assert found.result.sentence == (
        "none of 1 session moves (1 before), none breaks; none of 2 requests is refused (1 before)."
    )
    # from the try that was answered on
    assert found.traffic.service_us[0] // 1_000_000 == 7


def test_masked_sessions_are_not_taken_for_one(tmp_path: Path) -> None:
    log = PluginLog()
    for number in range(1, 3):
        answered(log, f"0000***:k{number}", number)
    found = simulated(written(log, tmp_path), CONFIG)
    assert (found.after.sessions, found.after.sessions_moved) == (0, 0)
    assert {name: found.requests()[name] for name in ("n_s1", "n_s2")} == {"n_s1": 1, "n_s2": 1}
    assert (found.before.by_affinity, found.after.by_affinity) == (2, 2)
    assert any("2 requests bring clone ids and no session" in note for note in found.result.notes)


def test_no_session_is_in_any_output(tmp_path: Path) -> None:
    log = PluginLog()
    answered(log, begun=f"{SID}:k1")
    answered(log, f"{SID}:k1")
    found = simulated(written(log, tmp_path), CONFIG)
    for text in (
        msgspec.json.encode(found.result).decode(),
        write_simulation(found.result, found.sides),
    ):
        assert SID[4:12] not in text

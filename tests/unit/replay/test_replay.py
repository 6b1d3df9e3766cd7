"""Replay of logs: what is the same, what differs and what cannot be decided."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.plugin_log import CONFIG, PluginLog, Replayed, Traffic, make_world, replay_path
from wsproxy._fast.logs.tries import RACED
from wsproxy.config.settings import RetrySettings, Settings
from wsproxy.logs.messages import Code
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.outcome import RequestOutcome
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World
from wsproxy.routing.retry import Next

SHARED = Path(__file__).parents[3].parent / "shared"
SEED = sorted((SHARED / "seeds").glob("004*"))
LOGS = sorted((SHARED / "corpus" / "logs").glob("*.log"))

SEED_CONFIG = """<Config>
  <VirtualHostGroup Name="default_host"><VirtualHost Name="*:80"/><VirtualHost Name="*:443"/></VirtualHostGroup>
  <ServerCluster Name="dlpProdcluster">
    <Server Name="dlpProdAppSrv1node_dlpProdmember1" CloneID="16qjggb28">
      <Transport Hostname="usatrame2914" Port="9080"/><Transport Hostname="usatrame2914" Port="9981" Protocol="https"/>
    </Server>
    <Server Name="dlpProdAppSrv2node_dlpProdmember2" CloneID="16qjggb29"><Transport Hostname="usatrame2915" Port="9080"/></Server>
  </ServerCluster>
  <UriGroup Name="default_host_dlpProdcluster_URIs"><Uri Name="/Saba/*"/></UriGroup>
  <Route VirtualHostGroup="default_host" UriGroup="default_host_dlpProdcluster_URIs" ServerCluster="dlpProdcluster"/>
</Config>"""


def replayed(
    log: PluginLog, tmp_path: Path, config: str = CONFIG, *, shared: bool | None = None
) -> Replayed:
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    return replay_path(path, make_world(config), shared=shared)


@pytest.fixture
def log() -> PluginLog:
    return PluginLog()


@pytest.mark.skipif(not SEED, reason=f"no seeds at {SHARED}")
def test_the_excerpt_in_a_web_page_replays_completely() -> None:
    """Seed 004 as it is: lines broken over several lines, prose around them."""
    found = replay_path(SEED[0], make_world(SEED_CONFIG))
    request = found.only()
    assert request.result == "same"
    checks = {check.what: (check.logged, check.ours) for check in request.checks}
    assert checks["server_group"] == ("dlpProdcluster", "dlpProdcluster")
    assert checks["score"] == ("7/6", "7/6")
    assert checks["affinity_names"] == ("JSESSIONID/jsessionid", "JSESSIONID/jsessionid")
    assert checks["clone_ids"] == ("16qjggb28", "16qjggb28")
    assert checks["transport"] == ("usatrame2914:9981", "usatrame2914:9981")
    assert checks["counters"] == ("0/3/4", "at least 0/1/1")
    assert checks["server"] == ("dlpProdAppSrv1node_dlpProdmember1",) * 2
    assert (request.by_affinity, request.lines) == (True, (212, 260))
    # nothing of the page is lost
    reading = found.reading
    assert (reading.records, reading.continued) == (12, 37)
    assert reading.lines == reading.records + reading.continued + reading.foreign + reading.blank


@pytest.mark.skipif(not LOGS, reason=f"no corpus at {SHARED}")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
def test_every_log_of_the_corpus_is_replayed_to_its_end(path: Path) -> None:
    """They lack most of what a decision needs: then that is said, and nothing is made up."""
    found = replay_path(path)
    for outcome in found.outcomes:
        assert outcome.checks
        for check in outcome.checks:
            assert check.result != "differs" or (check.logged and check.ours)


def test_a_plain_request_is_the_same(log: PluginLog, tmp_path: Path) -> None:
    log.simple(clone="k1")
    found = replayed(log, tmp_path)
    request = found.only()
    assert (request.result, request.server, request.by_affinity, request.status) == (
        "same", "n_s1", True, 200,
    )  # fmt: skip
    assert {check.what for check in request.checks} == {
        *("vhost", "uri", "server_group", "score", "affinity_names", "max_connections", "server"),
        *("clone_ids", "transport"),
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('CloneID="k1"', 'CloneID="k9"', {"server"}),
        ('Name="/shop/*"', 'Name="/shop/a*"', {"uri", "score"}),
        ('Name="shop_uris"><Uri', 'Name="shop_uris"><Uri Name="/shop/a"/><Uri', {"score"}),
        ('<VirtualHost Name="*:443"/>', "", {"vhost", "server_group", "server"}),
        ('Port="9443"', 'Port="9444"', {"transport"}),
        ('Name="n_s1" CloneID', 'Name="n_s1" MaxConnections="5" CloneID', {"max_connections"}),
        ('<ServerCluster Name="shop"', '<ServerCluster CloneSeparatorChange="true" Name="shop"', {"server"}),
        ('<Uri Name="*.jsp"/>', '<Uri Name="*.jsp"/><Uri Name="/other"/>', set()),
    ],
)  # fmt: skip
def test_a_changed_configuration_differs_where_it_was_changed(
    log: PluginLog, tmp_path: Path, before: str, after: str, expected: set[str]
) -> None:
    log.simple(clone="k1")
    assert before in CONFIG
    changed = CONFIG.replace(before, after)
    if expected == {"server"}:
        # without affinity the primary's turn is as good: make it a backup's
        changed = changed.replace(
            '<PrimaryServers><Server Name="n_s1"/>', "<PrimaryServers>"
        ).replace("<BackupServers>", '<BackupServers><Server Name="n_s1"/>')
    found = replayed(log, tmp_path, changed)
    assert {what for what, _, _ in found.others()} == expected


def test_round_robin_may_begin_anywhere(log: PluginLog, tmp_path: Path) -> None:
    for number in range(40):
        log.simple("n_s2" if number % 3 else "n_s1", "h2" if number % 3 else "h1")
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.replay.summary.same["server"] == 40


def test_a_backup_is_not_chosen_while_a_primary_is_up(log: PluginLog, tmp_path: Path) -> None:
    log.simple("n_s3", "h3")
    (difference,) = replayed(log, tmp_path).others()
    assert difference[:2] == ("server", "n_s3")
    assert difference[2] in ("n_s1", "n_s2")


def test_affinity_is_stronger_than_the_log(log: PluginLog, tmp_path: Path) -> None:
    log.simple("n_s2", "h2", clone="k1")
    assert replayed(log, tmp_path).others() == [("server", "n_s2", "n_s1")]


def named_by_clone(log: PluginLog, server: str, host: str, clone: str, *, ignore: int = 1) -> None:
    """A request that the log gives to the server for its clone id, as LogLevel Stats and above tell it."""
    log.routed("/shop/a")
    log.write(Code.PARSING, value=f"0000sessionsession:{clone}")
    log.named(server)
    log.write(
        Code.CHECKING, server=server, ignore=ignore, down=0, retry=0, seconds="--", allows=1, full=0
    )
    log.served(server, host)
    log.write(Code.END)


def test_a_lost_affinity_differs_though_the_server_may_be_the_same(
    log: PluginLog, tmp_path: Path
) -> None:
    """It is the same by its turn only: the session's next request may go elsewhere."""
    for server, host, clone in (("n_s1", "h1", "k1"), ("n_s2", "h2", "k2")) * 5:
        named_by_clone(log, server, host, clone)
    assert replayed(log, tmp_path).others() == []
    found = replayed(log, tmp_path, CONFIG.replace('CloneID="k1"', 'CloneID="k9"'))
    assert found.others() == [("affinity", "by clone id", "by regular balancing")] * 5
    (note,) = {
        check.note for each in found.outcomes for check in each.checks if check.result == "differs"
    }
    assert note == "its clone ids are k1, of no server that can be used here"


def test_a_new_affinity_differs_too(log: PluginLog, tmp_path: Path) -> None:
    named_by_clone(log, "n_s1", "h1", "k1", ignore=0)
    assert replayed(log, tmp_path).others() == [
        ("affinity", "by regular balancing", "by clone id"),
    ]  # fmt: skip


def test_the_neighbour_of_a_server_that_is_down_was_not_named(
    log: PluginLog, tmp_path: Path
) -> None:
    """Old releases check it with ignoreWeights 1, too (PLUGIN 4.5)."""
    log.write(Code.MARKING, server="n_s1")
    log.routed("/shop/a")
    log.write(Code.PARSING, value="0000sessionsession:k1")
    for server, down in (("n_s1", 1), ("n_s2", 0)):
        log.write(
            Code.CHECKING, server=server, ignore=1, down=down, retry=0, seconds="60" if down else "--",
            allows=1, full=0,
        )  # fmt: skip
    log.named("n_s2")
    log.served("n_s2", "h2")
    assert replayed(log, tmp_path).others() == []


def test_clone_ids_of_no_server_leave_affinity_open_where_the_log_does(
    log: PluginLog, tmp_path: Path
) -> None:
    for _ in range(3):
        log.simple("n_s2", "h2", clone="k9")
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.undecided() == [
        ("affinity", "no server of the cluster has the clone id k9"),
    ] * 3  # fmt: skip
    assert found.replay.summary.strangers == {("shop", "k9"): {"n_s2": 3}}


def test_a_server_that_is_not_marked_down_differs(log: PluginLog, tmp_path: Path) -> None:
    """The line that marks it is not in every log; what the next request sees of it is."""
    log.routed("/shop/a")
    log.named("n_s1")
    log.write(Code.CONNECT_FAILED, host="h1", errno=111, port=1)
    log.write(Code.FAILED_TRY, server="n_s1", host="h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    log.second += 1
    named_by_clone(log, "n_s1", "h1", "k1")
    assert replayed(log, tmp_path).others() == [
        ("mark_down", "n_s1: not marked down", "n_s1: marked down"),
    ]  # fmt: skip


def test_a_server_that_was_marked_down_is_left_alone_until_its_interval_ends(
    log: PluginLog, tmp_path: Path
) -> None:
    log.routed("/shop/a")
    log.write(Code.PARSING, value="0000sessionsession:k1")
    log.named("n_s1")
    log.failed("n_s1", "h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    log.second += 30
    log.simple("n_s2", "h2", clone="k1")  # its own is down
    log.second += 31
    log.simple("n_s1", "h1", clone="k1")  # its own is tried again
    assert replayed(log, tmp_path).others() == []


def test_marks_of_probes_are_followed(log: PluginLog, tmp_path: Path) -> None:
    """They end before RetryInterval is over, and may be those of another cluster's server of the same name: no difference."""
    more = CONFIG.replace("n_m1", "n_s1")
    log.routed("/shop/a")
    log.failed("n_s1", "h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    log.second = 5
    log.write(Code.PROBE_BACK, tid=0, server="n_s1", group="shop")
    log.simple(clone="k1")
    log.second = 10
    log.write(Code.PROBE_FAILED, tid=0, server="n_s1", group="small", why="GET http://h4/: no")
    log.write(Code.MARKING, tid=0, server="n_s1")
    log.simple(clone="k1")
    log.second = 20
    log.write(Code.PROBE_FAILED, tid=0, server="n_s1", group="shop", why="'x' in 'y' failed: down")
    log.write(Code.MARKING, tid=0, server="n_s1")
    log.routed("/shop/b")
    log.write(Code.PARSING, value="0000sessionsession:k1")
    log.write(
        Code.CHECKING, server="n_s1", ignore=0, down=1, retry=0, seconds="90", allows=1, full=0
    )
    log.named("n_s2")
    log.served("n_s2", "h2", cookie="JSESSIONID=0000sessionsession:k1")
    log.write(Code.END)
    found = replayed(log, tmp_path, more, shared=True)
    assert found.others() == []
    assert found.undecided() == []
    log.lines = [line for line in log.lines if " 00000000 - " not in line]
    found_in = [what for what, _, _ in replayed(log, tmp_path, more, shared=True).others()]
    assert set(found_in) == {"server"}, "without these lines it is one"


def test_servers_that_await_a_probe_are_followed(log: PluginLog, tmp_path: Path) -> None:
    """`probe.initial`, of one that was away and is new again: without these lines each request that goes elsewhere is a difference."""
    log.simple(clone="k1")
    log.second = 1
    log.write(Code.PROBE_AWAITED, tid=0, server="n_s1", group="shop")
    log.routed("/shop/b")
    log.write(Code.PARSING, value="0000sessionsession:k1")
    log.named("n_s2")
    log.served("n_s2", "h2", cookie="JSESSIONID=0000sessionsession:k1")
    log.write(Code.END)
    log.second = 3
    log.write(Code.PROBE_BACK, tid=0, server="n_s1", group="shop")
    log.simple(clone="k1")
    found = replayed(log, tmp_path, shared=True)
    assert (found.others(), found.undecided()) == ([], [])
    log.lines = [line for line in log.lines if "New, and down" not in line]
    assert {what for what, _, _ in replayed(log, tmp_path, shared=True).others()} == {"server"}


def test_answer_that_marks_a_server_down_is_one(log: PluginLog, tmp_path: Path) -> None:
    """With retry.server_errors = "mark_down" another server is tried; on a connection that was used before, too."""
    log.routed("/shop/a")
    log.named("n_s1")
    log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
    log.write(Code.REUSED, socket=1)
    log.write(Code.STATUS_LINE, minor=1, status=500, reason="x")
    log.write(Code.MARKING, server="n_s1")
    log.write(Code.FAILED_TRY, server="n_s1", host="h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    settings = Settings(retry=RetrySettings(server_errors="mark_down"))
    world = World(make_world().config, settings)
    assert replay_path(path, world).others() == []
    assert ("mark_down", "marked down", "not marked down") in replay_path(path).others()


def test_mark_that_probes_prolong_has_no_interval(log: PluginLog, tmp_path: Path) -> None:
    """A request has marked the server, and probes keep it down longer than RetryInterval."""
    log.routed("/shop/a")
    log.failed("n_s1", "h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    log.second = 20
    log.write(Code.PROBE_FAILED, tid=0, server="n_s1", group="shop", why="no answer within 5 s")
    log.write(Code.MARKING, tid=0, server="n_s1")
    log.second = 30
    log.routed("/shop/b")
    log.write(
        Code.CHECKING, server="n_s1", ignore=0, down=1, retry=0, seconds="50", allows=1, full=0
    )
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    assert replayed(log, tmp_path, shared=True).others() == []
    log.lines = [line for line in log.lines if " 00000000 - " not in line]
    assert replayed(log, tmp_path, shared=True).others() == [
        ("retry_interval", "n_s1: in 50 s", "n_s1: in 30 s")
    ]


def test_a_down_server_that_gets_a_request_differs(log: PluginLog, tmp_path: Path) -> None:
    log.write(Code.MARKING, server="n_s1")
    log.simple("n_s1", "h1")
    assert replayed(log, tmp_path).others() == [("server", "n_s1", "n_s2")]


def test_status_lines_put_right_what_we_believe(log: PluginLog, tmp_path: Path) -> None:
    """The log's own word on a server counts: markedDown 0 before the choice."""
    log.write(Code.MARKING, server="n_s1")
    log.second += 1
    log.routed("/shop/a")
    log.write(
        Code.CHECKING, server="n_s1", ignore=0, down=0, retry=0, seconds="--", allows=1, full=0
    )
    log.named("n_s1")
    log.served("n_s1", "h1")
    log.write(Code.END)
    log.routed("/shop/b")
    log.write(
        Code.CHECKING, server="n_s2", ignore=0, down=1, retry=0, seconds="20", allows=1, full=0
    )
    log.write(Code.PARSING, value="0000sessionsession:k2")
    log.named("n_s1")
    log.served("n_s1", "h1")
    log.write(Code.END)
    assert replayed(log, tmp_path).others() == []


def test_a_full_server_is_passed_over(log: PluginLog, tmp_path: Path) -> None:
    log.routed("/small/a", "small", "/small/*")
    log.write(Code.PARSING, value="0000sessionsession:m1")
    log.named("n_m1", current=2, most=2)
    log.named("n_m2", current=0, most=2)
    log.served("n_m2", "h5", 9080)
    log.write(Code.END)
    assert replayed(log, tmp_path).others() == []


def test_processes_have_their_own_state_unless_told(tmp_path: Path, log: PluginLog) -> None:
    log.write(Code.MARKING, server="n_s1")
    log.pid += 1
    log.second += 1
    log.simple("n_s1", "h1")
    assert replayed(log, tmp_path).others() == []
    assert replayed(log, tmp_path, shared=True).others() == [("server", "n_s1", "n_s2")]
    own = PluginLog()
    own.write(Code.WEB_SERVER, name="wsproxy/0.1.0")
    own.lines += log.lines
    assert replayed(own, tmp_path).others() == [("server", "n_s1", "n_s2")]


def test_threads_are_told_apart(log: PluginLog, tmp_path: Path) -> None:
    log.routed("/shop/a", tid=1)
    log.routed("/small/b", "small", "/small/*", tid=2)
    log.named("n_s1", tid=1)
    log.named("n_m1", most=2, tid=2)
    log.served("n_m1", "h4", 9080, tid=2)
    log.served("n_s1", "h1", tid=1)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert sorted((each.tid, each.server) for each in found.outcomes) == [
        ("00000001", "n_s1"), ("00000002", "n_m1"),
    ]  # fmt: skip


def test_counters_rise_by_the_request(log: PluginLog, tmp_path: Path) -> None:
    log.simple(clone="k1")
    log.lines.pop()
    log.counters("n_s1", 0, 3, 9)
    log.simple(clone="k1")
    log.lines.pop()
    log.counters("n_s1", 0, 3, 10)  # affinity was not counted
    assert replayed(log, tmp_path).others() == [("counters", "0/3/10", "0/4/10")]


def test_counters_of_a_lost_affinity_differ(log: PluginLog, tmp_path: Path) -> None:
    """One request more, by affinity, with none beside it: it can be no other one's."""
    for count in (3, 4):
        log.simple(clone="k1")
        log.lines.pop()
        log.counters("n_s1", 0, count, count)
    assert replayed(log, tmp_path).others() == []
    found = replayed(log, tmp_path, CONFIG.replace('CloneID="k1"', 'CloneID="k9"'))
    assert found.others() == [("counters", "0/4/4", "0/3/4")]


def test_gap_in_the_counters_is_no_difference(log: PluginLog, tmp_path: Path) -> None:
    for total in (9, 15):
        log.simple()
        log.lines.pop()
        log.counters("n_s1", 0, 3, total)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.undecided() == [("counters", "other requests of this process are not in the log")]


def test_503_would_go_to_another_server(log: PluginLog, tmp_path: Path) -> None:
    log.simple("n_s1", "h1", clone="k1")
    log.lines = [line.replace("HTTP/1.1 200", "HTTP/1.1 503") for line in log.lines]
    (difference,) = replayed(log, tmp_path).others()
    assert difference == ("status", "503", "that of another server: n_s2")


def test_no_server_is_found_where_all_failed(log: PluginLog, tmp_path: Path) -> None:
    log.routed("/small/a", "small", "/small/*")
    for server, host in (("n_m1", "h4"), ("n_m2", "h5")):
        log.named(server, most=2)
        log.failed(server, host)
    log.write(Code.NO_SERVER)
    log.write(Code.FAILED)
    assert replayed(log, tmp_path).others() == []


def test_no_server_is_found_where_somebody_else_tries_the_one_that_is_left(
    log: PluginLog, tmp_path: Path
) -> None:
    """One request at a time tries a server that is down; on a busy machine others come meanwhile."""
    log.routed("/small/a", "small", "/small/*")
    log.named("n_m1", most=2)
    log.failed("n_m1", "h4")
    log.named("n_m2", most=2)
    log.served("n_m2", "h5", 9080)
    log.write(Code.END)
    log.second += 61
    down = {"server": "n_m1", "ignore": 0, "down": 1, "seconds": "0", "allows": 1, "full": 0}
    log.routed("/small/b", "small", "/small/*", tid=1)
    log.write(Code.CHECKING, retry=1, **down, tid=1)
    log.named("n_m1", most=2, tid=1)
    log.write(Code.TRANSPORT, case=3, host="h4", port=9080, tid=1)
    log.routed("/small/c", "small", "/small/*", tid=2)
    log.write(Code.PARSING, value="0000sessionsession:m2", tid=2)
    log.named("n_m2", most=2, tid=2)
    log.failed("n_m2", "h5", tid=2)
    log.write(Code.CHECKING, retry=0, **down, tid=2)
    log.write(Code.NO_SERVER, tid=2)
    log.write(Code.FAILED, tid=2)
    log.write(Code.STATUS_LINE, minor=1, status=200, reason="x", tid=1)
    log.write(Code.END, tid=1)
    assert replayed(log, tmp_path).others() == []


def test_giving_up_early_differs(log: PluginLog, tmp_path: Path) -> None:
    log.routed("/small/a", "small", "/small/*")
    log.named("n_m1", most=2)
    log.failed("n_m1", "h4")
    log.write(Code.NO_SERVER)
    assert replayed(log, tmp_path).others() == [("server", "none", "n_m2")]


@pytest.mark.parametrize("once", [False, True])
def test_strict_once_repeats_nothing_that_a_server_may_have_run(
    log: PluginLog, tmp_path: Path, once: bool
) -> None:
    """``replay --settings`` tells beforehand which requests would end instead."""
    log.routed("/shop/a")
    log.named("n_s1")
    log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
    log.write(Code.CLOSED)
    log.write(Code.FAILED_TRY, server="n_s1", host="h1")
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    settings = msgspec.structs.replace(Settings(), retry=RetrySettings(strict_once=once))
    found = replay_path(path, World(make_world().config, settings))
    ours = Next.GIVE_UP.value
    assert found.others() == [("retry", "another server", ours)] * once
    assert found.replay.summary.same["retry"] == (not once)


def test_log_of_level_error_says_what_is_missing(log: PluginLog, tmp_path: Path) -> None:
    log.failed("n_s1", "h1")
    log.write(Code.NO_SERVER)
    log.write(Code.FAILED)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert ("server", "the log tells no host and URI") in found.undecided()


def test_log_of_level_detail_lacks_port_and_clone_ids(log: PluginLog, tmp_path: Path) -> None:
    """The port follows from the score, the clone ids from the Cookie line behind the choice."""
    log.simple("n_s2", "h2", clone="k2")
    log.lines = [line for line in log.lines if " DEBUG: " not in line and " TRACE: " not in line]
    log.counters("n_s2", 0, 1, 1)
    found = replayed(log, tmp_path)
    request = found.only()
    assert found.others() == []
    assert (request.server, request.by_affinity) == ("n_s2", True)


def test_level_may_change_within_a_log(log: PluginLog, tmp_path: Path) -> None:
    """Below Debug nobody tells what was parsed: that is not the same as nothing parsed."""
    log.simple()
    count = len(log.lines)
    log.simple("n_s2", "h2", clone="k2")
    tail = [line for line in log.lines[count:] if " DEBUG: " not in line and " TRACE: " not in line]
    log.lines = log.lines[:count] + tail
    log.counters("n_s2", 0, 1, 1)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert [each.by_affinity for each in found.outcomes] == [False, True]


def test_old_log_of_the_same_requests_is_the_same(tmp_path: Path) -> None:
    log = PluginLog(is_new=False)
    log.simple(clone="k1")
    assert replayed(log, tmp_path).only().result == "same"


@pytest.mark.parametrize("seed", range(6))
def test_thousands_of_requests_over_failing_servers_replay_without_difference(
    seed: int, tmp_path: Path
) -> None:
    log = PluginLog()
    traffic = Traffic(seed, log)
    for _ in range(3000):
        traffic.step()
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.replay.summary.requests > 1000
    assert found.replay.summary.same["server"] > 1000
    assert found.replay.summary.checks["server"]["undecided"] == 0
    assert any(outcome.failures for outcome in found.outcomes)


def test_a_decision_swapped_in_such_a_log_is_found(tmp_path: Path) -> None:
    """The test above would pass with a replay that believes everything."""
    log = PluginLog()
    traffic = Traffic(1, log)
    for _ in range(600):
        traffic.step()
    found = replayed(log, tmp_path)
    by_affinity = [each for each in found.outcomes if each.by_affinity and not each.failures]
    assert by_affinity
    swapped = {"n_s1": "n_s2", "n_s2": "n_s1", "n_m1": "n_m2", "n_m2": "n_m1", "n_s3": "n_s1"}
    victim = by_affinity[len(by_affinity) // 2]
    for at in range(victim.lines[0] - 1, victim.lines[1]):
        if f" {victim.tid} " in log.lines[at]:
            log.lines[at] = log.lines[at].replace(
                f"server {victim.server} -", f"server {swapped[victim.server]} -"
            )
    others = replayed(log, tmp_path).others()
    assert ("server", swapped[victim.server], victim.server) in others


def test_requests_without_an_end_do_not_pile_up(tmp_path: Path) -> None:
    """LogLevel Detail: no line tells that a request is over, and each has a tid of its own."""
    log = PluginLog()
    count = 40_000
    for tid in range(count):
        log.write(Code.REQUEST_IS, host="www.example.com:443", uri="/shop/a", tid=tid)
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    reading, most = Reading(), 0
    replay = Replay(make_world(), reading)
    for lines in read_logs([str(path)], reading, wanted_only=True):
        for line in lines:
            replay.take([line])
            most = max(most, len(replay.open))
    replay.end()
    assert replay.summary.requests == count
    assert 30_000 < most <= 32_768


@pytest.mark.parametrize("seconds", ["--", "--5", "-5", "7", "1e3", "9" * 5000])
def test_seconds_of_any_kind_are_survived(log: PluginLog, tmp_path: Path, seconds: str) -> None:
    log.routed("/shop/a")
    log.write(
        Code.CHECKING, server="n_s1", ignore=0, down=1, retry=0, seconds=seconds, allows=0, full=0
    )
    log.named("n_s2")
    log.served("n_s2", "h2")
    log.write(Code.END)
    assert replayed(log, tmp_path).others() == []


def test_lines_of_workers_are_put_in_the_order_of_their_times(tmp_path: Path) -> None:
    """Workers write in blocks: a mark of one stands behind what the other decided after it."""
    log = PluginLog()
    log.lines.append("[21/Nov/2026:00:00:00.00000] 00000001 00000000 - PLUGIN: Webserver: wsproxy")
    log.pid, log.second = 2, 1
    log.simple("n_s2", "h2", clone="k1")  # its own server is down
    late = PluginLog(pid=1, lines=log.lines, tid=7)
    late.routed("/shop/b")
    late.write(Code.PARSING, value="0000sessionsession:k1")
    late.named("n_s1")
    late.failed("n_s1", "h1")
    late.named("n_s2")
    late.served("n_s2", "h2")
    late.write(Code.END)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.undecided() == []
    assert found.replay.summary.requests == 2
    # a process of the plug-in knows nothing of the others' marks
    assert replayed(log, tmp_path, shared=False).others() == [("server", "n_s2", "n_s1")]


@pytest.mark.parametrize("is_beside", [True, False])
def test_what_workers_change_at_the_same_moment_is_undecided(
    tmp_path: Path, is_beside: bool
) -> None:
    """For one worker there was no server, for the other there was; without others it is a difference."""
    log = PluginLog()
    log.lines.append("[21/Nov/2026:00:00:00.00000] 00000001 00000000 - PLUGIN: Webserver: wsproxy")
    other = PluginLog(pid=2, lines=log.lines, tid=7)
    other.simple()
    if is_beside:
        other.routed("/shop/b")
    else:
        log.second += 1
    log.routed("/shop/a")
    log.write(Code.NO_SERVER)
    log.write(Code.FAILED)
    found = replayed(log, tmp_path)
    assert len(found.others()) == (not is_beside)
    assert ("server", RACED) in found.undecided() or not is_beside


def test_choice_is_taken_with_the_states_that_its_own_worker_saw(tmp_path: Path) -> None:
    """Another worker gets an answer of the server between the look at it and the choice of the next one."""
    log = PluginLog()
    log.lines.append("[21/Nov/2026:00:00:00.00000] 00000001 00000000 - PLUGIN: Webserver: wsproxy")
    other = PluginLog(pid=2, lines=log.lines, tid=7)
    log.routed("/shop/a")
    log.write(Code.PARSING, value="0000sessionsession:k1")
    log.write(
        Code.CHECKING, server="n_s1", ignore=0, down=1, retry=0, seconds="9", allows=1, full=0
    )
    other.routed("/shop/b")
    other.write(
        Code.CHECKING, server="n_s1", ignore=0, down=0, retry=0, seconds="--", allows=1, full=0
    )
    other.named("n_s1")
    other.served("n_s1", "h1")
    other.write(Code.END)
    log.named("n_s2")
    log.served("n_s2", "h2", cookie="JSESSIONID=0000sessionsession:k1")
    log.write(Code.END)
    found = replayed(log, tmp_path)
    assert found.others() == []
    assert found.undecided() == []


def test_files_of_workers_keep_their_names(tmp_path: Path) -> None:
    """Lines that wait for others are not told of the next file."""
    paths = [str(tmp_path / name) for name in ("a.log", "b.log")]
    for path in paths:
        log = PluginLog(second=5)
        log.lines.append("[21/Nov/2026:00:00:05.00000] 1 0 - PLUGIN: Webserver: wsproxy")
        log.simple()
        Path(path).write_text(log.text())
    outcomes: list[RequestOutcome] = []
    reading = Reading()
    replay = Replay(make_world(), reading, outcomes.append, only_other=False)
    for lines in read_logs(paths, reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    assert [outcome.file for outcome in outcomes] == paths

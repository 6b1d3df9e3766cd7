"""The page of metrics: every metric is told as it is documented, of the clusters that are wanted, and Prometheus takes it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificates
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.operators import drain
from tests.support.promtool import promtool
from wsproxy._fast.state.meters import (
    HISTOGRAM,
    BlockKind,
    ClusterWord,
    EdgeAnswer,
    ServerWord,
    WorkerWord,
)
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.admin.bridge_counts import BridgeCounts
from wsproxy.admin.bridge_counts import Word as BridgeWord
from wsproxy.admin.certificates import Certificates
from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.admin.messages import Status, WorkerStatus
from wsproxy.admin.metric_names import METRICS
from wsproxy.admin.metrics import MetricsPage
from wsproxy.config.settings import (
    CertificateSettings,
    FallbackSettings,
    ListenerSettings,
    Settings,
)
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_told import MetricsSettings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.errors import StartError
from wsproxy.process.system import set_process_name

STATUS = Status(
    "1.2", 7, "2026-11-30T10:00:00+00:00", "/x/plugin-cfg.xml", "abc", 2, [WorkerStatus(0, 8)], "", ""
)  # fmt: skip


def xml(clusters: int, servers: int, limit: int = -1) -> str:
    made = "".join(
        f'<ServerCluster Name="c{at}">'
        + "".join(
            f'<Server Name="s{each}" CloneID="c{each}" MaxConnections="{limit}">'
            f'<Transport Hostname="127.0.0.1" Port="{each + 1}"/></Server>'
            for each in range(servers)
        )
        + f'</ServerCluster><UriGroup Name="u{at}"><Uri Name="/c{at}/*"/></UriGroup>'
        f'<Route ServerCluster="c{at}" UriGroup="u{at}"/>'
        for at in range(clusters)
    )
    return f"<Config>{made}</Config>"


def plan_of(folder: Path, text: str, settings: Settings | None = None) -> Plan:
    file = folder / "plugin-cfg.xml"
    file.write_text(text)
    state = SharedState()
    state.open_meters(2)
    plan = build_plan(load_config(file).config, settings or Settings(), state)
    plan.apply()
    return plan


def page_of(plan: Plan) -> bytes:
    certificates = Certificates(plan.settings.listeners)
    return MetricsPage(lambda: STATUS, plan, certificates, BridgeCounts(plan.settings.ha)).text()


def families(page: bytes) -> dict[str, Family]:
    found = list(text_string_to_metric_families(page.decode()))
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def value(page: bytes, name: str, **labels: str) -> float:
    family = families(page)[name.removesuffix("_total")]
    [found] = [each.value for each in family.samples if each.name == name and each.labels == labels]
    return float(found)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, xml(2, 2))


def full_page(tmp_path: Path) -> bytes:
    """Of a configuration in which there is something of everything."""
    chain, key = Authority().issue("shop.example").write_pem(tmp_path, "shop")
    good = CertificateSettings(chain=str(chain), key=str(key))
    listener = ListenerSettings("127.0.0.1:0", certificates=(good,))
    ha = HaSettings("etcd", bridges=(BridgeSettings("west"),))
    settings = Settings(listeners=(listener,), ha=ha)
    plan = plan_of(tmp_path, xml(1, 1, limit=3), settings)
    plan.state.wants_prober = True
    return page_of(plan)


def test_each_metric_is_told_as_it_is_described(tmp_path: Path) -> None:
    """Name, kind, meaning and labels: no more, no fewer."""
    told = families(full_page(tmp_path))
    wanted = {metric.name.removesuffix("_total"): metric for metric in METRICS.values()}
    assert told.keys() == wanted.keys()
    for name, metric in wanted.items():
        family = told[name]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        labels = {frozenset(each.labels) - {"le"} for each in family.samples}
        assert labels <= {frozenset(metric.labels)}, name


def test_promtool_finds_nothing(tmp_path: Path) -> None:
    assert promtool("check", "metrics", data=full_page(tmp_path)) == ""


def test_numbers_of_a_server_are_sums_over_workers(plan: Plan) -> None:
    meters = plan.state.meters
    cluster = plan.clusters[1]
    assert meters is not None
    assert cluster is not None
    slot = cluster.slots()[1][1]
    for worker in range(2):
        meters.count(worker, BlockKind.SERVER_BLOCK, slot, ServerWord.FIRST_BYTE + 4 * HISTOGRAM, 3)
        meters.observe_time(worker, BlockKind.SERVER_BLOCK, slot, ServerWord.TOTAL, 1500)
    page = page_of(plan)
    where = {"cluster": "c1", "server": "s1"}
    assert value(page, "wsproxy_server_answers_total", code="5xx", **where) == 6
    assert value(page, "wsproxy_server_answers_total", code="2xx", **where) == 0
    family = families(page)["wsproxy_request_duration_seconds"]
    counts = {
        each.labels["code"]: each.value
        for each in family.samples
        if each.name.endswith("_count") and each.labels.items() >= where.items()
    }
    assert counts == {"2xx": 2}


def test_times_stand_by_class_of_status(plan: Plan) -> None:
    """Classes that a server never answered are not told, but 2xx."""
    meters = plan.state.meters
    cluster = plan.clusters[0]
    assert meters is not None
    assert cluster is not None
    slot = cluster.slots()[1][0]
    for kind, us in enumerate((1_000, 20_000, 300_000, 4_000_000)):
        word = ServerWord.TOTAL + kind * HISTOGRAM
        if kind != 1:
            meters.observe_time(0, BlockKind.SERVER_BLOCK, slot, word, us)
    family = families(page_of(plan))["wsproxy_request_duration_seconds"]
    sums = {
        (each.labels["server"], each.labels["code"]): each.value
        for each in family.samples
        if each.name.endswith("_sum") and each.labels["cluster"] == "c0"
    }
    assert sums == {("s0", "2xx"): 0.001, ("s0", "4xx"): 0.3, ("s0", "5xx"): 4, ("s1", "2xx"): 0}


def test_parts_stand_by_the_class_of_the_answer_too(plan: Plan) -> None:
    """Of a request that no server answered, none; classes that were never given are left out, but 2xx of servers."""
    meters, cluster = plan.state.meters, plan.clusters[0]
    assert meters is not None
    assert cluster is not None
    slot, servers = cluster.slots()
    for kind, block, at, word in (
        (5, BlockKind.SERVER_BLOCK, servers[0], ServerWord.CONNECT),
        (3, BlockKind.SERVER_BLOCK, servers[0], ServerWord.FIRST_BYTE),
        (4, BlockKind.CLUSTER_BLOCK, slot, ClusterWord.CLUSTER_RECEIVE),
        (5, BlockKind.WORKER_BLOCK, 0, WorkerWord.WORKER_RECEIVE),
        (3, BlockKind.CLUSTER_BLOCK, slot, ClusterWord.CLUSTER_TIME),
        (1, BlockKind.WORKER_BLOCK, 0, WorkerWord.WORKER_TIME),
    ):
        meters.observe_time(1, block, at, word + kind * HISTOGRAM, 2_000)
    told = families(page_of(plan))

    def counts(name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(each.labels[label] for label in METRICS[name].labels): each.value
            for each in told[f"wsproxy_{name}"].samples
            if each.name.endswith("_count") and (each.value or each.labels["cluster"] == "c1")
        }

    for name, code in (("server_connect_seconds", "none"), ("server_first_byte_seconds", "4xx")):
        assert counts(name) == {("c0", "s0", code): 1, ("c1", "s0", "2xx"): 0, ("c1", "s1", "2xx"): 0}  # fmt: skip
    assert counts("request_receive_seconds") == {("c0", "5xx"): 1, ("", "none"): 1}
    assert counts("own_answer_duration_seconds") == {("c0", "5xx"): 1, ("", "3xx"): 1}


def test_answers_of_the_edge_stand_by_kind(plan: Plan) -> None:
    meters = plan.state.meters
    cluster = plan.clusters[0]
    assert meters is not None
    assert cluster is not None
    for at in range(EdgeAnswer.EDGE_ANSWERS):
        meters.count(0, BlockKind.WORKER_BLOCK, 0, WorkerWord.WORKER_EDGE + at, at + 1)
    word = ClusterWord.CLUSTER_EDGE + EdgeAnswer.MAINTENANCE_ANSWER
    meters.count(0, BlockKind.CLUSTER_BLOCK, cluster.slots()[0], word, 7)
    rows = [
        (each.labels["cluster"], each.labels["kind"], each.value)
        for each in families(page_of(plan))["wsproxy_edge_answers"].samples
    ]
    assert sorted(rows) == [
        ("", "denied", 1), ("", "error_page", 5), ("", "file", 4), ("", "maintenance", 3),
        ("", "no_host", 6), ("", "redirected", 2), ("c0", "maintenance", 7),
    ]  # fmt: skip


def test_state_of_a_server(plan: Plan) -> None:
    first, second = plan.clusters
    assert first is not None
    assert second is not None
    drain(first, 0)
    first.set_down(1, 0, now_ms())
    page = page_of(plan)
    states = {
        (each.labels["cluster"], each.labels["server"]): each.labels["state"]
        for each in families(page)["wsproxy_server_state"].samples
        if each.value
    }
    assert states == {
        ("c0", "s0"): "drained", ("c0", "s1"): "down", ("c1", "s0"): "up", ("c1", "s1"): "up",
    }  # fmt: skip


def test_only_clusters_that_are_wanted(tmp_path: Path) -> None:
    wanted = Settings(metrics=MetricsSettings(clusters=("c1*", "x")))
    page = page_of(plan_of(tmp_path, xml(12, 1), wanted))
    told = {
        each.labels["cluster"]
        for family in families(page).values()
        for each in family.samples
        if each.labels.get("cluster")
    }
    assert told == {"c1", "c10", "c11"}


def test_servers_are_added_up_where_nobody_wants_each(tmp_path: Path) -> None:
    wanted = Settings(metrics=MetricsSettings(servers=False))
    plan = plan_of(tmp_path, xml(1, 3), wanted)
    cluster = plan.clusters[0]
    assert cluster is not None
    drain(cluster, 0)
    for server in range(3):
        cluster.release_server(cluster.pick_server(0, now_ms(), [server]), 0)
    page = page_of(plan)
    assert value(page, "wsproxy_server_state", cluster="c0", state="up") == 2
    assert value(page, "wsproxy_server_state", cluster="c0", state="drained") == 1
    assert value(page, "wsproxy_server_requests_total", cluster="c0") == 3
    assert b'server="' not in page


def test_histograms_of_servers_are_left_out_where_nobody_wants_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, xml(1, 1), Settings(metrics=MetricsSettings(histograms=False)))
    told = families(page_of(plan))
    assert "wsproxy_server_answers" in told
    assert "wsproxy_request_duration_seconds" not in told


def test_server_that_left_is_told_no_more(tmp_path: Path) -> None:
    """Its series end with the configuration that had it."""
    before = plan_of(tmp_path, xml(1, 2))
    (tmp_path / "plugin-cfg.xml").write_text(xml(1, 1))
    after = build_plan(load_config(tmp_path / "plugin-cfg.xml").config, Settings(), before.state)
    after.apply()
    assert b'server="s1"' in page_of(before)
    assert b'server="s1"' not in page_of(after)


def test_cluster_address_of_a_servers_name_is_told_once(tmp_path: Path) -> None:
    """They have one slot."""
    address = (
        '</Server><ClusterAddress Name="s0"><Transport Hostname="h" Port="1"/></ClusterAddress>'
    )
    page = page_of(plan_of(tmp_path, xml(1, 1).replace("</Server>", address)))
    assert page.count(b"wsproxy_server_weight{") == 1


def test_fallback_is_a_cluster(tmp_path: Path) -> None:
    settings = Settings(fallback=FallbackSettings(mode="upstream", upstream="127.0.0.1:9"))
    page = page_of(plan_of(tmp_path, xml(1, 1), settings))
    assert value(page, "wsproxy_server_requests_total", cluster="[fallback]", server="127.0.0.1:9") == 0  # fmt: skip


def test_lost_lines_and_handshakes(plan: Plan) -> None:
    meters = plan.state.meters
    assert meters is not None
    for word, count in (
        (WorkerWord.ACCESS_LOST, 3), (WorkerWord.HANDSHAKES, 5), (WorkerWord.RESUMED, 2), (WorkerWord.HANDSHAKE_FAILED, 1),
    ):  # fmt: skip
        meters.count(1, BlockKind.WORKER_BLOCK, 0, word, count)
    page = page_of(plan)
    assert value(page, "wsproxy_log_lines_lost_total", log="access") == 3
    told = [value(page, "wsproxy_tls_handshakes_total", result=each) for each in ("full", "resumed", "failed")]  # fmt: skip
    assert told == [3, 2, 1]


def test_certificate_that_cannot_be_read_keeps_its_last_day(tmp_path: Path) -> None:
    chain, key = Authority().issue("shop.example").write_pem(tmp_path, "shop")
    listener = ListenerSettings(
        "127.0.0.1:0", certificates=(CertificateSettings(chain=str(chain), key=str(key)),)
    )
    certificates = Certificates((listener,))
    [good] = certificates.look()
    assert good.ends_at is not None
    assert not good.problem
    Path(chain).write_text("nonsense")
    assert certificates.look() == [good]  # not each time
    [bad] = certificates.read()
    assert bad.ends_at == good.ends_at
    assert "found no usable certificate" in bad.problem


def test_keyring_ends_when_its_first_certificate_does(tmp_path: Path) -> None:
    """Those that are readable; the last day that was known stays where a file is broken later, and what is never read is left out."""
    authority = Authority()
    chain, _ = authority.issue("shop.example").write_pem(tmp_path, "shop")
    transports = "".join(
        f'<Server Name="s{at}"><Transport Hostname="127.0.0.1" Port="1" Protocol="https">'
        f'<Property Name="keyring" Value="{file}"/></Transport></Server>'
        for at, file in enumerate((chain.name, chain.name, "plugin-key.kdb"))
    )
    plan = plan_of(
        tmp_path,
        f'<Config><ServerCluster Name="c">{transports}</ServerCluster><Route ServerCluster="c"/></Config>',
    )
    certificates = Certificates((), plan)
    [good] = certificates.look_at_rings()
    ends = min(each.not_valid_after_utc for each in load_pem_x509_certificates(chain.read_bytes()))
    assert (good.file, good.ends_at, good.problem) == (str(chain), ends.timestamp(), "")
    page = MetricsPage(lambda: STATUS, plan, certificates, BridgeCounts(plan.settings.ha)).text()
    name = "wsproxy_keyring_expiry_timestamp_seconds"
    assert value(page, name, file=str(chain)) == good.ends_at
    chain.write_text("nonsense")
    assert certificates.look_at_rings() == [good]  # not each time
    certificates.take_plan(plan)
    [bad] = certificates.look_at_rings()
    assert bad.ends_at == good.ends_at
    assert "which does not open without a password" in bad.problem


def test_proxy_without_meters_says_so(plan: Plan) -> None:
    bare = build_plan(plan.config, Settings(), SharedState())
    live = LiveProxy(ProxyFacts(1, "2026-11-30T10:00:00+00:00", 1, bare, None))
    with pytest.raises(StartError, match="without meters"):
        live.metrics()


def test_proxy_is_ready_when_workers_serve(plan: Plan) -> None:
    """Not before each has its configuration, not without one, and not while an operator drains it."""
    live = LiveProxy(ProxyFacts(os.getpid(), "2026-11-30T10:00:00+00:00", 2, plan, None))
    plan.state.note_generations(0, 1, 1)
    assert live.why_not_ready() == "not every worker has its configuration yet"
    plan.state.note_generations(1, 1, 1)
    assert live.why_not_ready() == "no worker runs"
    child = os.fork()
    if not child:
        set_process_name("wsproxy-0")
        signal.pause()
    try:
        while not live.workers():  # it has no name of its own yet
            pass
        assert live.why_not_ready() == ""
        plan.state.is_drained = True
        assert live.why_not_ready() == "an operator drains the proxy"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_bridge_is_told_by_its_site(plan: Plan) -> None:
    """Of each that is configured, before anything has happened, and as the ha process writes it."""
    bridges = (BridgeSettings("west"), BridgeSettings("main", cell="other"))
    counts = BridgeCounts(HaSettings("etcd", cell="shop", bridges=bridges))
    assert list(counts.rows) == ["shop/west", "other/main"]
    certificates = Certificates(plan.settings.listeners)
    page = MetricsPage(lambda: STATUS, plan, certificates, counts)
    for site in counts.rows:
        assert value(page.text(), "wsproxy_bridge_state", site=site, state="elsewhere") == 1
        assert value(page.text(), "wsproxy_bridge_refused_total", site=site, bound="here") == 0
    row = counts.rows["other/main"]
    row.put(BridgeWord.STATE, 2)
    row.put(BridgeWord.HEARD_MS, 1_796_100_000_500)
    row.put(BridgeWord.BEHIND, 7)
    row.add(BridgeWord.COPIED_OUT, 5)
    row.add(BridgeWord.OVER_THERE)
    text = page.text()
    assert value(text, "wsproxy_bridge_state", site="other/main", state="up") == 1
    assert value(text, "wsproxy_bridge_state", site="shop/west", state="up") == 0
    assert (
        value(text, "wsproxy_bridge_heard_timestamp_seconds", site="other/main") == 1_796_100_000.5
    )
    assert value(text, "wsproxy_bridge_waiting_words", site="other/main") == 7
    assert value(text, "wsproxy_bridge_words_total", site="other/main", way="out") == 5
    assert value(text, "wsproxy_bridge_words_total", site="shop/west", way="out") == 0
    assert value(text, "wsproxy_bridge_refused_total", site="other/main", bound="there") == 1


def test_a_proxy_alone_has_no_bridge() -> None:
    """Nor memory for one."""
    assert BridgeCounts(HaSettings(bridges=(BridgeSettings("west"),))).rows == {}

"""
Prints what a page of metrics costs who writes it: lines, bytes, milliseconds of CPU.

Run by hand: ``python -m bench.micro.scrape``. Must not judge. 500 clusters of 4 servers, two workers; by how many classes of status
each server has answered with.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from wsproxy._fast.state.meters import (
    CLASSES,
    HISTOGRAM,
    BlockKind,
    ClusterWord,
    ServerWord,
)
from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.bridge_counts import BridgeCounts
from wsproxy.admin.certificates import Certificates
from wsproxy.admin.messages import Status, WorkerStatus
from wsproxy.admin.metrics import MetricsPage
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan

CLUSTERS, SERVERS, WORKERS = 500, 4, 2
ROUNDS = 9
NEW_LINE = b"\n"
STATUS = Status(
    "1", 7, "2026-11-30T10:00:00+00:00", "/x/plugin-cfg.xml", "abc", WORKERS, [WorkerStatus(0, 8)], "", ""
)  # fmt: skip


def make_plan() -> Plan:
    """All clusters with a queue: their servers have a MaxConnections."""
    servers = "".join(
        f'<Server Name="server{at}" MaxConnections="9"><Transport Hostname="127.0.0.1" Port="{at + 1}"/></Server>'
        for at in range(SERVERS)
    )
    clusters = "".join(
        f'<ServerCluster Name="Cluster_{at:03}">{servers}</ServerCluster><UriGroup Name="u{at}"><Uri Name="/c{at}/*"/></UriGroup>'
        f'<Route ServerCluster="Cluster_{at:03}" UriGroup="u{at}"/>'
        for at in range(CLUSTERS)
    )
    with TemporaryDirectory() as folder:
        file = Path(folder, "plugin-cfg.xml")
        file.write_text(f"<Config>{clusters}</Config>")
        state = SharedState()
        state.open_meters(WORKERS)
        plan = build_plan(load_config(file).config, Settings(), state)
    plan.apply()
    return plan


def answer_with(plan: Plan, kind: int) -> None:
    """Every server has answered with this class, over a new connection, and every cluster's queue and wsproxy itself have, too."""
    meters = plan.state.meters
    assert meters is not None
    for live in plan.clusters:
        assert live is not None
        cluster, servers = live.slots()
        for word in (ClusterWord.QUEUE, ClusterWord.CLUSTER_RECEIVE):
            meters.observe_time(
                0, BlockKind.CLUSTER_BLOCK, cluster, word + kind * HISTOGRAM, 123_456
            )
        if kind in range(1, 5):
            own = ClusterWord.CLUSTER_TIME + (kind - 1) * HISTOGRAM
            meters.observe_time(0, BlockKind.CLUSTER_BLOCK, cluster, own, 123_456)
        for slot in servers:
            words = [ServerWord.CONNECT + kind * HISTOGRAM]
            if kind < CLASSES - 1:
                words.append(ServerWord.FIRST_BYTE + kind * HISTOGRAM)
            if kind in range(1, 5):
                words.append(ServerWord.TOTAL + (kind - 1) * HISTOGRAM)
            for each in words:
                meters.observe_time(1, BlockKind.SERVER_BLOCK, slot, each, 123_456)


def main() -> None:
    """Prints a line for each page."""
    plan = make_plan()
    page = MetricsPage(lambda: STATUS, plan, Certificates(()), BridgeCounts(plan.settings.ha))
    sys.stdout.write(
        f"{CLUSTERS} clusters of {SERVERS} servers, {WORKERS} workers; best and worst of {ROUNDS}\n"
    )
    for classes, kind in (("none", None), ("2xx", 1), ("2xx, 4xx", 3), ("2xx to 5xx", 2), ("2xx to 5xx", 4), ("all, and none", 5)):  # fmt: skip
        if kind is not None:
            answer_with(plan, kind)
        if kind == 2:
            continue
        text = page.text()
        times = []
        for _ in range(ROUNDS):
            began = time.process_time()
            page.text()
            times.append(1000 * (time.process_time() - began))
        sys.stdout.write(
            f"{classes:14} {text.count(NEW_LINE):9,} lines {len(text) / 1e6:6.1f} MB {min(times):6.1f} to {max(times):6.1f} ms of CPU\n"
        )


if __name__ == "__main__":
    main()

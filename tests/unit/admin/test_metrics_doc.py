"""Documents, alerts and dashboard say what the page has: no metric without a line, no alert without advice, no query of nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.metrics_doc import BEGIN, END, row, tables
from tests.support.promtool import promtool
from wsproxy.admin.metric_names import METRICS, Metric

PROJECT = Path(__file__).parents[3]
DOC = (PROJECT / "docs" / "metrics.md").read_text()
ALERTS = PROJECT / "contrib" / "prometheus" / "alerts.yml"
SCRAPE = PROJECT / "contrib" / "prometheus" / "prometheus.yml"
DASHBOARD = PROJECT / "contrib" / "grafana" / "wsproxy.json"

# What Prometheus itself adds.
OF_PROMETHEUS = {"instance", "job", "le"}
BY_NAME = {metric.name: metric for metric in METRICS.values()}


def metric_of(name: str) -> Metric:
    """Of a sample's name, as queries have it."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    if stem in BY_NAME and BY_NAME[stem].kind == "histogram":
        return BY_NAME[stem]
    found = BY_NAME[name]
    assert found.kind != "histogram", f"{name}: a histogram has _bucket, _sum and _count"
    return found


def check_query(query: str) -> None:
    """Each metric of it exists, with the labels that it is asked for; a counter is never looked at as it is."""
    names = re.findall(r"\bwsproxy_\w+", query)
    assert names or query.startswith("up")
    allowed = set(OF_PROMETHEUS)
    for name in names:
        allowed.update(metric_of(name).labels)
    for name, asked in re.findall(r"\b(wsproxy_\w+)\{([^}]*)\}", query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", asked))
        assert labels <= set(metric_of(name).labels) | OF_PROMETHEUS, (name, labels)
    for listed in re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", query):
        assert {each.strip() for each in listed.split(",") if each.strip()} <= allowed, listed
    for name in names:
        if name.endswith(("_total", "_bucket", "_sum", "_count")):
            over = rf"(?:rate|increase)\({name}(?:\{{[^}}]*\}})?\["
            assert re.search(over, query), f"{name} is a counter: {query}"


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_each_metric_has_its_line(metric: Metric) -> None:
    """``python -m tests.support.metrics_doc`` writes them."""
    assert row(metric) in DOC.splitlines()


def test_table_has_no_others() -> None:
    assert DOC.partition(BEGIN)[2].partition(END)[0] == f"\n{tables()}"


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)


def expressions() -> Iterator[str]:
    """What the alerts ask; of YAML no more than these files have."""
    text = ALERTS.read_text()
    for found in re.finditer(r"^ +expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", text, re.MULTILINE):
        yield " ".join((found[1] or found[2]).split())


def test_promtool_takes_the_alerts() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", ALERTS)


def test_promtool_takes_the_scrape_job() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", SCRAPE)


def test_each_alert_has_its_advice() -> None:
    """A heading that the link of the alert leads to, with a text below it; and there are no others."""
    found = alerts()
    assert len(found) == len(set(found)) == len(list(expressions()))
    section = DOC.partition("\n## Alerts\n")[2]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == found
    links = re.findall(r"runbook: docs/metrics\.md#(\w+)$", ALERTS.read_text(), re.MULTILINE)
    assert links == [each.lower() for each in found]
    for advice in re.split(r"^### \w+\n", section, flags=re.MULTILINE)[1:]:
        assert len(advice.strip()) > 80


@pytest.mark.parametrize("query", list(expressions()))
def test_alert_asks_for_what_there_is(query: str) -> None:
    check_query(query)


def queries_of(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel.get("targets", [])]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


QUERIES = [query for panel in dashboard()["panels"] for query in queries_of(panel)]


@pytest.mark.parametrize("query", QUERIES)
def test_panel_asks_for_what_there_is(query: str) -> None:
    check_query(query)


def test_dashboard_shows_most_of_the_metrics() -> None:
    """Whoever adds one thinks of where it is seen: these few are for alerts and questions only."""
    shown = {
        metric_of(name).name for query in QUERIES for name in re.findall(r"wsproxy_\w+", query)
    }
    unseen = {name.removeprefix("wsproxy_") for name in BY_NAME.keys() - shown}
    assert unseen == {
        "build_info", "start_time_seconds", "workers", "workers_configured", "drained", "certificate_unreadable",
        "keyring_unreadable", "traced_requests_total", "trace_spans_total", "takeovers_told_total", "takeovers_heard_total",
        "bridge_state", "bridge_heard_timestamp_seconds", "bridge_words_total", "bridge_waiting_words", "bridge_refused_total",
        "config_info", "reload_last_successful", "reload_last_attempt_timestamp_seconds",
        "reload_last_success_timestamp_seconds", "sessions_moved_total", "affinity_remembered_total", "server_max_connections",
        "server_weight", "server_reused_connections_total", "server_probes_total",
    }  # fmt: skip


def test_panels_do_not_overlap() -> None:
    places: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(at["x"], at["x"] + at["w"])
            for line in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, with Grafana's variables filled in."""
    rules = [
        {"record": f"q:{at}", "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$cluster", ".*")}
        for at, query in enumerate(QUERIES)
    ]  # fmt: skip
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", file)


def test_queries_of_the_documents() -> None:
    section = DOC.partition("\n## Questions")[2].partition("\n## ")[0]
    found = re.findall(r"^\| [A-Z][^|]* \| `([^`]+)` \|$", section, re.MULTILINE)
    assert len(found) == section.count("\n| ") - 1  # all but the head of the table
    for query in found:
        check_query(query)

"""Real files: each whole one loads with the warnings that it deserves, each broken one is refused with its reason."""

from __future__ import annotations

import pytest

from tests.support.real_files import CORPUS, needs_corpus
from wsproxy.config.xml import load_config, parse_config
from wsproxy.errors import ConfigRefusedError

pytestmark = needs_corpus

# file -> (line, code) of every warning
WHOLE: dict[str, list[tuple[int, str]]] = {
    "plugin-cfg/01-studyproject-29-clusters.xml": [
        (8, "windows-path"),
        (9, "esi-default"),
        (27, "transport-no-keyring"),
        (42, "keyring-kdb"),
        (63, "transport-unused"),
        (79, "transport-unused"),
    ],
    "plugin-cfg/04-openliberty-wsoc-trace.xml": [
        (13, "placeholder"),
        (14, "esi-default"),
        (18, "placeholder"),
        (30, "placeholder"),
        (31, "placeholder"),
        (31, "keyring-kdb"),
    ],
    "plugin-cfg/05-openliberty-paused-endpoint-srv02.xml": [
        (2, "no-route"),
        (4, "esi-default"),
        (18, "route-cluster-unknown"),
    ],
    "plugin-cfg/06-openliberty-merge-improper-subset-expected.xml": [
        (4, "esi-default"),
        (10, "cluster-unrouted"),
        (12, "transport-no-keyring"),
        (24, "transport-no-keyring"),
        (44, "transport-no-keyring"),
        (56, "transport-no-keyring"),
        (80, "virtual-host-shared"),
    ],
    "plugin-cfg/07-openliberty-merge-improper-subset-srv-a1.xml": [
        (5, "esi-default"),
        (18, "transport-no-keyring"),
    ],
    "plugin-cfg/09-openliberty-vhost-port-test-app01.xml": [
        (4, "esi-default"),
        (21, "keyring-kdb"),
    ],
    "plugin-cfg/15-liberty-vm-labs-static.xml": [(8, "attribute-unknown")],
    "liberty/plugin-cfg-s1.xml": [(6, "esi-default")],
    "liberty/plugin-cfg-s2.xml": [(6, "esi-default")],
    "liberty/plugin-cfg-s3.xml": [(6, "esi-default")],
    "liberty/plugin-cfg-merged-s1-s2-s3.xml": [(4, "esi-default")],
    "liberty/plugin-cfg-s4.xml": [(6, "esi-default"), (45, "keyring-kdb")],
}
# whole, but nothing could be forwarded: (line, code) of every problem
ROUTELESS = {
    "02-openliberty-generated-2016-a.xml": [
        (2, "no-route"),
        (4, "esi-default"),
        (15, "keyring-kdb"),
    ],
    "10-openliberty-merge-test1-empty-expected.xml": [(2, "no-route"), (6, "esi-default")],
    "16-liberty-vm-labs-intelligent-management.xml": [
        (2, "no-route"),
        (11, "placeholder"),
        (14, "not-carried-out"),
        (16, "placeholder"),
        (22, "placeholder"),
    ],
}
# file -> (line, code) of every error, and a word of the reason
BROKEN: dict[str, tuple[list[tuple[int, str]], str]] = {
    "17-fragment-hcl-portal-farm.xml": ([(1, "root-not-config")], '"ServerCluster"'),
    "18-fragment-was90-containers.xml": (
        [(1, "root-not-config"), (13, "xml-malformed")],
        "one root element",
    ),
    "19-malformed-xml-decl-was7-excerpt.xml": ([(1, "xml-malformed")], "without a space after <?"),
    "20-fragment-redp4045-was6-cluster.xml": (
        [(1, "xml-malformed"), (1, "root-not-config")],
        '"Route"',
    ),
    "21-malformed-backup-servers-excerpt.xml": (
        [(1, "root-not-config"), (3, "xml-malformed")],
        "closing quote is probably missing",
    ),
    "23-fragment-was40-servergroup.xml": ([(1, "root-not-config")], '"ServerGroup"'),
    "24-truncated-was61-webserver1-excerpt.xml": ([(2, "xml-truncated")], "ends with </Config>"),
    "25-fragment-arender-cloneid-case.xml": (
        [(1, "root-not-config"), (9, "xml-malformed")],
        '"ServerCluster"',
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_loads_with_the_warnings_it_deserves(name: str) -> None:
    loaded = load_config(CORPUS / name)
    assert [(problem.line, problem.code) for problem in loaded.problems] == WHOLE[name]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_reason(name: str) -> None:
    expected, reason = BROKEN[name]
    with pytest.raises(ConfigRefusedError) as refused:
        load_config(CORPUS / "plugin-cfg" / name)
    assert [(problem.line, problem.code) for problem in refused.value.problems] == expected
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ROUTELESS)
def test_a_file_without_route_is_refused(name: str) -> None:
    """The one error: nothing would be forwarded."""
    with pytest.raises(ConfigRefusedError, match="no request is forwarded") as refused:
        load_config(CORPUS / "plugin-cfg" / name)
    problems = refused.value.problems
    assert [(problem.line, problem.code) for problem in problems] == ROUTELESS[name]
    assert [problem.code for problem in problems if problem.severity == "error"] == ["no-route"]


def test_every_configuration_of_the_corpus_is_judged_here() -> None:
    found = {str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*.xml")}
    assert found == {*WHOLE, *(f"plugin-cfg/{name}" for name in (*BROKEN, *ROUTELESS))}


def test_twenty_nine_clusters_come_out_whole() -> None:
    config = load_config(CORPUS / "plugin-cfg" / "01-studyproject-29-clusters.xml").config
    assert len(config.server_clusters) == len(config.routes) == len(config.uri_groups) == 29
    assert len(config.virtual_host_groups[0].virtual_hosts) == 9
    assert config.refresh_interval_s == 86400
    assert config.request_metrics is not None
    assert [child.name for child in config.request_metrics.children] == ["filters", "filters"]


def test_a_fragment_put_into_a_config_shows_the_vendor_mistake() -> None:
    """The vendor's document writes CloneId; the plug-in and wsproxy know CloneID only."""
    fragment = (CORPUS / "plugin-cfg" / "25-fragment-arender-cloneid-case.xml").read_bytes()
    loaded = parse_config(b"<Config>\n" + fragment + b"</Config>", "f")
    assert [(problem.line, problem.code) for problem in loaded.problems] == [
        (2, "word-spelling"),
        (3, "attribute-unknown"),
        (6, "attribute-unknown"),
        (10, "uri-group-unreached"),
        (13, "route-hosts-unknown"),
    ]
    assert "NOT used; allowed is CloneID" in str(loaded.problems[1])
    assert [server.clone_id for server in loaded.config.server_clusters[0].servers] == [None, None]
    assert loaded.config.server_clusters[0].load_balance == "Round Robin"
    assert [(lost.element, lost.attribute) for lost in loaded.config.unknown] == [
        ("Server", "CloneId")
    ] * 2

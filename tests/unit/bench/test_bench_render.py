"""Configurations that ``wsproxy.bench.render`` writes, and the traffic that they share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import etree  # noqa: TID251 (an XML oracle that is not our reader)

from wsproxy.bench import render, traffic
from wsproxy.bench.bed import own_config, write_configuration
from wsproxy.bench.machine import Cores, TooFewCoresError, assign_cores
from wsproxy.bench.peers.common import Place
from wsproxy.bench.programs import HAPROXY, NGINX, WRK, WSPROXY, Program, install_command, missing
from wsproxy.bench.proxies import OURS, PROXIES, Proxy, choose, of_program
from wsproxy.bench.scenarios import SCENARIOS, Scenario
from wsproxy.bench.site import HOST_NAME, Site, read_site
from wsproxy.bench.tls import paths
from wsproxy.config.model import Log
from wsproxy.config.write import write_config

PORTS = (41001, 41002)
CLONE_IDS = ("17c3bq8d2", "17c3bqa0v")
ECHO_PORT = 41003
LISTEN_PORT = 41004
WORKDIR = Path("/work directory")


DUTIFUL = [proxy for proxy in PROXIES.values() if proxy.does_duties]
PEERS = [proxy for proxy in DUTIFUL if not proxy.name.startswith(OURS)]


def own_site() -> Site:
    """What is measured where nobody names a file."""
    return read_site(own_config(), PORTS, Log(name="http_plugin.log"))


def rendered(proxy: Proxy, scenario: Scenario = SCENARIOS["small"]) -> str:
    """All files of a proxy, one after the other."""
    site = own_site()
    place = Place(LISTEN_PORT, scenario.tls, str(WORKDIR), render.pool_size(scenario))
    said = None if proxy.say is None else proxy.say(site, place)
    more = {} if said is None else dict(said.values)
    values = render.proxy_values(
        scenario, site.ports, paths(WORKDIR), WORKDIR, LISTEN_PORT, more | proxy.template_values()
    )
    texts = [render.render(proxy.template, values)]
    return "\n".join([*texts, *(said.files.values() if said else ())])


def directives(proxy: Proxy, scenario: Scenario) -> list[str]:
    """The lines that count, without their indentation."""
    lines = (line.strip() for line in rendered(proxy, scenario).splitlines())
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("proxy", DUTIFUL, ids=lambda proxy: proxy.name)
def test_every_proxy_knows_its_port_both_servers_and_both_clones(proxy: Proxy) -> None:
    text = rendered(proxy)
    assert "@{" not in text
    for needed in (str(LISTEN_PORT), "41001", "41002", *CLONE_IDS):
        assert needed in text, f"{needed} is not in the configuration of {proxy.name}"


@pytest.mark.parametrize(
    ("proxy", "scenario"),
    [
        pytest.param(proxy, scenario, id=f"{proxy.name}-{name}")
        for proxy in PEERS
        for name, scenario in SCENARIOS.items()
        if name not in proxy.never_in
    ],
)
def test_every_peer_adds_each_private_header_once(proxy: Proxy, scenario: Scenario) -> None:
    """The eight of plain HTTP, and what TLS adds where there is such a thing."""
    applies = dict.fromkeys(traffic.PRIVATE_HEADERS, True) | {
        traffic.CIPHER_HEADER: scenario.tls,
        traffic.SESSION_ID_HEADER: scenario.has_session_ids,
    }
    for header, is_added in applies.items():
        setting = re.compile(
            rf"(proxy_set_header|add-header|RequestHeader set|header_up|append: \{{header: \{{key:) {re.escape(header)},? "
        )
        found = [line for line in directives(proxy, scenario) if setting.search(line)]
        assert len(found) == is_added, header


@pytest.mark.parametrize(
    "proxy", [each for each in PEERS if "tls" not in each.never_in], ids=lambda proxy: proxy.name
)
def test_certificate_is_spoken_of_only_where_it_matters(proxy: Proxy) -> None:
    def count(scenario: str, word: str) -> int:
        lines = directives(proxy, SCENARIOS[scenario])
        return sum(bool(re.search(word, line, re.IGNORECASE)) for line in lines)

    certificate = r"tls\.(crt|pem)"
    assert [count(name, certificate) for name in ("small", "tls", "tls-new")] == [0, 1, 1]


def test_threads_and_pools_grow_with_the_connections() -> None:
    httpd = directives(PROXIES["httpd"], SCENARIOS["c256"])
    assert {"ThreadLimit 264", "ThreadsPerChild 264", "MaxRequestWorkers 264"} < set(httpd)
    assert "ThreadsPerChild 40" in directives(PROXIES["httpd"], SCENARIOS["small"])
    nginx = directives(PROXIES["nginx"], SCENARIOS["c256"])
    assert [line for line in nginx if line.startswith("keepalive ")] == [
        "keepalive 512;"
    ] * 3  # of all, and of each owner


@pytest.mark.parametrize(
    "proxy", [proxy for proxy in PEERS if proxy.only_in], ids=lambda proxy: proxy.name
)
def test_variant_differs_from_its_peer_in_buffers_only(proxy: Proxy) -> None:
    peer = PROXIES[proxy.name.removesuffix("-buffers")]
    theirs = set(rendered(peer).splitlines())
    assert set(rendered(proxy).splitlines()) - theirs == set(proxy.buffer_lines)


def test_plugin_cfg_pairs_each_clone_with_its_port() -> None:
    root = etree.fromstring(write_config(own_site().config).encode())
    servers = root.findall(".//ServerCluster/Server")
    ports = [int(transport.get("Port", "")) for transport in root.iterfind(".//Server/Transport")]
    assert [server.get("CloneID") for server in servers] == [*CLONE_IDS]
    assert ports == [*PORTS]
    named = {server.get("Name") for server in root.iterfind(".//ServerCluster/Server")}
    assert {server.get("Name") for server in root.iterfind(".//PrimaryServers/Server")} == named


def test_placeholder_without_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="listen_port"):
        render.render("wsproxy.toml", {"when_tls": "", "workers": "1"})


def test_bare_at_sign_is_an_error_and_dollar_is_text() -> None:
    assert render.ConfigTemplate("$WSRA @{x} ${y}").substitute(x="1") == "$WSRA 1 ${y}"
    with pytest.raises(ValueError, match="Invalid placeholder"):
        render.ConfigTemplate("user@host").substitute()


def test_wrk_script_alternates_clones_over_many_sessions() -> None:
    script = render.render(
        "request.lua", render.wrk_values(SCENARIOS["small"], own_site(), LISTEN_PORT)
    )
    sessions = re.findall(r"JSESSIONID=0000([A-Za-z0-9_-]{23}):(\w+);", script)
    assert len({session for session, _ in sessions}) == len(sessions) == 64
    assert [clone for _, clone in sessions] == [*CLONE_IDS] * 32
    assert 'wrk.headers["X-Bench"] = "small"' in script
    assert '"/app/wsproxy-bench"' in script


def test_wrk_script_says_method_connection_and_scheme_of_its_scenario() -> None:
    upload = render.render(
        "request.lua", render.wrk_values(SCENARIOS["upload"], own_site(), LISTEN_PORT)
    )
    assert 'wrk.format("POST", visit[2], wrk.headers, upload)' in upload
    plain = render.render(
        "request.lua", render.wrk_values(SCENARIOS["small"], own_site(), LISTEN_PORT)
    )
    assert "local upload = nil " in plain
    assert 'wrk.headers["Connection"] = "keep-alive"' in plain
    new = render.render(
        "request.lua", render.wrk_values(SCENARIOS["tls-new"], own_site(), LISTEN_PORT)
    )
    assert 'wrk.headers["Connection"] = "close"' in new
    assert f'wrk.headers["Referer"] = "https://{HOST_NAME}:' in new


def test_new_visitor_has_cookies_but_no_session() -> None:
    assert "JSESSIONID" not in traffic.cookie(1)
    assert "LtpaToken2=" in traffic.cookie(1)


@pytest.mark.parametrize("name", ["16k", "64k", "1m", "chunked"])
def test_file_has_the_length_that_the_scenario_promises(name: str, tmp_path: Path) -> None:
    render.write_static_files(tmp_path)
    path = tmp_path / "www" / "bench" / SCENARIOS[name].answer
    assert path.stat().st_size == SCENARIOS[name].body_bytes


def test_every_scenario_has_a_location_on_the_upstream() -> None:
    text = render.render("upstream.conf", render.upstream_values(PORTS, ECHO_PORT, Path("/x")))
    for scenario in SCENARIOS.values():
        assert f"location = /bench/{scenario.answer} " in text


def test_variants_are_measured_where_they_matter_or_are_asked_for() -> None:
    assert [proxy.name for proxy in choose(None, "small")] == [
        "direct",
        "floor",
        "wsproxy",
        "nginx",
        "haproxy",
        "httpd",
    ]
    for scenario in ("64k", "1m", "upload"):
        assert {"nginx-buffers", "haproxy-buffers", "httpd-buffers"} < {
            proxy.name for proxy in choose(None, scenario)
        }
    assert [proxy.name for proxy in choose("nginx-buffers, haproxy,haproxy", "small")] == [
        "nginx-buffers",
        "haproxy",
    ]


def test_floor_has_no_part_in_what_it_cannot_do() -> None:
    """It has no TLS, no configuration, and does not know where a chunked answer ends."""
    for scenario in SCENARIOS.values():
        is_measured = PROXIES["floor"] in choose("floor", scenario.name)
        has_one_length = not scenario.is_chunked and not scenario.mix
        can = not scenario.tls and has_one_length and scenario.kind not in ("reload", "websocket")
        assert is_measured == can, scenario.name


def test_floor_is_told_lengths_and_servers() -> None:
    assert rendered(PROXIES["floor"]).split() == ["41004", "0", "128", "keep", "41001", "41002"]
    upload = rendered(PROXIES["floor"], SCENARIOS["upload"])
    assert upload.split() == ["41004", "1048576", "128", "keep", "41001", "41002"]
    assert "close" in rendered(PROXIES["floor"], SCENARIOS["close"]).split()


@pytest.mark.parametrize("only", ["squid", "nginx,squid", ",", ""])
def test_unknown_or_no_name_is_an_error(only: str) -> None:
    with pytest.raises(KeyError):
        choose(only, "small")


def test_proxy_has_a_core_of_its_own() -> None:
    assert assign_cores({0, 1}) == Cores(proxy=1, wrk=0, upstream=0)
    assert assign_cores({2, 5, 7, 9}) == Cores(proxy=9, wrk=2, upstream=7)
    with pytest.raises(TooFewCoresError, match="found 1 cores; allowed is 2"):
        assign_cores({4})


def test_each_worker_has_a_core_and_the_load_the_others() -> None:
    cores = assign_cores({0, 1, 2, 3, 4, 5}, 4)
    assert (cores.proxies, cores.wrk, cores.upstream) == (frozenset((2, 3, 4, 5)), 0, 1)
    assert assign_cores({0, 1, 2}, 2) == Cores(proxy=1, wrk=0, upstream=0, more=(2,))
    with pytest.raises(TooFewCoresError, match="allowed is 3 and more: 2 for the proxy"):
        assign_cores({0, 1}, 2)


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("wsproxy", "workers = 4"),
        ("nginx", "worker_processes 4;"),
        ("haproxy", "nbthread 4"),
        ("httpd", "MaxRequestWorkers 160"),
    ],
)
def test_every_proxy_is_told_how_many_workers(proxy: str, said: str, tmp_path: Path) -> None:
    certificate = paths(tmp_path)
    scenario = SCENARIOS["small"]
    config, _ = write_configuration(
        PROXIES[proxy], LISTEN_PORT, own_site(), scenario, certificate, tmp_path, 4
    )
    assert said in config.read_text()


def test_install_command_names_each_package_once_and_nothing_for_ours() -> None:
    assert install_command([NGINX, HAPROXY, NGINX, WRK, WSPROXY])[-3:] == [
        "haproxy",
        "nginx-light",
        "wrk",
    ]
    assert install_command([WSPROXY]) == []


def test_program_that_nobody_has_is_missing() -> None:
    absent = Program("absent", ("no-such-program-on-any-machine",), None)
    assert missing([absent, absent]) == [absent]


def test_another_build_is_called_for_its_version(tmp_path: Path) -> None:
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho nginx version: nginx/9.8.7\n")
    program.chmod(0o755)
    other = of_program(f"nginx={program}")
    assert other.name == "nginx-9.8.7"
    assert other.program is not None
    assert other.program.find() == program
    assert rendered(other) == rendered(PROXIES["nginx"])


@pytest.mark.parametrize(
    "told", ["nginx=/no/such/file", "squid=/bin/true", "floor=/bin/true", "nginx"]
)
def test_build_that_is_none_is_an_error(told: str) -> None:
    with pytest.raises(KeyError):
        of_program(told)

"""Configurations that ``bench.macro.render`` writes, and the traffic that they share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import etree  # noqa: TID251 (an XML oracle that is not our reader)

from bench.macro import render, traffic
from bench.macro.machine import Cores, TooFewCoresError, assign_cores
from bench.macro.programs import HAPROXY, NGINX, WRK, WSPROXY, Program, install_command, missing
from bench.macro.proxies import OURS, PROXIES, Proxy, choose
from bench.macro.render import Addresses
from bench.macro.scenarios import LARGE_BODY_BYTES, SCENARIOS

ADDRESSES = Addresses((41001, 41002), 41003)
LISTEN_PORT = 41004


def rendered(proxy: Proxy) -> str:
    values = render.proxy_values(
        ADDRESSES, Path("/work directory"), LISTEN_PORT, proxy.template_values()
    )
    return render.render(proxy.template, values)


@pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)
def test_every_proxy_knows_its_port_both_servers_and_both_clones(proxy: Proxy) -> None:
    text = rendered(proxy)
    assert "@{" not in text
    for needed in (str(LISTEN_PORT), "41001", "41002", *traffic.CLONE_IDS):
        assert needed in text, f"{needed} is not in the configuration of {proxy.name}"


@pytest.mark.parametrize(
    "proxy",
    [proxy for proxy in PROXIES.values() if proxy.name != OURS],
    ids=lambda proxy: proxy.name,
)
def test_every_peer_adds_the_eight_private_headers(proxy: Proxy) -> None:
    directives = [
        line for line in rendered(proxy).splitlines() if not line.lstrip().startswith("#")
    ]
    for header in traffic.PRIVATE_HEADERS:
        setting = re.compile(
            rf"(proxy_set_header|add-header|RequestHeader set) {re.escape(header)} "
        )
        assert len([line for line in directives if setting.search(line)]) == 1, header


@pytest.mark.parametrize(
    "proxy", [proxy for proxy in PROXIES.values() if proxy.only_in], ids=lambda proxy: proxy.name
)
def test_variant_differs_from_its_peer_in_buffers_only(proxy: Proxy) -> None:
    peer = PROXIES[proxy.name.removesuffix("-buffers")]
    theirs = set(rendered(peer).splitlines())
    assert set(rendered(proxy).splitlines()) - theirs == set(proxy.buffer_lines)


def test_plugin_cfg_pairs_each_clone_with_its_port() -> None:
    root = etree.fromstring(rendered(PROXIES[OURS]).encode())
    servers = root.findall(".//ServerCluster/Server")
    ports = [int(transport.get("Port", "")) for transport in root.iterfind(".//Server/Transport")]
    assert [
        (server.get("CloneID"), port) for server, port in zip(servers, ports, strict=True)
    ] == ADDRESSES.clones
    named = {server.get("Name") for server in root.iterfind(".//ServerCluster/Server")}
    assert {server.get("Name") for server in root.iterfind(".//PrimaryServers/Server")} == named


def test_placeholder_without_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="listen_port"):
        render.render("haproxy.cfg", {"server_lines": "", "buffer_lines": ""})


def test_bare_at_sign_is_an_error_and_dollar_is_text() -> None:
    assert render.ConfigTemplate("$WSRA @{x} ${y}").substitute(x="1") == "$WSRA 1 ${y}"
    with pytest.raises(ValueError, match="Invalid placeholder"):
        render.ConfigTemplate("user@host").substitute()


def test_wrk_script_alternates_clones_over_many_sessions() -> None:
    script = render.render("request.lua", render.wrk_values(SCENARIOS["small"], LISTEN_PORT))
    sessions = re.findall(r"JSESSIONID=0000([A-Za-z0-9_-]{23}):(\w+);", script)
    assert len({session for session, _ in sessions}) == len(sessions) == 64
    assert [clone for _, clone in sessions] == [*traffic.CLONE_IDS] * 32
    assert SCENARIOS["small"].path in script


def test_new_visitor_has_cookies_but_no_session() -> None:
    assert "JSESSIONID" not in traffic.cookie(1, None)
    assert "LtpaToken2=" in traffic.cookie(1, None)


def test_large_file_has_the_length_that_the_scenario_promises(tmp_path: Path) -> None:
    render.write_static_files(tmp_path)
    path = tmp_path / "www" / SCENARIOS["64k"].path.lstrip("/")
    assert path.stat().st_size == SCENARIOS["64k"].body_bytes == LARGE_BODY_BYTES


def test_every_scenario_has_a_location_on_the_upstream() -> None:
    text = render.render("upstream.conf", render.upstream_values(ADDRESSES, Path("/x")))
    for scenario in SCENARIOS.values():
        assert f"location = {scenario.path} " in text


def test_variants_are_measured_where_they_matter_or_are_asked_for() -> None:
    assert [proxy.name for proxy in choose(None, "small")] == [
        "wsproxy",
        "nginx",
        "haproxy",
        "httpd",
    ]
    assert {"nginx-buffers", "haproxy-buffers", "httpd-buffers"} < {
        proxy.name for proxy in choose(None, "64k")
    }
    assert [proxy.name for proxy in choose("nginx-buffers, haproxy,haproxy", "small")] == [
        "nginx-buffers",
        "haproxy",
    ]


@pytest.mark.parametrize("only", ["squid", "nginx,squid", ",", ""])
def test_unknown_or_no_name_is_an_error(only: str) -> None:
    with pytest.raises(KeyError):
        choose(only, "small")


def test_proxy_has_a_core_of_its_own() -> None:
    assert assign_cores({0, 1}) == Cores(proxy=1, wrk=0, upstream=0)
    assert assign_cores({2, 5, 7, 9}) == Cores(proxy=9, wrk=2, upstream=7)
    with pytest.raises(TooFewCoresError):
        assign_cores({4})


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

"""What a plugin-cfg.xml asks of any proxy, and that each proxy's own check takes what it is told."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.process import COMMAND_S
from wsproxy.bench import tls, traffic
from wsproxy.bench.bed import own_config, write_configuration
from wsproxy.bench.peers.common import Place, Said
from wsproxy.bench.programs import CADDY, ENVOY, HAPROXY, HTTPD, NGINX, OPENSSL, Program
from wsproxy.bench.proxies import PROXIES
from wsproxy.bench.scenarios import SCENARIOS
from wsproxy.bench.site import MOST_SAMPLES, Site, count_servers, read_site
from wsproxy.config.model import Config, Log, Uri, VirtualHost
from wsproxy.config.several import load_several
from wsproxy.config.write import write_config

FILES = Path(__file__).parents[3] / "plugin-cfg"
GOLDEN = Path(__file__).parent / "peers"
NAMES = ("two-clusters", "primary-backup", "everything", "minimal", "https", "ipv6")
CHECKS: dict[str, tuple[Program, list[str]]] = {
    "nginx": (NGINX, ["-t", "-q", "-e", "stderr", "-p", "@dir", "-c", "@file"]),
    "haproxy": (HAPROXY, ["-c", "-q", "-f", "@file"]),
    "httpd": (HTTPD, ["-t", "-f", "@file"]),
    "caddy": (CADDY, ["validate", "--adapter", "caddyfile", "--config", "@file"]),
    "envoy": (ENVOY, ["--mode", "validate", "-l", "error", "-c", "@file"]),
}


def config_of(name: str) -> Config:
    return load_several([FILES / f"{name}.xml"]).config


def site_of(config: Config, more_uris: int = 0) -> Site:
    """With servers on 20001 and so on."""
    ports = range(20001, 20001 + count_servers(config))
    return read_site(config, ports, Log(name=""), more_uris)


def say(proxy: str, site: Site) -> Said:
    found = PROXIES[proxy].say
    assert found is not None
    return found(site, Place(8080, has_tls=False, directory="/run", pool_size=64))


def told(said: Said) -> str:
    """All of it, as one text."""
    parts = [f"== {name}\n{text}\n" for name, text in (said.values | said.files).items()]  # type: ignore[operator]
    cannot = "".join(f"cannot: {sentence}\n" for sentence in said.cannot)
    return "".join(parts) + cannot


@pytest.mark.parametrize("proxy", CHECKS)
def test_words_of_each_proxy_are_those_that_were_looked_at(proxy: str) -> None:
    """Two clusters, two cookies, weights, MaxConnections and Random; the golden files were proved by requests."""
    golden = GOLDEN / f"two-clusters.{proxy}"
    assert told(say(proxy, site_of(config_of("two-clusters")))) == golden.read_text()


# each file once, and what does not depend on the file with one of them
CASES = [
    (proxy, name, scenario)
    for proxy in CHECKS
    for name in NAMES
    for scenario in ("small", "tls", "access-log", "routes-10000")
    if scenario == "small"
    or name == ("two-clusters" if scenario == "routes-10000" else "everything")
    if scenario not in PROXIES[proxy].never_in
]


@pytest.mark.parametrize(("proxy", "name", "scenario"), CASES)
def test_every_proxy_accepts_its_configuration(
    proxy: str, name: str, scenario: str, tmp_path: Path
) -> None:
    program, arguments = CHECKS[proxy]
    path, openssl = program.find(), OPENSSL.find()
    if path is None or openssl is None:
        pytest.skip(f"{program.name} or openssl is not installed")
    chosen = SCENARIOS[scenario]
    # a tenth of them: nginx sorts locations in a time that grows with the square of their number
    site = site_of(config_of(name), chosen.more_uris // 10)
    certificate = tls.make_certificate(openssl, tmp_path)
    config, _ = write_configuration(PROXIES[proxy], 8080, site, chosen, certificate, tmp_path)
    words = {"@dir": str(tmp_path), "@file": str(config)}
    done = subprocess.run(
        [path, *(words.get(word, word) for word in arguments)],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_no_host_of_the_file_is_left_in_what_anybody_is_told(name: str) -> None:
    """Only 127.0.0.1: the user's servers are never asked."""
    config = config_of(name)
    site = site_of(config)
    real = {
        (transport.hostname, transport.port)
        for cluster in config.server_clusters
        for server in (*cluster.all_servers,)
        for transport in server.transports
    }
    texts = [write_config(site.config), *(told(say(proxy, site)) for proxy in CHECKS)]
    for host, port in real:
        for text in texts:
            assert f"{host}:{port}" not in text
            assert host == "127.0.0.1" or f'Hostname="{host}"' not in text
    for cluster in site.config.server_clusters:
        for server in cluster.all_servers:
            assert [each.hostname for each in server.transports] == ["127.0.0.1"]


def test_rules_are_in_the_order_in_which_wsproxy_matches() -> None:
    rules = site_of(config_of("everything")).rules["*"]
    assert [f"{rule.prefix}*{rule.suffix}" if not rule.is_exact else rule.prefix for rule in rules] == [
        "/exact/page.html", "/servlet/*", "/main/*", "*.jsp", "/*",
    ]  # fmt: skip


def test_host_that_differs_from_no_other_needs_no_words() -> None:
    """Three hosts in the file, and all of them as any."""
    assert [*site_of(config_of("everything")).rules] == ["*"]


def test_host_with_rules_of_its_own_comes_before_any() -> None:
    config = own_config()
    (group,), (uris,), (route,) = config.virtual_host_groups, config.uri_groups, config.routes
    host = VirtualHost(name="www.example.com:80", host="www.example.com")
    config = replace(
        config,
        virtual_host_groups=(group, replace(group, name="own", virtual_hosts=(host,))),
        uri_groups=(uris, replace(uris, name="own", uris=(Uri(name="/own/x/*"),))),
        routes=(route, replace(route, virtual_host_group="own", uri_group="own")),
    )
    rules = site_of(config).rules
    assert {name: [rule.prefix for rule in each] for name, each in rules.items()} == {
        "www.example.com": ["/own/x/", "/app/"],
        "*": ["/app/"],
    }
    for proxy in CHECKS:
        assert "www.example.com" in told(say(proxy, site_of(config)))


def test_samples_are_few_and_ask_for_nothing_that_was_added() -> None:
    site = site_of(own_config(), 10_000)
    assert len(site.rules["*"]) == 10_001
    assert [sample.path for sample in site.samples] == ["/app/wsproxy-bench"]
    assert len(site_of(config_of("everything")).samples) <= MOST_SAMPLES


@pytest.mark.parametrize(
    "uri",
    [
        "/a b/*",
        "/a;}/*",
        '/a"/*',
        "/a{1}/*",
        "/a#b",
        "/$a/*",
        "/a\\b",
        "/a`b/*",
        "/a\nb/*",
        "-f*",
        "-i/x",
    ],
)
def test_text_that_means_something_in_other_files_reaches_none_of_them(uri: str) -> None:
    config = own_config()
    (group,) = config.uri_groups
    odd = replace(group.uris[0], name=uri, affinity_cookie="JSESSIONID")
    site = site_of(replace(config, uri_groups=(replace(group, uris=(*group.uris, odd)),)))
    assert [rule.prefix for rule in site.rules["*"]] == ["/app/"]
    assert any("Uris and cookies with characters" in note for note in site.notes)
    server = replace(config.server_clusters[0].servers[0], clone_id=f"x{uri}")
    cluster = replace(config.server_clusters[0], servers=(server,), primary_servers=None)
    site = site_of(replace(config, server_clusters=(cluster,)))
    assert [member.clone_id for member in site.clusters[0].members] == [None]


def test_file_without_a_route_to_a_server_is_refused() -> None:
    config = config_of("minimal")
    with pytest.raises(ValueError, match="found no Route to a ServerCluster with servers"):
        read_site(Config(path=config.path), [], Log())


def test_what_is_left_out_for_all_is_said() -> None:
    notes = " ".join(site_of(config_of("everything")).notes)
    for word in ("stub", "https", "ClusterAddress", "RemoveSpecialHeaders", "TrustedProxy"):
        assert word in notes


def test_visits_reach_every_kind_and_every_owner() -> None:
    site = site_of(config_of("two-clusters"))
    visits = traffic.visits(site)
    assert {(visit.host, visit.path) for visit in visits} == {
        (sample.host, sample.path) for sample in site.samples
    }
    owners = {visit.owner.name for visit in visits if visit.owner is not None}
    assert owners == {"shop1", "shop2", "shop3"}
    for visit in visits:
        if visit.owner is not None:
            assert visit.cookie.count(f":{visit.owner.clone_id};") == 1


def test_long_cookies_have_their_length_and_the_owner_in_front_of_two_more() -> None:
    site = site_of(own_config())
    (visit, *_) = traffic.visits(site, clone_ids=3, length=4096)
    assert len(visit.cookie) == 4096
    assert visit.owner is not None
    assert f":{visit.owner.clone_id}:17c3bqa0v:17c3bqzzz; " in visit.cookie


def test_no_compiled_proxy_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsproxy.bench.floor import FLOOR  # noqa: PLC0415

    assert shutil.which("cc") is None or FLOOR.find() is not None
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    assert FLOOR.find() is None

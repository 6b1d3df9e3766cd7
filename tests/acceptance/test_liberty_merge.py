"""
Open Liberty's own merge of plugin-cfg.xml files beside ours: where it makes a file, both send each request to the same servers.

Skipped where there is no Java, or where Maven cannot get Liberty (about 350 MB the first time). docs/merge.md has the whole table.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.java import NotHereError, tool
from tests.support.liberty import Installation, install, run_merge
from tests.support.merging import Known, Live, check_union
from wsproxy.config.merge import merge
from wsproxy.config.model import Config
from wsproxy.config.xml import load_config

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300, func_only=True),
]

CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<Config RefreshInterval="60" IgnoreDNSFailures="false" TrustedProxyEnable="false">
   <Log LogLevel="Error" Name="/logs/http_plugin.log"/>
   <VirtualHostGroup Name="default_host">{hosts}</VirtualHostGroup>
   {cluster}
   <UriGroup Name="default_host_{name}_default_node_Cluster_URIs">{uris}</UriGroup>
   <Route ServerCluster="{name}_default_node_Cluster" UriGroup="default_host_{name}_default_node_Cluster_URIs" VirtualHostGroup="default_host"/>
</Config>
"""
CLUSTER = """<ServerCluster LoadBalance="Round Robin" Name="{name}_default_node_Cluster" RetryInterval="60">
      <Server CloneID="k-{name}" LoadBalanceWeight="20" Name="default_node_{name}">
         <Transport Hostname="{name}.example" Port="9080" Protocol="http"/>
      </Server>
      <PrimaryServers><Server Name="default_node_{name}"/></PrimaryServers>
   </ServerCluster>"""
# of open-liberty 35345: two pairs of servers that have one VirtualHost and two Uris in common
ALPHA = (("a1.ex:9081", "*:9091", "*:9081", "a2.ex:9081"), ("/alpha/*", "/mgmt/*", "/api/*"))
BETA = (("b1.ex:9082", "*:9091", "*:9082", "b2.ex:9082"), ("/beta/*", "/mgmt/*", "/api/*"))
SHOP = (("*:80", "*:443"), ("/shop/*",))
Files = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


def write(folder: Path, files: Files, *, without_cluster: str = "") -> list[Path]:
    """A file for each server, as Liberty writes it."""
    folder.mkdir()
    paths = []
    for name, (hosts, uris) in files.items():
        text = CONFIG.format(
            name=name,
            hosts="".join(f'<VirtualHost Name="{host}"/>' for host in hosts),
            uris="".join(
                f'<Uri AffinityCookie="JSESSIONID" AffinityURLIdentifier="jsessionid" Name="{uri}"/>'
                for uri in uris
            ),
            cluster="" if name == without_cluster else CLUSTER.format(name=name),
        )
        paths.append(folder / f"{name}.xml")
        paths[-1].write_text(text)
    return paths


async def their_merge(installation: Installation, paths: list[Path]) -> Config | None:
    """What ``pluginUtility merge`` makes of them; None: it makes no file."""
    target = paths[0].parent / "theirs.xml"
    _, said = await run_merge(installation, paths, target)
    if not target.exists():
        assert "Exception" in said
        return None
    return load_config(target).config


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation() -> Installation:
    try:
        tool("java")
        return install()
    except NotHereError as error:
        pytest.skip(str(error))


async def compare(installation: Installation, paths: list[Path]) -> bool:
    """Ours routes as the union of the files; whether theirs does the same. Without a file of theirs: False."""
    configs = [load_config(path, is_part=True).config for path in paths]
    merged = merge(configs)
    inputs, ours = [Live(config) for config in configs], Live(merged.config)
    theirs_config = await their_merge(installation, paths)
    theirs = None if theirs_config is None else Live(theirs_config)
    hosts = {
        (h.host, h.port) for c in configs for g in c.virtual_host_groups for h in g.virtual_hosts
    }
    uris = {uri.name for config in configs for group in config.uri_groups for uri in group.uris}
    is_same = theirs is not None
    for host, port in sorted(hosts, key=str):
        for uri in sorted(uris):
            name = "any.example" if host == "*" else host
            request = (name.encode(), port or 80, uri.replace("*", "x").encode())
            check_union(inputs, ours, request)
            if theirs is not None:
                is_same = is_same and _servers(ours, request) == _servers(theirs, request)
    return is_same


def _servers(live: Live, request: tuple[bytes, int, bytes]) -> set[Known]:
    answer = live.ask(request)
    return set() if answer is None else answer.servers


async def test_one_application_on_three_servers_is_the_same_cluster(
    installation: Installation, tmp_path: Path
) -> None:
    paths = write(tmp_path / "shared", dict.fromkeys(("s1", "s2", "s3"), SHOP))
    assert await compare(installation, paths)


async def test_what_liberty_cannot_merge_is_merged(
    installation: Installation, tmp_path: Path
) -> None:
    """Issues 35345 and 35767 of open-liberty; a version that is mended must agree with us."""
    subset = write(tmp_path / "subset", {"a1": ALPHA, "a2": ALPHA, "b1": BETA, "b2": BETA})
    paused = write(tmp_path / "paused", {"s1": SHOP, "s2": SHOP}, without_cluster="s2")
    for same, paths in zip(
        await asyncio.gather(compare(installation, subset), compare(installation, paused)),
        (subset, paused),
        strict=True,
    ):
        assert same or not (paths[0].parent / "theirs.xml").exists()


async def test_a_file_with_itself_is_that_file_here_alone(
    installation: Installation, tmp_path: Path
) -> None:
    """Liberty's tool makes two servers of one, with one CloneID."""
    paths = write(tmp_path / "twice", {"s1": SHOP})
    (config,) = [load_config(path).config for path in paths]
    (only,) = merge([config, config]).config.server_clusters
    assert [server.name for server in only.servers] == ["default_node_s1"]
    theirs = await their_merge(installation, paths * 2)
    assert theirs is not None
    assert len(theirs.server_clusters[0].servers) == 2

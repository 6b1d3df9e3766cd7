"""Two servlet containers that make one cluster, whatever their kind, and the plugin-cfg.xml before them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.java import Jvm

HOST = "shop.example:9080"

PLUGIN_CFG = """<Config>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:9080"/></VirtualHostGroup>
  <ServerCluster Name="{cluster}" LoadBalance="Round Robin" RetryInterval="1">
    {servers}
    <PrimaryServers>{names}</PrimaryServers>
  </ServerCluster>
  <UriGroup Name="uris">{uris}</UriGroup>
  <Route ServerCluster="{cluster}" UriGroup="uris" VirtualHostGroup="hosts"/>
</Config>
"""


@dataclass(slots=True)
class Pair:
    """Running servers by the names that they write into session ids; ``uris``: elements of their UriGroup."""

    cluster: str
    uris: str
    members: dict[str, Jvm]
    ports: dict[str, int]

    def plugin_cfg(self, file: Path, clone_ids: dict[str, str]) -> Path:
        """A file for wsproxy with these CloneIDs."""
        servers = "".join(
            f'<Server Name="{name}" CloneID="{clone_ids[name]}">'
            f'<Transport Hostname="127.0.0.1" Port="{port}" Protocol="http"/></Server>'
            for name, port in self.ports.items()
        )
        names = "".join(f'<Server Name="{name}"/>' for name in self.ports)
        text = PLUGIN_CFG.format(cluster=self.cluster, uris=self.uris, servers=servers, names=names)
        file.write_text(text)
        return file

"""
Two embedded Jettys for wsproxy: Jetty's own sessions below /app, Spring Session's, in a database of both, below /spring.

Driven by tests/acceptance. Jetty, Spring Session and H2 come through Maven, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.macro.processes import free_ports
from tests.support.java import JVM_OPTIONS, Jvm, compile_java, tool
from tests.support.maven import copy_jars, kept

ARTIFACTS = (
    "org.eclipse.jetty.ee10:jetty-ee10-servlet:12.1.8",
    "org.springframework.session:spring-session-jdbc:3.5.7",
    "com.h2database:h2:2.4.240",
)
CLUSTER = "jetty"
HOST = "shop.example:9080"
NAMES = ("j1", "j2")  # of servers, and their worker names

PLUGIN_CFG = """<Config>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:9080"/></VirtualHostGroup>
  <ServerCluster Name="{cluster}" LoadBalance="Round Robin" RetryInterval="1">
    {servers}
    <PrimaryServers>{names}</PrimaryServers>
  </ServerCluster>
  <UriGroup Name="uris">
    <Uri Name="/app/*"/>
    <Uri Name="/spring/*" AffinityCookie="SESSION"/>
  </UriGroup>
  <Route ServerCluster="{cluster}" UriGroup="uris" VirtualHostGroup="hosts"/>
</Config>
"""


@dataclass(slots=True)
class JettyPair:
    """Running Jettys by their worker names."""

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
        file.write_text(PLUGIN_CFG.format(cluster=CLUSTER, servers=servers, names=names))
        return file


@asynccontextmanager
async def jetty_pair(folder: Path) -> AsyncIterator[JettyPair]:
    """
    Jettys j1 and j2 and the database of their Spring Sessions, killed in the end.

    Raises: NotHereError.
    """
    tool("java")
    tool("javac")
    version = ARTIFACTS[0].rpartition(":")[2]
    jars = kept(f"jetty-{version}", lambda into: copy_jars(ARTIFACTS, into, with_theirs=True))
    class_path = f"{jars / '*'}:{folder / 'classes'}"
    compile_java(folder / "classes", class_path, "Probe", "EmbeddedJetty")
    database_port, *ports = free_ports(1 + len(NAMES))

    def jvm(name: str, *arguments: object) -> Jvm:
        options = [*JVM_OPTIONS, f"-Dwsproxy.member={name}"]
        command = ["java", *options, "-cp", class_path, "EmbeddedJetty", *map(str, arguments)]
        return Jvm(command, {}, ready=r"embedded \w+ is ready", folder=folder)

    database = jvm("database", "database", database_port)
    members = {
        name: jvm(name, "server", port, name, database_port)
        for name, port in zip(NAMES, ports, strict=True)
    }
    try:
        await database.start()
        await asyncio.gather(*(each.start() for each in members.values()))
        yield JettyPair(members, dict(zip(NAMES, ports, strict=True)))
    finally:
        for each in (*members.values(), database):
            await each.kill()

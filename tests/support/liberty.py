"""
An Open Liberty cluster whose sessions live in a database, with the plugin-cfg.xml that it generated and merged itself.

Driven by tests/acceptance. Gets Liberty and its database through Maven, once: unpacked in the user's cache, outside the tree.
Must not edit what Liberty generated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.java import JVM_OPTIONS, Jvm, build_app, tool
from tests.support.maven import copy_jars, kept, run_maven
from wsproxy.demo.ports import free_ports

LIBERTY = "io.openliberty:openliberty-runtime:25.0.0.6:zip"
# Compiler and database are versions that run on Java 17 with this Liberty.
JARS = (
    "jakarta.servlet:jakarta.servlet-api:6.0.0",
    "org.apache.derby:derby:10.14.2.0",
    "org.apache.derby:derbynet:10.14.2.0",
    "org.apache.derby:derbyclient:10.14.2.0",
)
MERGE_S = 60.0
CONTEXT_ROOT = "/app"
# On two CPUs Liberty begins with so few that requests which tests hold on purpose keep all others out for tens of seconds.
THREADS = 24

SERVER_XML = """<server>
  <featureManager>
    <feature>servlet-6.0</feature>
    <feature>sessionDatabase-1.0</feature>
    <feature>localConnector-1.0</feature>
  </featureManager>
  <logging consoleLogLevel="INFO"/>
  <executor coreThreads="{threads}"/>
  <httpEndpoint id="defaultHttpEndpoint" host="127.0.0.1" httpPort="{port}" httpsPort="-1"/>
  <httpDispatcher trustedHeaderOrigin="127.0.0.1" trustedSensitiveHeaderOrigin="127.0.0.1"/>
  <httpSession cloneId="{clone_id}"/>
  <httpSessionDatabase id="SessionDB" dataSourceRef="SessionDS" writeFrequency="END_OF_SERVLET_SERVICE"/>
  <dataSource id="SessionDS">
    <jdbcDriver libraryRef="Derby"/>
    <properties.derby.client databaseName="sessions" createDatabase="create" serverName="127.0.0.1"
        portNumber="{database_port}" user="u" password="p"/>
  </dataSource>
  <library id="Derby"><fileset dir="{jars}" includes="derbyclient-*.jar"/></library>
  <pluginConfiguration webserverPort="{web_port}" webserverSecurePort="-1"/>
  <webApplication location="{app}" contextRoot="{context_root}"/>
</server>
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Liberty (``wlp``) and the jars beside it."""

    folder: Path

    @property
    def wlp(self) -> Path:
        return self.folder / "wlp"

    @property
    def jars(self) -> Path:
        return self.folder / "jars"

    @property
    def servlet_api(self) -> Path:
        (found,) = self.jars.glob("jakarta.servlet-api-*.jar")
        return found


def install() -> Installation:
    """
    Open Liberty unpacked in the user's cache; the first time through Maven, which keeps the archive in its repository.

    Raises: NotHereError. I/O, minutes the first time.
    """
    version = LIBERTY.split(":")[2]

    def fill(folder: Path) -> None:
        copy_jars(JARS, folder / "jars", with_theirs=False)
        run_maven(
            folder, "dependency:unpack", f"-Dartifact={LIBERTY}", f"-DoutputDirectory={folder}"
        )

    return Installation(kept(f"openliberty-{version}", fill))


@dataclass(slots=True)
class Member:
    """One server of the cluster."""

    name: str
    clone_id: str
    port: int
    jvm: Jvm
    plugin_cfg: Path


@dataclass(slots=True)
class LibertyCluster:
    """Running servers and the merged file that they generated; ``host`` is a Host field that its VirtualHost takes."""

    members: list[Member]
    plugin_cfg: Path
    host: str

    def member(self, name: str) -> Member:
        return next(each for each in self.members if each.name == name)


def _write_server(
    installation: Installation, folder: Path, number: int, ports: list[int], app: Path
) -> Member:
    database_port, web_port, port = ports[0], ports[1], ports[1 + number]
    name = f"s{number}"
    user = folder / "usr"
    server = user / "servers" / name
    server.mkdir(parents=True)
    (server / "server.xml").write_text(
        SERVER_XML.format(
            port=port,
            threads=THREADS,
            clone_id=f"clone{number}",
            database_port=database_port,
            jars=installation.jars,
            web_port=web_port,
            app=app,
            context_root=CONTEXT_ROOT,
        )
    )
    (server / "jvm.options").write_text("\n".join([*JVM_OPTIONS, f"-Dwsproxy.member={name}", ""]))
    jvm = Jvm(
        [installation.wlp / "bin" / "server", "run", name],
        {"WLP_USER_DIR": str(user)},
        ready=r"CWWKF0011I",
        folder=folder,
    )
    return Member(name, f"clone{number}", port, jvm, server / "logs/state/plugin-cfg.xml")


async def run_merge(
    installation: Installation, sources: Iterable[Path], target: Path
) -> tuple[int | None, str]:
    """``pluginUtility merge``: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        installation.wlp / "bin" / "pluginUtility",
        "merge",
        f"--sourcePath={','.join(map(str, sources))}",
        f"--targetPath={target}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said, _ = await asyncio.wait_for(process.communicate(), MERGE_S)
    return process.returncode, said.decode()


@asynccontextmanager
async def liberty_cluster(folder: Path, count: int = 3) -> AsyncIterator[LibertyCluster]:
    """
    ``count`` servers s1, s2, ... with clone ids clone1, clone2, ... that share their sessions; killed in the end.

    Raises: NotHereError.
    """
    tool("java")
    tool("javac")
    installation = install()
    app = build_app(folder, installation.servlet_api)
    ports = free_ports(2 + count)
    database = Jvm(
        [
            *(
                "java",
                *JVM_OPTIONS,
                f"-Dderby.system.home={folder}",
                "-cp",
                installation.jars / "*",
            ),
            "org.apache.derby.drda.NetworkServerControl",
            *("start", "-noSecurityManager", "-h", "127.0.0.1", "-p", str(ports[0])),
        ],
        {},
        ready="ready to accept connections",
        folder=folder,
    )
    members = [
        _write_server(installation, folder, number, ports, app) for number in range(1, count + 1)
    ]
    try:
        await database.start()
        await asyncio.gather(*(each.jvm.start() for each in members))
        await asyncio.gather(*(each.jvm.line("SRVE9103I") for each in members))
        merged = folder / "plugin-cfg.xml"
        code, said = await run_merge(installation, (each.plugin_cfg for each in members), merged)
        assert code == 0, said
        yield LibertyCluster(members, merged, f"shop.example:{ports[1]}")
    finally:
        for jvm in (*(each.jvm for each in members), database):
            await jvm.kill()

"""
An Open Liberty cluster whose sessions live in a database, with the plugin-cfg.xml that it generated and merged itself.

Driven by tests/acceptance. Gets Liberty and its database through Maven, once: unpacked in the user's cache, outside the tree.
Must not edit what Liberty generated.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.macro.processes import free_ports
from tests.support.java import JVM_OPTIONS, Jvm, NotHereError, build_app, tool

LIBERTY = "io.openliberty:openliberty-runtime:25.0.0.6:zip"
# Compiler and database are versions that run on Java 17 with this Liberty.
JARS = (
    "jakarta.servlet:jakarta.servlet-api:6.0.0",
    "org.apache.derby:derby:10.14.2.0",
    "org.apache.derby:derbynet:10.14.2.0",
    "org.apache.derby:derbyclient:10.14.2.0",
)
MAVEN_S = 1200.0  # 343 MB on a slow line
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
POM_XML = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wsproxy</groupId><artifactId>acceptance</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
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


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "wsproxy", "acceptance")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _maven(folder: Path, *arguments: str) -> None:
    """Raises: NotHereError with what Maven said last, as there may be no network."""
    command = [tool("mvn"), "--batch-mode", "--quiet", "-Dstyle.color=never", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAVEN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        msg = f"Maven did not get {arguments[0]} done in {MAVEN_S:.0f} s"
        raise NotHereError(msg) from None
    if done.returncode:
        said = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout)
        msg = f"Maven could not get Open Liberty: {said[:500]}"
        raise NotHereError(msg)


def install() -> Installation:
    """
    Open Liberty unpacked in the user's cache; the first time through Maven, which keeps the archive in its repository.

    Safe beside other runs and after aborted ones: one unpacks at a time, and what is not whole never has its name.
    Raises: NotHereError. I/O, minutes the first time.
    """
    version = LIBERTY.split(":")[2]
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    made = Installation(cache / f"openliberty-{version}")
    with _locked(cache / "lock"):
        if made.folder.exists():
            return made
        for left in cache.glob("unpacking-*"):  # of a run that was killed: we hold the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as temporary:
            fresh = Path(temporary, "liberty")
            fresh.mkdir()
            dependencies = "".join(
                "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
                    *each.split(":")
                )
                for each in JARS
            )
            (fresh / "pom.xml").write_text(POM_XML.format(dependencies=dependencies))
            _maven(
                fresh,
                "dependency:copy-dependencies",
                f"-DoutputDirectory={fresh / 'jars'}",
                "-DexcludeTransitive=true",
            )
            _maven(
                fresh, "dependency:unpack", f"-Dartifact={LIBERTY}", f"-DoutputDirectory={fresh}"
            )
            fresh.rename(made.folder)
    return made


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


async def _merge(installation: Installation, members: list[Member], target: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        installation.wlp / "bin" / "pluginUtility",
        "merge",
        f"--sourcePath={','.join(str(each.plugin_cfg) for each in members)}",
        f"--targetPath={target}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said, _ = await asyncio.wait_for(process.communicate(), MERGE_S)
    assert process.returncode == 0, said.decode()


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
        await _merge(installation, members, merged)
        yield LibertyCluster(members, merged, f"shop.example:{ports[1]}")
    finally:
        for jvm in (*(each.jvm for each in members), database):
            await jvm.kill()

"""
Two embedded Jettys for wsproxy: Jetty's own sessions below /app, Spring Session's, in a database of both, below /spring.

Driven by tests/acceptance. Jetty, Spring Session and H2 come through Maven, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.java import JVM_OPTIONS, Jvm, compile_java, tool
from tests.support.maven import copy_jars, kept
from tests.support.pair import Pair
from wsproxy.demo.ports import free_ports

ARTIFACTS = (
    "org.eclipse.jetty.ee10:jetty-ee10-servlet:12.1.8",
    "org.springframework.session:spring-session-jdbc:3.5.7",
    "com.h2database:h2:2.4.240",
)
CLUSTER = "jetty"
NAMES = ("j1", "j2")  # of servers, and their worker names

URIS = '<Uri Name="/app/*"/><Uri Name="/spring/*" AffinityCookie="SESSION"/>'


@asynccontextmanager
async def jetty_pair(folder: Path) -> AsyncIterator[Pair]:
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
        yield Pair(CLUSTER, URIS, members, dict(zip(NAMES, ports, strict=True)))
    finally:
        for each in (*members.values(), database):
            await each.kill()

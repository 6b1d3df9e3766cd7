"""
Two Tomcats of the distribution, each with a jvmRoute, and the plugin-cfg.xml that an administrator would write for them.

Driven by tests/acceptance. Their sessions live in memory only: what a Tomcat held is gone when it is killed.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.java import JVM_OPTIONS, Jvm, NotHereError, build_app, tool
from tests.support.pair import Pair
from wsproxy.bench.programs import MissingProgramsError, Program, ensure
from wsproxy.demo.ports import free_ports

HOME = Path("/usr/share/tomcat10")
# Not the package tomcat10: that one also starts a service.
TOMCAT = Program("tomcat10", (str(HOME / "bin" / "catalina.sh"),), "tomcat10-common", ("version",))
SERVLET_API = HOME / "lib" / "servlet-api.jar"
CLUSTER = "tomcat"

SERVER_XML = """<Server port="-1">
  <Service name="Catalina">
    <Connector port="{port}" address="127.0.0.1" protocol="HTTP/1.1"/>
    <Engine name="Catalina" defaultHost="localhost" jvmRoute="{name}">
      <Host name="localhost" appBase="webapps" autoDeploy="false" deployOnStartup="false">
        <Context path="/app" docBase="{app}">
          <JarScanner scanClassPath="false"/>
        </Context>
      </Host>
    </Engine>
  </Service>
</Server>
"""
URIS = '<Uri Name="/app/*" AffinityCookie="JSESSIONID" AffinityURLIdentifier="jsessionid"/>'


@asynccontextmanager
async def tomcat_pair(folder: Path) -> AsyncIterator[Pair]:
    """
    Tomcats t1 and t2, killed in the end.

    Raises: NotHereError.
    """
    tool("java")
    tool("javac")
    try:
        ensure([TOMCAT])
    except (MissingProgramsError, subprocess.TimeoutExpired) as error:
        raise NotHereError(str(error)) from None
    app = build_app(folder, SERVLET_API)
    ports = dict(zip(("t1", "t2"), free_ports(2), strict=True))
    members = {}
    for name, port in ports.items():
        base = folder / name
        for below in ("conf", "temp", "logs", "webapps"):
            (base / below).mkdir(parents=True)
        (base / "conf" / "server.xml").write_text(SERVER_XML.format(port=port, name=name, app=app))
        (base / "conf" / "web.xml").write_text("<web-app/>\n")
        options = " ".join([*JVM_OPTIONS, f"-Dwsproxy.member={name}"])
        members[name] = Jvm(
            [HOME / "bin" / "catalina.sh", "run"],
            {"CATALINA_HOME": str(HOME), "CATALINA_BASE": str(base), "CATALINA_OPTS": options},
            ready=r"Server startup in",
            folder=base,
        )
    try:
        await asyncio.gather(*(each.start() for each in members.values()))
        yield Pair(CLUSTER, URIS, members, ports)
    finally:
        for jvm in members.values():
            await jvm.kill()

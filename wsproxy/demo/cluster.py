"""
Three app servers as processes of their own, and the plugin-cfg.xml that a proxy needs to stand in front of them.

Driven by ``demo.show``, and by tests that need app servers to kill. Must not restart anything by itself. Not for threads.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import quoteattr

from wsproxy.config.address import Address
from wsproxy.demo.app import HOST, READY
from wsproxy.demo.lifeline import start_child
from wsproxy.demo.sessions import COOKIE_NAME, SessionStore
from wsproxy.errors import StartError

# A server is there after half a second; beside thirty busy processes on two CPUs a demo needed 40 s. One that ends is told of at once.
START_S = 60.0
STOP_S = 10.0  # twice what a server gives its running requests (app.SHUTDOWN_S); then SIGKILL

RETRY_INTERVAL_S = 5  # plugin-cfg.xml's default is 60: too long to wait for in a demo
CONNECT_TIMEOUT_S = 5
SERVER_IO_TIMEOUT_S = 60

_TAIL_LINES = 15  # of a log, when something did not start


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server to have: its names and its LoadBalanceWeight."""

    name: str
    clone_id: str
    weight: int = 2


THREE_SERVERS = (
    ServerSpec("s1", "clone1"),
    ServerSpec("s2", "clone2"),
    ServerSpec("s3", "clone3"),
)


class DemoServer:
    """One app server of a cluster; its port stays its own while it is dead."""

    def __init__(self, spec: ServerSpec, directory: Path) -> None:
        """Takes a free port, and files in ``directory``; starts nothing."""
        self.spec = spec
        self._store = directory / "sessions.db"
        self.log = directory / f"{spec.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        # Bound but not listening: connections are refused while the server is dead, yet nobody else can get the port.
        self._reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]

    @property
    def name(self) -> str:
        """Its Name in plugin-cfg.xml."""
        return self.spec.name

    @property
    def clone_id(self) -> str:
        """Its CloneID in plugin-cfg.xml."""
        return self.spec.clone_id

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        assert self._process is not None, "never started"
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it answers itself, without a proxy; without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive; reaps it if it is not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the process; it answers once ``wait_ready`` has returned."""
        assert not self.is_running, f"{self.name} runs already"
        command = [
            sys.executable,
            "-P",  # the installed wsproxy, not a source tree that happens to be the current folder
            "-m",
            "wsproxy.demo.app",
            "--name",
            self.name,
            "--clone",
            self.clone_id,
        ]
        command += ["--store", str(self._store), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = start_child(command, log=log, is_talking=True)

    def wait_ready(self) -> None:
        """
        Returns when it listens. # I/O, waits at most START_S.

        Raises:
            StartError: it ended instead, or says nothing; with the end of its log.
        """
        assert self._process is not None, "never started"
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            line = _read_line(pipe.fileno(), time.monotonic() + START_S)
        if not line.startswith(READY):
            self.stop()
            raise StartError(f"app server {self.name} did not start:\n{tail(self.log)}")

    def kill(self) -> None:
        """Ends it as a crash would: SIGKILL, and it is gone when this returns."""
        assert self._process is not None, "never started"
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """Sends SIGTERM if it runs; ``stop`` waits."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Ends it: SIGTERM, and SIGKILL if it has not obeyed after STOP_S."""
        if self._process is not None:
            end_process(self._process, STOP_S)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def release_port(self) -> None:
        """Gives the port back; the server is not started again."""
        self._reservation.close()


class DemoCluster:
    """
    The app servers and their shared store, in ``directory``; a context manager that starts and stops them all.

    One that dies stays dead until its ``start`` and ``wait_ready`` are called.
    """

    def __init__(self, directory: Path, specs: Sequence[ServerSpec] = THREE_SERVERS) -> None:
        """Takes a free port for each server; starts nothing."""
        self.directory = directory
        self.servers: list[DemoServer] = []
        for spec in specs:
            self.servers.append(DemoServer(spec, directory))

    def __enter__(self) -> Self:
        """Starts all of them, side by side; they answer when this returns."""
        try:
            # One process makes the file and its schema, so that the servers never meet over that.
            SessionStore(self.directory / "sessions.db").close()
            for server in self.servers:
                server.start()
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops all of them."""
        self.stop()

    def stop(self) -> None:
        """Ends all servers, side by side, and gives their ports back."""
        for server in self.servers:
            server.ask_to_stop()
        for server in self.servers:
            server.stop()
            server.release_port()

    def server_with_clone_id(self, clone_id: str) -> DemoServer:
        """The server that owns sessions with this clone id."""
        return next(server for server in self.servers if server.clone_id == clone_id)

    def write_settings(self, path: Path, dashboard: Address, token: str) -> None:
        """
        A wsproxy.toml: a browser on this machine is told what was decided, and the servers' cookies are left alone.

        Its dashboard answers at ``dashboard``, to who shows ``token``.
        """
        token_file = path.with_name("dashboard.token")
        token_file.touch(0o600)
        token_file.write_text(f"{token}\n", encoding="utf-8")
        path.write_text(
            f'[admin]\nlisten = "{dashboard}"\ntoken_file = "{token_file.name}"\n\n'
            '[explain]\ntrusted = ["127.0.0.0/8", "::1"]\n\n'
            "[affinity]\n# the servers write their clone ids themselves, as Liberty does; a spoilt cookie stays spoilt\n"
            "complete_clone_ids = false\n",
            encoding="utf-8",
        )

    def write_plugin_cfg(self, path: Path, virtual_host_port: int) -> None:
        """A plugin-cfg.xml for these servers, for requests to any host name on ``virtual_host_port``."""
        log = quoteattr(str(self.directory / "http_plugin.log"))
        servers = "".join(_server_element(server) for server in self.servers)
        primaries = "".join(
            f"      <Server Name={quoteattr(server.name)}/>\n" for server in self.servers
        )
        path.write_text(
            f"""<?xml version="1.0" encoding="UTF-8"?>
<Config ASDisableNagle="false" AcceptAllContent="true" AppServerPortPreference="HostHeader"
        IgnoreDNSFailures="false" RefreshInterval="60" ResponseChunkSize="64" VHostMatchingCompat="false">
  <Log LogLevel="Trace" Name={log}/>
  <VirtualHostGroup Name="default_host">
    <VirtualHost Name="*:{virtual_host_port}"/>
  </VirtualHostGroup>
  <ServerCluster CloneSeparatorChange="false" GetDWLMTable="false" IgnoreAffinityRequests="true"
                 LoadBalance="Round Robin" Name="demo" PostBufferSize="64" PostSizeLimit="-1"
                 RemoveSpecialHeaders="true" RetryInterval="{RETRY_INTERVAL_S}" ServerIOTimeoutRetry="-1">
{servers}    <PrimaryServers>
{primaries}    </PrimaryServers>
  </ServerCluster>
  <UriGroup Name="demo_uris">
    <Uri AffinityCookie="{COOKIE_NAME}" AffinityURLIdentifier="{COOKIE_NAME.lower()}" Name="/app/*"/>
    <Uri AffinityCookie="{COOKIE_NAME}" AffinityURLIdentifier="{COOKIE_NAME.lower()}" Name="/"/>
  </UriGroup>
  <Route ServerCluster="demo" UriGroup="demo_uris" VirtualHostGroup="default_host"/>
</Config>
""",
            encoding="utf-8",
        )


def end_process(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """SIGTERM, then SIGKILL after ``patience_s``; the process is gone when this returns."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path) -> str:
    """The last lines of a log, to stand in a message."""
    lines = log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"


def describe_end(process: subprocess.Popen[bytes]) -> str:
    """How a process that is gone ended, in words."""
    status = process.returncode
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"


def _server_element(server: DemoServer) -> str:
    return f"""    <Server CloneID={quoteattr(server.clone_id)} ConnectTimeout="{CONNECT_TIMEOUT_S}" ExtendedHandshake="false"
            LoadBalanceWeight="{server.spec.weight}" MaxConnections="-1" Name={quoteattr(server.name)}
            ServerIOTimeout="{SERVER_IO_TIMEOUT_S}" WaitForContinue="false">
      <Transport Hostname="{HOST}" Port="{server.port}" Protocol="http"/>
    </Server>
"""


def _read_line(pipe: int, deadline: float) -> str:
    """The first line from ``pipe``, or what there was of it when it was closed or the deadline came."""
    read = b""
    while not read.endswith(b"\n"):
        readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(pipe, 256) if readable else b""
        if not part:
            break
        read += part
    return read.decode("ascii", "replace")

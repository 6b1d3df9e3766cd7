"""
The whole demo: the app servers, the real proxy in front of them as a child process, and the return of servers that die.

Driven by ``cli.demo``, in its main thread. Must not print: what happens is handed to ``say``.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsproxy.admin.sockets import find_sockets
from wsproxy.config.address import Address
from wsproxy.demo.cluster import DemoCluster, DemoServer, describe_end, end_process, tail
from wsproxy.demo.control import ORDER_SIGNAL, DemoState, Orders, ServerState, write_state
from wsproxy.demo.lifeline import start_child
from wsproxy.demo.ports import free_ports
from wsproxy.demo.sessions import COOKIE_NAME
from wsproxy.errors import StartError, WsproxyError

# It answers after a second; this is for a machine that is busy with other things (see START_S of the app servers).
PROXY_START_S = 60.0
PROXY_STOP_S = (
    5.0  # for running requests after SIGTERM; then a second one, which does not wait for them
)
ASK_S = 5.0  # one question to the starting proxy
ASK_AGAIN_S = 0.1  # short enough to be no delay for a person, long enough not to be a load

SETTINGS_NAME = "wsproxy.toml"
LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 24

_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_SIGNALS = _STOP_SIGNALS | {signal.SIGCHLD, ORDER_SIGNAL}

_ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # how to reach a listener on all


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the person who starts the demo may choose."""

    listen: Address
    workers: int | None  # None: as many as ``wsproxy run`` takes by itself
    return_after_s: float  # a server that died is started again after this long


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """What there is to try out, once the proxy has answered."""

    url: str  # without a slash at the end
    dashboard: str  # whole, with its token
    directory: Path
    plugin_cfg: Path
    cookie_jar: Path  # in curl's format, with one session in it
    owner: DemoServer  # of that session
    servers: tuple[DemoServer, ...]
    return_after_s: float
    began_at: str  # HH:MM:SS, by the clock of http_plugin.log


Say = Callable[[str], None]
# Tells people what there is to try; what it returns, commands by title, the page shows too.
OnReady = Callable[[RunningDemo], dict[str, str]]


def run_demo(options: DemoOptions, on_ready: OnReady, say: Say) -> None:
    """
    Runs until SIGINT, SIGTERM or SIGHUP; all children are gone and the directory is removed when it returns or raises.

    Raises:
        StartError: the address is taken, or the proxy or an app server did not start.
        WsproxyError: the proxy ended by itself.
    """
    listen = choose_address(options.listen)
    dashboard = choose_address(Address(LOOPBACK, 0))
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with _blocked_signals(), tempfile.TemporaryDirectory(prefix="wsproxy-demo-") as name:
        directory = Path(name)
        with DemoCluster(directory) as cluster:
            plugin_cfg = directory / "plugin-cfg.xml"
            cluster.write_plugin_cfg(plugin_cfg, listen.port)
            cluster.write_settings(directory / SETTINGS_NAME, dashboard, token)
            with _running_proxy(directory, plugin_cfg, listen, options.workers) as proxy:
                session = _wait_until_proxy_answers(proxy, directory, listen)
                if session is None:
                    return
                cookie_jar = directory / "cookies.txt"
                cookie_jar.write_text(
                    _to_cookie_jar(reachable(listen).host, session.cookie_value), "utf-8"
                )
                running = RunningDemo(
                    url=f"http://{reachable(listen)}",
                    # Behind the #: no browser sends that to anybody.
                    dashboard=f"http://{dashboard}/#token={token}",
                    directory=directory,
                    plugin_cfg=plugin_cfg,
                    cookie_jar=cookie_jar,
                    owner=cluster.server_with_clone_id(session.clone_id),
                    servers=tuple(cluster.servers),
                    return_after_s=options.return_after_s,
                    began_at=time.strftime("%H:%M:%S"),
                )
                keeper = _Keeper(cluster, proxy, running, say)
                with closing(keeper):
                    keeper.commands = on_ready(running)
                    keeper.watch()


def choose_address(wanted: Address) -> Address:
    """
    The address to listen on: ``wanted``, with a free port for port 0.

    Found out before anything is started. The proxy binds it a second later and has the last word.

    Raises:
        StartError: somebody listens there already.
    """
    if wanted.port == 0 and (found := free_ports(1, wanted.host)):
        return Address(wanted.host, found[0])
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections in TIME_WAIT take no port
        try:
            probe.bind((wanted.host, wanted.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return wanted  # wsproxy run explains every other reason better
            other = Address(wanted.host, wanted.port + 1)
            raise StartError(
                f"{wanted} is in use by another process; choose another port, for example: --listen {other}"
            ) from error
        return Address(wanted.host, probe.getsockname()[1])


def reachable(listen: Address) -> Address:
    """Where a client on this machine finds a listener; itself unless it listens on all addresses."""
    return Address(_ANY_HOST.get(listen.host, listen.host), listen.port)


@dataclass(frozen=True, slots=True)
class _Session:
    cookie_value: str
    clone_id: str


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """
    The signals wait until ``sigtimedwait`` fetches them: no handler, so nothing is interrupted half-way.

    SIGCHLD is among them: a death is noticed at once and without polling.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        while signal.sigtimedwait(_SIGNALS, 0) is not None:
            pass  # a second Ctrl-C while the first one was obeyed
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _running_proxy(
    directory: Path, plugin_cfg: Path, listen: Address, workers: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "wsproxy",
        "run",
        str(plugin_cfg),
        "--settings",
        str(directory / SETTINGS_NAME),
        "--listen",
        str(listen),
    ]
    if workers is not None:
        command += ["--workers", str(workers)]
    with _proxy_log(directory).open("ab") as log:
        proxy = start_child(command, log=log)
    try:
        yield proxy
    finally:
        if proxy.poll() is None:
            proxy.terminate()
            try:
                proxy.wait(PROXY_STOP_S)
            except subprocess.TimeoutExpired:
                end_process(proxy, PROXY_STOP_S)


def _proxy_log(directory: Path) -> Path:
    return directory / "proxy.log"


def _wait_until_proxy_answers(
    proxy: subprocess.Popen[bytes], directory: Path, listen: Address
) -> _Session | None:
    """The session that the first answer through the proxy opened; None when a signal asks the demo to stop."""
    deadline = time.monotonic() + PROXY_START_S
    while proxy.poll() is None:
        session = _try_to_open_session(reachable(listen))
        if session is not None:
            return session
        if time.monotonic() > deadline:
            raise StartError(
                f"the proxy does not answer on {listen}:\n{tail(_proxy_log(directory))}"
            )
        got = signal.sigtimedwait(_SIGNALS, ASK_AGAIN_S)
        if got is not None and got.si_signo in _STOP_SIGNALS:
            return None
    raise StartError(
        f"the proxy did not start ({describe_end(proxy)}):\n{tail(_proxy_log(directory))}"
    )


def _try_to_open_session(proxy: Address) -> _Session | None:
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=ASK_S)
    try:
        connection.request("GET", "/app/json")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    set_cookie = response.getheader("Set-Cookie", "")
    if response.status != http.HTTPStatus.OK or not set_cookie.startswith(f"{COOKIE_NAME}="):
        return None
    value = set_cookie.removeprefix(f"{COOKIE_NAME}=").partition(";")[0]
    return _Session(value, json.loads(body)["cloneId"])


def _to_cookie_jar(host: str, value: str) -> str:
    """A session cookie in the format that curl reads and writes; the 0 says that it ends with the browser."""
    return f"# Netscape HTTP Cookie File\n#HttpOnly_{host}\tFALSE\t/\tFALSE\t0\t{COOKIE_NAME}\t{value}\n"


class _Keeper:
    """Tells of deaths, brings servers back, and does what the page's buttons say."""

    def __init__(
        self, cluster: DemoCluster, proxy: subprocess.Popen[bytes], running: RunningDemo, say: Say
    ) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._running = running
        self._say = say
        self._due_at: dict[str, float] = {}  # by name of a dead server
        self._orders = Orders(running.directory)
        self._admin = next(
            (str(path) for path in find_sockets() if path.stem == str(proxy.pid)), ""
        )
        self.commands: dict[str, str] = {}

    def close(self) -> None:
        self._orders.close()

    def watch(self) -> None:
        """Returns when a signal asks the demo to stop."""
        while True:
            news = [text for server in self._cluster.servers if (text := self._care_for(server))]
            write_state(
                self._running.directory, self._state()
            )  # whoever reads the news finds it on the page
            for text in news:
                self._say(text)
            if self._proxy.poll() is not None:
                raise WsproxyError(
                    f"the proxy ended ({describe_end(self._proxy)}):\n{tail(_proxy_log(self._running.directory))}"
                )
            if self._due_at:
                wait_s = max(0.0, min(self._due_at.values()) - time.monotonic())
                got = signal.sigtimedwait(_SIGNALS, wait_s)
            else:
                got = signal.sigwaitinfo(_SIGNALS)
            if got is not None and got.si_signo in _STOP_SIGNALS:
                return
            if got is not None and got.si_signo == ORDER_SIGNAL:
                self._obey()

    def _obey(self) -> None:
        servers = {server.name: server for server in self._cluster.servers}
        for verb, name in self._orders.read():
            server = servers.get(name)
            if server is None:
                continue
            if verb == "kill" and server.is_running:
                server.kill()
            elif verb == "return" and name in self._due_at:
                self._due_at[name] = time.monotonic()

    def _care_for(self, server: DemoServer) -> str:
        """What has become of it, to be told; empty: nothing new."""
        if server.is_running:
            return ""
        now = time.monotonic()
        after_s = self._running.return_after_s
        if server.name not in self._due_at:
            self._due_at[server.name] = now + after_s
            return f"{server.name} (pid {server.pid}) is dead; it comes back in {after_s:g} s"
        if self._due_at[server.name] > now:
            return ""
        server.start()
        try:
            server.wait_ready()
        except StartError as error:
            self._due_at[server.name] = now + after_s
            return f"{error}\n{server.name} is tried again in {after_s:g} s"
        del self._due_at[server.name]
        return f"{server.name} is back, pid {server.pid}"

    def _state(self) -> DemoState:
        servers = [
            ServerState(
                server.name, server.clone_id, server.url, server.pid, server.is_running,
                self._due_at.get(server.name, 0.0),
            )
            for server in self._cluster.servers
        ]  # fmt: skip
        return DemoState(os.getpid(), self._admin, servers, self.commands, self._running.dashboard)

"""
One ``wsproxy run`` with a worker of its own and an app server in this process, for measurements that no load generator makes.

Driven by ``bench.memory`` and ``bench.slowloris``. All of it listens on 127.0.0.1 and is gone when ``lab`` ends. The app server
and the clients are threads that block in the kernel: they cost this process time, never the worker memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wsproxy.bench import tls
from wsproxy.bench.programs import OPENSSL
from wsproxy.bench.site import HOST_NAME

BLOCK = bytes(262144)  # as much as the worker reads at once
START_S = 30.0
SLOW_START_S = 300.0  # under valgrind, on a machine that others use
STOP_S = 20.0
POLL_S = 0.05
WAIT_S = 60.0  # for the next byte; nothing here takes so long
SLOW_BYTES = 65536  # what a slow side reads in one step ...
SLOW_STEP_S = 0.05  # ... and then waits: 1.3 MB/s
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n" + bytes(128)

_PLUGIN_CFG = """<Config><ServerCluster Name="app"><Server Name="one" CloneID="one">{transports}</Server>
<PrimaryServers><Server Name="one"/></PrimaryServers></ServerCluster>
<UriGroup Name="app"><Uri Name="/*"/></UriGroup><Route ServerCluster="app" UriGroup="app"/></Config>
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory in KiB, from /proc/PID/smaps_rollup; ``private`` is what nobody shares with it."""

    rss: int
    pss: int
    private: int

    def __sub__(self, other: Memory) -> Memory:
        """The growth from ``other`` on."""
        return Memory(self.rss - other.rss, self.pss - other.pss, self.private - other.private)

    def __or__(self, other: Memory) -> Memory:
        """The larger of each."""
        return Memory(
            max(self.rss, other.rss), max(self.pss, other.pss), max(self.private, other.private)
        )


def read_memory(pid: int) -> Memory:
    """What the process has now. I/O."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    kib = {name: int(value) for name, value in found}
    return Memory(kib["Rss"], kib["Pss"], kib["Private_Clean"] + kib["Private_Dirty"])


@dataclass(slots=True)
class AppServer:
    """
    Answers on every connection: 128 bytes, or ``/down/COUNT`` bytes, or after a body was read to its end.

    A body to ``/slowly`` is read a little at a time until ``hurry`` is set.
    """

    context: ssl.SSLContext | None = None
    hurry: threading.Event = field(default_factory=threading.Event)
    listening: socket.socket = field(
        default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=512)
    )
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listening.getsockname()[1])

    def start(self) -> None:
        """Accepts from now on."""
        self._start(self._accept)

    def end(self) -> None:
        """Accepts no more; returns when all connections ended, so call it after the proxy's end."""
        self.hurry.set()
        self.listening.shutdown(
            socket.SHUT_RDWR
        )  # wakes the thread that accepts, which close does not
        for thread in self._threads:
            thread.join(STOP_S)
        self.listening.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:  # the end
                return
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            with sock:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        more = sock.recv(SLOW_BYTES)
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    data = self._answer(sock, head, data)

    def _answer(self, sock: socket.socket, head: bytes, data: bytes) -> bytes:
        """Answers one request; what came behind it."""
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/down/"):
            count = int(path.rpartition(b"/")[2])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
            send_bytes(sock, count)
            return data
        if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
            count = int(length[1])
            taken, data = min(len(data), count), data[count:]
            hurry = self.hurry if path.startswith(b"/slowly") else None
            read_bytes(sock, count - taken, hurry)
        sock.sendall(ANSWER)
        return data


def send_bytes(sock: socket.socket, count: int) -> None:
    """Sends so many; returns when the kernel has all. I/O."""
    for _ in range(count // len(BLOCK)):
        sock.sendall(BLOCK)
    sock.sendall(BLOCK[: count % len(BLOCK)])


def read_bytes(sock: socket.socket, count: int, hurry: threading.Event | None = None) -> None:
    """
    Reads so many and throws them away; until ``hurry`` is set slowly. I/O.

    Raises: ConnectionError where the peer ends before that.
    """
    into = bytearray(len(BLOCK))
    while count:
        most = len(into)
        if hurry is not None and not hurry.wait(SLOW_STEP_S):
            most = SLOW_BYTES
        got = sock.recv_into(into, min(most, count))
        if not got:
            msg = f"the connection ended {count} bytes early"
            raise ConnectionError(msg)
        count -= got


@dataclass(frozen=True, slots=True)
class Lab:
    """A proxy that runs: where, and which process serves."""

    port: int
    worker: int
    app: AppServer
    client_context: ssl.SSLContext | None

    def connect(self, *, source: str = "", receive_buffer: int = 0) -> socket.socket:
        """A new connection of a client, TLS where the lab has it. I/O."""
        sock = socket.socket()
        sock.settimeout(WAIT_S)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.port))
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # else Finished holds the request up
        if self.client_context is None:
            return sock
        return self.client_context.wrap_socket(sock, server_hostname=HOST_NAME)

    def memory(self) -> Memory:
        """The worker's. I/O."""
        return read_memory(self.worker)


def request(method: str, path: str, *lines: str) -> bytes:
    """A head of about the size that browsers send."""
    head = [
        *(f"{method} {path} HTTP/1.1", f"Host: {HOST_NAME}"),
        "Cookie: JSESSIONID=0000abcdefghijklmnopqrstuvw:one",
        "User-Agent: " + "x" * 400,
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


def ask(sock: socket.socket, head: bytes) -> None:
    """One request without a body, and its answer of 128 bytes. I/O."""
    sock.sendall(head)
    read_answer(sock)


def read_answer(sock: socket.socket) -> None:
    """
    The head and 128 bytes of an answer. I/O.

    Raises: ConnectionError where it is another one.
    """
    data = b""
    while not data.endswith(bytes(128)):
        more = sock.recv(4096)
        if not more:
            msg = f"the connection ended after {data[:200]!r}"
            raise ConnectionError(msg)
        data += more
    if not data.startswith(b"HTTP/1.1 200"):
        msg = f"found the answer {data[:200]!r}"
        raise ConnectionError(msg)


def raise_descriptors(wanted: int) -> None:
    """
    As many open files as that for us and what we start.

    Raises: SystemExit where the system does not allow it.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        raise SystemExit(f"cannot begin: {wanted} open files are needed, ulimit -Hn allows {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextlib.contextmanager
def lab(*, secure: bool = False, settings: str = "", under: tuple[str, ...] = ()) -> Iterator[Lab]:
    """A running proxy with one worker; ``secure``: TLS to clients and to the app server; ``under``: a program that runs it."""
    with (
        tempfile.TemporaryDirectory(prefix="wsproxy-lab-") as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        app = AppServer()
        app.start()
        stack.callback(app.end)
        listener, context = "", None
        transports = [
            f'<Transport Hostname="127.0.0.1" Port="{app.port}" Protocol="{"https" if secure else "http"}"/>'
        ]
        if secure:
            openssl = OPENSSL.find()
            if openssl is None:
                raise SystemExit("cannot begin: openssl is not installed")
            made = tls.make_certificate(openssl, folder)
            context = tls.client_context(made.certificate)
            app.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            app.context.load_cert_chain(made.certificate, made.key)
            listener = (
                f'[[listener]]\naddress = "127.0.0.1:0"\n'
                f'certificates = [{{ chain = "{made.certificate}", key = "{made.key}" }}]\n'
                f'[upstream.tls]\ntrust = "{made.certificate}"\n'
            )
        (folder / "plugin-cfg.xml").write_text(_PLUGIN_CFG.format(transports="".join(transports)))
        (folder / "wsproxy.toml").write_text(settings + listener)
        arguments = [
            *(str(folder / "plugin-cfg.xml"), "--settings", str(folder / "wsproxy.toml")),
            *(() if secure else ("--listen", "127.0.0.1:0")),
            *("--workers", "1"),
        ]
        port, worker = stack.enter_context(_running(under, arguments, folder / "log"))
        yield Lab(port, worker, app, context)


def _worker_of(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    names = {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in children}
    return names["wsproxy-0"]


@contextlib.contextmanager
def _running(under: tuple[str, ...], arguments: list[str], log: Path) -> Iterator[tuple[int, int]]:
    """``wsproxy run ARGUMENTS``: port, and the worker's pid. Its log is a file: reading a pipe would take time from clients."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*under, sys.executable, "-P", "-m", "wsproxy", "run", *arguments],
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + (SLOW_START_S if under else START_S)
        while not (ready := re.search(r"wsproxy: ready on https?://\S+:(\d+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"cannot begin: wsproxy did not start:\n{log.read_text()}")
            time.sleep(POLL_S)
        yield int(ready[1]), _worker_of(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

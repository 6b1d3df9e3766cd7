"""
Real etcd processes on free ports of 127.0.0.1, for tests: one alone, or three.

Skips with a clear word where there is no etcd: `apt-get install -y --no-install-recommends etcd-server`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from wsproxy.ha.store.gateway import Gateway

ETCD = shutil.which("etcd")
needs_etcd = pytest.mark.skipif(
    ETCD is None, reason="no etcd on this machine: apt-get install etcd-server"
)
_START_S = 30.0

E = TypeVar("E", bound="EtcdProcess")


def free_ports(count: int) -> list[int]:
    """That nobody listens on now."""
    with contextlib.ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class EtcdProcess:
    """One etcd. Extra arguments replace what is said of TLS."""

    def __init__(
        self,
        folder: Path,
        name: str,
        client: int,
        peer: int,
        cluster: str,
        extra: Sequence[str] = (),
        scheme: str = "http",
        *,
        heartbeat_ms: int = 10,
    ) -> None:
        self.name = name
        self.data = folder / name
        self.url = f"{scheme}://127.0.0.1:{client}"
        peer_url = f"{scheme}://127.0.0.1:{peer}"
        assert ETCD is not None
        self._command = [
            ETCD, "--name", name, "--data-dir", str(self.data),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", cluster,
            "--heartbeat-interval", str(heartbeat_ms), "--election-timeout", str(10 * heartbeat_ms), "--pre-vote=true",
            "--logger", "zap", *extra,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self._serves = threading.Event()
        self._said: list[bytes] = []
        self._reader: threading.Thread | None = None

    def launch(self) -> None:
        """Without waiting."""
        self._serves.clear()
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._said.append(line)
                if b"serving client traffic" in line:
                    self._serves.set()
        self._serves.set()  # it has ended: nobody waits for nothing

    def wait(self) -> None:
        """Until it serves."""
        assert self.process is not None
        assert self._serves.wait(_START_S), b"".join(self._said[-20:]).decode()
        assert self.process.poll() is None, b"".join(self._said[-20:]).decode()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def back_up(self) -> Path:
        """A copy of all that it has, made while it is ended; it serves again."""
        self.end()
        backup = self.data.with_name(f"{self.data.name}-backup")
        shutil.copytree(self.data, backup)
        self.launch()
        self.wait()
        return backup

    def restore(self, backup: Path) -> None:
        """It serves with what the copy has, which is used up."""
        self.end()
        shutil.rmtree(self.data)
        backup.rename(self.data)
        self.launch()
        self.wait()

    def end(self) -> None:
        """Killed, and gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self._reader is not None
            self._reader.join()
            self.process = None


@contextlib.contextmanager
def running_etcd(
    count: int = 1, extra: Sequence[str] = (), scheme: str = "http", *, heartbeat_ms: int = 10
) -> Iterator[list[EtcdProcess]]:
    """So many, as one cluster, that serve."""
    if ETCD is None:
        pytest.skip("no etcd on this machine: apt-get install etcd-server")
    with tempfile.TemporaryDirectory(prefix="wsproxy-test-etcd-") as folder:
        ports = free_ports(2 * count)
        names = [f"e{number}" for number in range(count)]
        cluster = ",".join(
            f"{name}={scheme}://127.0.0.1:{ports[2 * at + 1]}" for at, name in enumerate(names)
        )
        servers = [
            EtcdProcess(Path(folder), name, ports[2 * at], ports[2 * at + 1], cluster, extra, scheme, heartbeat_ms=heartbeat_ms)
            for at, name in enumerate(names)
        ]  # fmt: skip
        try:
            for each in servers:
                each.launch()
            for each in servers:
                each.wait()
            yield servers
        finally:
            for each in servers:
                each.end()


async def leader_of(servers: Sequence[E]) -> E:
    """Which of them leads."""
    for each in servers:
        gateway = Gateway([each.url], try_s=5.0)
        status = await gateway.ask("/v3/maintenance/status", {})
        await gateway.close()
        if status["header"]["member_id"] == status["leader"]:
            return each
    raise AssertionError("found no leader; allowed is one")


class Relay:
    """A TCP relay that can be cut: silently, as a network is, or so that connections end."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                here.close()
                continue
            with self._lock:
                self._sockets += [here, there]
            for pair in ((here, there), (there, here)):
                thread = threading.Thread(target=self._pump, args=pair, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                if self._is_closed:
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Nothing passes, and no connection ends."""
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._is_closed = True
        self._open.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

"""
One etcd on this machine, for trying and for tests: started, watched, started again, ended with whoever started it.

Driven by ``agent``. It listens on 127.0.0.1 and still asks for certificates, which are made in its data folder: every user of a
machine can connect to 127.0.0.1. Not for two machines: what it keeps is gone with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import logging
import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from wsproxy.config.key_context import group_tls
from wsproxy.config.settings_ha import EMBEDDED_ELECTION_S, HaSettings, no_etcd
from wsproxy.errors import StartError
from wsproxy.ha.certs import Files, files_of, make_certificates

log = logging.getLogger("wsproxy.ha")

# It is ready in 40 to 120 ms; a machine with no time, and a disk that takes seconds for 62 MB of its journal, need longer.
START_S = 20.0
# After SIGTERM: 14 ms alone.
STOP_S = 5.0
# Another process may take the port between our look and etcd's start.
TRIES = 3
# What it said last, for whoever wants to know why it ended.
KEPT_LINES = 20
_SERVES = b"serving client traffic"
_PR_SET_PDEATHSIG = 1
_HOST = "127.0.0.1"

_libc = ctypes.CDLL(None, use_errno=True)


class EmbeddedEtcd:
    """One a proxy."""

    def __init__(self, settings: HaSettings, instance: str = "") -> None:
        """Nothing is started yet. ``instance``: in the name of a folder of its own, which is found again by it; nobody can guess it."""
        self._instance = instance
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._temporary = ""
        self._folder = Path()
        self._ports = (0, 0)
        self._end_said = ""
        self.url = ""

    @property
    def pid(self) -> int | None:
        """Of the program that runs."""
        return None if self._process is None else self._process.pid

    @property
    def files(self) -> Files:
        """What it believes, and what it and its clients show."""
        return files_of(self._folder, "localhost")

    def tls(self) -> ssl.SSLContext:
        """
        For its clients.

        Raises:
            KeyFileError: somebody has changed its files.
        """
        files = self.files
        return group_tls(str(files.ca), str(files.certificate), str(files.key))

    async def start(self) -> None:
        """
        It serves afterwards, at ``url``.

        Raises:
            StartError: it does not; the text says why, in its own words.
        """
        program = shutil.which(self._settings.etcd)
        if program is None:
            raise StartError(f"ha.etcd: {no_etcd(self._settings.etcd)}")
        self._make_folder()
        for number in range(1, TRIES + 1):
            if not self._ports[0]:
                self._ports = self._choose_ports()
            if await self._start_one(program):
                return
            said = " | ".join(self._said) or "nothing"
            if "address already in use" not in said or self._settings.endpoints or number == TRIES:
                raise StartError(f"etcd ({program}) {self._end_said}; it said: {said}")
            self._ports = (0, 0)

    def _make_folder(self) -> None:
        if self._folder.name:
            return
        if not self._settings.data_dir:
            self._temporary = (
                str(Path(tempfile.gettempdir()) / f"wsproxy-etcd-{self._instance}")
                if self._instance
                else tempfile.mkdtemp(prefix="wsproxy-etcd-")
            )
        folder = Path(self._settings.data_dir or self._temporary)
        now = datetime.datetime.now(datetime.UTC)
        try:
            make_certificates(folder, [("localhost", _HOST, "::1")], now)
        except StartError as error:
            raise StartError(
                f"ha.data_dir: {error}; allowed is a folder that this user may write to, or none: then one that ends with the proxy"
            ) from error
        self._folder = folder

    def _choose_ports(self) -> tuple[int, int]:
        """For clients and for peers, of which it has none."""
        wanted = [urlsplit(url).port or 0 for url in self._settings.endpoints] or [0]
        return wanted[0] or _free_port(), _free_port()

    async def _start_one(self, program: str) -> bool:
        """Whether it serves."""
        client, peer = (f"https://{_HOST}:{port}" for port in self._ports)
        files = self.files
        election_ms = int(EMBEDDED_ELECTION_S * 1000)
        self._said.clear()
        self._process = await asyncio.create_subprocess_exec(
            program,
            "--name", "solo", "--data-dir", str(self._folder / "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"solo={peer}",
            "--heartbeat-interval", str(election_ms // 10), "--election-timeout", str(election_ms),
            "--quota-backend-bytes", "67108864",
            "--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000",
            "--client-cert-auth", "--trusted-ca-file", str(files.ca),
            "--cert-file", str(files.certificate), "--key-file", str(files.key),
            "--peer-client-cert-auth", "--peer-trusted-ca-file", str(files.ca),
            "--peer-cert-file", str(files.certificate), "--peer-key-file", str(files.key),
            "--logger", "zap",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("ETCD_")},
            preexec_fn=_end_with_parent,  # the child of one thread: nobody holds a lock
        )  # fmt: skip
        served = asyncio.Event()
        self._reading = asyncio.create_task(self._read(self._process, served))  # noqa: TID251  # awaited in ``stop``
        waiting = asyncio.ensure_future(served.wait())
        try:
            async with asyncio.timeout(START_S):
                await asyncio.wait({waiting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            self._end_said = "ended before it served"
        except TimeoutError:
            self._end_said = f"has not come up within {START_S:g} s"
        finally:
            waiting.cancel()
        if served.is_set():
            self.url = client
            log.info("ha: etcd (pid %d) serves at %s", self._process.pid, client)
            return True
        await self._end()
        return False

    async def _read(self, process: asyncio.subprocess.Process, served: asyncio.Event) -> None:
        """Until it ends; what nobody reads would stop it."""
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # a line longer than anybody reads
            if not line:
                return
            self._said.append(line.decode("utf-8", "replace").strip()[:300])
            if _SERVES in line:
                served.set()

    async def ended(self) -> str:
        """Waits for its end; how it ended."""
        assert self._process is not None
        code = await self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{how}; it said last: {self._said[-1] if self._said else 'nothing'}"

    async def stop(self) -> None:
        """It has ended afterwards, and where nobody named a folder its data is gone."""
        await self._end()
        if self._temporary:
            await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    async def _end(self) -> None:
        if self._process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                try:
                    async with asyncio.timeout(STOP_S):
                        await self._process.wait()
                        break
                except TimeoutError:
                    continue
            self._process = None
        if self._reading is not None:
            await self._reading
            self._reading = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _end_with_parent() -> None:
    """In the child: the kernel ends it when its parent ends, however that was."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

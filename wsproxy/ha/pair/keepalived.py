"""
keepalived, by files and signals alone: its file is tried, it is started, told, asked and ended. One of ours, never another's.

Driven by ``agent``. It outlives an agent that dies, and the next one finds it by its pid and its command line. What it decides comes by
its notify fifo; what it knows by its JSON (SIGJSON). Never shares a folder, a pid file or a configuration with the system's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess  # keepalived
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsproxy.errors import StartError
from wsproxy.ha.pair.conf import INSTANCE, Pair, keepalived_conf, nobody_watches
from wsproxy.ha.pair.folder import Folder
from wsproxy.ha.pair.programs import find_program, run_program

log = logging.getLogger("wsproxy.ha.pair")

CONF = "keepalived.conf"
# `keepalived --signum=JSON` says so, for all of 2.x.
_SIGJSON = signal.SIGRTMIN + 2
# Alone it ends in 10 ms, and gives a second to its child where the machine is busy.
STOP_S = 10.0
STATES = ("MASTER", "BACKUP", "FAULT", "STOP")
ANSWER_S = 2.0
_LOOK_S = 0.02
_LOOPBACKS = ("127.0.0.1", "::1")


class Keepalived:
    """One a node. ``on_state``: VRRP's word, MASTER, BACKUP or FAULT; ``on_end``: it ended, and nobody told it to."""

    def __init__(
        self, folder: Folder, on_state: Callable[[str], None], on_end: Callable[[], None]
    ) -> None:
        """Does not run yet."""
        self._folder = folder
        self._on_state = on_state
        self._on_end = on_end
        self._pidfd = -1
        self._fifo = (-1, -1)
        self._rest = b""
        self._process: subprocess.Popen[bytes] | None = (
            None  # None: an agent before us had started it
        )
        self.pid: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether it does."""
        return self.pid is not None

    def write(self, pair: Pair) -> None:
        """
        Its file, if it would take it; the one before stays if not. # I/O.

        Raises:
            StartError: what it says against it.
        """
        script = self._folder.file("nobody-watches")
        script.write_text(nobody_watches(self._folder.path))
        script.chmod(0o700)
        for name in ("role", "down", "guard"):
            if not self._folder.file(name).exists():
                self._folder.write_number(name, 0)
        trial = self._folder.file("keepalived.trial.conf")
        trial.write_text(keepalived_conf(pair, self._folder.path))
        code, said = run_program("keepalived", "-t", "-f", str(trial))
        if code:
            raise StartError(f"keepalived does not take {trial}: {'; '.join(said.splitlines()) or code}")  # fmt: skip
        trial.replace(self._folder.file(CONF))

    def start(self) -> None:
        """It runs, by the file that was written."""
        program = find_program("keepalived")
        self.forget_others()
        self._open_fifo()
        self._folder.turn_log("keepalived.log")
        path = self._folder.file
        with path("keepalived.log").open("ab") as said:
            # Not asyncio's: its transport would kill it with the agent, which it is to outlive.
            self._process = subprocess.Popen(  # noqa: S603  # a program of the system, no shell
                [
                    program, "-n", "-l", "-D", "-G", "-P",
                    "-f", str(path(CONF)), "-p", str(path("keepalived.pid")), "-r", str(path("vrrp.pid")),
                ],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, "TMPDIR": str(self._folder.path)},
            )  # fmt: skip
        self._watch(self._process.pid)

    def forget_others(self) -> None:
        """
        Pid files whose pid is somebody else's by now, as after a boot, are gone: keepalived believes that it runs already, and ends.

        One of a keepalived stays: its child may live for a moment longer than itself.
        """
        for name in ("keepalived.pid", "vrrp.pid"):
            with contextlib.suppress(OSError, ValueError):
                if not _is_keepalived(int(self._folder.file(name).read_text())):
                    self._folder.file(name).unlink()

    def adopt(self) -> bool:
        """Whether one runs that an agent before us had started; it is ours now."""
        try:
            pid = int(self._folder.file("keepalived.pid").read_text())
            if not _is_keepalived(pid):
                return False
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return False
        if os.fsencode(self._folder.file(CONF)) not in words:
            return False
        self._open_fifo()
        self._watch(pid)
        return True

    def _watch(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            asyncio.get_running_loop().call_soon(self._ended)
            self.pid = pid
            return
        self.pid = pid
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        was, self.pid = self.pid, None
        self._close_pidfd()
        if was is not None:
            self._on_end()

    def _close_pidfd(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def reload(self) -> None:
        """It reads its file again; the address stays where it is."""
        self._send(signal.SIGHUP)

    def _send(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> None:
        """It has ended, and the other node is told by VRRP; one that had to be killed leaves the address behind."""
        pid, self.pid = self.pid, None
        if pid is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if await self._has_ended(STOP_S):
                    break
        self._close_pidfd()
        self._close_fifo()

    async def _has_ended(self, within_s: float) -> bool:
        if self._pidfd < 0:
            return True
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            async with asyncio.timeout(within_s):
                await ended.wait()
        except TimeoutError:
            return False
        return True

    async def ask(self) -> dict[str, Any]:
        """What it knows of the address: its JSON of our instance; empty where it does not answer."""
        if self.pid is None:
            return {}
        file = self._folder.file("keepalived.json")
        file.unlink(missing_ok=True)
        self._send(_SIGJSON)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while True:
                    await asyncio.sleep(_LOOK_S)  # it writes a file, and says nothing of it
                    with contextlib.suppress(OSError, ValueError):
                        return _instance(json.loads(file.read_text()))
        return {}

    # --- its fifo -------------------------------------------------------------------------------------------------------

    def _open_fifo(self) -> None:
        if self._fifo[0] >= 0:
            return
        path = self._folder.file("notify")
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Held open: without a writer a fifo is at its end, again and again.
        self._fifo = (reader, os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self._rest = b""
        asyncio.get_running_loop().add_reader(reader, self._read)

    def _close_fifo(self) -> None:
        if self._fifo[0] >= 0:
            asyncio.get_running_loop().remove_reader(self._fifo[0])
            for fd in self._fifo:
                os.close(fd)
            self._fifo = (-1, -1)

    def _read(self) -> None:
        try:
            data = os.read(self._fifo[0], 4096)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            words = line.decode("ascii", "replace").replace('"', "").split()
            if words[:2] == ["INSTANCE", INSTANCE] and len(words) > 2:
                log.info("keepalived: %s", " ".join(words[2:]))
                if words[2] in STATES:  # and not MASTER_RX_LOWER_PRI, which is news and no state
                    self._on_state(words[2])


def _is_keepalived(pid: int) -> bool:
    """Of this user: what a pid file names may be anybody by now, and our signals end whoever does not know them. # I/O."""
    place = Path(f"/proc/{pid}")
    try:
        program = os.readlink(place / "exe").removesuffix(
            " (deleted)"
        )  # by an upgrade of its package
        return os.path.basename(program) == "keepalived" and place.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _instance(found: Any) -> dict[str, Any]:
    """Of a list of instances (2.2.7), or of an object that has the list (later ones)."""
    if isinstance(found, dict):
        found = found.get("vrrp", [])
    for each in found:
        data: dict[str, Any] = each.get("data", {})
        if data.get("iname") == INSTANCE:
            return {**data, "stats": each.get("stats", {})}
    return {}


# --- addresses of this machine ------------------------------------------------------------------------------------------


def addresses() -> dict[str, str]:
    """Address -> interface, of all that this machine has now; without what only lingers (``linger``). # I/O."""
    try:
        _, said = run_program("ip", "-j", "addr")
        found = json.loads(said)
    except (StartError, ValueError):
        return {}
    return {
        each["local"]: link["ifname"]
        for link in found
        for each in link.get("addr_info", ())
        if "local" in each and (link["ifname"] != "lo" or each["local"] in _LOOPBACKS)
    }


def remove_address(vip: str, interface: str) -> None:
    """For the case that keepalived was killed and left it. # I/O."""
    with contextlib.suppress(StartError):
        run_program("ip", "addr", "del", vip, "dev", interface)

"""
Three machines for drills of a core group: each a namespace with one cable, an etcd with a disk of its own (tmpfs, so that it can be full), and a member beside it.

The test's thread is in a network of its own, at the switch: it reaches whoever is not cut off. Needs what ``etcd_lab`` needs, and nftables.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import etcd_lab
from tests.support.etcd import EtcdProcess
from tests.support.etcd_lab import ip, own_network

COUNT = 3
# Two files of 64 MB that etcd makes at its start, and what a run of drills writes.
_DISK = "320m"
_TABLE = "drill"
LACK = etcd_lab.LACK or ("" if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") else "no nft on this machine: apt-get install nftables")  # fmt: skip
needs_machines = pytest.mark.skipif(bool(LACK), reason=f"drills of a core group: {LACK}")


class Machine(EtcdProcess):
    """One, with its etcd."""

    def __init__(self, folder: Path, number: int) -> None:
        self.space = f"wsp{os.getpid()}g{number}"
        self.number = number
        self.is_dead = False
        self._cable = f"m{number}"
        self._disk = folder / f"e{number}"
        self._filler = self._disk / "filler"
        self._make()
        cluster = ",".join(f"e{each}=http://10.77.0.1{each}:2380" for each in range(COUNT))
        super().__init__(folder, f"e{number}", 2379, 2380, cluster, ["--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000"], heartbeat_ms=50)  # fmt: skip
        self.url = f"http://10.77.0.1{number}:2379"
        peer = f"http://10.77.0.1{number}:2380"
        given = {
            "--listen-client-urls": self.url, "--advertise-client-urls": self.url, "--data-dir": str(self._disk / "data"),
            "--listen-peer-urls": peer, "--initial-advertise-peer-urls": peer,
        }  # fmt: skip
        for name, value in given.items():
            self._command[self._command.index(name) + 1] = value
        self._command = [*self.prefix, *self._command]

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.space]

    def _make(self) -> None:
        ip("netns", "add", self.space)
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("link", "set", self._cable, "master", "switch", "up")
        ip("-n", self.space, "addr", "add", f"10.77.0.1{self.number}/24", "dev", "eth0")
        for each in ("eth0", "lo"):
            ip("-n", self.space, "link", "set", each, "up")
        self._disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "drill", str(self._disk)], check=True)  # fmt: skip

    def cut(self) -> None:
        ip("link", "set", self._cable, "down")

    def heal(self) -> None:
        ip("link", "set", self._cable, "up")

    def _nft(self, text: str) -> None:
        subprocess.run([*self.prefix, "nft", text], check=True)

    def cut_etcd(self) -> None:
        """From the two others; whoever asks it is answered."""
        chains = "; ".join(
            f'chain {hook} {{ type filter hook {hook} priority -310; {way} "lo" accept; tcp dport 2380 drop; tcp sport 2380 drop; }}'
            for hook, way in (("input", "iifname"), ("output", "oifname"))
        )
        self._nft(f"table inet {_TABLE} {{ {chains}; }}")

    def heal_etcd(self) -> None:
        self._nft(f"add table inet {_TABLE}; delete table inet {_TABLE}")

    def lose(self, share: float) -> None:
        chains = "; ".join(f'chain {hook} {{ type filter hook {hook} device "eth0" priority -310; numgen random mod 100 < {round(100 * share)} drop; }}' for hook in ("ingress", "egress"))  # fmt: skip
        self._nft(f"table netdev {_TABLE} {{ {chains}; }}")

    def find(self) -> None:
        """Nothing is lost any more."""
        self._nft(f"add table netdev {_TABLE}; delete table netdev {_TABLE}")

    def fill(self) -> None:
        """Nothing more fits on its disk."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True, check=True)  # fmt: skip
        return [int(each) for each in done.stdout.split()]

    def signal_all(self, number: signal.Signals) -> None:
        """Who is started meanwhile is found in another round."""
        for _ in range(2):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def again(self) -> None:
        """Its etcd runs, whatever became of it. Without waiting."""
        if not self.runs:
            super().end()
            self.launch()

    def end(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.signal_all(signal.SIGKILL)
        super().end()
        subprocess.run(["ip", "netns", "del", self.space], check=False)
        subprocess.run(["umount", "-l", str(self._disk)], check=False)


@contextlib.contextmanager
def machines() -> Iterator[list[Machine]]:
    """Their etcds serve, as one cluster."""
    with (
        own_network(),
        tempfile.TemporaryDirectory(prefix="wsproxy-drills-") as folder,
        contextlib.ExitStack() as ended,
    ):
        ip("link", "add", "switch", "type", "bridge")
        ip("addr", "add", "10.77.0.1/24", "dev", "switch")
        ip("link", "set", "switch", "up")
        found = []
        for number in range(COUNT):
            machine = Machine(Path(folder), number)
            ended.callback(machine.end)
            found.append(machine)
        for each in found:
            each.launch()
        for each in found:
            each.wait()
        yield found

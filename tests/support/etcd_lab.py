"""
Three machines, each with one etcd: network namespaces, so that one of them can be cut off from the others as a cable is drawn.

The test's own thread stands between them, in a namespace of its own: it reaches each etcd by another cable, as a member on that machine does. Needs
root, ``ip netns`` and etcd; ``needs_etcd_lab`` says which is missing. All names carry the pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import ETCD, EtcdProcess

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_libc = ctypes.CDLL(None, use_errno=True)


def _lack() -> str:
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if shutil.which("ip") is None:
        return "no ip on this machine: apt-get install iproute2"
    if ETCD is None:
        return "no etcd on this machine: apt-get install etcd-server"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"network namespaces cannot be made here: {done.stderr.strip()}" if done.returncode else ""  # fmt: skip


LACK = _lack()
needs_etcd_lab = pytest.mark.skipif(bool(LACK), reason=f"etcd lab: {LACK}")


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """A network with nothing in it but lo, for the thread that asks and what it starts."""
    with open("/proc/thread-self/ns/net") as before:
        assert _libc.unshare(_NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            assert _libc.setns(before.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())


class Machine(EtcdProcess):
    """One etcd in its namespace: the others are behind one cable, the test behind another."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.space = f"wsp{os.getpid()}e{number}"
        self.cable = f"peers{number}"
        self._make(number)
        cluster = ",".join(f"e{each}=http://10.77.0.1{each}:2380" for each in range(count))
        super().__init__(folder, f"e{number}", 2379, 2380, cluster, heartbeat_ms=50)
        self.url = f"http://10.77.{10 + number}.2:2379"
        peer = f"http://10.77.0.1{number}:2380"
        given = {
            "--listen-client-urls": self.url, "--advertise-client-urls": self.url,
            "--listen-peer-urls": peer, "--initial-advertise-peer-urls": peer,
        }  # fmt: skip
        for name, value in given.items():
            self._command[self._command.index(name) + 1] = value
        self._command = ["ip", "netns", "exec", self.space, *self._command]

    def _make(self, number: int) -> None:
        ip("netns", "add", self.space)
        for cable, inside, address in (
            (self.cable, "eth0", f"10.77.0.1{number}/24"),
            (f"test{number}", "eth1", f"10.77.{10 + number}.2/24"),
        ):
            ip("link", "add", cable, "type", "veth", "peer", "name", inside, "netns", self.space)
            ip("link", "set", cable, "up")
            ip("-n", self.space, "addr", "add", address, "dev", inside)
            ip("-n", self.space, "link", "set", inside, "up")
        ip("-n", self.space, "link", "set", "lo", "up")
        ip("link", "set", self.cable, "master", "switch")
        ip("addr", "add", f"10.77.{10 + number}.1/24", "dev", f"test{number}")

    def cut(self) -> None:
        """From the other etcds, and they from it; nobody is told."""
        ip("link", "set", self.cable, "down")

    def heal(self) -> None:
        ip("link", "set", self.cable, "up")

    def end(self) -> None:
        super().end()
        subprocess.run(["ip", "netns", "del", self.space], check=False)


@contextlib.contextmanager
def etcd_machines(count: int = 3) -> Iterator[list[Machine]]:
    """They serve, as one cluster."""
    with (
        own_network(),
        tempfile.TemporaryDirectory(prefix="wsproxy-test-etcd-") as folder,
        contextlib.ExitStack() as ended,
    ):
        ip("link", "add", "switch", "type", "bridge")
        ip("link", "set", "switch", "up")
        machines = []
        for number in range(count):
            machine = Machine(Path(folder), number, count)
            ended.callback(machine.end)
            machines.append(machine)
        for each in machines:
            each.launch()
        for each in machines:
            each.wait()
        yield machines

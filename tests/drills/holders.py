"""
Who has the address, as the kernels say it, and who answers for it, as a client of that network hears it.

A thread of the drill's own process, which no fault of a drill stops. The addresses of both machines come by one netlink socket that listens in both namespaces
(NETLINK_LISTEN_ALL_NSID): one queue, so the order of events is the kernel's own and nothing is missed between two looks; one that overflows is an error. ARP is asked
every ``ASK_S`` from an address of its own each time, which the answer repeats: two answers to one question are two machines that answer, with the
kernel's time of each (SO_TIMESTAMPNS).
"""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.drills.judge import Event, Span
from tests.support.pair_lab import VIP, ip, namespace

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_SOL_NETLINK, _LISTEN_ALL_NSID = 270, 8
_GROUP_IPV4_IFADDR = 0x10
_NEWADDR, _DELADDR = 20, 21
_IFA_LOCAL, _IFA_LABEL = 2, 3
_MESSAGE = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_QUEUE_BYTES = 4 << 20
# asm-generic/socket.h
_SO_TIMESTAMPNS = 35
_ARP = 0x0806
_FRAME = struct.Struct("!6s6sH HHBBH 6s4s6s4s")

ASK_S = 0.02
# Addresses that nobody has: questions come from these in turn, so each is asked from again after two seconds.
_FIRST, _COUNT = 128, 100


def boot_now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class _Question:
    """``answers``: by the hardware address of who answered, when it first did."""

    at: float
    answers: dict[bytes, float] = field(default_factory=dict)


class Holders:
    """Of one pair lab. ``spaces``: the names of the machines' namespaces, by what they are called in events."""

    def __init__(self, spaces: Mapping[str, str], switch: str, client: str) -> None:
        """Watches from now on, when nobody may have the address yet. # I/O."""
        # The kernel has given each a number there, as a cable leads to it.
        told = re.findall(r"nsid (\d+) \(iproute2 netns name: (\S+)\)", ip("-n", switch, "netns", "list-id"))  # fmt: skip
        names = {space: name for name, space in spaces.items()}
        self._names = {int(number): names[space] for number, space in told if space in names}
        assert len(self._names) == len(spaces), told
        with namespace(switch):
            self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self._kernel.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
            self._kernel.setsockopt(socket.SOL_SOCKET, 33, _QUEUE_BYTES)  # SO_RCVBUFFORCE
            self._kernel.bind((0, _GROUP_IPV4_IFADDR))
        with namespace(client):
            self._arp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
            self._arp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._arp.bind(("eth0", _ARP))
        self._own: bytes = self._arp.getsockname()[4]
        self._by_address: dict[bytes, _Question] = {}
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._doubles: list[Span] = []
        self._error: Exception | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holders", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._kernel.close()
        self._arp.close()

    # --- what it has seen -------------------------------------------------------------------------------------------------

    def holders(self) -> set[str]:
        """Who has it now."""
        found: set[str] = set()
        for each in self.events():
            (found.add if each.has else found.discard)(each.node)
        return found

    def events(self) -> list[Event]:
        """All, in the kernel's order."""
        with self._lock:
            if self._error is not None:
                raise AssertionError("the observer has failed") from self._error
            return list(self._events)

    def doubles(self) -> list[Span]:
        """Questions that two machines answered: from the first answer to the second."""
        with self._lock:
            return list(self._doubles)

    def died(self, node: str) -> None:
        """Its kernel is no more, which a namespace cannot show."""
        self._note(Event(boot_now(), node, has=False))

    def forget(self) -> None:
        """But who has it now, as if they had all taken it at once: another drill begins."""
        with self._lock:
            held: set[str] = set()
            for each in self._events:
                (held.add if each.has else held.discard)(each.node)
            self._events = [Event(boot_now(), node, has=True) for node in sorted(held)]
            self._doubles.clear()

    # --- the thread ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        number = 0
        due = time.monotonic()
        try:
            while not self._end.is_set():
                left_s = due - time.monotonic()
                if left_s <= 0:
                    self._ask(number % _COUNT)
                    number, due = number + 1, time.monotonic() + ASK_S
                    continue
                ready, _, _ = select.select([self._kernel, self._arp], [], [], left_s)
                if self._kernel in ready:
                    self._read_kernel()
                if self._arp in ready:
                    self._read_arp()
        except Exception as error:  # told by the next look
            with self._lock:
                self._error = error

    def _note(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def _read_kernel(self) -> None:
        data, control, _, _ = self._kernel.recvmsg(65536, 256)
        at = boot_now()
        number = next((struct.unpack("=i", value)[0] for level, kind, value in control if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL_NSID)), 0)  # fmt: skip
        name = self._names.get(number)
        while len(data) >= _MESSAGE.size:
            length, kind, _, _, _ = _MESSAGE.unpack_from(data)
            if name is not None and kind in (_NEWADDR, _DELADDR):
                found = _attributes(data[_MESSAGE.size + _ADDRESS.size : length])
                # On lo an old primary keeps it for open connections, where ARP does not see it (``linger``).
                is_ours = found.get(_IFA_LOCAL) == socket.inet_aton(VIP)
                if is_ours and found.get(_IFA_LABEL, b"").rstrip(b"\0") != b"lo":
                    self._note(Event(at, name, has=kind == _NEWADDR))
            data = data[(length + 3) & ~3 :]

    def _ask(self, number: int) -> None:
        source = socket.inet_aton(f"10.78.0.{_FIRST + number}")
        self._by_address[source] = _Question(boot_now())
        packet = _FRAME.pack(
            b"\xff" * 6, self._own, _ARP, 1, 0x0800, 6, 4, 1,
            self._own, source, b"\0" * 6, socket.inet_aton(VIP),
        )  # fmt: skip
        self._arp.send(packet)

    def _read_arp(self) -> None:
        data, control, _, _ = self._arp.recvmsg(2048, 256)
        if len(data) < _FRAME.size:
            return
        *_, what, who, source, to, asked = _FRAME.unpack_from(data)
        question = self._by_address.get(asked)
        if what != 2 or to != self._own or source != socket.inet_aton(VIP) or question is None:
            return
        seconds, nanos = next(struct.unpack("=qq", value) for level, kind, value in control if kind == _SO_TIMESTAMPNS)  # fmt: skip
        at = seconds + nanos / 1e9 - (time.clock_gettime(time.CLOCK_REALTIME) - boot_now())
        question.answers.setdefault(who, at)
        if len(question.answers) > 1:
            with self._lock:
                self._doubles.append(Span(min(question.answers.values()), max(question.answers.values())))  # fmt: skip


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found

"""
When the other node's last advert came. Listens to VRRP (protocol 112) beside keepalived, which decides by the same packets; sends nothing.

Driven by ``agent`` for the guard: adverts that are missing while the other node's words are not mean that only VRRP is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket

VRRP = 112
# RFC 5798 5.1: version and type, virtual router, priority.
_ADVERT = 0x31
_MOST_BYTES = 4096


class Adverts:
    """``last``: by the event loop's clock; 0: none yet."""

    def __init__(self, own: str, peer: str, router_id: int) -> None:
        """Listens from now on, within the running loop."""
        self._is_four = ipaddress.ip_address(own).version == 4
        self._peer = ipaddress.ip_address(peer)
        self._router_id = router_id
        self.last = 0.0
        family = socket.AF_INET if self._is_four else socket.AF_INET6
        self._sock = socket.socket(family, socket.SOCK_RAW, VRRP)
        self._sock.setblocking(False)
        with contextlib.suppress(OSError):
            # What it does not get by its own address is none of ours; an address that comes later is met by the filter below.
            self._sock.bind((own, 0))
        asyncio.get_running_loop().add_reader(self._sock, self._read)

    def close(self) -> None:
        """Listens no longer."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def age(self, now: float) -> float | None:
        """Seconds since the last one; None: none came yet."""
        return now - self.last if self.last else None

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet, source = self._sock.recvfrom(_MOST_BYTES)
                if ipaddress.ip_address(str(source[0]).partition("%")[0]) == self._peer:
                    self._take(packet)

    def _take(self, packet: bytes) -> None:
        start = (packet[0] & 15) * 4 if self._is_four and packet else 0
        head = packet[start : start + 3]
        # Priority 0: it leaves. That is no sign of life.
        if len(head) == 3 and head[0] == _ADVERT and head[1] == self._router_id and head[2]:
            self.last = asyncio.get_running_loop().time()

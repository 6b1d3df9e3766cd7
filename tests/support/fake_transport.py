"""
A transport whose kernel and whose pace the test decides: for exact sequences of writes and pauses.

Behaves like asyncio's: what the socket does not take is held back, over ``HIGH`` the protocol is paused, at ``LOW`` it goes on;
closing waits for what is held back; ``connection_lost`` comes from the loop, never from within a call.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from wsproxy._fast.net.stream import Stream

HIGH = 65536
LOW = 16384


class FakeTransport(asyncio.Transport):
    """Feeds ``protocol`` and takes what it sends; ``far`` is the peer's end of a real socket with a small buffer."""

    def __init__(self, protocol: Stream, *, kernel_bytes: int = 4608) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair()
        for sock in (self.near, self.far):
            sock.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_bytes)
        self.protocol = protocol
        self.held = bytearray()
        self.calls: list[str] = []
        self.is_paused = False
        self.is_closing_ = False
        self.is_lost = False
        self.wrote_eof = False
        self.is_reading_ = True
        protocol.connection_made(self)

    # --- what the protocol calls ----------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        names = {
            "socket": self.near,
            "peername": ("192.0.2.7", 4711),
            "sockname": ("192.0.2.1", 80),
        }
        return names.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.wrote_eof
        self.calls.append(f"write {len(data)}")
        self.held += data
        if len(self.held) > HIGH and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")
        self.wrote_eof = True

    def pause_reading(self) -> None:
        assert self.is_reading_
        self.is_reading_ = False
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        assert not self.is_reading_
        self.is_reading_ = True
        self.calls.append("resume_reading")

    def close(self) -> None:
        self.calls.append("close")
        self.is_closing_ = True

    def abort(self) -> None:
        self.calls.append("abort")
        self.is_closing_ = True
        self.held.clear()

    # --- what the test does ---------------------------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """The peer sent this, and it was on its way: all of it is read."""
        assert self.is_reading_
        assert not self.is_closing_
        at = 0
        while at < len(data):
            at += self._read(data, at)

    def offer(self, data: bytes) -> int:
        """The peer sends this: so much is read before the protocol reads no more."""
        at = 0
        while at < len(data) and self.is_reading_ and not self.is_closing_:
            at += self._read(data, at)
        return at

    def _read(self, data: bytes, at: int) -> int:
        view = self.protocol.get_buffer(-1)
        count = min(len(view), len(data) - at)
        view[:count] = data[at : at + count]
        self.protocol.buffer_updated(count)
        return count

    def end(self) -> None:
        """The peer sends no more."""
        assert self.is_reading_
        if not self.protocol.eof_received():
            self.close()

    def taken(self) -> bytes:
        """What the peer reads now from the kernel's buffer."""
        found = bytearray()
        while True:
            try:
                piece = self.far.recv(1 << 20)
            except BlockingIOError:
                return bytes(found)
            if not piece:
                return bytes(found)
            found += piece

    def pump(self) -> bytes:
        """The peer reads and the kernel has room again: one step of the loop; what the peer read."""
        read = self.taken()
        if self.held:
            sent = self.near.send(self.held)
            del self.held[:sent]
            if self.is_paused and len(self.held) <= LOW:
                self.is_paused = False
                self.protocol.resume_writing()
        return read

    def drain(self) -> bytes:
        """The peer reads until nothing is left."""
        read = bytearray(self.pump())
        while self.held:
            read += self.pump()
        return bytes(read) + self.taken()

    def lose(self, error: Exception | None = None) -> None:
        """What the loop does after close or abort, or when the peer is gone."""
        assert not self.is_lost
        self.is_lost = True
        self.protocol.connection_lost(error)
        self.near.close()
        self.far.close()

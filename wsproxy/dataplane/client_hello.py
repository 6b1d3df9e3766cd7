"""
The one thing that must be known of a ClientHello before OpenSSL reads it: whether its server name is one that Python can take.

Driven by ``listener_tls``, with what arrives. Python's ssl refuses a handshake whose server name is not ASCII (which RFC 6066 3
demands) and prints a traceback, before anybody can say which certificate to show. Must not judge: whatever is malformed
is left to OpenSSL.
"""

from __future__ import annotations

# RFC 8446 5.1 and 4.1.2
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_BEFORE_SESSION_ID = 34  # version and random
_SERVER_NAME = 0
_HOST_NAME = 0

# One that is longer is not waited for. Real ones have 300 to 2,000 bytes.
MOST_BYTES = 1 << 14


class HelloReader:
    """Of one connection; each byte is looked at once, however it drips."""

    __slots__ = ("_count", "_data", "_message", "is_done", "is_odd")

    def __init__(self) -> None:
        """Nothing has arrived."""
        self._data = bytearray()  # the record that is not whole yet
        self._message = bytearray()
        self._count = 0
        self.is_done = False  # nothing more is wanted
        self.is_odd = False  # the server name is not ASCII

    @property
    def is_new(self) -> bool:
        """Whether nothing has arrived yet."""
        return self._count == 0

    def feed(self, data: bytes) -> None:
        """Takes what arrived since the last time, in order."""
        self._count += len(data)
        self._data += data
        while not self.is_done and self._has_record():
            message = self._message
            if len(message) >= _MESSAGE_HEADER:
                wanted = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
                if message[0] != _CLIENT_HELLO or len(message) >= wanted:
                    self.is_odd = not _server_name(message).isascii()
                    self.is_done = True
        if self._count > MOST_BYTES:
            self.is_done = True
        if self.is_done:
            self._data.clear()
            self._message.clear()

    def _has_record(self) -> bool:
        """Whether one more is whole: what it holds is in the message then."""
        data = self._data
        if len(data) < _RECORD_HEADER:
            return False
        if data[0] != _HANDSHAKE:
            self.is_done = True
            return False
        end = _RECORD_HEADER + (data[3] << 8 | data[4])
        if len(data) < end:
            return False
        self._message += data[_RECORD_HEADER:end]
        del data[:end]
        return True


def _server_name(message: bytearray) -> bytes:
    """Its host_name; empty where there is none or it is malformed."""
    try:
        if message[0] != _CLIENT_HELLO:
            return b""
        at = _MESSAGE_HEADER + _BEFORE_SESSION_ID
        at += 1 + message[at]
        at += 2 + (message[at] << 8 | message[at + 1])  # cipher suites
        at += 1 + message[at]  # compression methods
        at += 2
        while message[at] << 8 | message[at + 1] != _SERVER_NAME:
            at += 4 + (message[at + 2] << 8 | message[at + 3])
        at += 6  # its header, and the length of the list
        if message[at] != _HOST_NAME:
            return b""
        size = message[at + 1] << 8 | message[at + 2]
        return bytes(message[at + 3 : at + 3 + size])
    except IndexError:
        return b""

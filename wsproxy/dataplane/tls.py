"""
What TLS to clients and TLS to servers share: a client's private headers, how much it may send.

Driven by ``dataplane.listener_tls`` and ``dataplane.upstream_tls``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import mmap
import re
import ssl
from collections.abc import Callable

from wsproxy._fast.net.records import (
    MOST_IN_HANDSHAKE,
    MOST_VOID,
    TOO_MANY_IN_HANDSHAKE,
    TOO_MANY_VOID,
    Records,
)
from wsproxy._fast.net.tls_socket import TlsTransport

# What we speak: Liberty and browsers offer or take h2 too.
ALPN = ["http/1.1"]

# A TLS 1.2 suite as OpenSSL names it; TLS 1.3 names are the standard's own.
_OPENSSL_NAME = re.compile(
    r"(?:(ECDHE|DHE)-)?(?:(RSA|ECDSA|DSS)-)?(AES128|AES256|CHACHA20-POLY1305)(?:-(GCM|CCM8|CCM))?(?:-(SHA|SHA256|SHA384))?"
)

# What still comes from a server whose connection we closed is decrypted, too, and thrown away. Nobody can be asked for another
# turn then, so of records smaller than this there may be so many, and the connection is cut off.
SMALL_BYTES = 1024
MOST_THROWN_AWAY = 1000

# What a new connection may need by the end of its handshake, and some more (OpenSSL's part is 40 KiB). CPython 3.11 does not survive
# an SSL_new that finds no memory (it frees what it has not made), so it is asked for only where there is room.
ROOM_BYTES = 1 << 19


class BoundedReads(Records, ssl.SSLObject):  # type: ignore[misc]  # takes less kinds of buffers
    """A TLS connection that gets one record at a time: ``Records`` counts them. Driven by the event loops."""

    _void_left = MOST_VOID
    _small_left = MOST_THROWN_AWAY
    _handshake_left = MOST_IN_HANDSHAKE

    def do_handshake(self) -> None:
        """One step of the handshake."""
        self._go_through(super().do_handshake, self._count_handshake)

    def unwrap(self) -> None:
        """Sends close_notify, and looks for the peer's: asyncio reads nothing else then."""
        if self.is_left:
            with contextlib.suppress(ssl.SSLError):  # what it says has to be read first
                super().unwrap()
            self.arrived.read()
            return
        self._go_through(super().unwrap, self.count_void)

    def _go_through(self, act: Callable[[], object], count: Callable[[], None]) -> None:
        """``act`` with one record after the other, until it is done or what is here is no whole record."""
        while True:
            is_whole = self.take_record()
            try:
                act()
                return
            except ssl.SSLWantReadError:
                if not is_whole:
                    raise
            count()

    def _count_handshake(self) -> None:
        self._handshake_left -= 1
        if self._handshake_left < 0:
            raise _refusal(TOO_MANY_IN_HANDSHAKE)

    def count_void(self) -> None:
        """A record brought no data. Raises: ssl.SSLError after too many."""
        self._void_left -= 1
        if self._void_left < 0:
            raise _refusal(TOO_MANY_VOID)

    def throw_away(self, most: int) -> bytes:
        """Bytes that nobody looks at. Raises: ssl.SSLError after too many records."""
        while True:
            if self.is_left:  # the loop reads no more of a socket whose bytes lie here
                raise ssl.SSLWantReadError
            if self._small_left == 0:
                raise _refusal("too many records after the end")
            is_whole = self.pending() == 0 and self.take_record()
            try:
                data: bytes = self.tls.read(most)
            except ssl.SSLWantReadError:
                if not is_whole:
                    raise
                self.count_void()
                continue
            if len(data) < SMALL_BYTES:
                self._small_left -= 1
            return data


class BoundedContext(ssl.SSLContext):
    """Its connections are ``BoundedReads``."""

    sslobject_class = BoundedReads

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """
        A connection that takes from ``incoming`` what it needs.

        Raises:
            MemoryError: there is not enough for a handshake.
        """
        require_room()
        taken = ssl.MemoryBIO()
        made = super().wrap_bio(taken, outgoing, server_side, server_hostname, session)
        assert isinstance(made, BoundedReads)
        made.join(made._sslobj, incoming, taken, self)  # type: ignore[attr-defined]
        return made


def require_room() -> None:
    """
    Looks whether there is memory for another connection.

    Raises:
        MemoryError: there is not.
    """
    try:
        mmap.mmap(-1, ROOM_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise MemoryError("no room for another TLS connection") from None


def _refusal(words: str) -> ssl.SSLError:
    """As the TLS library's own errors are: the loop drops the connection."""
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, words)
    error.reason = words
    return error


def private_tls_lines(transport: asyncio.BaseTransport) -> bytes:
    """
    ``$WSCS``, ``$WSSI`` and ``$WSCC`` of a client, as far as there are values (PLUGIN.md 6.1).

    The cipher has its standard name, as the plug-in's TLS library and Java know it: servers look its key size up by it.
    """
    cipher, session, certificate = (
        transport.tell_client() if isinstance(transport, TlsTransport) else _ask(transport)
    )
    lines = [] if cipher is None else [f"$WSCS: {cipher}"]
    if session:
        lines.append(f"$WSSI: {session.hex()}")
    if certificate:
        lines.append(f"$WSCC: {base64.b64encode(certificate).decode()}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _ask(transport: asyncio.BaseTransport) -> tuple[str | None, bytes, bytes | None]:
    """As ``TlsTransport.tell_client``, of the event loop's transports."""
    ssl_object = transport.get_extra_info("ssl_object")
    cipher, session = ssl_object.cipher(), ssl_object.session
    return (
        None if cipher is None else standard_name(cipher[0]),
        b"" if session is None else session.id,
        ssl_object.getpeercert(binary_form=True),
    )


def standard_name(cipher: str) -> str:
    """The suite's name in the standards (IANA); OpenSSL's where that is none of the usual ones."""
    parts = _OPENSSL_NAME.fullmatch(cipher)
    if parts is None:
        return cipher
    exchange, signature, encryption, mode, digest = parts.groups()
    if encryption == "CHACHA20-POLY1305":
        encryption, mode, digest = "CHACHA20_POLY1305", "", "SHA256"
    else:
        encryption = encryption.replace("AES", "AES_")
        mode = f"_{(mode or 'CBC').replace('CCM8', 'CCM_8')}"
    by = "_".join(part for part in (exchange, signature) if part) or "RSA"
    return f"TLS_{by}_WITH_{encryption}{mode}" + (f"_{digest}" if digest else "")

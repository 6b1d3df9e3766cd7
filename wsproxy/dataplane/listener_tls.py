"""
TLS of one listener: certificates chosen by server name, sessions that every worker can resume, files that may change.

Made by ``process.listeners`` before the fork, used by ``dataplane.worker``. Must not accept connections.

A connection begins on ``context``, which all workers inherit: session tickets are made and opened with its keys, whichever
certificate is shown, so that a session goes on at any worker, also at one that was started again. Which certificate is shown
is decided when the client has said a server name, by moving the connection to another context. That one is made anew
when its files change. A ticket of one listener means nothing to another, whose context has other keys: who was let in without
a client certificate here is not taken for known there (CVE-2025-23419).
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wsproxy._fast.net import libssl
from wsproxy._fast.net.tls_terms import Certificates, Terms, tell_failed
from wsproxy.config.key_context import load_key
from wsproxy.config.keystore import KeyFileError, KeyMaterial, read_trust
from wsproxy.config.settings import CertificateSettings, ListenerSettings
from wsproxy.config.settings_tls import read_certificate
from wsproxy.config.stamps import Settling, Stamp, stamp_of
from wsproxy.dataplane.answers import plain_request_answer
from wsproxy.dataplane.client_hello import HelloReader
from wsproxy.dataplane.tls import ALPN, BoundedContext, BoundedReads

log = logging.getLogger("wsproxy.tls")

# How often the files are looked at.
WATCH_S = 2.0

# What ``libssl.way`` says, in words.
_WAYS = {
    "sockets": "TLS on sockets of the workers",
    "loop": "TLS goes through the event loop, which is slower than on sockets of the workers",
    "python": "TLS goes through the event loop and Python's ssl module, which is slower",
}

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_CERTIFICATES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}

_Context = TypeVar("_Context", bound=ssl.SSLContext)


class _Observed(BoundedReads):
    """
    Tells the log why a handshake failed; asyncio keeps it to itself. Gets server names past Python that it cannot take.

    A client that speaks plain HTTP is told so: whoever forgets https:// would otherwise see a reset. The answer takes the way
    of the handshake's own bytes.
    """

    outgoing: ssl.MemoryBIO
    listener: ListenerTls
    hello: HelloReader
    _is_plain = False

    def do_handshake(self) -> None:
        """One step of the handshake."""
        hello = self.hello
        if not hello.is_done and (data := self.arrived.read()):
            if (
                hello.is_new and data[:1].isalpha()
            ):  # a record begins with 22, SSL 2 with 128 or more
                self._is_plain = True
                self.listener.tell_plain()
                self.outgoing.write(plain_request_answer(is_head=data.startswith(b"HEAD ")))
            self.arrived.write(data)
            hello.feed(data)
        if self._is_plain:
            self.arrived.read()  # thrown away until the client closes, or the handshake's time is over
            raise ssl.SSLWantReadError
        try:
            if hello.is_odd:
                with self.listener.choosing_first(self):
                    super().do_handshake()
            else:
                super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            tell_failed(error.reason or error)
            raise


class _FirstContext(BoundedContext):
    """The one that a listener's connections begin on."""

    sslobject_class = _Observed
    listener: ListenerTls

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A connection that knows where an answer leaves."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Observed)
        made.outgoing = outgoing
        made.listener, made.hello = self.listener, HelloReader()
        return made


@dataclass(slots=True)
class _Shown:
    """A certificate and the context that shows it."""

    settings: CertificateSettings
    material: KeyMaterial
    context: ssl.SSLContext


class ListenerTls:
    """The TLS side of one ``[[listener]]``."""

    def __init__(self, listener: ListenerSettings) -> None:
        """
        Reads all files. # I/O.

        Raises:
            KeyFileError: one of them cannot be used.
        """
        self._listener = listener
        log.info("listener %s: %s", listener.address, _WAYS[libssl.way()])
        # What clients will not like about the certificates that are shown now, in words.
        self.doubts: list[str] = []
        self._stamp = self._look()
        self._shown = self._read()
        self._certificates = self._index()
        first = self._shown[0].material
        self.context = _make_context(listener, first, _FirstContext)
        self.context.listener = self
        # By which connections begin on sockets of our own; None: they are the event loop's.
        self.terms: Terms | None = None
        if libssl.owns():
            self.terms = Terms(self.context, self._certificates, self._answer_plain)
        else:
            self.context.sni_callback = self._choose

    def tell_plain(self) -> None:
        """A client spoke plain HTTP."""
        where = self._listener.address
        log.info("listener %s: a plain request on a TLS port is answered with 400", where)

    def find(self, server_name: str | None) -> ssl.SSLContext:
        """The context for this server name: exact, then one-level wildcard, else the first certificate."""
        return self._certificates.find(server_name)

    def _answer_plain(self, is_head: bool) -> bytes:
        self.tell_plain()
        return plain_request_answer(is_head=is_head)

    async def watch(self) -> None:
        """Takes over changed files for ever; what cannot be used is logged, and what was there before stays in use."""
        change = Settling(self._stamp)
        while True:
            if change.has_settled(await asyncio.to_thread(self._look)):
                await self.reload()
            await asyncio.sleep(WATCH_S)

    async def reload(self) -> None:
        """Reads the files again; new connections get what they say now."""
        where = self._listener.address
        try:
            self._shown = await asyncio.to_thread(self._read)
        except (KeyFileError, ssl.SSLError) as error:
            log.error(  # the reason is all there is to know
                "listener %s: changed certificate files are not used, the certificates from before stay: %s", where, error
            )  # fmt: skip
            return
        self._certificates = self._index()
        if self.terms is not None:
            self.terms.certificates = self._certificates
        for doubt in self.doubts:
            log.warning("listener %s: %s", where, doubt)
        names = ", ".join(name for each in self._shown for name in each.material.names)
        log.info("listener %s: certificate files changed and are in use now: %s", where, names)

    async def refresh(self) -> None:
        """For a worker that begins: the files may have changed since its supervisor read them."""
        stamp = await asyncio.to_thread(self._look)
        if stamp != self._stamp:
            self._stamp = stamp
            await self.reload()

    @contextmanager
    def choosing_first(self, ssl_object: ssl.SSLObject) -> Iterator[None]:
        """Within this, the connection gets the first certificate, whatever its client's server name is."""
        self.context.sni_callback = None
        try:
            ssl_object.context = self.find(None)
            yield
        finally:
            self.context.sni_callback = self._choose

    def _choose(
        self, ssl_object: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext
    ) -> None:
        ssl_object.context = self.find(server_name)

    def _files(self) -> list[str]:
        names = [
            name
            for each in self._listener.certificates
            for name in (each.chain, each.key, each.p12, each.password_file)
        ]
        return [name for name in (*names, self._listener.client_ca) if name]

    def _look(self) -> Stamp:
        return stamp_of(map(Path, self._files()))

    def _read(self) -> list[_Shown]:
        shown, doubts = [], []
        for each in self._listener.certificates:
            material = read_certificate(each)
            shown.append(
                _Shown(each, material, _make_context(self._listener, material, ssl.SSLContext))
            )
            doubt = material.validity_doubt(datetime.datetime.now(datetime.UTC))
            if doubt:
                doubts.append(f"the certificate in {each.chain or each.p12} {doubt}")
        self.doubts = doubts
        return shown

    def _index(self) -> Certificates:
        by_name: dict[str, ssl.SSLContext] = {}
        for each in self._shown:
            for name in each.material.names:
                by_name.setdefault(name, each.context)
        return Certificates(by_name, self._shown[0].context)


def _make_context(
    listener: ListenerSettings, material: KeyMaterial, kind: type[_Context]
) -> _Context:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[listener.min_version]
    context.set_ciphers(listener.ciphers)
    context.set_alpn_protocols(ALPN)
    # Phones without AES in hardware do better with their own order; all that is on the list is strong.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make us compute for nothing
    context.verify_mode = _CLIENT_CERTIFICATES[listener.client_certificates]
    if listener.client_ca:
        context.load_verify_locations(cadata=read_trust(listener.client_ca))
    load_key(context, material)
    return context

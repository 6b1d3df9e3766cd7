"""
TLS to servers: for each https Transport what is trusted, what is shown, and which name the server must prove.

Driven by ``dataplane.plan`` before the fork; the contexts are used by ``dataplane.slowpath`` in every worker. Must not open
connections. A Transport whose keyring cannot be used is no reason not to start: real files name keyrings that exist nowhere,
beside http Transports that serve. It keeps the reason, and whoever needs it gets that as the failure of a connection.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsproxy._fast.engine import Pool
from wsproxy.config.kdb import is_kdb, kdb_refusal
from wsproxy.config.keystore import (
    KeyFileError,
    has_p12_key,
    read_file,
    read_p12_pair,
    read_password,
    read_stash,
    read_trust,
)
from wsproxy.config.model import Config, Server, Transport
from wsproxy.config.problems import listed
from wsproxy.config.settings import UpstreamTlsSettings
from wsproxy.dataplane.tls import ALPN, load_key

log = logging.getLogger("wsproxy.tls")

# A server has so long to answer our close_notify; nothing is sent on the connection any more.
SHUTDOWN_S = 2.0

_NOT_VERIFIED = {
    "none": "is NOT verified at all: anybody on the way can read and change what passes",
    "chain": "is verified without host names: any server with a certificate of a trusted issuer can pose as any other",
}


class ResumingContext(ssl.SSLContext):
    """
    Client connections that take up the last session with the server of that name, where it is still good.

    Neither asyncio nor uvloop has a parameter for it; both make their TLS objects here. Sessions stay within this context,
    so what was trusted and shown when they began is what this one trusts and shows; and within one name, which was verified.
    """

    def __init__(self, protocol: int) -> None:
        """``protocol`` as for ``ssl.SSLContext``."""
        # The TLS objects themselves: with TLS 1.3 tickets come after the handshake, and one that is freed without
        # close_notify makes its session useless.
        self._last: dict[str, ssl.SSLObject] = {}

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As in ``ssl.SSLContext``."""
        name = str(server_hostname)
        last = self._last.get(name)
        # One whose handshake is not over, or failed, has no session yet: if resuming is what failed, it is not tried again.
        if last is not None and last.version() is not None:
            session = last.session
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        self._last[name] = made
        return made


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How connections of one Transport are secured; without a context they cannot be made, for ``problem``."""

    context: ssl.SSLContext | None
    server_name: str
    problem: str = ""


@dataclass(slots=True)
class TransportSecurity:
    """The ServerTls of each https Transport; those with the same files share a context (SSLConsolidate)."""

    settings: UpstreamTlsSettings
    folder: Path  # that relative keyrings start from
    _known: dict[tuple[str, ...], ssl.SSLContext | str] = field(default_factory=dict)

    def of(self, transport: Transport) -> ServerTls | None:
        """None for an http Transport. # I/O, once for each set of files."""
        if transport.protocol != "https":
            return None
        name = (transport.hostname_alias or transport.hostname).strip("[]")
        items = {item.name: item.value for item in transport.properties}
        wanted = tuple(
            items.get(key, "") for key in ("keyring", "stashfile", "certLabel", "password")
        )
        if wanted not in self._known:
            try:
                self._known[wanted] = self._make_context(*wanted)
            except (KeyFileError, ssl.SSLError) as error:
                self._known[wanted] = str(error)
        found = self._known[wanted]
        if isinstance(found, str):
            return ServerTls(None, name, found)
        return ServerTls(found, name)

    def _make_context(
        self, keyring: str, stash: str, label: str, password_text: str
    ) -> ssl.SSLContext:
        context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(ALPN)
        context.check_hostname = self.settings.verify == "full"
        if self.settings.verify == "none":
            context.verify_mode = ssl.CERT_NONE
        # GSKit trusts whatever stands in the keyring, also a server's own certificate that is no CA's.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trust = self.settings.trust
        if trust:
            password = read_password(self.settings.password_file)
            context.load_verify_locations(cadata=read_trust(trust, password))
            self._load_client_key(context, trust, password, label)
        if (
            keyring
            and not (trust and is_kdb(keyring))
            and not (trust and not self._exists(keyring))
        ):
            keyring = str(self.folder / keyring)
            if is_kdb(keyring):
                raise KeyFileError(kdb_refusal(keyring))
            password = self._keyring_password(stash, password_text)
            if not trust:
                context.load_verify_locations(cadata=read_trust(keyring, password))
            self._load_client_key(context, keyring, password, label)
        elif not trust:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context

    def _exists(self, keyring: str) -> bool:
        return (self.folder / keyring).exists()

    def _keyring_password(self, stash: str, password_text: str) -> bytes | None:
        if self.settings.password_file and not self.settings.trust:
            return read_password(self.settings.password_file)
        if stash:
            return read_stash(str(self.folder / stash))
        return password_text.encode() or None

    def _load_client_key(
        self, context: ssl.SSLContext, path: str, password: bytes | None, label: str
    ) -> None:
        """The certificate that we show servers, where the file has one."""
        if b"-----BEGIN " not in read_file(path) and has_p12_key(path, password):
            load_key(context, read_p12_pair(path, password, label))


def connect_options(pool: Pool) -> dict[str, Any]:
    """
    What ``create_connection`` needs for a connection of this pool.

    Raises:
        OSError: its Transport cannot be used; the text says why.
    """
    if not pool.host:
        raise OSError(errno.EPROTONOSUPPORT, "no Transport")
    tls = pool.tls
    if not isinstance(tls, ServerTls):
        return {}
    if tls.context is None:
        raise OSError(errno.EPROTONOSUPPORT, f"https Transport of no use: {tls.problem}")
    return {
        "ssl": tls.context,
        "server_hostname": tls.server_name,
        "ssl_handshake_timeout": pool.connect_timeout_s,
        "ssl_shutdown_timeout": SHUTDOWN_S,
    }


def _first(server: Server, protocol: str) -> Transport | None:
    """The Transport that is used of those with this protocol."""
    return next((each for each in server.transports if each.protocol == protocol), None)


def choose_transport(server: Server, scheme: str, security: TransportSecurity) -> Transport | None:
    """
    The Transport for a request of this scheme, else the one of the other scheme (PLUGIN.md 2.4); None: there is none.

    An https Transport that cannot be used gives way to http, which ``tell_of_security`` says at start.
    """
    plain, secure = _first(server, "http"), _first(server, "https")
    tls = None if secure is None else security.of(secure)
    if plain is not None and tls is not None and tls.context is None:
        return plain
    return (secure or plain) if scheme == "https" else (plain or secure)


def tell_of_security(
    config: Config, servers: Iterable[Server], security: TransportSecurity
) -> None:
    """Logs what is not as secure as it looks: checks that are switched off, and https Transports that cannot be used."""
    unusable: dict[tuple[str, bool], list[Server]] = {}
    is_used = False
    for server in servers:
        secure = _first(server, "https")
        tls = None if secure is None else security.of(secure)
        is_used = is_used or (tls is not None and tls.context is not None)
        if tls is not None and tls.context is None:
            has_http = _first(server, "http") is not None
            unusable.setdefault((tls.problem, has_http), []).append(server)
    if is_used and (doubt := _NOT_VERIFIED.get(security.settings.verify)):
        log.warning(
            'TLS to servers %s (upstream.tls.verify = "%s")', doubt, security.settings.verify
        )
    for (problem, has_http), found in unusable.items():
        log.warning(
            "%s:%d: the https Transport of %s cannot be used: %s; until then %s",
            config.path,
            found[0].line,
            listed([server.name for server in found]),
            problem,
            "https requests go to the http Transport" if has_http else "no request reaches it",
        )

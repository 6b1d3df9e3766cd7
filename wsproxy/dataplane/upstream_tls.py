"""
TLS to servers: for each https Transport what is trusted, what is shown, and which name the server must prove.

Driven by ``dataplane.plan`` before the fork; the contexts are used by ``dataplane.slowpath`` in every worker. Must not open
connections. A Transport whose keyring cannot be used is no reason not to start: real files name keyrings that exist nowhere,
beside http Transports that serve. It keeps the reason, and whoever needs it gets that as the failure of a connection.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from wsproxy._fast.proxy.pool import Pool
from wsproxy.config.kdb import is_kdb, kdb_refusal
from wsproxy.config.key_context import load_key
from wsproxy.config.keystore import (
    KeyFileError,
    first_end,
    has_p12_key,
    read_file,
    read_p12_pair,
    read_password,
    read_stash,
    read_trust,
)
from wsproxy.config.model import Config, Server, Transport
from wsproxy.config.problems import listed
from wsproxy.config.settings import Settings, UpstreamTlsSettings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.values import is_windows_path
from wsproxy.dataplane.tls import ALPN, BoundedContext
from wsproxy.errors import Problem

# A server has so long to answer our close_notify; nothing is sent on the connection any more.
SHUTDOWN_S = 2.0

_NOT_VERIFIED = {
    "none": "is NOT verified at all: anybody on the way can read and change what passes",
    "chain": "is verified without host names: any server with a certificate of a trusted issuer can pose as any other",
}


class ResumingContext(BoundedContext):
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
    """
    How connections of one Transport are secured; without a context they cannot be made, for ``problem``.

    Two are equal where they trust and show the same, whatever files that was read from and when.
    """

    context: ssl.SSLContext | None = field(compare=False)
    server_name: str
    problem: str = ""
    material: bytes = field(default=b"", repr=False)  # a digest of what ``context`` was made of


@dataclass(slots=True)
class TransportSecurity:
    """The ServerTls of each https Transport; those with the same files share a context (SSLConsolidate)."""

    settings: UpstreamTlsSettings
    folder: Path  # that relative keyrings start from
    _known: dict[tuple[str, ...], tuple[ssl.SSLContext, bytes] | str] = field(default_factory=dict)

    @classmethod
    def for_config(cls, config: Config, settings: Settings) -> TransportSecurity:
        """Of this configuration; nothing is read yet."""
        return cls(settings.upstream.tls, Path(config.path).parent)

    def of(self, transport: Transport) -> ServerTls | None:
        """None for an http Transport. # I/O, once for each set of files."""
        if transport.protocol != "https":
            return None
        name = (transport.hostname_alias or transport.hostname).strip("[]")
        wanted = keyring_of(transport)
        if wanted not in self._known:
            try:
                self._known[wanted] = self._make_context(*wanted)
            except (KeyFileError, ssl.SSLError) as error:
                self._known[wanted] = str(error)
        found = self._known[wanted]
        if isinstance(found, str):
            return ServerTls(None, name, found)
        context, material = found
        return ServerTls(context, name, material=material)

    def _make_context(
        self, keyring: str, stash: str, label: str, password_text: str
    ) -> tuple[ssl.SSLContext, bytes]:
        """The context, and the digest of what it was made of."""
        material: list[str] = [self.settings.verify]
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
            material.append(_trust(context, read_trust(trust, password)))
            material.append(_show(context, trust, password, label))
        if (
            keyring
            and not (trust and is_kdb(keyring))
            and not (trust and not self._exists(keyring))
        ):
            if is_windows_path(keyring):
                raise KeyFileError(
                    kdb_refusal(keyring)
                    if is_kdb(keyring)
                    else f"found {keyring!r}, a file of Windows; allowed is a file of this system"
                )
            keyring = str(self.folder / keyring)
            if is_kdb(keyring):
                raise KeyFileError(kdb_refusal(keyring))
            password = self._keyring_password(stash, password_text)
            if not trust:
                material.append(_trust(context, read_trust(keyring, password)))
            material.append(_show(context, keyring, password, label))
        elif not trust:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            material.extend(each.hex() for each in context.get_ca_certs(binary_form=True))
        return context, blake2b("\0".join(material).encode()).digest()

    def first_ends(self, transports: Iterable[Transport]) -> Iterator[tuple[str, float | str]]:
        """
        Of each file of certificates that these https Transports use: when the first one in it ends, in seconds since 1970. # I/O.

        Or why it cannot be read now. One of a form that is never read (KDB, a file of Windows) is left out: `wsproxy check` has words for it.
        """
        seen = set()
        for keyring, stash, _, password_text in map(keyring_of, transports):
            trust = self.settings.trust
            files = [(trust, "", "")] if trust else []
            is_readable = bool(keyring) and not is_kdb(keyring) and not is_windows_path(keyring)
            if is_readable and (not trust or self._exists(keyring)):
                files.append((str(self.folder / keyring), stash, password_text))
            for file, stash_file, text in files:
                if file not in seen:
                    seen.add(file)
                    yield file, self._first_end(file, stash_file, text)

    def _first_end(self, file: str, stash: str, password_text: str) -> float | str:
        try:
            is_trust = file == self.settings.trust
            password = (
                read_password(self.settings.password_file)
                if is_trust
                else self._keyring_password(stash, password_text)
            )
            return first_end(read_trust(file, password)).timestamp()
        except KeyFileError as error:
            return str(error)

    def _exists(self, keyring: str) -> bool:
        return (self.folder / keyring).exists()

    def _keyring_password(self, stash: str, password_text: str) -> bytes | None:
        if self.settings.password_file and not self.settings.trust:
            return read_password(self.settings.password_file)
        if stash:
            return read_stash(str(self.folder / stash))
        return password_text.encode() or None


def _trust(context: ssl.SSLContext, certificates: str) -> str:
    context.load_verify_locations(cadata=certificates)
    return certificates


def _show(context: ssl.SSLContext, path: str, password: bytes | None, label: str) -> str:
    """Loads the certificate that we show servers, where the file has one: that with its key, else nothing."""
    if b"-----BEGIN " in read_file(path) or not has_p12_key(path, password):
        return ""
    key = read_p12_pair(path, password, label)
    load_key(context, key)
    return (key.chain + key.key).decode()


def keyring_of(transport: Transport) -> tuple[str, str, str, str]:
    """Keyring, stash file, label of the certificate and password, as the Transport's Properties name them."""
    items = {item.name: item.value for item in transport.properties}
    keyring, stash, label, password = (
        items.get(key, "") for key in ("keyring", "stashfile", "certLabel", "password")
    )
    return keyring, stash, label, password


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


def choose_transport(
    server: Server, scheme: str, security: TransportSecurity | None
) -> Transport | None:
    """
    The Transport for a request of this scheme, else the one of the other scheme (PLUGIN.md 2.4); None: there is none.

    An https Transport that cannot be used gives way to http, which ``doubt_security`` says at start; without ``security`` all
    of them can.
    """
    plain, secure = _first(server, "http"), _first(server, "https")
    tls = None if secure is None or security is None else security.of(secure)
    if plain is not None and tls is not None and tls.context is None:
        return plain
    return (secure or plain) if scheme == "https" else (plain or secure)


def doubt_security(
    config: Config,
    servers: Iterable[Server],
    security: TransportSecurity,
    loaded: LoadedSettings,
) -> list[Problem]:
    """What is not as secure as it looks: checks that are switched off, and https Transports that cannot be used. # I/O."""
    unusable: dict[tuple[str, bool], list[Server]] = {}
    is_used = False
    for server in servers:
        secure = _first(server, "https")
        tls = None if secure is None else security.of(secure)
        is_used = is_used or (tls is not None and tls.context is not None)
        if tls is not None and tls.context is None:
            has_http = _first(server, "http") is not None
            unusable.setdefault((tls.problem, has_http), []).append(server)
    verify = security.settings.verify
    found = []
    if is_used and (doubt := _NOT_VERIFIED.get(verify)):
        sentence = f'TLS to servers {doubt} (upstream.tls.verify = "{verify}")'
        at = ("upstream", "tls", "verify")
        found.append(loaded.problem("warning", "tls-unverified", at, sentence))
    for (problem, has_http), those in unusable.items():
        names = listed([server.name for server in those])
        then = "https requests go to the http Transport" if has_http else "no request reaches it"
        sentence = f"the https Transport of {names} cannot be used: {problem}; until then {then}"
        found.append(
            Problem(
                "warning", "transport-unusable", config.path, those[0].line, problem, then, sentence
            )
        )
    return found

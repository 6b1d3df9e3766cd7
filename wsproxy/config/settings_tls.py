"""
Judges the TLS parts of wsproxy.toml, down to the files that they name: what cannot work is refused at start.

Driven by ``config.settings_file``; ``read_certificate`` also by ``dataplane.listener_tls``. Reads files. # I/O.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wsproxy.config.key_context import group_tls
from wsproxy.config.keystore import (
    KeyFileError,
    KeyMaterial,
    read_p12_pair,
    read_password,
    read_pem_pair,
    read_trust,
)
from wsproxy.config.settings import CertificateSettings, ListenerSettings, UpstreamTlsSettings
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings

# (setting, what is wrong with it)
Doubts = Iterator[tuple[str, str]]


def read_certificate(settings: CertificateSettings) -> KeyMaterial:
    """
    The key and the chain that an entry of ``certificates`` names.

    Raises:
        KeyFileError: the entry names none, or what it names cannot be used.
    """
    if bool(settings.p12) == bool(settings.chain or settings.key) or (
        not settings.p12 and not (settings.chain and settings.key)
    ):
        given = [name for name in ("chain", "key", "p12") if getattr(settings, name)]
        raise KeyFileError(
            f"found {' and '.join(given) or 'none of chain, key and p12'}; allowed is chain with key, or p12 alone"
        )
    password = read_password(settings.password_file)
    if settings.p12:
        return read_p12_pair(settings.p12, password)
    return read_pem_pair(settings.chain, settings.key, password)


def check_listener(listener: ListenerSettings) -> Doubts:
    """What is wrong with the TLS of one listener."""
    for each in listener.certificates:
        try:
            read_certificate(each)
        except KeyFileError as error:
            yield "certificates", str(error)
    if not listener.certificates:
        for name in ("client_ca", "client_certificates"):
            value = getattr(listener, name)
            if value not in ("", "none"):
                yield name, f'found "{value}" without certificates; allowed with certificates'
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(listener.ciphers)
    except ssl.SSLError:
        yield (
            "ciphers",
            f'found "{listener.ciphers}", of which the TLS library knows none; allowed are its names with : between them',
        )
    if listener.client_certificates != "none" and not listener.client_ca:
        yield (
            "client_certificates",
            f'found "{listener.client_certificates}" without client_ca; allowed with client_ca = "FILE"',
        )
    elif listener.client_ca and listener.client_certificates == "none":
        yield (
            "client_ca",
            'found a file, but client_certificates = "none"; allowed with "optional" or "required"',
        )
    elif listener.client_ca:
        try:
            read_trust(listener.client_ca)
        except KeyFileError as error:
            yield "client_ca", str(error)


def check_upstream(tls: UpstreamTlsSettings) -> Doubts:
    """What is wrong with TLS to servers."""
    try:
        password = read_password(tls.password_file)
    except KeyFileError as error:
        yield "password_file", str(error)
        return
    try:
        if tls.trust:
            read_trust(tls.trust, password)
    except KeyFileError as error:
        yield "trust", str(error)


def group_context(ha: HaSettings | BridgeSettings) -> ssl.SSLContext | None:
    """
    How a member speaks TLS to etcd, its own or another site's: both show a certificate; None: by http. # I/O.

    Raises:
        KeyFileError: what one of the three files holds cannot be used.
    """
    if not ha.endpoints or not ha.endpoints[0].startswith("https:"):
        return None
    return group_tls(ha.ca, ha.certificate, ha.key)


def with_absolute_files(listener: ListenerSettings, folder: Path) -> ListenerSettings:
    """The same listener; its files no longer depend on where wsproxy was started."""
    return msgspec.structs.replace(
        listener,
        client_ca=absolute(listener.client_ca, folder),
        certificates=tuple(
            msgspec.structs.replace(
                each,
                **{
                    name: absolute(getattr(each, name), folder)
                    for name in ("chain", "key", "p12", "password_file")
                },
            )
            for each in listener.certificates
        ),
    )


def with_absolute_keys(bridge: BridgeSettings, folder: Path) -> BridgeSettings:
    """The same bridge; its files no longer depend on where wsproxy was started."""
    found = {name: absolute(getattr(bridge, name), folder) for name in ("ca", "certificate", "key", "password_file")}  # fmt: skip
    return msgspec.structs.replace(bridge, **found)


def absolute(path: str, folder: Path) -> str:
    """The path as seen from ``folder``; empty stays empty."""
    return str(folder.absolute() / path) if path else ""

"""
What TLS to clients and TLS to servers share: contexts filled from memory, and the private headers of a TLS client.

Driven by ``dataplane.listener_tls`` and ``dataplane.upstream_tls``. Keys are on no disk but where the operator has them.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl

from wsproxy.config.keystore import KeyMaterial

# What we speak: Liberty and browsers offer or take h2 too.
ALPN = ["http/1.1"]

# A TLS 1.2 suite as OpenSSL names it; TLS 1.3 names are the standard's own.
_OPENSSL_NAME = re.compile(
    r"(?:(ECDHE|DHE)-)?(?:(RSA|ECDSA|DSS)-)?(AES128|AES256|CHACHA20-POLY1305)(?:-(GCM|CCM8|CCM))?(?:-(SHA|SHA256|SHA384))?"
)


def load_key(context: ssl.SSLContext, material: KeyMaterial) -> None:
    """
    Gives the context a key and its chain, through a file that exists in memory only: ssl takes names of files. # I/O.

    Raises:
        ssl.SSLError: the TLS library refuses them, for example an RSA key that it holds for too short.
    """
    fd = os.memfd_create("wsproxy", os.MFD_CLOEXEC)
    try:
        os.write(fd, material.chain + material.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def private_tls_lines(transport: asyncio.BaseTransport) -> bytes:
    """
    ``$WSCS``, ``$WSSI`` and ``$WSCC`` of a client, as far as there are values (PLUGIN.md 6.1).

    The cipher has its standard name, as the plug-in's TLS library and Java know it: servers look its key size up by it.
    """
    ssl_object = transport.get_extra_info("ssl_object")
    cipher = ssl_object.cipher()
    lines = [] if cipher is None else [f"$WSCS: {standard_name(cipher[0])}"]
    session = ssl_object.session
    if session is not None and session.id:
        lines.append(f"$WSSI: {session.id.hex()}")
    certificate = ssl_object.getpeercert(binary_form=True)
    if certificate:
        lines.append(f"$WSCC: {base64.b64encode(certificate).decode()}")
    return "".join(f"{line}\r\n" for line in lines).encode()


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

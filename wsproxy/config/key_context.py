"""
TLS contexts out of files of keys and certificates that are read here: the TLS library would wait for a named pipe, and ask a terminal for a password.

Driven by whoever speaks TLS with files that an operator named: ``config.settings_tls``, ``dataplane``, ``admin``, ``ha``, ``cli``. Keys
are on no disk but where the operator has them.
"""

from __future__ import annotations

import os
import ssl

from wsproxy.config.keystore import (
    IssuersError,
    KeyFileError,
    KeyMaterial,
    read_pem_issuers,
    read_pem_pair,
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


def group_tls(
    ca: str, certificate: str, key: str, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH
) -> ssl.SSLContext:
    """
    How one of a group speaks to another: both show a certificate of the issuer in ``ca``, and nobody else is believed. # I/O.

    ``purpose``: as for ``ssl.create_default_context``, whom it is to believe.

    Raises:
        IssuersError: what ``ca`` holds cannot be used.
        KeyFileError: the same of one of the other two.
    """
    try:
        context = ssl.create_default_context(purpose, cadata=read_pem_issuers(ca))
    except KeyFileError as error:
        raise IssuersError(str(error)) from error
    except ssl.SSLError as error:  # it looks at more of them than whoever read them
        raise IssuersError(
            f"found {ca!r}, which the TLS library refuses ({error.reason or error}); allowed is a certificate that it takes"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED
    material = read_pem_pair(certificate, key, takes_password=False)
    try:
        load_key(context, material)
    except ssl.SSLError as error:
        raise KeyFileError(
            f"found {certificate!r} and {key!r}, which the TLS library refuses ({error.reason}); allowed is a key that it takes"
        ) from error
    return context

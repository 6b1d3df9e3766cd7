"""
TLS of one run: the certificate that every proxy under test shows, and the client that asks for what wrk asks for.

Driven by ``bed`` (certificate) and ``client`` (context). Writes only where it is told to; nothing outlives the run.
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from wsproxy.bench.site import HOST_NAME

# What OpenSSL 3 agrees on with itself where nobody prefers anything. A proxy with another one would do other work.
VERSION = "TLSv1.3"
CIPHER = "TLS_AES_256_GCM_SHA384"
VALID_DAYS = 2  # longer than any run
OPENSSL_S = 20


class CertificateError(Exception):
    """openssl made no certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of PEM files; ``both`` is the certificate with the key behind it, as HAProxy wants it."""

    certificate: Path
    key: Path
    both: Path


def paths(directory: Path) -> Certificate:
    """Where the files of a run lie, made or not. Pure."""
    return Certificate(directory / "tls.crt", directory / "tls.key", directory / "tls.pem")


def make_certificate(openssl: Path, directory: Path) -> Certificate:
    """
    A new self-signed certificate. I/O.

    ECDSA P-256, what ACME clients ask for today: an RSA-2048 signature costs many times as much, all of it in OpenSSL, and
    would hide the proxies' own share of a handshake.

    Raises: CertificateError.
    """
    made = paths(directory)
    argv = [
        *(str(openssl), "req", "-x509", "-nodes", "-days", str(VALID_DAYS)),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-subj", f"/CN={HOST_NAME}"),
        *("-addext", f"subjectAltName=DNS:{HOST_NAME},IP:127.0.0.1"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=OPENSSL_S, check=False)
    if done.returncode != 0:
        msg = f"openssl ended with status {done.returncode}: {done.stderr.strip()[-400:]}"
        raise CertificateError(msg)
    made.both.write_text(made.certificate.read_text() + made.key.read_text())
    return made


def client_context(certificate: Path) -> ssl.SSLContext:
    """A client that trusts ``certificate`` and nothing else; versions and ciphers as OpenSSL's own, like wrk."""
    return ssl.create_default_context(cafile=certificate)

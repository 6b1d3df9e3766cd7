"""
Keys of a group: one issuer, for each host one pair for etcd, its peers and the member there, and one secret of all members.

Driven by ``cli.ha`` (`wsproxy ha certs`) and by ``store.embedded``. A pair is a server's and a client's: etcd shows it to clients and to
its peers, its own JSON gateway shows it to etcd, and the member shows it as a client. # I/O. Must not overwrite a key that exists.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wsproxy.config.keystore import UNUSABLE, KeyFileError, read_file
from wsproxy.config.problems import printable
from wsproxy.errors import StartError

_ISSUER = "ca"
SESSION_KEY = "sessions.key"
SESSION_KEY_BYTES = 32
# RFC 1123 2.1, and _, which machines have; with DNS's 253 characters.
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
)
_DIGITS = re.compile(r"[0-9.]+")  # an address with a slip in it

# The issuer is for this group alone and can be replaced; its members' certificates end before it does.
ISSUER_DAYS = 3650
MEMBER_DAYS = 1825
# Clocks of a group's hosts may differ by so much when the first connection is made.
SKEW = datetime.timedelta(hours=1)

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Files:
    """Of one host."""

    ca: Path
    certificate: Path
    key: Path


def files_of(folder: Path, host: str) -> Files:
    """Where they are, or are to be."""
    return Files(folder / f"{_ISSUER}.pem", folder / f"{host}.pem", folder / f"{host}.key")


def make_certificates(
    folder: Path, hosts: Sequence[Sequence[str]], now: datetime.datetime, *, renews: bool = False
) -> list[Path]:
    """
    What was written: an issuer where there is none, and a pair for each of ``hosts``, which are a name and its other names and addresses.

    Those that are there already stay, as they are; with ``renews`` their hosts get new ones by the same issuer.

    Raises:
        StartError: a name is none, or the folder or a file of it cannot be used; in the first case nothing was written.
    """
    for names in hosts:
        _check_names(names)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written: list[Path] = []
        issuer = _issuer(folder, now, written)
        for names in hosts:
            files = files_of(folder, names[0])
            if not renews and (files.certificate.exists() or files.key.exists()):
                continue
            for each in (files.certificate, files.key) if renews else ():
                each.unlink(missing_ok=True)
            _make_pair(files, names, issuer, now)
            written += [files.certificate, files.key]
    except OSError as error:
        raise StartError(f"{error.filename or folder}: {error.strerror}") from error
    return written


def make_session_key(folder: Path) -> Path | None:
    """
    The file that was written for ``ha.session_key``; None: it is there, and stays: all members must have the same.

    Raises:
        StartError: it cannot be written.
    """
    path = folder / SESSION_KEY
    try:
        _write(path, secrets.token_hex(SESSION_KEY_BYTES).encode() + b"\n", 0o600)
    except FileExistsError:
        return None
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    return path


def _check_names(names: Sequence[str]) -> None:
    """The first is the name of files, and must not be that of the issuer's: ``--renew`` would throw its key away."""
    for at, name in enumerate(names):
        if at == 0 and name == _ISSUER:
            raise StartError(
                f'found host "{name}", which is what the issuer\'s files are called; allowed is another name, with this one behind a comma'
            )
        if not _is_address(name) and (not _HOST_NAME.fullmatch(name) or _DIGITS.fullmatch(name)):
            raise StartError(
                f'found host "{printable(name)}"; allowed is a name of letters, digits, - . _ or an IP address'
            )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # no zone


def _issuer(folder: Path, now: datetime.datetime, written: list[Path]) -> tuple[Key, x509.Name]:
    cert_file, key_file = folder / "ca.pem", folder / "ca.key"
    if cert_file.exists() and key_file.exists():
        try:
            key_data, cert_data = read_file(str(key_file)), read_file(str(cert_file))
        except KeyFileError as error:
            raise StartError(str(error)) from error
        try:
            found = serialization.load_pem_private_key(key_data, None)
            subject = x509.load_pem_x509_certificate(cert_data).subject
        except (*UNUSABLE, TypeError) as error:
            raise StartError(
                f"{key_file}: found what is no key without a password ({error}); allowed is what `wsproxy ha certs` has made, or another folder"
            ) from error
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise StartError(
                f"{key_file}: found a key of another kind; allowed is an EC key, or another folder"
            )
        return found, subject
    if cert_file.exists() or key_file.exists():
        lone = cert_file if cert_file.exists() else key_file
        raise StartError(
            f"{lone}: found it without the other of ca.pem and ca.key; allowed are both, where the issuer's key is kept, or none"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsproxy group")])
    builder = _begin(name, name, key, now, ISSUER_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(is_issuer=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(key_file, _pem_of(key), 0o600)
    _write(cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    written += [cert_file, key_file]
    return key, name


def _make_pair(
    files: Files, names: Sequence[str], issuer: tuple[Key, x509.Name], now: datetime.datetime
) -> None:
    issuer_key, issuer_name = issuer
    key = ec.generate_private_key(ec.SECP256R1())
    # No common name: etcd with users refuses one at its JSON gateway, where it could be taken for a user (etcd pull request 10392).
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, names[0])])
    builder = _begin(subject, issuer_name, key, now, MEMBER_DAYS)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
    )
    builder = builder.add_extension(_usage(is_issuer=False), critical=True)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    _write(files.key, _pem_of(key), 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, is_issuer: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_issuer,
        key_cert_sign=is_issuer,
        crl_sign=is_issuer,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem_of(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """A file that did not exist before: nobody's key is lost, and nobody has opened it with other rights."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "wb") as file:
        file.write(content)

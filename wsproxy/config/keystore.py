"""
Certificates, private keys and trust stores, out of PEM and PKCS#12 files.

Driven by ``config.settings_tls`` (judges the files that wsproxy.toml names) and by ``dataplane`` (makes TLS contexts of them).
Must not log, and must not put a key or a password into a message. PKCS#12 needs ``cryptography``: Python's ssl reads PEM only.
"""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from wsproxy.config.kdb import is_kdb, kdb_refusal
from wsproxy.config.secret_file import open_at_once

# What GSKit hides the password of a keyring with in a stash file of the first format.
STASH_MASK = 0xF5
# A file above this is none of these: the largest trust stores in use hold about 1 MiB.
MOST_BYTES = 16 * 1048576
# What a file that is damaged, or of kinds that nobody here knows, is told by; parts of a certificate are only read when they are asked for.
UNUSABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class KeyFileError(ValueError):
    """A file of keys or certificates cannot be used; the text is ``found X; allowed is Y``."""


class IssuersError(KeyFileError):
    """The same of a file that says whose certificates are believed."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A private key with its certificate chain, both PEM, and what clients call the server that has it."""

    chain: bytes  # the server's own certificate first
    key: bytes = field(repr=False)  # not encrypted: only in memory
    names: tuple[str, ...]  # DNS names, lower case, ``*.`` in front of wildcards
    begins: datetime.datetime
    ends: datetime.datetime

    def validity_doubt(self, now: datetime.datetime) -> str:
        """Why clients refuse the certificate at this time; empty where they do not."""
        if now < self.begins:
            return f"is not valid before {self.begins:%Y-%m-%d %H:%M} UTC"
        if now > self.ends:
            return f"expired on {self.ends:%Y-%m-%d %H:%M} UTC"
        return ""


def read_file(path: str) -> bytes:
    """
    The content of a small file. # I/O.

    Raises:
        KeyFileError: it cannot be read, or is no file: a pipe would be waited for, also while requests run.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeyFileError(f"found {path!r}, which is no file; allowed is a file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"found {path!r}, which cannot be read ({os.strerror(error.errno or 0)}); allowed is a file that can"
        ) from error
    if len(data) > MOST_BYTES:
        raise KeyFileError(f"found {path!r} of more than {MOST_BYTES} bytes; allowed is less")
    return data


def read_password(path: str) -> bytes | None:
    """The first line of a password file; None for an empty ``path``. # I/O."""
    return read_file(path).split(b"\n", 1)[0].rstrip(b"\r") if path else None


def read_stash(path: str) -> bytes:
    """
    The password in a GSKit stash file (.sth) of the first format. # I/O.

    Raises:
        KeyFileError: it cannot be read, or is of the second format, which is encrypted in a way that is not public.
    """
    text = bytes(byte ^ STASH_MASK for byte in read_file(path))
    password, end, _ = text.partition(b"\0")
    if not end or not password or not all(0x20 <= byte < 0x7F for byte in password):
        raise KeyFileError(
            f"found stash file {path!r} of a format that cannot be read; allowed is the first one "
            "(gskcapicmd -keydb -stashpw -db KEYRING -v1stash), or the password in upstream.tls.password_file"
        )
    return password


def read_pem_pair(
    chain_path: str, key_path: str, password: bytes | None = None, *, takes_password: bool = True
) -> KeyMaterial:
    """
    The key in one PEM file and the chain in another, or both in one. # I/O.

    ``takes_password``: there is a setting for the key's password; else one that has a password cannot be used there.

    Raises:
        KeyFileError: a file cannot be used, or the two do not belong together.
    """
    certificates = _pem_certificates(read_file(chain_path), chain_path)
    data = read_file(key_path)
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError as error:
        found, allowed = (
            (
                "that is encrypted",
                "one with password_file" if takes_password else "one without a password",
            )
            if password is None
            else ("that is not encrypted, and a password_file", "one without password_file")
        )
        raise KeyFileError(f"found a key in {key_path!r} {found}; allowed is {allowed}") from error
    except UNUSABLE as error:
        raise KeyFileError(
            f"found no usable private key in {key_path!r}"
            f"{'' if password is None else ' with this password'}; allowed is one in PEM"
        ) from error
    return _material(key, certificates, f"{chain_path!r} and {key_path!r}")


def read_p12_pair(path: str, password: bytes | None, label: str = "") -> KeyMaterial:
    """
    The key of a PKCS#12 file with its chain. # I/O.

    ``label``: the friendlyName that it must have; only the first key of a file can be had.

    Raises:
        KeyFileError: the file cannot be used, has no key, or its key has another label.
    """
    store = _load_p12(path, password)
    if store.key is None or store.cert is None:
        raise KeyFileError(f"found no private key in {path!r}; allowed is one with its certificate")
    name = (store.cert.friendly_name or b"").decode(errors="replace")
    if label and label.lower() != name.lower():
        raise KeyFileError(
            f"found the key {name!r} first in {path!r}; allowed is {label!r} alone: "
            f'gskcapicmd -cert -export -db KEYRING -stashed -label "{label}" -target NEW.p12 -target_type pkcs12'
        )
    chain = [store.cert.certificate, *(each.certificate for each in store.additional_certs)]
    return _material(store.key, _ordered(chain), repr(path))


def has_p12_key(path: str, password: bytes | None) -> bool:
    """Whether the PKCS#12 file holds a private key. # I/O."""
    return _load_p12(path, password).key is not None


def read_trust(path: str, password: bytes | None = None) -> str:
    """
    All certificates of a PEM or PKCS#12 file, as PEM. # I/O.

    Raises:
        KeyFileError: it cannot be used, or holds none.
    """
    if is_kdb(path):
        raise KeyFileError(kdb_refusal(path))
    data = read_file(path)
    if b"-----BEGIN " in data:
        return _pem(_pem_certificates(data, path)).decode()
    store = _load_p12(path, password)
    found = [each.certificate for each in store.additional_certs]
    if store.cert is not None:
        found.append(store.cert.certificate)
    if not found:
        raise KeyFileError(f"found no certificate in {path!r}; allowed is one at least")
    return _pem(found).decode()


def read_pem_issuers(path: str) -> str:
    """
    All certificates of a PEM file, as PEM. # I/O.

    Raises:
        KeyFileError: it cannot be used, or holds none.
    """
    return _pem(_pem_certificates(read_file(path), path)).decode()


def first_end(certificates: str) -> datetime.datetime:
    """When the first of these, as ``read_trust`` gives them, ends."""
    return min(
        each.not_valid_after_utc for each in x509.load_pem_x509_certificates(certificates.encode())
    )


def _pem_certificates(data: bytes, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except UNUSABLE as error:
        raise KeyFileError(
            f"found no usable certificate in {path!r}; allowed is one or more in PEM"
        ) from error


def _load_p12(path: str, password: bytes | None) -> pkcs12.PKCS12KeyAndCertificates:
    if is_kdb(path):
        raise KeyFileError(kdb_refusal(path))
    data = read_file(path)
    try:
        return pkcs12.load_pkcs12(data, password)
    except UNUSABLE as error:
        raise KeyFileError(
            f"found {path!r}, which does not open {'without a' if password is None else 'with this'} password; "
            "allowed is PKCS#12 and its password"
        ) from error


def _ordered(certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """The first certificate and its issuers, one after the other; what else a keyring holds is no part of the chain."""
    chain = certificates[:1]
    others = certificates[1:]
    while chain[-1].issuer != chain[-1].subject:
        issuer = next((each for each in others if each.subject == chain[-1].issuer), None)
        if issuer is None or issuer in chain:
            break
        chain.append(issuer)
    return chain


def _material(key: object, certificates: list[x509.Certificate], where: str) -> KeyMaterial:
    leaf = certificates[0]
    if not hasattr(key, "private_bytes") or not hasattr(key, "public_key"):
        raise KeyFileError(f"found a key of no use for TLS in {where}; allowed is RSA or ECDSA")
    try:
        leaf_key, names = _public(leaf.public_key()), _names(leaf)
    except UNUSABLE as error:
        raise KeyFileError(f"found no usable certificate in {where}; allowed is one that is whole") from error  # fmt: skip
    if _public(key.public_key()) != leaf_key:
        raise KeyFileError(
            f"found a private key that does not belong to the first certificate in {where}; "
            "allowed is its own (a chain begins with the server's certificate)"
        )
    return KeyMaterial(
        chain=_pem(certificates),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        names=names,
        begins=leaf.not_valid_before_utc,
        ends=leaf.not_valid_after_utc,
    )


def _public(key: object) -> bytes:
    data: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate; the common name where it has none, as before RFC 6125."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        found = [str(each.value) for each in common]
    return tuple(dict.fromkeys(name.lower() for name in found))

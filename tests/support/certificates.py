"""
Certificates made at test time: an authority, and what it issues, as PEM and PKCS#12 files.

Driven by the TLS tests. ECDSA keys, because they are made in a millisecond.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = datetime.timedelta(days=1)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _key_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key and its issuer."""

    certificate: x509.Certificate
    key: PrivateKey
    issuer: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write_pem(
        self, folder: Path, name: str, password: bytes | None = None
    ) -> tuple[Path, Path]:
        """``NAME.pem`` (chain) and ``NAME.key``, each replaced as a whole."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        pem = serialization.Encoding.PEM
        _replace(chain, self.certificate.public_bytes(pem) + self.issuer.public_bytes(pem))
        _replace(key, _key_pem(self.key, password))
        return chain, key

    def write_p12(self, folder: Path, name: str, password: bytes, label: str = "default") -> Path:
        path = folder / f"{name}.p12"
        data = pkcs12.serialize_key_and_certificates(
            label.encode(),
            self.key,
            self.certificate,
            [self.issuer],
            serialization.BestAvailableEncryption(password),
        )
        _replace(path, data)
        return path


def _replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(path.suffix + ".new")
    new.write_bytes(data)
    new.rename(path)


class Authority:
    """A CA of its own."""

    def __init__(self, common: str = "Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._build(
            common, self._key, (), 0, 10, issuer=_name(common), is_ca=True
        )

    def issue(
        self,
        *names: str,
        begins_days: float = -1,
        ends_days: float = 30,
        rsa_bits: int = 0,
    ) -> Issued:
        """A certificate for these DNS names or addresses, valid from and to so many days from now."""
        key: PrivateKey
        if rsa_bits:
            key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(
            names[0], key, names, begins_days, ends_days, issuer=self.certificate.subject
        )
        return Issued(certificate, key, self.certificate)

    def write_pem(self, folder: Path, name: str = "ca") -> Path:
        path = folder / f"{name}.pem"
        _replace(path, self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def write_p12(self, folder: Path, name: str, password: bytes) -> Path:
        """A trust store: no key."""
        path = folder / f"{name}.p12"
        data = pkcs12.serialize_key_and_certificates(
            None,
            None,
            None,
            [pkcs12.PKCS12Certificate(self.certificate, b"ca")],
            serialization.BestAvailableEncryption(password),
        )
        _replace(path, data)
        return path

    def _build(
        self,
        common: str,
        key: PrivateKey,
        names: Sequence[str],
        begins_days: float,
        ends_days: float,
        *,
        issuer: x509.Name,
        is_ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_days * DAY - DAY / 24)
            .not_valid_after(now + ends_days * DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())

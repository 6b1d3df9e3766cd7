"""TLS contexts out of files: what is no file keeps nobody waiting, a password is asked of nobody, and both ends believe their issuer alone."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.certificates import Authority
from wsproxy.config.key_context import group_tls
from wsproxy.config.keystore import KeyFileError
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.errors import StartError
from wsproxy.ha.pair.link import group_contexts

Files = tuple[str, str, str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Issuer, certificate and key of one of a group."""
    return written(Authority(), tmp_path)


def written(ca: Authority, folder: Path, *, rsa_bits: int = 0) -> Files:
    issued = ca.issue("localhost", rsa_bits=rsa_bits)
    chain, key = issued.write_pem(folder, "p1")
    return str(ca.write_pem(folder)), str(chain), str(key)


def of_etcd(ca: str, certificate: str, key: str) -> object:
    return group_context(
        HaSettings(store="etcd", endpoints=("https://localhost:1",), ca=ca, certificate=certificate, key=key)
    )  # fmt: skip


def talk(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A handshake in memory. Raises: ssl.SSLError where one of both does not believe the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("make", [group_tls, of_etcd, group_contexts])
@pytest.mark.parametrize("which", range(3))
@pytest.mark.timeout(20)
def test_what_is_no_file_keeps_nobody_waiting(
    files: Files, which: int, make: Callable[..., object]
) -> None:
    """A named pipe in the place of each of the three: the TLS library would wait for its writer, and the process with it."""
    path = Path(files[which])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((KeyFileError, StartError), match=re.escape(f"found '{path}', which is no file")):  # fmt: skip
        make(*files)


@pytest.mark.parametrize("make", [group_tls, of_etcd, group_contexts])
def test_a_password_is_asked_of_nobody(files: Files, make: Callable[..., object]) -> None:
    """The TLS library would ask the terminal, and wait."""
    path = Path(files[2])
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    hidden = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))  # fmt: skip
    with pytest.raises((KeyFileError, StartError), match="encrypted; allowed is one without a password"):  # fmt: skip
        make(*files)


def test_a_key_that_the_library_refuses_is_told(tmp_path: Path) -> None:
    """As any other that cannot be used: one that is too short for its level of security."""
    with pytest.raises(KeyFileError, match=r"the TLS library refuses \(EE_KEY_TOO_SMALL\)"):
        group_tls(*written(Authority(), tmp_path, rsa_bits=1024))


def test_no_certificate_is_told(files: Files) -> None:
    """The issuer's file with something else in it."""
    Path(files[0]).write_text("ca")
    with pytest.raises(KeyFileError, match=r"found no usable certificate in .*ca\.pem"):
        group_tls(*files)


@pytest.mark.parametrize("which", range(2))
def test_damaged_certificate_is_told(files: Files, which: int) -> None:
    """Whichever of its bytes is another one: it may be taken, or is refused with its file, and nothing else is raised."""
    path = Path(files[which])
    whole = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)  # fmt: skip
    refused = []
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x80 if at % 2 else 1
        path.write_text(ssl.DER_cert_to_PEM_cert(bytes(damaged)))
        try:
            group_tls(*files)
        except KeyFileError as error:
            refused.append(str(error))
    assert len(refused) > len(whole) / 10
    assert all(repr(str(path)) in each for each in refused)


def test_both_show_a_certificate_and_believe_their_issuer_alone(
    files: Files, tmp_path: Path
) -> None:
    """Not those of the system; and of several issuers in a file each, as while one takes another's place."""
    server, client = group_tls(*files, ssl.Purpose.CLIENT_AUTH), group_tls(*files)
    assert server.verify_mode == client.verify_mode == ssl.CERT_REQUIRED
    assert client.check_hostname
    assert len(server.get_ca_certs()) == len(client.get_ca_certs()) == 1
    talk(server, client)
    (tmp_path / "b").mkdir()
    other = written(Authority("Other CA"), tmp_path / "b")
    with pytest.raises(ssl.SSLError):
        talk(server, group_tls(files[0], *other[1:]))
    with pytest.raises(ssl.SSLError):
        talk(server, group_tls(other[0], *files[1:]))
    both = tmp_path / "both.pem"
    both.write_text("# the old one\n" + Path(files[0]).read_text() + Path(other[0]).read_text())
    assert len(x509.load_pem_x509_certificates(both.read_bytes())) == 2
    talk(group_tls(str(both), *other[1:], ssl.Purpose.CLIENT_AUTH), group_tls(str(both), *files[1:]))  # fmt: skip

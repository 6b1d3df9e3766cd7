"""Keys, certificates and trust stores in files: what is read, and what is refused with which words."""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from wsproxy.config.kdb import conversion_command, is_kdb
from wsproxy.config.keystore import (
    MOST_BYTES,
    KeyFileError,
    has_p12_key,
    read_file,
    read_p12_pair,
    read_password,
    read_pem_pair,
    read_stash,
    read_trust,
)

PASSWORD = b"pass word"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


def masked(data: bytes) -> bytes:
    return bytes(byte ^ 0xF5 for byte in data)


def test_pem_pair_is_chain_key_and_names(ca: Authority, tmp_path: Path) -> None:
    """Names in lower case; the key never shows in a log."""
    issued = ca.issue("Shop.Example", "*.shop.example", "192.0.2.1")
    chain, key = issued.write_pem(tmp_path, "x")
    found = read_pem_pair(str(chain), str(key))
    assert found.chain == chain.read_bytes()
    assert found.key == key.read_bytes()
    assert found.names == ("shop.example", "*.shop.example")
    assert "PRIVATE" not in repr(found)
    assert (found.begins, found.ends) == (
        issued.certificate.not_valid_before_utc,
        issued.certificate.not_valid_after_utc,
    )


def test_certificate_out_of_its_time_is_told(ca: Authority, tmp_path: Path) -> None:
    """Before, within and after."""
    chain, key = ca.issue("h", begins_days=0, ends_days=2).write_pem(tmp_path, "x")
    found = read_pem_pair(str(chain), str(key))
    day = datetime.timedelta(days=1)
    assert "is not valid before" in found.validity_doubt(found.begins - day)
    assert found.validity_doubt(found.begins + day) == ""
    assert "expired on" in found.validity_doubt(found.ends + day)


def test_key_with_a_password(ca: Authority, tmp_path: Path) -> None:
    """Read with it, refused without it or with another one."""
    chain, key = map(str, ca.issue("h").write_pem(tmp_path, "x", PASSWORD))
    assert b"ENCRYPTED" not in read_pem_pair(chain, key, PASSWORD).key
    with pytest.raises(KeyFileError, match="that is encrypted; allowed is one with password_file"):
        read_pem_pair(chain, key)
    with pytest.raises(KeyFileError, match="that is encrypted; allowed is one without a password"):
        read_pem_pair(chain, key, takes_password=False)
    with pytest.raises(KeyFileError, match=r"no usable private key in .* with this password"):
        read_pem_pair(chain, key, b"other")
    _, plain = ca.issue("h").write_pem(tmp_path, "y")
    with pytest.raises(KeyFileError, match="not encrypted, and a password_file"):
        read_pem_pair(chain, str(plain), PASSWORD)


def test_key_of_another_certificate_is_refused(ca: Authority, tmp_path: Path) -> None:
    """Also a chain that begins with the issuer."""
    chain, _ = ca.issue("h").write_pem(tmp_path, "x")
    _, other = ca.issue("h").write_pem(tmp_path, "y")
    with pytest.raises(KeyFileError, match="does not belong to the first certificate"):
        read_pem_pair(str(chain), str(other))


@pytest.mark.parametrize("is_key", [True, False])
def test_files_that_are_something_else(ca: Authority, tmp_path: Path, *, is_key: bool) -> None:
    """Named, with what is allowed."""
    chain, key = map(str, ca.issue("h").write_pem(tmp_path, "x"))
    Path(key if is_key else chain).write_text("nothing")
    with pytest.raises(KeyFileError, match=f"found no usable .* in {key if is_key else chain!r}"):
        read_pem_pair(chain, key)


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    """The system's own words; and no file is read whole that cannot be a key."""
    with pytest.raises(KeyFileError, match=r"cannot be read .No such file"):
        read_file(str(tmp_path / "missing"))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(KeyFileError, match="of more than"):
        read_file(str(large))


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A pipe that nobody writes into, as the key of ``admin.listen`` was made one while it answered; and a device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), os.devnull):
        with pytest.raises(
            KeyFileError, match=f"found '{path}', which is no file; allowed is a file"
        ):
            read_file(path)


def test_p12_pair(ca: Authority, tmp_path: Path) -> None:
    """The label is compared without case; the chain follows issuers."""
    issued = ca.issue("h", rsa_bits=2048)
    path = str(issued.write_p12(tmp_path, "x", PASSWORD, "LibertyCert"))
    found = read_p12_pair(path, PASSWORD, "libertycert")
    assert (
        ssl.PEM_cert_to_DER_cert(
            found.chain.decode().split("\n\n")[0].partition("-----END")[0]
            + "-----END CERTIFICATE-----"
        )
        == issued.der
    )
    assert found.chain.count(b"BEGIN") == 2
    assert has_p12_key(path, PASSWORD)
    with pytest.raises(
        KeyFileError, match=r"found the key 'LibertyCert' first .* -label \"other\""
    ):
        read_p12_pair(path, PASSWORD, "other")
    with pytest.raises(KeyFileError, match="does not open with this password"):
        read_p12_pair(path, b"wrong")
    with pytest.raises(KeyFileError, match="does not open without a password"):
        read_p12_pair(path, None)


def test_p12_without_key(ca: Authority, tmp_path: Path) -> None:
    """A trust store is no key; its certificates are trusted."""
    path = str(ca.write_p12(tmp_path, "trust", PASSWORD))
    assert not has_p12_key(path, PASSWORD)
    with pytest.raises(KeyFileError, match="found no private key"):
        read_p12_pair(path, PASSWORD)
    assert read_trust(path, PASSWORD) == ca.write_pem(tmp_path).read_text()


def test_trust_of_a_p12_has_its_own_certificate_too(ca: Authority, tmp_path: Path) -> None:
    """A keyring with a key: both certificates."""
    path = str(ca.issue("h").write_p12(tmp_path, "x", PASSWORD))
    assert read_trust(path, PASSWORD).count("BEGIN CERTIFICATE") == 2


def test_trust_of_a_pem_file(ca: Authority, tmp_path: Path) -> None:
    """Whatever surrounds the certificates; none at all is refused."""
    path = ca.write_pem(tmp_path)
    text = path.read_text()
    path.write_text(f"# issuers\n{text}{text}")
    assert read_trust(str(path)) == text * 2
    path.write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(KeyFileError, match="found no usable certificate"):
        read_trust(str(path))


def test_kdb_is_refused_with_the_command() -> None:
    """Without looking at the file, which mostly is not there."""
    assert is_kdb("C:\\x\\plugin-key.KDB")
    command = conversion_command("/x/plugin-key.kdb")
    assert command == (
        'gskcapicmd -keydb -convert -db "/x/plugin-key.kdb" -stashed '
        '-new_db "/x/plugin-key.p12" -new_format p12 -v1stash'
    )
    for read in (read_trust, read_p12_pair):
        with pytest.raises(KeyFileError) as refused:
            read("/x/plugin-key.kdb", None)
        assert str(refused.value).endswith(command)


def test_stash_of_the_first_format(tmp_path: Path) -> None:
    """Masked up to a NUL; what follows may be anything."""
    path = tmp_path / "x.sth"
    path.write_bytes(masked(b"WebAS 1\0" + os.urandom(121)))
    assert read_stash(str(path)) == b"WebAS 1"


@pytest.mark.parametrize("data", [b"", masked(b"\0" * 129), bytes(range(1, 194)), masked(b"abc")])
def test_stash_of_another_format(tmp_path: Path, data: bytes) -> None:
    """What to do instead is said."""
    path = tmp_path / "x.sth"
    path.write_bytes(data)
    with pytest.raises(KeyFileError, match=r"-v1stash.*upstream.tls.password_file"):
        read_stash(str(path))


def test_password_file_is_its_first_line(tmp_path: Path) -> None:
    """Editors end lines; blanks belong to the password."""
    path = tmp_path / "x.pw"
    path.write_bytes(b" a b \r\nnot this\n")
    assert read_password(str(path)) == b" a b "
    assert read_password("") is None

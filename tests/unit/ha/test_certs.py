"""`wsproxy ha certs`: what is made, with which rights, and that nothing is overwritten."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from wsproxy.cli.main import main
from wsproxy.errors import StartError
from wsproxy.ha.certs import SESSION_KEY, files_of, make_certificates

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_what_is_made(tmp_path: Path) -> None:
    """An issuer that may issue no issuers, and a pair for server and client with all names; keys for their owner alone."""
    make_certificates(tmp_path / "keys", [("proxy1", "10.0.0.1", "p.example")], NOW)
    files = files_of(tmp_path / "keys", "proxy1")
    issuer = x509.load_pem_x509_certificate(files.ca.read_bytes())
    made = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    made.verify_directly_issued_by(issuer)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.get_values_for_type(x509.DNSName) == ["proxy1", "p.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert len(list(uses)) == 2
    assert issuer.not_valid_after_utc > made.not_valid_after_utc
    for key in (files.key, tmp_path / "keys" / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_again_makes_what_is_missing(tmp_path: Path) -> None:
    """By the same issuer; what is there stays, or is made anew where that is asked for."""
    make_certificates(tmp_path, [("a",)], NOW)
    before = files_of(tmp_path, "a").key.read_bytes(), (tmp_path / "ca.pem").read_bytes()
    written = make_certificates(tmp_path, [("a",), ("b",)], NOW)
    after = files_of(tmp_path, "a").key.read_bytes(), (tmp_path / "ca.pem").read_bytes()
    assert written == [tmp_path / "b.pem", tmp_path / "b.key"]
    assert after == before
    make_certificates(tmp_path, [("a",)], NOW, renews=True)
    assert files_of(tmp_path, "a").key.read_bytes() != before[0]
    assert (tmp_path / "ca.pem").read_bytes() == before[1]


def test_session_key_is_made_once(tmp_path: Path) -> None:
    """All members must have the same: it is never made anew, not even by --renew."""
    done = CliRunner().invoke(main, ["ha", "certs", str(tmp_path), "a"])
    assert done.exit_code == 0, done.output
    file = tmp_path / SESSION_KEY
    assert str(file) in done.output.splitlines()
    assert f'session_key = "{file}"' in done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text()
    assert len(made) == 65
    again = CliRunner().invoke(main, ["ha", "certs", str(tmp_path), "a", "b", "--renew"])
    assert again.exit_code == 0, again.output
    assert file.read_text() == made
    assert str(file) not in again.output.splitlines()


def test_an_issuer_without_its_key_is_refused(tmp_path: Path) -> None:
    """A new one beside it would be believed by nobody."""
    make_certificates(tmp_path, [("a",)], NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(StartError, match=r"ca\.pem: found it without"):
        make_certificates(tmp_path, [("b",)], NOW)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    make_certificates(tmp_path, [("a",)], NOW)
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(StartError, match=r"ca\.key: found what is no key"):
        make_certificates(tmp_path, [("b",)], NOW)


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
@pytest.mark.timeout(20)
def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    """A named pipe in the issuer's place."""
    make_certificates(tmp_path, [("a",)], NOW)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(StartError, match="which is no file; allowed is a file"):
        make_certificates(tmp_path, [("b",)], NOW)


@pytest.mark.parametrize(
    "names",
    [
        ("ca",),
        ("a b",),
        ("../a",),
        ("",),
        ("-a",),
        ("10.0.0.999",),
        ("a", "b..c"),
        ("a\nb",),
        ("a", "fe80::1%1"),
    ],
)
def test_what_is_no_host_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    """Before anything is written; the issuer's key outlives a host of its name."""
    make_certificates(tmp_path, [("ok", "ca", "10.0.0.1", "::1", "h_1.example.")], NOW)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(StartError, match=r"found host .*; allowed is"):
        make_certificates(tmp_path, [("new",), names], NOW, renews=True)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_the_command_says_what_to_set(tmp_path: Path) -> None:
    """And refuses what is no host."""
    done = CliRunner().invoke(main, ["ha", "certs", str(tmp_path), "proxy1,127.0.0.1"])
    refused = CliRunner().invoke(main, ["ha", "certs", str(tmp_path), "../x"])
    again = CliRunner().invoke(main, ["ha", "certs", str(tmp_path), "proxy1"])
    assert done.exit_code == 0, done.output
    assert f'ca = "{tmp_path}/ca.pem"  certificate = "{tmp_path}/proxy1.pem"' in done.output
    assert refused.exit_code == 1
    assert "found host '../x'" in refused.output
    assert "nothing to do" in again.output

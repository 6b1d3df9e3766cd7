"""The admin process by TCP: which token is one, who may ask what, and where it listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wsproxy.admin.tcp import LEAST_TOKEN, Token, comes_from_elsewhere, may_ask, open_tcp, token_of
from wsproxy.config.settings_told import AdminSettings
from wsproxy.errors import StartError

SECRET = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "token"
    made.write_text(f"{SECRET}\nmore\n")
    made.chmod(0o600)
    return made


def test_token_is_the_first_line(file: Path) -> None:
    token = Token(str(file))
    assert token.fits(f"Bearer {SECRET}")
    assert token.fits(f"bearer  {SECRET} ")


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", "Bearer \udcff", f"Bearer {SECRET}\n"[:-2]],
)  # fmt: skip
def test_anything_else_is_none(file: Path, shown: str) -> None:
    assert not Token(str(file)).fits(shown)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o610])
def test_file_that_others_may_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(StartError, match=f"mode {mode:04o}; allowed is 0600 or stricter"):
        Token(str(file)).check()


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "x" * (LEAST_TOKEN - 1), "x" * 513, "two words of enough length", "äääääääääääääääääää"]
)  # fmt: skip
def test_text_that_is_no_token_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(StartError, match="allowed are 16 to 512 ASCII characters"):
        Token(str(file)).check()


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody writes into it, and a start would wait for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StartError, match="which is no file; allowed is a file"):
        Token(str(tmp_path / "pipe")).check()


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot be read \(No such file"):
        token_of(AdminSettings(listen="127.0.0.1:0", token_file=str(tmp_path / "none")))


def test_token_is_replaced_while_it_is_in_use(file: Path) -> None:
    """A file of another name takes its place, as secrets are rotated; what cannot be used lets nobody in."""
    token = Token(str(file))
    assert token.fits(f"Bearer {SECRET}")
    new = file.with_suffix(".new")
    new.write_text("f" * 32)
    new.chmod(0o600)
    new.rename(file)
    assert not token.fits(f"Bearer {SECRET}")
    assert token.fits(f"Bearer {'f' * 32}")
    file.chmod(0o644)
    assert not token.fits(f"Bearer {'f' * 32}")
    file.unlink()
    assert not token.fits(f"Bearer {'f' * 32}")


def test_credential_of_systemd_may_have_its_modes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoadCredential makes a folder that is the service's alone; the file in it has mode 0440."""
    file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    Token(str(file)).check()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent / "other"))
    with pytest.raises(StartError, match="mode 0440"):
        Token(str(file)).check()


@pytest.mark.parametrize(
    ("method", "path", "with_token", "without"),
    [
        ("GET", "/health", True, True),
        ("HEAD", "/ready", True, True),
        ("GET", "/metrics", False, True),
        ("POST", "/metrics", False, False),
        ("POST", "/health", False, False),
        ("GET", "/v1/status", False, False),
        ("POST", "/v1/drain", False, False),
        ("GET", "/", True, True),
        ("GET", "/dashboard.js", True, True),
        ("POST", "/", False, False),
        ("GET", "/v1/events", False, False),
        ("GET", "/v1/heat", False, False),
        ("GET", "/metrics/", False, False),
    ],
)
def test_what_may_be_asked_without_showing_a_token(
    file: Path, method: str, path: str, with_token: bool, without: bool
) -> None:
    """``with_token``: where the proxy has one; ``without``: where it has none, on this machine alone."""
    token = Token(str(file))
    assert (may_ask(method, path, "", token) == "") is with_token
    assert (may_ask(method, path, "", None) == "") is without
    assert may_ask(method, path, f"Bearer {SECRET}", token) == ""


@pytest.mark.parametrize(
    ("listen", "family"),
    [
        ("127.0.0.1:0", socket.AF_INET),
        ("localhost:0", socket.AF_INET),
        ("[::1]:0", socket.AF_INET6),
    ],
)
def test_listens(listen: str, family: int) -> None:
    made = open_tcp(AdminSettings(listen=listen))
    try:
        assert made.sock.family == family
        with socket.create_connection((made.address.host, made.address.port), 5):
            pass
    finally:
        made.close()


def test_localhost_is_this_machine_whatever_its_files_say(tmp_path: Path) -> None:
    """Such a line would open it to others, without admin.unencrypted."""
    hosts = tmp_path / "hosts"
    hosts.write_text("0.0.0.0 localhost\n")
    program = (
        "from wsproxy.admin.tcp import open_tcp; from wsproxy.config.settings_told import AdminSettings; "
        "print(open_tcp(AdminSettings(listen='localhost:0')).address.host)"
    )
    in_its_own = f'mount --bind {hosts} /etc/hosts && exec "$0" -c "$1"'
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of our own can be made here")
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", in_its_own, sys.executable, program],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout == "127.0.0.1\n"


def test_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}.*Address already in use"):
            open_tcp(AdminSettings(listen=f"127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "h"},
        {"Host": "localhost"},
        {"Host": "127.0.0.1:9180", "Origin": "http://127.0.0.1:9180"},
        {"Host": "[::1]:9180", "Origin": "http://[::1]:9180"},
        {"Host": "10.1.2.3", "Sec-Fetch-Site": "same-origin"},
        {"Host": "LOCALHOST:9180", "Origin": "http://localhost:9180", "Sec-Fetch-Site": "none"},
        {"Host": "proxy:9180"},
        {"Host": "proxy7.shop.example:9180", "Origin": "https://proxy7.shop.example:9180"},
        {"Host": "a.localhost:9180"},
    ],
)
def test_own_page_and_programs_may_ask(headers: dict[str, str]) -> None:
    assert comes_from_elsewhere(headers, "Proxy7.shop.example") == ""


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Host": "localhost:9180", "Origin": "http://evil.example"}, "found Origin"),
        ({"Host": "localhost:9180", "Origin": "null"}, "found Origin"),
        ({"Host": "localhost:9180", "Origin": "http://localhost:9181"}, "found Origin"),
        ({"Host": "localhost:9180", "Origin": ""}, "found Origin"),
        ({"Host": "localhost:9180", "Sec-Fetch-Site": "cross-site"}, "another site"),
        ({"Host": "localhost:9180", "Sec-Fetch-Site": "same-site"}, "another site"),
        ({"Host": "evil.example:9180", "Origin": "http://evil.example:9180"}, "found Host"),
        ({"Host": "evil.example"}, "found Host"),
        ({"Host": "EVIL.example.:9180"}, "found Host"),
        ({"Host": "127.0.0.1.evil.example:9180"}, "found Host"),
        ({"Host": "[evil.example]:9180"}, "found Host"),
        ({"Host": "localhost@evil.example:9180"}, "found Host"),
        ({"Host": "evil.example:x"}, "found Host"),
    ],
)
def test_page_of_another_site_may_not(headers: dict[str, str], says: str) -> None:
    """Neither under its own name, nor under one that leads here (DNS rebinding)."""
    assert says in comes_from_elsewhere(headers, "proxy7.shop.example")

"""A file with a secret: who may read it, when it is read anew, and that no message has what stands in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsproxy.config.secret_file import SecretFile
from wsproxy.errors import StartError

MOST = 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_bytes(b"very secret")
    made.chmod(0o600)
    return made


def secret(path: Path) -> SecretFile:
    return SecretFile("table.setting", str(path), MOST)


def test_file_is_read(path: Path) -> None:
    path.chmod(0o400)
    assert secret(path).read() == b"very secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o601, 0o620, 0o777])
def test_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(
        StartError,
        match=rf'table\.setting: found ".*/secret" with mode {mode:04o}; allowed is 0600 or stricter',
    ) as refused:
        secret(path).read()
    assert "very" not in str(refused.value)


def test_file_that_others_may_read_later_is_refused_then(path: Path) -> None:
    """It is the same file, of the same time, and its secret is none any more."""
    file = secret(path)
    assert file.read() == b"very secret"
    path.chmod(0o644)
    with pytest.raises(StartError, match="mode 0644"):
        file.read()
    path.chmod(0o600)
    assert file.read() == b"very secret"


def test_file_of_same_size_and_time_is_another_one(path: Path) -> None:
    """As a backup that is put back, or `cp -p`, has it."""
    file = secret(path)
    before = path.stat()
    assert file.read() == b"very secret"
    path.write_bytes(b"more secret")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert file.read() == b"more secret"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody writes into the pipe, and a start would wait for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StartError, match="which is no file; allowed is a file"):
        secret(tmp_path / "pipe").read()
    (tmp_path / "folder").mkdir(0o700)
    with pytest.raises(StartError, match=r"cannot be read \(Is a directory\)"):
        secret(tmp_path / "folder").read()
    with pytest.raises(StartError, match=r"cannot be read \(No such file"):
        secret(tmp_path / "none").read()


def test_file_that_is_too_large_is_refused_and_not_cut(path: Path) -> None:
    path.write_bytes(b"x" * MOST)
    assert len(secret(path).read()) == MOST
    path.write_bytes(b"x" * (MOST + 1))
    with pytest.raises(StartError, match=f"with more than {MOST} bytes; allowed is {MOST} at most"):
        secret(path).read()


def test_credential_of_systemd_may_have_its_modes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoadCredential makes a folder that is the service's alone; the file in it has mode 0440."""
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    assert secret(path).read() == b"very secret"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent / "other"))
    with pytest.raises(StartError, match="mode 0440"):
        secret(path).read()


def test_secret_is_in_no_repr(path: Path) -> None:
    file = secret(path)
    file.read()
    assert "very" not in repr(file)

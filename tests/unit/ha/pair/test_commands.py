"""``wsproxy ha`` where no agent runs; the rest is in tests/acceptance/test_pair.py."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsproxy.cli.ha import ha
from wsproxy.ha.pair.folder import Folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    found = Folder(tmp_path / "ha")
    found.make()
    found.write("ha.log", "a line\n")
    monkeypatch.chdir(tmp_path)
    return found


def test_trace_is_its_owners(folder: Folder, tmp_path: Path) -> None:
    """It has addresses, users and paths of both machines."""
    CliRunner().invoke(ha, ["trace", "--folder", str(folder.path), "--output", "t.zip"])
    assert (tmp_path / "t.zip").stat().st_mode & 0o777 == 0o600
    assert zipfile.ZipFile(tmp_path / "t.zip").read("here-ha.log") == b"a line\n"


def test_trace_follows_no_link_that_somebody_laid(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own name can be guessed, and the folder may be /tmp."""
    monkeypatch.setattr("wsproxy.cli.ha_pair._TRACE", "trace.zip")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "trace.zip").symlink_to("precious")
    done = CliRunner().invoke(ha, ["trace", "--folder", str(folder.path)])
    assert (done.exit_code, "trace.zip" in done.output) == (2, True)
    assert (tmp_path / "precious").read_text() == "precious"


def test_folder_is_found_from_where_the_command_is_given(folder: Folder, tmp_path: Path) -> None:
    """The agent, which is at home in /, is told of the whole path."""
    done = CliRunner().invoke(ha, ["stop", "--folder", "ha"])
    assert (done.exit_code, done.output) == (0, "stand-alone\n")
    assert folder.file("ha.out").read_text() == "stand-alone\n"

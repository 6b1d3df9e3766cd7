"""``wsproxy fmt`` as a process: where it writes, what it keeps, how it exits."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.process import COMMAND_S

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
CANONICAL = f"""{HEAD}<Config>
   <ServerCluster Name="c">
      <Server Name="s">
         <Transport Hostname="h" Port="1"/>
      </Server>
   </ServerCluster>
   <Route ServerCluster="c"/>
</Config>
"""
LOOSE = CANONICAL.replace("   <Route", "\t\t<!-- all --> <Route")
WANTED = CANONICAL.replace("   <Route", "   <!-- all -->\n   <Route")


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    path = tmp_path / "plugin-cfg.xml"
    path.write_text(LOOSE)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_form_goes_to_standard_output_and_the_file_stays(loose: Path) -> None:
    done = run_command("fmt", loose)
    assert (done.returncode, done.stdout, done.stderr) == (0, WANTED, "")
    assert loose.read_text() == LOOSE


def test_standard_input_is_read_as_git_filters_give_it() -> None:
    assert run_command("fmt", "-", stdin=LOOSE.encode()).stdout == WANTED


def test_in_place_keeps_mode_owner_and_link(loose: Path) -> None:
    loose.chmod(0o640)
    if os.getuid() == 0:
        os.chown(loose, 1234, 4321)
    owner = loose.stat().st_uid, loose.stat().st_gid
    link = loose.with_name("link.xml")
    link.symlink_to(loose.name)
    assert run_command("fmt", "--in-place", link).returncode == 0
    after = loose.stat()
    assert loose.read_text() == WANTED
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, *owner)
    assert link.is_symlink()
    assert files_in(loose.parent) == ["link.xml", "plugin-cfg.xml"]


def test_in_place_leaves_a_canonical_file_alone(loose: Path) -> None:
    """Not even its time changes: who watches the file has nothing to read."""
    loose.write_text(WANTED)
    os.utime(loose, (1, 1))
    before = loose.stat()
    assert run_command("fmt", "--in-place", loose).returncode == 0
    assert (loose.stat().st_mtime, loose.stat().st_ino) == (1, before.st_ino)


def test_another_file_is_made_as_the_umask_says_or_keeps_its_mode(loose: Path) -> None:
    out = loose.with_name("out.xml")
    assert run_command("fmt", loose, "-o", out).returncode == 0
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask
    out.chmod(0o600)
    out.write_text("old")
    assert run_command("fmt", loose, "-o", out).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text() == WANTED


def test_check_shows_what_would_change_and_writes_nothing(loose: Path) -> None:
    done = run_command("fmt", "--check", loose)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"--- {loose}",
        f"+++ {loose} (canonical)",
        "@@ -5,5 +5,6 @@",
        '          <Transport Hostname="h" Port="1"/>',
        "       </Server>",
        "    </ServerCluster>",
        '-\t\t<!-- all --> <Route ServerCluster="c"/>',
        "+   <!-- all -->",
        '+   <Route ServerCluster="c"/>',
        " </Config>",
    ]
    assert loose.read_text() == LOOSE
    loose.write_text(WANTED)
    done = run_command("fmt", "--check", loose)
    assert (done.returncode, done.stdout) == (0, "")


def test_check_sees_bytes_too(loose: Path) -> None:
    loose.write_bytes(b"\xef\xbb\xbf" + WANTED.encode())
    done = run_command("fmt", "--check", loose)
    assert done.returncode == 1
    assert f"-\\ufeff{HEAD}" in done.stdout
    loose.write_bytes(WANTED.replace("\n", "\r\n").encode())
    assert "-<Config>\\r\n" in run_command("fmt", "--check", loose).stdout


@pytest.mark.parametrize("options", [["--check"], ["--in-place"], ["-o", "out.xml"], []])
def test_a_file_with_errors_is_refused_and_nothing_is_written(
    loose: Path, options: list[str]
) -> None:
    broken = LOOSE.replace('"1"', '"x"')
    loose.write_text(broken)
    options = [str(loose.parent / option) if "." in option else option for option in options]
    done = run_command("fmt", loose, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f'{loose}:5: found Port="x" on Transport; allowed is ')
    assert loose.read_text() == broken
    assert files_in(loose.parent) == ["plugin-cfg.xml"]


def test_what_cannot_be_written_is_said_and_stays(loose: Path) -> None:
    missing = loose.parent / "no" / "out.xml"
    done = run_command("fmt", loose, "-o", missing)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"{missing}: cannot be written (No such file or directory); it is as it was\n"
    )


def test_a_disk_that_is_full_leaves_the_file_as_it_was(loose: Path) -> None:
    """The system lets nothing be written to a file: what is there stays, and no half of the new one beside it."""
    command = 'ulimit -f 0; trap "" XFSZ; exec "$0" -m wsproxy fmt --in-place "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, loose],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"{loose}: cannot be written (File too large); it is as it was\n"
    assert loose.read_text() == LOOSE
    assert files_in(loose.parent) == ["plugin-cfg.xml"]


def test_a_pipe_is_written_to(loose: Path) -> None:
    done = run_command("fmt", loose, "-o", "/dev/stdout")
    assert (done.returncode, done.stdout) == (0, WANTED)


@pytest.mark.parametrize(
    "arguments",
    [["--check", "--in-place", "f"], ["-o", "x", "--in-place", "f"], ["--in-place", "-"]],
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str]) -> None:
    done = run_command("fmt", *arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr

"""``wsproxy bench`` with files that it cannot use: said before anything is measured, and without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsproxy.bench.machine import PROJECT
from wsproxy.cli.bench import bench

FILE = str(PROJECT / "plugin-cfg" / "two-clusters.xml")


def run(*words: object) -> Result:
    return CliRunner().invoke(bench, ["--only", "wsproxy", *map(str, words)])


@pytest.fixture
def no_results(tmp_path: Path) -> Path:
    file = tmp_path / "old.json"
    file.write_text('{"scenario"')
    return file


@pytest.mark.parametrize("option", ["--show", "--compare"])
def test_file_without_results_is_named(no_results: Path, option: str) -> None:
    """And no scenario is measured whose results would be lost then."""
    done = run(option, no_results)
    assert (done.exit_code, done.output) == (
        2,
        f"cannot begin: {no_results}: Input data was truncated; allowed is a file that wsproxy bench kept\n",
    )


@pytest.mark.parametrize(
    ("option", "name"), [("--html", "/proc/none/x.html"), ("--results", "/proc/none")]
)
def test_what_cannot_be_written_is_known_before_the_run(option: str, name: str) -> None:
    """Not half an hour later."""
    done = run(option, name)
    assert (done.exit_code, done.output.startswith("cannot begin: "), name in done.output) == (2, True, True)  # fmt: skip


def test_written_configurations_are_used_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own folder is named from /."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(bench, [FILE, "--only", "nginx", "--write", "out"])
    assert done.exit_code == 0, done.output
    assert f"pid {tmp_path}/out/nginx/nginx.pid;" in (tmp_path / "out/nginx/nginx.conf").read_text()
    done = run(FILE, "--write", "/proc/none")
    assert (done.exit_code, done.output.startswith("cannot begin: ")) == (2, True)

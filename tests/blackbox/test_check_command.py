"""``wsproxy check`` as a process: what it prints and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = """<Config>
  <ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster>
  <Route ServerCluster="c"/>
</Config>"""
WARNED = CLEAN.replace("<Config>", '<Config Oops="1">')
REFUSED = WARNED.replace('Port="1"', 'Port="x"')


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Path]:
    """The three files, by what becomes of them."""
    files = {"clean": CLEAN, "warned": WARNED, "refused": REFUSED}
    for name, text in files.items():
        (tmp_path / f"{name}.xml").write_text(text)
    return {name: tmp_path / f"{name}.xml" for name in files}


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("clean", [], 0),
        ("clean", ["--strict"], 0),
        ("warned", [], 0),
        ("warned", ["--strict"], 1),
        ("warned", ["--strict", "--json"], 1),
        ("refused", [], 2),
        ("refused", ["--strict"], 2),
        ("refused", ["--json"], 2),
    ],
)
def test_the_exit_status_tells_how_bad_it_is(
    written: dict[str, Path], name: str, options: list[str], status: int
) -> None:
    assert run(written[name], *options).returncode == status


def test_people_get_problems_then_counts(written: dict[str, Path]) -> None:
    path = written["warned"]
    lines = run(path).stdout.splitlines()
    assert lines[0].startswith(f'warning {path}:1: found attribute Oops="1" on Config')
    assert lines[0].endswith("[attribute-unknown]")
    assert lines[1:] == [
        "1 cluster, 1 server, 0 hosts, 0 URIs, 1 route",
        f"{path}: can be used; 0 errors, 1 warning",
    ]


def test_a_refused_file_lists_errors_and_warnings(written: dict[str, Path]) -> None:
    lines = run(written["refused"]).stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["warning", "error"]
    assert lines[-1].endswith("refused; 1 error, 1 warning")
    assert len(lines) == 3


def test_a_pipe_gets_no_colour_and_no_broken_lines(written: dict[str, Path]) -> None:
    done = run(written["refused"], COLUMNS="20")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_colour_comes_when_it_is_asked_for(written: dict[str, Path]) -> None:
    assert "\x1b[" in run(written["refused"], FORCE_COLOR="1", TERM="xterm").stdout


def test_machines_get_one_object(written: dict[str, Path]) -> None:
    report = json.loads(run(written["refused"], "--json").stdout)
    path = str(written["refused"])
    problems = report.pop("problems")
    assert report == {"file": path, "status": "refused", "errors": 1, "warnings": 1, "counts": None}
    assert [(each["severity"], each["code"], each["line"]) for each in problems] == [
        ("warning", "attribute-unknown", 1),
        ("error", "attribute-value", 2),
    ]
    for each in problems:
        assert (
            each["text"]
            == f"{path}:{each['line']}: found {each['found']}; allowed is {each['allowed']}"
        )


def test_machines_get_counts_of_a_good_file(written: dict[str, Path]) -> None:
    report = json.loads(run(written["clean"], "--json").stdout)
    assert report["status"] == "clean"
    assert report["counts"] == {"clusters": 1, "servers": 1, "hosts": 0, "uris": 0, "routes": 1}


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("name", ["missing.xml", "", "odd\udcff\n\x1b[31mname", "ü"])
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, options: list[str]) -> None:
    done = run(f"{tmp_path}/{name}", *options, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "cannot be read" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    path = tmp_path / "closed.xml"
    path.write_text(CLEAN)
    path.chmod(0)
    assert run(path).returncode == 2


def test_a_reader_that_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    """As in ``wsproxy check FILE | head -1``; 20,000 warnings do not fit into a pipe."""
    path = tmp_path / "many.xml"
    path.write_text("<Config>" + "<Oops/>" * 20_000 + "</Config>")
    with subprocess.Popen(
        [sys.executable, "-m", "wsproxy", "check", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"warning")
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(timeout=60)


def test_no_file_is_a_usage_error() -> None:
    done = run()
    assert done.returncode == 2
    assert "Usage:" in done.stderr

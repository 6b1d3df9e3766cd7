"""``wsproxy check`` as a process: what it prints and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.process import COMMAND_S
from wsproxy.config.schema import schema_text

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
        timeout=COMMAND_S,
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
    assert lines[1].startswith(f"note    {path}:2: found one Server in service")
    assert lines[2:] == [
        "1 cluster, 1 server, 0 hosts, 0 URIs, 1 route",
        f"{path}: can be used; 0 errors, 1 warning, 1 note",
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
    assert report == {
        "file": path,
        "settings": None,
        "status": "refused",
        "errors": 1,
        "warnings": 1,
        "notes": 0,
        "ignored": 0,
        "left_out": 0,
        "counts": None,
    }
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
    """As in ``wsproxy check FILE | head -1``; the problems that are told of do not fit into a pipe."""
    path = tmp_path / "many.xml"
    path.write_text("<Config>" + "<Oops/>" * 20_000 + "</Config>")
    with subprocess.Popen(
        [sys.executable, "-m", "wsproxy", "check", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"error")
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        process.wait(timeout=COMMAND_S)


def test_what_is_ignored_is_counted_and_weighs_nothing(written: dict[str, Path]) -> None:
    path = written["warned"]
    done = run(path, "--strict", "--ignore", "attribute-unknown", "--ignore", "cluster-single")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "1 cluster, 1 server, 0 hosts, 0 URIs, 1 route",
        f"{path}: can be used; 0 errors, 0 warnings, 2 ignored",
    ]
    report = json.loads(run(path, "--json", "--ignore", "attribute-unknown").stdout)
    assert [report[name] for name in ("warnings", "notes", "ignored", "left_out")] == [0, 1, 1, 0]


def test_settings_say_for_good_what_is_ignored(written: dict[str, Path]) -> None:
    path = written["warned"]
    settings = path.with_name("wsproxy.toml")
    settings.write_text(
        '[check]\nignore = ["attribute-unknown", "setting-unit"]\n[timeouts]\nhead_s = 9000.0\n[admin]\nsocket = "off"\n'
    )
    report = json.loads(
        run(
            path,
            "--json",
            "--settings",
            settings,
            "--listen",
            "127.0.0.1:0",
            "--ignore",
            "cluster-single",
        ).stdout
    )
    told = {problem["code"] for problem in report["problems"]}
    assert told & {"attribute-unknown", "setting-unit", "cluster-single"} == set()
    assert report["ignored"] == 3


def test_errors_are_told_whatever_is_ignored(written: dict[str, Path]) -> None:
    """A code may be an error here and a warning there; only the warning can be silenced."""
    path = written["clean"]
    path.write_text(CLEAN.replace('Hostname="h"', 'Hostname="http://h"'))
    done = run(path, "--ignore", "hostname")
    assert done.returncode == 2
    assert "[hostname]" in done.stdout


def test_a_code_that_does_not_exist_is_a_usage_error(written: dict[str, Path]) -> None:
    done = run(written["clean"], "--ignore", "cluster-singel")
    assert done.returncode == 2
    assert 'allowed is "cluster-single" (nearest code)' in done.stderr
    assert run(written["clean"], "--json", "--sarif").returncode == 2


@pytest.mark.parametrize(
    ("name", "level", "status"), [("warned", "warning", 0), ("refused", "error", 2)]
)
def test_ci_systems_get_sarif(written: dict[str, Path], name: str, level: str, status: int) -> None:
    done = run(written[name], "--sarif")
    assert done.returncode == status
    (log_run,) = json.loads(done.stdout)["runs"]
    found = {result["ruleId"]: result for result in log_run["results"]}
    result = found["attribute-unknown" if level == "warning" else "attribute-value"]
    assert result["level"] == level
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == f"file://{written[name]}"


def test_the_schema_is_printed() -> None:
    done = run_command("schema")
    assert done.returncode == 0
    assert done.stdout == schema_text()


def test_no_file_is_a_usage_error() -> None:
    done = run()
    assert done.returncode == 2
    assert "Usage:" in done.stderr

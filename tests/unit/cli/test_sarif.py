"""SARIF: what the standard's JSON schema demands of a log, and what CI systems need to find a line."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from wsproxy.cli.sarif import sarif_log
from wsproxy.config.codes import CODES
from wsproxy.errors import Problem

# Of sarif-schema-2.1.0.json, for the objects that are written: names that may stand there, and those that must.
# additionalProperties is false for all of them.
SHAPES: dict[str, tuple[set[str], set[str]]] = {
    "log": ({"$schema", "version", "runs"}, {"version", "runs"}),
    "run": ({"tool", "columnKind", "invocations", "artifacts", "results"}, {"tool"}),
    "tool": ({"driver"}, {"driver"}),
    "driver": ({"name", "version", "rules"}, {"name"}),
    "rule": ({"id", "shortDescription", "help", "defaultConfiguration"}, {"id"}),
    "configuration": ({"level"}, set()),
    "message": ({"text"}, {"text"}),
    "invocation": (
        {"executionSuccessful", "exitCode", "toolExecutionNotifications"},
        {"executionSuccessful"},
    ),
    "notification": ({"level", "message"}, {"message"}),
    "artifact": ({"location"}, set()),
    "artifactLocation": ({"uri"}, set()),
    "result": (
        {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"},
        {"message"},
    ),
    "location": ({"physicalLocation"}, set()),
    "physicalLocation": ({"artifactLocation", "region"}, {"artifactLocation"}),
    "region": ({"startLine"}, set()),
}
LEVELS = {"none", "note", "warning", "error"}


def demand(shape: str, found: dict[str, Any]) -> dict[str, Any]:
    may, must = SHAPES[shape]
    assert must <= set(found) <= may
    return found


def check_uri(text: str) -> None:
    """A URI reference: nothing but ASCII without blanks, and a scheme only where it is meant."""
    assert text.isascii()
    assert not set(text) & set(' "<>\\^`{|}')
    assert urlsplit(text).scheme in ("", "file")


def check_log(log: dict[str, Any]) -> dict[str, Any]:
    """All that the schema demands; the one run."""
    demand("log", log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    demand("run", run)
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = demand("driver", demand("tool", run["tool"])["driver"])
    for rule in driver["rules"]:
        demand("rule", rule)
        demand("message", rule["shortDescription"])
        demand("message", rule["help"])
        assert demand("configuration", rule["defaultConfiguration"])["level"] in LEVELS
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    for invocation in run["invocations"]:
        for each in demand("invocation", invocation).get("toolExecutionNotifications", ()):
            demand("message", demand("notification", each)["message"])
    for artifact in run["artifacts"]:
        check_uri(demand("artifactLocation", demand("artifact", artifact)["location"])["uri"])
    for result in run["results"]:
        demand("result", result)
        demand("message", result["message"])
        assert result["level"] in LEVELS
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result.get("locations", ()):
            place = demand("physicalLocation", demand("location", location)["physicalLocation"])
            check_uri(demand("artifactLocation", place["artifactLocation"])["uri"])
            if "region" in place:
                assert demand("region", place["region"])["startLine"] >= 1
    return dict(run)


def problem(
    code: str = "uri-form", line: int = 3, file: str = "f.xml", found: str = "x"
) -> Problem:
    return Problem("warning", code, file, line, found, "y")


def log_of(
    *problems: Problem, files: tuple[str, ...] = ("f.xml",), left_out: int = 0
) -> dict[str, Any]:
    return check_log(sarif_log(problems, left_out, is_refused=False, files=files))


def test_nothing_found_is_a_log_all_the_same() -> None:
    run = log_of()
    assert run["results"] == []
    assert run["artifacts"] == [{"location": {"uri": "f.xml"}}]


def test_a_problem_has_its_rule_its_line_and_its_words() -> None:
    run = log_of(problem(), problem("esi-default", 9))
    first, second = run["results"]
    assert first["message"]["text"] == "found x; allowed is y"
    assert first["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["esi-default", "uri-form"]
    assert second["ruleIndex"] == 0


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_a_rule(code: str) -> None:
    log_of(problem(code))


def test_a_problem_of_the_whole_file_has_no_line_and_one_of_the_machine_no_file() -> None:
    run = log_of(problem(line=0), problem("open-files", 0, "this machine"))
    assert run["results"][0]["locations"] == [
        {"physicalLocation": {"artifactLocation": {"uri": "f.xml"}}}
    ]
    assert "locations" not in run["results"][1]


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("conf/plugin-cfg.xml", "conf/plugin-cfg.xml"),
        ("./a.xml", "a.xml"),
        ("/etc/was/a b.xml", "file:///etc/was/a%20b.xml"),
        ("é#?.xml", "%C3%A9%23%3F.xml"),
        ("a:b.xml", "a%3Ab.xml"),
        ("bad\udcff.xml", "bad%FF.xml"),
    ],
)
def test_paths_are_written_as_uris(file: str, uri: str) -> None:
    run = log_of(problem(file=file.removeprefix("./")), files=(file,))
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == uri


def test_a_fingerprint_stays_when_lines_move_and_tells_two_problems_apart() -> None:
    def prints(*problems: Problem) -> list[str]:
        return [
            each["partialFingerprints"]["wsproxyProblem/v1"]
            for each in log_of(*problems)["results"]
        ]

    assert prints(problem(line=3)) == prints(problem(line=30))
    assert len(set(prints(problem(), problem(), problem(found="z"), problem("esi-default")))) == 4


def test_what_is_not_listed_is_counted() -> None:
    (invocation,) = log_of(problem(), left_out=7)["invocations"]
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "and 7 more problems"

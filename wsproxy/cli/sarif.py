"""
What ``wsproxy check`` found as SARIF 2.1.0, which CI systems show beside the lines of a change.

Driven by ``cli.check``. Must not judge anything. Names and required parts are those of the OASIS standard's JSON schema.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from wsproxy.config.codes import CODES, NOTES, REFUSALS
from wsproxy.config.problems import printable
from wsproxy.errors import Problem

VERSION = "2.1.0"
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif_log(
    problems: Iterable[Problem], left_out: int, *, is_refused: bool, files: Iterable[str]
) -> dict[str, Any]:
    """
    The whole log, for a JSON encoder.

    ``left_out``: problems that are only counted; ``files``: what was checked, whether something was found in it or not.
    """
    found = list(problems)
    paths = [str(Path(file)) for file in files]
    rules = sorted({problem.code for problem in found})
    numbers = {code: at for at, code in enumerate(rules)}
    invocation: dict[str, Any] = {"executionSuccessful": True, "exitCode": 2 if is_refused else 0}
    if left_out:
        text = f"and {left_out} more problems"
        invocation["toolExecutionNotifications"] = [{"level": "note", "message": {"text": text}}]
    driver = {
        "name": "wsproxy check",
        "version": importlib.metadata.version("wsproxy"),
        "rules": [_rule(code) for code in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "artifacts": [{"location": {"uri": _uri(file)}} for file in paths],
        "results": _results(found, numbers, paths),
    }
    return {"$schema": _SCHEMA, "version": VERSION, "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    level = "error" if code in REFUSALS else "note" if code in NOTES else "warning"
    return {
        "id": code,
        "shortDescription": {"text": CODES[code].replace("`", "")},
        "help": {"text": f"docs/check.md explains {code}."},
        "defaultConfiguration": {"level": level},
    }


def _results(
    problems: Iterable[Problem], numbers: dict[str, int], paths: Collection[str]
) -> list[dict[str, Any]]:
    seen: dict[str, int] = {}
    results = []
    for problem in problems:
        text = problem.sentence or f"found {problem.found}; allowed is {problem.allowed}"
        result: dict[str, Any] = {
            "ruleId": problem.code,
            "ruleIndex": numbers[problem.code],
            "level": problem.severity,
            "message": {"text": printable(text)},
        }
        if problem.file in paths:  # not of "this machine", which no CI system can open
            place: dict[str, Any] = {"artifactLocation": {"uri": _uri(problem.file)}}
            if problem.line > 0:
                place["region"] = {"startLine": problem.line}
            result["locations"] = [{"physicalLocation": place}]
        # the same one again, though lines above it came or went: by what it says, and the how many-th it is
        key = f"{problem.code} {text}"
        seen[key] = seen.get(key, 0) + 1
        digest = hashlib.sha256(f"{key} {seen[key]}".encode(errors="replace")).hexdigest()[:32]
        result["partialFingerprints"] = {"wsproxyProblem/v1": digest}
        results.append(result)
    return results


def _uri(file: str) -> str:
    """A reference that keeps a relative path relative, as CI systems look from the top of the repository."""
    text = quote(PurePath(file).as_posix(), errors="surrogateescape")
    if text.startswith("/"):
        return f"file://{text}"
    # a colon in the first part would read as a scheme
    return text if ":" not in text.partition("/")[0] else f"./{text}"

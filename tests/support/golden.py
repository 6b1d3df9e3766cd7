"""
Golden files: XML (or ``file: plugin-cfg/x.xml``), a dashed line, and what reading it is to give.

What it gives is every problem, one a line, and the model where the file is not refused: one object a line with its line
number and the fields that differ from their defaults. ``WSPROXY_GOLDEN=write`` writes the second half anew: read the diff.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError, Problem

PROJECT = Path(__file__).resolve().parents[2]
CASES = PROJECT / "tests" / "golden" / "cases"
SAMPLES = PROJECT / "plugin-cfg"
DASHES = "-" * 40
_LABELLED = {
    "primary_servers",
    "backup_servers",
    "cluster_address",
}  # the others are known by their class
_HIDDEN = {"line", "path", "unknown", "extra", "written"}


def split(text: str) -> tuple[str, str]:
    """The XML and the expectation of a golden file's text."""
    xml, dashes, expected = text.partition(f"{DASHES}\n")
    assert dashes, f"a golden file has a line of {len(DASHES)} dashes"
    return xml, expected


def source(xml: str) -> bytes:
    """The bytes to read: the XML itself, or the sample that it names."""
    if xml.startswith("file: "):
        return (PROJECT / xml.removeprefix("file: ").strip()).read_bytes()
    return xml.encode()


def outcome(data: bytes) -> str:
    """Problems and model that ``data`` gives, as golden files hold them."""
    try:
        loaded = parse_config(data, "f")
    except ConfigRefusedError as refused:
        return "".join(_problem_lines(refused.problems))
    return "".join((*_problem_lines(loaded.problems), *_object_lines(loaded.config, "")))


def _problem_lines(problems: tuple[Problem, ...]) -> Iterator[str]:
    for problem in problems:
        yield f"{problem.severity} [{problem.code}] {problem}\n"


def _object_lines(item: Any, indent: str, label: str = "") -> Iterator[str]:
    values, inner = [], []
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.name in _HIDDEN or value == field.default:
            continue
        many = value if isinstance(value, tuple) else (value,)
        if many and all(dataclasses.is_dataclass(one) for one in many):
            inner += [(one, field.name) for one in many]
        else:
            values.append(f" {field.name}={value!r}")
    yield f"{indent}{label}{type(item).__name__}@{item.line}{''.join(values)}\n"
    for one, name in inner:
        yield from _object_lines(one, indent + "  ", f"{name}: " if name in _LABELLED else "")
    for lost in getattr(item, "unknown", ()):
        yield f"{indent}  unknown@{lost.line} {lost.element} {lost.attribute} {lost.value!r}\n"

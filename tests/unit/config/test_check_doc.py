"""docs/check.md, ``config.codes`` and the checks name the same codes, and each example gives what it stands for (rule T10)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wsproxy
from tests.support.check_doc import DOC, examples, headings, with_tables
from wsproxy.config.codes import CODES, code_flaw
from wsproxy.config.xml import parse_config

SOURCES = Path(wsproxy.__file__).parent
TEXT = DOC.read_text()
EXAMPLES = dict(examples(TEXT))
# What issue 18 asks to be explained, one by one.
EXPLAINED = [
    "route-unreachable",
    "uri-group-unreached",
    "server-out-of-service",
    "cluster-single",
    "post-buffer-none",
    "connect-timeout-none",
    "weight-starves",
    "clone-id-other-cookie",
    "clone-id-other-server",
]
_QUOTED = re.compile(r'"([a-z]+(?:-[a-z]+)*)"')
# words in quotes in the same places that are no codes
_CALL = re.compile(
    r'(?:\.error|\.warning|\.note|\.say|\badd|\.problem|Problem|_refuse|problems\.add|\bsay)\(\s*(?:"(?:error|warning)",\s*|severity,\s*)?"([a-z]+(?:-[a-z]+)*)"'
)
_CONSTANT = re.compile(r'^(?:\w*CODE|_OTHER_\w+) = "([a-z]+(?:-[a-z]+)*)"', re.MULTILINE)
_LISTED = re.compile(r'^\s+"([a-z]+(?:-[a-z]+)+)",$|\("\w+", "([a-z]+(?:-[a-z]+)+)",', re.MULTILINE)


def used_codes() -> set[str]:
    """Every code that a check gives."""
    places = [
        *SOURCES.glob("config/*.py"),
        *SOURCES.glob("process/*.py"),
        *SOURCES.glob("dataplane/*.py"),
    ]
    found: set[str] = set()
    for path in places:
        if path.name == "codes.py":
            continue
        text = path.read_text()
        found |= set(_CALL.findall(text)) | set(_CONSTANT.findall(text))
        if path.name.startswith("check"):
            found |= {one or other for one, other in _LISTED.findall(text)}
    found |= {f"route-{part}-unknown" for part in ("cluster", "uris", "hosts")}
    return found - {"utf-8", "error", "warning"}


def test_every_code_that_is_given_is_known() -> None:
    assert used_codes() - set(CODES) == set()


def test_every_known_code_is_given() -> None:
    """None is explained that no check gives any more."""
    everything = "\n".join(
        path.read_text() for path in SOURCES.glob("*/*.py") if path.name != "codes.py"
    )
    given = set(_QUOTED.findall(everything)) | {
        f"route-{part}-unknown" for part in ("cluster", "uris", "hosts")
    }
    assert set(CODES) - given == set()


def test_the_tables_are_those_of_the_code() -> None:
    """Write them anew with ``python -m tests.support.check_doc``."""
    assert with_tables(TEXT) == TEXT


def test_what_needs_a_word_more_has_its_section() -> None:
    assert headings(TEXT) == EXPLAINED
    assert list(EXAMPLES) == EXPLAINED
    for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        assert all(f"*{part}*: " in section for part in ("What", "At 3 a.m.", "Do"))


@pytest.mark.parametrize("code", EXPLAINED)
def test_the_example_gives_what_it_stands_for(code: str) -> None:
    loaded = parse_config(EXAMPLES[code].encode(), "f")
    codes = [problem.code for problem in loaded.problems + loaded.notes]
    # most examples are short, so one Server has to do
    besides = {"cluster-single"} - {code}
    assert [each for each in codes if each in EXPLAINED and each not in besides] == [code]


@pytest.mark.parametrize(
    ("code", "flaw"),
    [
        ("cluster-single", ""),
        ("hostname", ""),
        ("cluster-singel", 'allowed is "cluster-single" (nearest code)'),
        ("zzz", "allowed is a code that docs/check.md lists"),
        ("xml-malformed", "always an error"),
    ],
)
def test_only_what_can_be_a_warning_can_be_ignored(code: str, flaw: str) -> None:
    found = code_flaw(code)
    assert (flaw in found) if flaw else (found == "")

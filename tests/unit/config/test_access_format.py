"""LogFormat as far as wsproxy knows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.access_parts import Item
from wsproxy.config.access_format import ALLOWED, COMBINED, COMMON, DEFAULT, parse_format

DOCS = Path(__file__).parents[3] / "docs" / "access-log.md"


def test_named_formats_are_httpds() -> None:
    assert parse_format("common") == parse_format('%h %l %u %t "%r" %>s %b') == parse_format(COMMON)
    assert parse_format("combined") == parse_format(COMBINED)
    assert DEFAULT.startswith(COMBINED)


def test_texts_are_put_together() -> None:
    """``%l`` and ``%%`` are texts, too: fewer items, fewer copies."""
    assert parse_format('a%l %% \\"\\\\\\t%D') == [
        (Item.TEXT, b'a- % "\\\t'),
        (Item.MICROSECONDS, b""),
    ]


def test_names_of_fields_and_cookies_are_kept() -> None:
    assert parse_format("%{User-Agent}i%<{X}C%{WAS}e") == [
        (Item.FIELD, b"User-Agent"),
        (Item.COOKIE, b"X"),
        (Item.SERVER, b""),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "%", "%Z", "%{x}", "%{}i", "%{a b}i", "%{Location}o", "%{TPXX}e", "%{nothing}x", "%{sec}t", "%400{x}i", "%!200r", "a\\n", "a\\",
        "a\nb", "a\x00", "%>%",
    ],
)  # fmt: skip
def test_what_httpd_would_write_and_we_do_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"found .*; allowed is "):
        parse_format(text)


def test_more_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="found 97 directives and texts; allowed are 96"):
        parse_format("%h" * 97)
    with pytest.raises(ValueError, match="found 33 directives about the answer; allowed are 32"):
        parse_format("%s" * 33)
    AccessLog(parse_format("%s" * 32 + "%h" * 32), lambda lines, count: None)


def test_docs_have_each_directive_and_no_other() -> None:
    """docs/access-log.md explains what a refusal names as allowed."""
    table = DOCS.read_text().split("| directive | writes |")[1].split("\n\n")[0]
    explained = {each for row in table.splitlines() if row.startswith("| `") for each in re.findall(r"`(%[^`]+)`", row.split("|")[1])}  # fmt: skip
    assert explained - {"%>s"} == set(re.findall(r"%\S+", ALLOWED))

"""The canonical form: the same meaning, stable, with every comment at the element it stood before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.golden import CASES, SAMPLES, source, split
from tests.support.plugin_cfg_models import configs
from tests.support.real_files import CORPUS, needs_corpus
from wsproxy.config.fmt import format_config
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
BODY = """   <ServerCluster Name="c">
      <Server Name="s">
         <Transport Hostname="h" Port="1"/>
      </Server>
   </ServerCluster>
   <Route ServerCluster="c"/>
"""
PLAIN = f"{HEAD}<Config>\n{BODY}</Config>\n"


def formatted(text: str | bytes) -> str:
    """What fmt makes of it, which it leaves alone when it sees it again."""
    data = text if isinstance(text, bytes) else text.encode()
    found = format_config(data, "f")
    assert format_config(found.encode(), "f") == found
    assert parse_config(found.encode(), "f").config == parse_config(data, "f").config
    return found


def refused(data: bytes) -> str:
    """Why the reader takes no such file; empty where it does."""
    try:
        parse_config(data, "f")
    except ConfigRefusedError as error:
        return str(error)
    return ""


def body(text: str) -> str:
    """The canonical form of what stands before the cluster."""
    found = formatted(PLAIN.replace("<Config>\n", f"<Config>{text}"))
    return found.removeprefix(f"{HEAD}<Config>").removesuffix(f"{BODY}</Config>\n")


@needs_corpus
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.xml")), ids=lambda path: path.name)
def test_every_real_file_has_a_canonical_form_or_is_refused(path: Path) -> None:
    data = path.read_bytes()
    refusal = refused(data)
    if refusal:
        with pytest.raises(ConfigRefusedError, match=re.escape(refusal)):
            format_config(data, "f")
        return
    notes = re.findall(rb"<!--.*?-->", data, re.DOTALL)
    found = formatted(data).encode()
    assert sorted(re.findall(rb"<!--.*?-->", found, re.DOTALL)) == sorted(notes)


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_every_case_that_is_not_refused_has_a_canonical_form(path: Path) -> None:
    data = source(split(path.read_text())[0])
    if not refused(data):
        formatted(data)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.xml")), ids=lambda path: path.stem)
def test_the_text_is_that_of_the_model_where_nothing_else_is_in_the_file(path: Path) -> None:
    """Fmt and merge write the same: one order, one layout."""
    text = re.sub(rb"<!--.*?-->", b"", path.read_bytes(), flags=re.DOTALL)
    text = text.replace(b"ServerGroup", b"ServerCluster")
    assert formatted(text) == write_config(parse_config(text, "f").config)


def test_what_is_canonical_stays() -> None:
    assert formatted(PLAIN) == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("UTF-8", "UTF-16").encode("utf-16"),
        PLAIN.replace("UTF-8", "ISO-8859-1").encode("iso-8859-1"),
        PLAIN.replace(HEAD, '<?xml version="1.0" standalone="yes"?>').encode(),
        PLAIN.removeprefix(HEAD).encode(),
        re.sub("> *\n *<", "><", PLAIN).encode(),
        re.sub(" +<", "\n\n\t<", PLAIN).encode(),
    ],
    ids=["crlf", "bom", "utf-16", "latin-1", "standalone", "bare", "one-line", "blank-lines"],
)
def test_the_same_content_has_the_same_form_however_it_is_written(data: bytes) -> None:
    assert formatted(data) == PLAIN


def test_letters_beyond_ascii_are_written_as_the_declaration_says() -> None:
    text = PLAIN.replace("UTF-8", "ISO-8859-1").replace('"s"', '"é&#x20ac;"')
    assert '<Server Name="é€">' in formatted(text.encode("iso-8859-1"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x1f\x8b\x08\x00rest", "xml-malformed"),
        (b"<!DOCTYPE Config [<!ENTITY a 'b'>]><Config/>", "xml-doctype"),
        (PLAIN.replace('"1"', '"0"').encode(), "attribute-value"),
        (PLAIN[:-5].encode(), "xml-truncated"),
        (PLAIN.replace('"s"', '"&a;"').encode(), "xml-malformed"),
    ],
    ids=["gzip", "doctype", "value", "truncated", "entity"],
)
def test_what_check_refuses_fmt_refuses(data: bytes, code: str) -> None:
    with pytest.raises(ConfigRefusedError) as found:
        format_config(data, "f")
    assert [problem.code for problem in found.value.problems] == [code]


def test_characters_that_need_it_are_escaped() -> None:
    value = "&amp;&lt;&gt;&quot;'&#9;&#10;&#13;"
    assert f'<Property Name="p" Value="{value}"/>' in body(f'<Property Name="p" Value="{value}"/>')


def test_a_comment_moves_with_the_element_that_it_stands_before() -> None:
    found = formatted(
        PLAIN.replace(
            "</Config>", "<!--about\n the log--><!-- more -->\n<Log/>\n<!-- end --></Config>"
        )
    )
    assert found == PLAIN.replace(
        "<Config>\n", "<Config>\n   <!--about\n the log-->\n   <!-- more -->\n   <Log/>\n"
    ).replace("</Config>", "   <!-- end -->\n</Config>")


def test_a_comment_at_the_end_of_a_line_stays_there() -> None:
    text = PLAIN.replace('Port="1"/>', 'Port="1"/> <!-- plain -->')
    text = text.replace('<Server Name="s">', '<Server Name="s"> <!-- first -->')
    text = text.replace("</Server>", "</Server> <!-- of one -->")
    assert formatted(text) == text
    moved = text.replace("</Config>", "<Log/>   <!-- level --></Config>")
    assert "\n   <Log/> <!-- level -->\n" in formatted(moved)


def test_a_comment_between_two_elements_of_one_line_belongs_to_the_second() -> None:
    assert (
        body("<Log/><!-- p --><Property Name='p'/>")
        == '\n   <Log/>\n   <!-- p -->\n   <Property Name="p"/>\n'
    )


def test_comments_and_instructions_around_the_root_stay_there() -> None:
    text = (
        f"<!-- a --><?xml-model href='x'?><!-- b -->{PLAIN.removeprefix(HEAD)}<!-- c --> <!-- d -->"
    )
    assert formatted(text) == (
        f"{HEAD}<!-- a -->\n<?xml-model href='x'?>\n<!-- b -->\n{PLAIN.removeprefix(HEAD)}<!-- c -->\n<!-- d -->\n"
    )


def test_an_element_with_nothing_but_a_comment_keeps_it() -> None:
    assert body("<Log><!-- c --></Log>") == "\n   <Log> <!-- c -->\n   </Log>\n"
    assert body("<Log>\n<!-- c --></Log>") == "\n   <Log>\n      <!-- c -->\n   </Log>\n"


def test_stray_text_has_no_effect_and_is_kept() -> None:
    assert body("--&gt; <Log/> a\n  b") == "\n   --&gt;\n   <Log/>\n   a\n   b\n"


def test_what_is_not_known_stays_as_it_is_at_the_end() -> None:
    text = '<Odd b="1" a="2">some <b>text</b> </Odd><Log/><Other><z/><a/></Other>'
    found = formatted(PLAIN.replace("<Config>\n", f"<Config>{text}"))
    tail = '   <Odd a="2" b="1">some <b>text</b> </Odd>\n   <Other>\n      <z/>\n      <a/>\n   </Other>\n'
    assert found == PLAIN.replace("<Config>\n", "<Config>\n   <Log/>\n").replace(
        "</Config>", f"{tail}</Config>"
    )


def test_prefixes_and_namespaces_stay() -> None:
    text = PLAIN.replace(
        "<Config>",
        '<Config xmlns:xsi="urn:i" xsi:noNamespaceSchemaLocation="p.xsd" xml:lang="en"><x xmlns="urn:x"><y xmlns=""/></x>',
    )
    found = formatted(text)
    assert '<Config xmlns:xsi="urn:i" xml:lang="en" xsi:noNamespaceSchemaLocation="p.xsd">' in found
    assert '   <x xmlns="urn:x">\n      <y xmlns=""/>\n   </x>\n' in found


def test_two_spellings_of_one_attribute_keep_their_order_as_the_last_one_counts() -> None:
    text = PLAIN.replace('Name="s"', 'wsServerIdleTimeout="1" Name="s" wsIdleTimeout="2"')
    assert '<Server Name="s" wsServerIdleTimeout="1" wsIdleTimeout="2">' in formatted(text)
    text = PLAIN.replace('Name="s"', 'wsIdleTimeout="1" Name="s" wsServerIdleTimeout="2"')
    assert '<Server Name="s" wsIdleTimeout="1" wsServerIdleTimeout="2">' in formatted(text)


def test_a_repeated_element_stays_behind_the_one_that_counts() -> None:
    assert body("<Log Name='a'/><Log Name='b'/>") == '\n   <Log Name="a"/>\n   <Log Name="b"/>\n'


# what may stand between two tags without a meaning
_NOTES = st.sampled_from(
    (
        "",
        "",
        "",
        "\n",
        "  ",
        "\n\n\t",
        "<!-- {} -->",
        " <!--{}\n-->\n",
        "\n<!-- {} --> ",
        "<?do {}?>",
        " t{} ",
        "<![CDATA[<{}]]>",
        "<!-- {} --><!--{}-->",
    )
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A file with all that may stand in one."""
    text = write_config(draw(configs()))
    count = 0

    def between(_found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f">{draw(_NOTES).replace('{}', str(count))}<"

    first, _, rest = text.partition("<Config")
    top = draw(st.sampled_from(("", "<!-- top -->", "<?do b?> ")))
    inner = re.sub(">[ \n]*<", between, rest)
    return f"{first}{top}<Config{inner}"


def _notes(text: str) -> list[str]:
    return sorted(re.findall(r"<!--.*?-->|<\?do .*?\?>", text, re.DOTALL))


@settings(max_examples=60)
@given(documents())
def test_any_file_keeps_its_meaning_and_its_notes(text: str) -> None:
    """Equal, stable, and nothing of it lost."""
    assert _notes(formatted(text)) == _notes(text)


@st.composite
def _shuffled(draw: st.DrawFn) -> str:
    """Elements of all kinds in any order, each with its name in the comment before it and in the one behind it."""
    kinds: list[Any] = ["Log", "Property", "UriGroup", "VirtualHostGroup", "RequestMetrics", "Odd"]
    lines = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=8))):
        before = f"<!-- before {kind}{number} -->\n" if draw(st.booleans()) else ""
        behind = f" <!-- behind {kind}{number} -->" if draw(st.booleans()) else ""
        lines.append(f'{before}<{kind} Name="{kind}{number}"/>{behind}\n')
    at = draw(st.integers(0, len(lines)))
    return f"<Config>\n{''.join(lines[:at])}{BODY}{''.join(lines[at:])}<!-- end --></Config>"


@given(_shuffled())
def test_wherever_an_element_goes_its_comments_go_with_it(text: str) -> None:
    lines = [line.strip() for line in formatted(text).splitlines()]
    for number, line in enumerate(lines):
        if found := re.fullmatch(r"<!-- before (\w+) -->", line):
            assert f'Name="{found[1]}"' in lines[number + 1]
        if found := re.search(r"<!-- behind (\w+) -->", line):
            assert f'Name="{found[1]}"/>' in line
    assert lines[-2] == "<!-- end -->"
    assert _notes("\n".join(lines)) == _notes(text)

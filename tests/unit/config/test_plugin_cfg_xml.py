"""Reading plugin-cfg.xml: encodings, lines, limits, and what a hostile file must not reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsproxy.config.fmt import format_config
from wsproxy.config.xml import MAX_DEPTH, load_config, parse_config
from wsproxy.config.xml_tree import MAX_FILE_BYTES
from wsproxy.errors import ConfigRefusedError, Problem

MINIMAL = """<Config>
  <ServerCluster Name="c"><Server Name="s{0}"><Transport Hostname="h" Port="1"/></Server></ServerCluster>
  <Route ServerCluster="c"/>
</Config>
"""


def refusal(data: bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_config(data, "f.xml")
    return refused.value.problems


def codes(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.code for problem in problems]


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16", "cp1252"])
def test_a_declared_encoding_is_read(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + MINIMAL.format("é")
    server = parse_config(text.encode(encoding), "f").config.server_clusters[0].servers[0]
    assert server.name == "sé"
    assert server.line == 3


def test_a_byte_order_mark_is_no_obstacle() -> None:
    config = parse_config(b"\xef\xbb\xbf" + MINIMAL.format("é").encode(), "f").config
    assert config.server_clusters[0].servers[0].name == "sé"


def test_bytes_that_are_not_in_the_declared_encoding_are_refused() -> None:
    (problem,) = refusal(MINIMAL.format("é").encode("iso-8859-1"))
    assert (problem.code, problem.line) == ("xml-malformed", 2)
    assert "encoding" in problem.allowed


def test_carriage_returns_count_no_lines_of_their_own() -> None:
    config = parse_config(MINIMAL.format("").replace("\n", "\r\n").encode(), "f").config
    assert [config.server_clusters[0].line, config.routes[0].line] == [2, 3]


# What a file needs to be used at all: a Route that leads somewhere.
ROUTE = (
    '<ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster>'
    '<Route ServerCluster="c"/>'
)


def test_lines_beyond_sixteen_bits_are_exact() -> None:
    """libxml2 keeps 16 bits for a line; problems in generated files lie beyond them."""
    text = "<Config>\n" + "\n" * 70_000 + f"<Oops\n/>\n<Log/>\n{ROUTE}</Config>"
    loaded = parse_config(text.encode(), "f")
    assert next(p.line for p in loaded.problems if p.code == "element-unknown") == 70_002
    assert loaded.config.log is not None
    assert loaded.config.log.line == 70_004


def test_tags_in_comments_cdata_and_instructions_do_not_shift_lines() -> None:
    text = f"<?go <a> ?>\n<!-- <b>\n-->\n<Config><![CDATA[ <c>\n ]]>\n<Log/>{ROUTE}</Config>"
    loaded = parse_config(text.encode(), "f")
    assert loaded.config.log is not None
    assert loaded.config.log.line == text[: text.index("<Log")].count("\n") + 1


def test_all_problems_are_told_at_once_in_file_order() -> None:
    problems = refusal(
        b'<Config RefreshInterval="x">\n<Log LogLevel="y"/>\n<Route/>\n<UriGroup/>\n</Config>'
    )
    assert codes(problems)[:5] == [
        *("attribute-value", "no-route", "attribute-value"),
        *["attribute-missing"] * 2,
    ]
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)


def test_the_text_of_a_refusal_lists_every_error_and_no_warning() -> None:
    text = f'<Config RefreshInterval="x" Oops="">\n<Log LogLevel="y"/>{ROUTE}</Config>'
    with pytest.raises(ConfigRefusedError) as refused:
        parse_config(text.encode(), "f.xml")
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["f.xml:1", "f.xml:2"]
    assert "attribute-unknown" in codes(refused.value.problems)


@pytest.mark.parametrize("data", [b"", b" \n\t"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    assert codes(refusal(data)) == ["file-empty"]


def test_a_file_beyond_the_size_limit_is_refused_unparsed(tmp_path: Path) -> None:
    path = tmp_path / "big.xml"
    with path.open("wb") as file:
        file.write(b"<Config>")
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(ConfigRefusedError) as refused:
        load_config(path)
    assert codes(refused.value.problems) == ["file-too-big"]


def test_one_attribute_of_ten_megabytes_is_refused() -> None:
    (problem,) = refusal(b'<Config ConfigHash="' + b"1" * 11_000_000 + b'"/>')
    assert problem.code == "xml-limit"


@pytest.mark.timeout(20)  # lxml takes the square of their number in time
def test_an_element_with_200000_attributes_is_refused() -> None:
    attributes = "".join(f' a{n}="1"' for n in range(200_000))
    (problem,) = refusal(f"<Config>{ROUTE}\n<Log{attributes}/></Config>".encode())
    assert (problem.code, problem.line) == ("xml-limit", 2)


@pytest.mark.parametrize("behind", ["", '<Odd xmlns="relative"/>'])
def test_a_prefix_that_is_not_declared_is_refused(behind: str) -> None:
    """Also where the parser has a warning behind it, which is all that lxml looks at."""
    (problem,) = refusal(f'<Config>\n<Log q:a="1"/>\n{behind}{ROUTE}</Config>'.encode())
    assert (problem.code, problem.line) == ("xml-malformed", 2)
    assert "without prefixes" in problem.allowed


def test_elements_nested_beyond_the_limit_are_refused() -> None:
    def nested(depth: int) -> bytes:
        inside = b"<a>" * depth + b"</a>" * depth
        return b"<Config><RequestMetrics>%b</RequestMetrics>%b</Config>" % (inside, ROUTE.encode())

    assert codes(parse_config(nested(MAX_DEPTH - 1), "f").problems) == []
    assert "xml-limit" in codes(refusal(nested(MAX_DEPTH)))
    assert codes(refusal(nested(5000))) == ["xml-limit"]


def test_elements_that_are_not_known_nest_no_deeper() -> None:
    """They are kept to be written again, and compared with what was written."""

    def nested(depth: int) -> bytes:
        return b"<Config>%b%b%b</Config>" % (b"<a>" * depth, b"</a>" * depth, ROUTE.encode())

    assert codes(parse_config(nested(MAX_DEPTH), "f").problems) == ["element-unknown"]
    assert codes(refusal(nested(MAX_DEPTH + 1))) == ["element-unknown", "xml-limit"]
    assert "</a>" in format_config(nested(MAX_DEPTH), "f")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("before", ["", "<!-- x -->\n", "\n<?a b?>\n"])
def test_a_doctype_is_refused_wherever_it_hides(before: str, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{before}<!DOCTYPE Config><Config/>'
    assert codes(refusal(text.encode(encoding))) == ["xml-doctype"]


def test_a_doctype_in_a_comment_is_a_comment() -> None:
    text = f"<!-- <!DOCTYPE x> --><Config>{ROUTE}</Config>"
    assert codes(parse_config(text.encode(), "f").problems) == []


def entity_bomb() -> str:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    return f'<!DOCTYPE Config [{entities}]><Config><Log Name="&a11;"/>&a11;</Config>'


@pytest.mark.timeout(20)  # 10**11 characters would take until the end of memory
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-7"])
def test_an_entity_bomb_is_refused_before_it_grows(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{entity_bomb()}'
    assert set(codes(refusal(text.encode(encoding)))) <= {
        "xml-doctype",
        "xml-limit",
        "xml-malformed",
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("target", ["secret", "fifo"])
@pytest.mark.parametrize(
    "doctype",
    [
        'SYSTEM "{0}"',
        '[<!ENTITY e SYSTEM "{0}">]',
        '[<!ENTITY % p SYSTEM "{0}">%p;]',
        'SYSTEM "{0}" [<!ENTITY e SYSTEM "{0}"><!ENTITY % p SYSTEM "{0}">%p;]',
    ],
)
def test_an_external_entity_is_not_read(
    tmp_path: Path, doctype: str, target: str, encoding: str
) -> None:
    """A FIFO shows that a file is opened at all: opening one for reading waits for a writer."""
    (tmp_path / "secret").write_text("TOPSECRET")
    os.mkfifo(tmp_path / "fifo")
    where = (tmp_path / target).as_uri()
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>'
        f"<!DOCTYPE Config {doctype.format(where)}><Config>&e;</Config>"
    )
    with pytest.raises(ConfigRefusedError) as refused:
        parse_config(text.encode(encoding), "f")
    assert "TOPSECRET" not in str(refused.value)
    assert set(codes(refused.value.problems)) <= {"xml-doctype", "xml-malformed"}


def test_xinclude_is_just_an_unknown_element(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("<TOPSECRET/>")
    text = f'<Config xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="{secret.as_uri()}"/>{ROUTE}</Config>'
    loaded = parse_config(text.encode(), "f")
    assert "element-unknown" in codes(loaded.problems)
    assert "TOPSECRET" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.xml", "No such file"), ("", "Is a directory"), ("a\0b", "null byte")],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ConfigRefusedError, match=reason) as refused:
        load_config(tmp_path / name)
    (problem,) = refused.value.problems
    assert (problem.code, problem.line) == ("file-unreadable", 0)


def test_the_path_is_kept_in_the_config(tmp_path: Path) -> None:
    path = tmp_path / "plugin-cfg.xml"
    path.write_text(MINIMAL.format(""))
    assert load_config(path).config.path == str(path)


def test_a_password_is_in_no_representation() -> None:
    config = parse_config(
        f'<Config SSLPKCSPassword="hunter2">{ROUTE}</Config>'.encode(), "f"
    ).config
    assert config.sslpkcs_password == "hunter2"
    assert "hunter2" not in repr(config)

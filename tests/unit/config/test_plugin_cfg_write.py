"""Writing plugin-cfg.xml: reading the text again gives an equal Config, whatever is in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.support.golden import CASES, SAMPLES, source, split
from tests.support.plugin_cfg_models import configs
from tests.support.real_files import CORPUS, needs_corpus
from wsproxy.config.model import Config, Server, ServerCluster
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

BODY = """
<ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster>
<Route ServerCluster="c"/>
"""


def read(text: str) -> Config:
    return parse_config(text.encode(), "f").config


def agree(data: bytes) -> None:
    """Reading, writing and reading gives the same; writing twice the same text."""
    try:
        config = parse_config(data, "f").config
    except ConfigRefusedError:
        return
    text = write_config(config)
    assert read(text) == config
    assert write_config(read(text)) == text


@needs_corpus
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.xml")), ids=lambda path: path.name)
def test_every_real_file_is_read_again_as_it_was(path: Path) -> None:
    data = path.read_bytes()
    agree(data)
    # what has no Route to begin with is refused: with one it is not
    agree(data.replace(b"</Config>", BODY.encode() + b"</Config>"))


@pytest.mark.parametrize(
    "path",
    [*sorted(CASES.glob("*.txt")), *sorted(SAMPLES.glob("*.xml"))],
    ids=lambda path: path.name,
)
def test_every_case_is_read_again_as_it_was(path: Path) -> None:
    agree(source(split(path.read_text())[0]) if path.suffix == ".txt" else path.read_bytes())


@settings(max_examples=60)
@given(configs())
def test_whatever_a_configuration_says_is_read_again(config: Config) -> None:
    text = write_config(config)
    assert read(text) == config
    assert write_config(read(text)) == text


def test_a_default_is_written_where_it_was_stated_and_nowhere_else() -> None:
    """IBM's plug-in may have another default: nobody's words are put into the file."""
    text = f'<Config RefreshInterval="60">{BODY}</Config>'
    lines = write_config(read(text)).splitlines()
    assert lines[1] == '<Config RefreshInterval="60">'
    assert lines[2] == '   <ServerCluster Name="c">'


def test_a_changed_value_is_written_whether_it_was_stated_or_not() -> None:
    config = dataclasses.replace(
        read(f'<Config RefreshInterval="5">{BODY}</Config>'),
        refresh_interval_s=60,
        http_max_headers=50,
    )
    assert '<Config HTTPMaxHeaders="50" RefreshInterval="60">' in write_config(config)


def test_the_other_spelling_of_an_attribute_stays() -> None:
    text = f"<Config>{BODY}</Config>".replace('"s"', '"s" wsIdleTimeout="5"')
    assert '<Server Name="s" wsIdleTimeout="5">' in write_config(read(text))


def test_elements_and_attributes_stand_in_the_order_of_generated_files() -> None:
    text = """<Config VHostMatchingCompat="true" ASDisableNagle="true" AcceptAllContent="true">
<Route ServerCluster="c"/><UriGroup Name="u"><Uri Name="/"/></UriGroup>
<ServerCluster Name="c"><BackupServers/><PrimaryServers><Server Name="s"/></PrimaryServers>
<Server Name="s"><Transport Port="1" Hostname="h"/></Server></ServerCluster><Log/></Config>"""
    assert write_config(read(text)).splitlines()[1:] == [
        '<Config ASDisableNagle="true" AcceptAllContent="true" VHostMatchingCompat="true">',
        "   <Log/>",
        '   <ServerCluster Name="c">',
        '      <Server Name="s">',
        '         <Transport Hostname="h" Port="1"/>',
        "      </Server>",
        "      <PrimaryServers>",
        '         <Server Name="s"/>',
        "      </PrimaryServers>",
        "      <BackupServers/>",
        "   </ServerCluster>",
        '   <UriGroup Name="u">',
        '      <Uri Name="/"/>',
        "   </UriGroup>",
        '   <Route ServerCluster="c"/>',
        "</Config>",
    ]


def test_what_is_not_known_is_written_where_it_stood() -> None:
    text = f"""<Config xmlns:e="urn:e" e:hint="1">{BODY.replace("</Server>", '</Server><PrimaryServers Odd="2"/>')}
<Log/><Log Name="again"/><Odd a="1">text<inner/></Odd></Config>"""
    written = write_config(read(text))
    assert '<Config xmlns:ns1="urn:e" ns1:hint="1">' in written
    assert '<PrimaryServers Odd="2"/>' in written
    assert '<Log/>\n   <Log Name="again"/>\n   <ServerCluster' in written
    assert written.endswith('   <Odd a="1">\n      text\n      <inner/>\n   </Odd>\n</Config>\n')


def test_a_header_is_a_comment_whatever_is_in_it() -> None:
    header = "from a--b-->\nand\x00 c-"
    text = write_config(read(f"<Config>{BODY}</Config>"), header=header)
    assert text.startswith(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!--\nfrom a- -b- ->\nand? c-\n-->\n<Config>\n'
    )
    read(text)


def test_a_value_that_no_file_can_hold_is_refused() -> None:
    config = Config(server_clusters=(ServerCluster("c", servers=(Server("a\x01"),)),))
    with pytest.raises(ValueError, match=r"U\+0001"):
        write_config(config)


def test_where_something_stands_does_not_make_two_files_differ() -> None:
    text = f"<Config>{BODY}</Config>"
    assert read(text) == read(text.replace("\n", "\n\n"))
    assert read(text) != read(text.replace('Port="1"', 'Port="2"'))

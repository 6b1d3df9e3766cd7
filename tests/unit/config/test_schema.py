"""The XML Schema says what the reader says: a real validator takes what check takes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from lxml import etree  # noqa: TID251 (the validator is not our reader)

from tests.support.golden import CASES, SAMPLES, source, split
from tests.support.plugin_cfg_doc import model_classes
from tests.support.plugin_cfg_models import configs
from tests.support.real_files import CORPUS, needs_corpus
from wsproxy.config.attributes import specs_of
from wsproxy.config.model import Config
from wsproxy.config.schema import schema_text
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

# what a grammar can know; that names lead somewhere is not in it
GRAMMAR = {
    "attribute-unknown",
    "attribute-missing",
    "attribute-value",
    "element-unknown",
    "root-not-config",
    "word-spelling",
    "text-ignored",
}
SCHEMA = etree.XMLSchema(etree.fromstring(schema_text().encode()))


def agree(data: bytes) -> bool | None:
    """Whether both take it; None where it is not XML, which no schema is asked about."""
    try:
        root = etree.fromstring(data)
    except etree.XMLSyntaxError:
        return None
    try:
        problems = parse_config(data, "f").problems
    except ConfigRefusedError as refused:
        problems = refused.problems
    is_taken = all(problem.code not in GRAMMAR for problem in problems)
    assert SCHEMA.validate(root) == is_taken, str(SCHEMA.error_log)
    return is_taken


@needs_corpus
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.xml")), ids=lambda path: path.name)
def test_real_files_are_valid_where_check_finds_no_fault_with_their_grammar(path: Path) -> None:
    agree(path.read_bytes())


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.xml")), ids=lambda path: path.stem)
def test_samples_are_valid(path: Path) -> None:
    assert agree(path.read_bytes())


def test_cases_are_valid_or_not_as_check_says() -> None:
    verdicts = [agree(source(split(path.read_text())[0])) for path in CASES.glob("*.txt")]
    assert verdicts.count(True) > 40
    assert verdicts.count(False) > 5


PLAIN = '<Config><ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster><Route ServerCluster="c"/></Config>'


@pytest.mark.parametrize(
    ("old", "new", "is_valid"),
    [
        ("", "", True),
        ('Port="1"', 'Port="65535"', True),
        ('Port="1"', 'Port="65536"', False),
        ('Port="1"', 'Port="0"', False),
        ('Port="1"', 'Port="+1"', False),
        ('Port="1"', 'Port="00000000001"', False),
        ('Port="1"', "", False),
        ('Name="s"', 'Name=""', False),
        ('Name="s"', 'Name="s" ConnectTimeout="-1"', False),
        ('Name="s"', 'Name="s" wsIdleTimeout="5"', True),
        ('Name="s"', 'Name="s" CloneId="5"', False),
        ('Name="c"', 'Name="c" LoadBalance="Random"', True),
        ('Name="c"', 'Name="c" LoadBalance="random"', False),
        ('Name="c"', 'Name="c" RemoveSpecialHeaders="True"', False),
        ("<Route", "<Rout/><Route", False),
        ("<Route", "stray<Route", False),
        ("<Route", '<RequestMetrics any="1"><thing x="2"/></RequestMetrics><Route', True),
        ("<Route", "<Log/><Property Name='a'/><!-- c --><?do x?><Log/><Route", True),
        ("<Config>", '<Config RefreshInterval="-1">', True),
        ("<Config>", '<Config RefreshInterval="-2">', False),
    ],
)
def test_both_draw_the_line_at_the_same_place(old: str, new: str, *, is_valid: bool) -> None:
    assert agree(PLAIN.replace(old, new, 1).encode()) == is_valid


@settings(max_examples=40)
@given(configs())
def test_whatever_the_model_holds_is_valid_but_for_what_is_not_known(config: Config) -> None:
    agree(write_config(config).encode())


def test_every_attribute_is_in_it_with_its_meaning() -> None:
    text = schema_text()
    for cls in model_classes().values():
        for spec in specs_of(cls).values():
            assert f'<xs:attribute name="{spec.name}"' in text
    assert "maximum" not in text
    assert "a server marked down is tried again after this long (s); absent: 60" in text


def test_it_is_the_same_every_time() -> None:
    assert schema_text() == schema_text()

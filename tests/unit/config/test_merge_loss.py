"""Nothing gets lost: what stands in an input stands in the merged file, or in the notes with its file and line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.merging import FEWER, small_configs
from tests.support.plugin_cfg_doc import model_classes
from tests.support.plugin_cfg_models import configs
from wsproxy.config.attributes import specs_of
from wsproxy.config.merge import Merged, merge
from wsproxy.config.merge_notes import MergeRefusedError, Place
from wsproxy.config.merge_rules import SETTLINGS, read_rules
from wsproxy.config.model import Config, Element, Extra
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

RULES = read_rules(["standalone=join,clone-id=keep"])
NO_CHILDREN = ("line", "path", "written", "unknown", "host", "port")
Said = tuple[str, str, str]  # element, attribute, value


def everything(item: Any, element: str = "Config", line: int = 0) -> Iterator[tuple[Said, int]]:
    """All attributes below ``item``, known or not, with the line of their element."""
    if isinstance(item, Element):
        yield from _of_element(item, line)
    elif isinstance(item, Extra):
        yield from (((element, name, value), line) for name, value in item.attributes)
        yield from everything(item.elements, element, line)
        for name, extra in item.lists:
            yield from everything(extra, name, line)
    elif isinstance(item, tuple):
        for each in item:
            yield from everything(each, element, line)
    elif dataclasses.is_dataclass(item):
        yield from _of_object(item)


def _of_element(item: Element, line: int) -> Iterator[tuple[Said, int]]:
    """``line``: of the element that it stands in, which is told of."""
    yield from (((item.name, name, value), line) for name, value in item.attributes)
    if item.text:
        yield (item.name, "", item.text), line
    yield from everything(item.children, line=line)


def _of_object(item: Any) -> Iterator[tuple[Said, int]]:
    specs, kind = specs_of(type(item)), type(item).__name__
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if (spec := specs.get(field.name)) is not None:
            if value is not None and (spec.name in item.written or value != field.default):
                yield (kind, spec.name, str(value)), item.line
        elif field.name not in NO_CHILDREN:
            yield from everything(value, kind, item.line)


def lost(inputs: list[Config], merged: Merged) -> list[tuple[Said, Place]]:
    there = {said for said, _ in everything(merged.config)}
    told = {place for note in merged.notes for place in note.places}
    return [
        (said, Place(config.path, line))
        for config in inputs
        for said, line in everything(config)
        # a Route names clusters and groups, which are told of where they stand
        if said not in there and Place(config.path, line) not in told and said[0] != "Route"
        if said[0] != "ServerRef"
    ]


def read_again(config: Config, path: str) -> Config:
    return parse_config(write_config(config).encode(), path, is_part=True).config


def agreeing(one: Config, other: Config) -> Config:
    """``other`` without what would be refused, so that the rest is looked at."""
    same = {
        name: getattr(one, name)
        for name, settling in SETTLINGS[Config].items()
        if settling.how == "refuse"
    }
    clusters = tuple(
        dataclasses.replace(each, cluster_address=None, clone_separator_change=False)
        for each in other.server_clusters
    )
    return dataclasses.replace(
        other,
        server_clusters=clusters,
        request_metrics=one.request_metrics,
        intelligent_management=None,
        **same,
    )


@settings(max_examples=settings().max_examples // 20)  # a file of any kind takes long to make
@given(configs(), configs())
def test_no_attribute_gets_lost(one: Config, other: Config) -> None:
    """Of files with any attributes, which are mostly about other requests."""
    try:
        inputs = [
            read_again(agreeing(one, each), path)
            for each, path in ((one, "a.xml"), (other, "b.xml"))
        ]
    except ConfigRefusedError:
        assume(False)
        raise
    try:
        merged = merge(inputs, RULES)
    except MergeRefusedError as error:
        refused = error
    else:
        assert lost(inputs, merged) == []
        return
    assert all(len(clash.places) > 1 for clash in refused.clashes)


@FEWER
@given(st.tuples(small_configs("a.xml"), small_configs("b.xml"), small_configs("c.xml")))
def test_no_server_or_uri_gets_lost(configs: tuple[Config, ...]) -> None:
    """Of files that are mostly about the same requests."""
    inputs = [read_again(config, config.path) for config in configs]
    try:
        merged = merge(inputs)
    except MergeRefusedError:
        return
    assert lost(inputs, merged) == []


def test_every_attribute_of_the_model_has_its_rule() -> None:
    missing = [
        (name, field)
        for name, cls in model_classes().items()
        for field in specs_of(cls)
        if field not in SETTLINGS.get(cls, {})
    ]
    assert missing == []

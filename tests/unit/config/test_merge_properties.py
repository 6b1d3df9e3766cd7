"""Whatever files are merged: the outcome routes as their union, whatever their order, and nothing gets lost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.merging import FEWER, REQUESTS, Live, check_union, in_service, small_configs
from wsproxy.config.merge import merge
from wsproxy.config.merge_notes import MergeRefusedError
from wsproxy.config.merge_rules import read_rules
from wsproxy.config.model import Config
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config

TWO = st.tuples(small_configs("a.xml"), small_configs("b.xml"))
THREE = st.tuples(small_configs("a.xml"), small_configs("b.xml"), small_configs("c.xml"))


def merged_or_none(*configs: Config, path: str = "") -> Config | None:
    """The merged file as it is read again."""
    try:
        text = write_config(merge(configs).config)
    except MergeRefusedError as error:
        refused = error
    else:
        return parse_config(text.encode(), path or "merged.xml", is_part=True).config
    # nothing but this contradicts itself in files that are made so
    assert {clash.rule for clash in refused.clashes} == {"route-order"}
    return None


def check_merged(configs: Sequence[Config]) -> None:
    """Each request goes where the union of the files sends it, where they can be merged."""
    merged = merged_or_none(*configs)
    assume(merged is not None)
    assert merged is not None
    inputs, live = [Live(config) for config in configs], Live(merged)
    for request in REQUESTS:
        check_union(inputs, live, request)


@FEWER
@given(TWO)
def test_the_merged_file_routes_as_the_union_of_two(configs: tuple[Config, Config]) -> None:
    check_merged(configs)


@FEWER
@given(THREE)
def test_the_merged_file_routes_as_the_union_of_three(
    configs: tuple[Config, Config, Config],
) -> None:
    check_merged(configs)


@FEWER
@given(THREE)
def test_the_order_of_inputs_does_not_change_a_byte(configs: tuple[Config, Config, Config]) -> None:
    texts = set()
    for order in permutations(configs):
        try:
            texts.add(write_config(merge(order).config))
        except MergeRefusedError as refused:
            texts.add(str(refused))
    assert len(texts) == 1


@FEWER
@given(small_configs("a.xml"))
def test_a_file_merged_with_itself_is_the_same(config: Config) -> None:
    once, twice = merge([config]), merge([config, config])
    assert write_config(once.config) == write_config(twice.config) == write_config(config)


def meaning(config: Config) -> list[tuple[object, ...] | None]:
    """What becomes of each request, whatever things are called."""
    live = Live(config)
    found: list[tuple[object, ...] | None] = []
    for request in REQUESTS:
        answer = live.ask(request)
        found.append(
            None
            if answer is None
            else (answer.rank, answer.cookie, frozenset(in_service(answer.cluster)))
        )
    return found


@FEWER
@given(THREE)
def test_merging_step_by_step_is_merging_at_once(configs: tuple[Config, Config, Config]) -> None:
    one, two, three = configs
    at_once = merged_or_none(one, two, three)
    first = merged_or_none(one, two, path="ab.xml")
    assume(at_once is not None and first is not None)
    assert first is not None
    assert at_once is not None
    left = merged_or_none(first, three)
    last = merged_or_none(two, three, path="bc.xml")
    assume(left is not None and last is not None)
    assert last is not None
    assert left is not None
    right = merged_or_none(one, last)
    assume(right is not None)
    assert right is not None
    assert meaning(left) == meaning(right) == meaning(at_once)


@FEWER
@given(TWO)
def test_kept_clusters_have_the_servers_of_their_files(configs: tuple[Config, Config]) -> None:
    """With --keep-clusters no cluster gets servers that only clusters of other names have."""
    try:
        merged = merge(configs, read_rules((), keep_clusters=True)).config
    except MergeRefusedError:
        assume(False)
        raise
    live, inputs = Live(merged), [Live(config) for config in configs]
    names = {cluster.name for config in configs for cluster in config.server_clusters}
    for request in REQUESTS:
        answer = live.ask(request)
        answers = [found for each in inputs if (found := each.ask(request)) is not None]
        assert (answer is None) == (not answers)
        if answer is None:
            continue
        base = answer.cluster.name if answer.cluster.name in names else answer.cluster.name[:-2]
        allowed = {
            server
            for config in configs
            for cluster in config.server_clusters
            if cluster.name == base
            for server in in_service(cluster)
        }
        assert answer.servers <= allowed

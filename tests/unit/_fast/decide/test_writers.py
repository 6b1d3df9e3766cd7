"""What is learned of servers, and what is found that cannot be right, is what the oracle learns and finds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.applied import applied
from tests.support.oracles.writers import Farm
from tests.support.session_heads import (  # fmt: skip
    COOKIE_LINES,
    OTHERS,
    PATHS,
    SET_COOKIES,
    head_of,
    is_request,
    is_response,
)
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.writers import Noticed, learn_from, misfits_of
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

NAME, URL_ID = b"JSESSIONID", b"jsessionid"
CLONE_IDS = ["c1", "C2", None]
SERVERS = [(f"s{at}", clone_id, 1, -1) for at, clone_id in enumerate(CLONE_IDS)]
STEPS = st.tuples(
    st.integers(0, 2), st.lists(st.one_of(SET_COOKIES, SET_COOKIES, OTHERS), max_size=4), st.booleans()
)  # fmt: skip


def make(separator: str) -> tuple[Cluster, Farm]:
    cluster = applied(Cluster(SharedState(4, 1), "c", SERVERS, [0, 1, 2], [], separator=separator))
    ids = [None if each is None else each.encode() for each in CLONE_IDS]
    return cluster, Farm(ids, separator.encode())


def check_words(noticed: Noticed) -> None:
    """Whose CloneID it is, is said with it."""
    assert (noticed.cluster, noticed.separator) in (("c", 58), ("c", 43))
    if noticed.owner:
        assert noticed.owner_id.decode() == CLONE_IDS[int(noticed.owner[1:])]


@given(st.lists(STEPS, max_size=6), st.sampled_from([":", "+"]))
@example([(0, [b"Set-Cookie: JSESSIONID=0000abc:C2"], False), (0, [b"Set-Cookie: JSESSIONID=x.C2"], False)], ":")  # fmt: skip
@example([(0, [b"Set-Cookie: JSESSIONID=0000abc:c1"], True), (1, [b"Set-Cookie: jsessionid=x"], False)], ":")  # fmt: skip
def test_answers_teach_what_they_teach_the_oracle(
    steps: list[tuple[int, list[bytes], bool]], separator: str
) -> None:
    cluster, farm = make(separator)
    for server, lines, had_list in steps:
        data = head_of(b"HTTP/1.1 200 OK", lines)
        learned = learn_from(cluster, server, data, NAME, had_list)
        if not is_response(data):
            assert learned is None
            continue
        assert learned is not None
        news = farm.learn(server, data, NAME, had_list=had_list)
        writer, writer_of_cluster, noticed = learned
        assert (writer, writer_of_cluster) == (farm.writers.get(server, 0), farm.writer)
        assert (None if noticed is None else (noticed.finding, noticed.text)) == news
        if noticed is not None:
            check_words(noticed)
            assert noticed.server == f"s{server}"


@given(PATHS, st.lists(COOKIE_LINES, max_size=4), st.sampled_from([":", "+"]))
@example(b"/a;JSESSIONID=0:c1", [b"Cookie: jsessionid=0000x:c1; JSESSIONID=0+c1"], ":")
@example(b"/a;jsessionid=0:c2:C1", [b"Cookie: JSESSIONID=0000x:C1:c2:c1"], ":")
@example(b"/a", [b"Cookie: " + b"JSESSIONID=0:C1; " * 12], ":")
def test_misfits_are_the_oracles(path: bytes, lines: list[bytes], separator: str) -> None:
    cluster, farm = make(separator)
    data = head_of(b"GET " + path + b" HTTP/1.1", [b"Host: h", *lines])
    found = misfits_of(cluster, data, NAME, URL_ID)
    if not is_request(data):
        assert found is None
        return
    assert found is not None
    cookies = [line.partition(b":")[2].strip(b" \t") for line in lines]
    expected = farm.misfits(cookies, path.partition(b"?")[0], NAME, URL_ID)
    assert [(each.finding, each.text) for each in found] == expected
    for each in found:
        check_words(each)
        assert each.server == ""
        assert each.name in (NAME, URL_ID)


def test_who_stands_behind_a_cluster_address_is_not_judged() -> None:
    """What it writes is some member's, and tells whether clone ids are written at all."""
    servers = [*SERVERS[:2], ("both", None, 1, -1)]
    cluster = applied(Cluster(SharedState(4, 1), "c", servers, [0, 1], [], cluster_address=2))
    for value, writer in (
        (b"0000abc:c1", 1),
        (b"0000abc", 2),
        (b"0000abc.c1", 2),
        (b"0000abc:new", 1),
    ):
        data = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=" + value])
        assert learn_from(cluster, 2, data, NAME) == (writer, writer, None)


def test_news_are_news_again_with_a_new_configuration() -> None:
    """What was learned stays."""
    state = SharedState(4, 1)
    data = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=0000abc"])
    for _ in range(2):
        cluster = applied(Cluster(state, "c", SERVERS, [0, 1, 2], []))
        learned = learn_from(cluster, 0, data, NAME)
        assert learned is not None
        assert learned[2] is not None
        assert learn_from(cluster, 0, data, NAME) == (2, 2, None)
        assert learn_from(cluster, 1, head_of(b"HTTP/1.1 200 OK", []), NAME) == (0, 2, None)

"""Session ids and the store, without HTTP."""

from __future__ import annotations

import csv
import string
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsproxy.demo.sessions import (
    CACHE_IDS,
    SESSION_CHARACTERS,
    JSessionId,
    SessionStore,
    find_session_cookie,
    follow_session,
    new_session_characters,
    parse_jsessionid,
)

BASE64URL = string.ascii_letters + string.digits + "-_"
CAPTURED = (
    Path(__file__).parents[3].parent / "shared" / "corpus" / "liberty" / "jsessionid-failover.tsv"
)

sessions = st.text(BASE64URL, min_size=SESSION_CHARACTERS, max_size=SESSION_CHARACTERS)
clone_ids = st.text(string.ascii_letters + string.digits + "-+._", min_size=1, max_size=36)
jsessionids = st.builds(
    JSessionId,
    cache_id=st.integers(0, CACHE_IDS - 1),
    session=sessions,
    clone_ids=st.lists(clone_ids, max_size=5).map(tuple),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SessionStore]:
    with closing(SessionStore(tmp_path / "sessions.db")) as opened:
        yield opened


@given(jsessionids)
def test_what_is_written_is_read_back(jsessionid: JSessionId) -> None:
    assert parse_jsessionid(str(jsessionid)) == jsessionid


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{4}[\w-]{22,24}(:[^;]*)*", fullmatch=True)))
def test_a_value_is_read_without_loss_or_not_at_all(value: str) -> None:
    parsed = parse_jsessionid(value)
    assert parsed is None or str(parsed) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0001zzzz:cloneQ",  # session too short
        "0001" + "a" * 24,  # too long
        "abcd" + "a" * 23,  # no cache id
        "0001" + "a" * 23 + ":",  # a separator without a clone id
        "0001" + "a" * 23 + "::clone1",
        "0001" + "a" * 23 + ':a"b',  # no cookie-octet
        "0001" + "a" * 23 + ":a\n",
        "\u0660\u0660\u0660\u0661" + "a" * 23,  # digits, but not these
    ],
)
def test_a_value_of_another_shape_is_refused(value: str) -> None:
    assert parse_jsessionid(value) is None


def test_a_clone_id_may_be_a_uuid() -> None:
    """What Liberty uses when no cloneId is set."""
    parsed = parse_jsessionid("0000" + "a" * 23 + ":38269b45-522e-4d8e-a285-a19ce64fd39d")
    assert parsed is not None
    assert parsed.clone_ids == ("38269b45-522e-4d8e-a285-a19ce64fd39d",)


def test_new_sessions_are_23_characters_of_base64url_and_differ() -> None:
    drawn = {new_session_characters() for _ in range(1000)}
    assert len(drawn) == 1000
    assert {len(session) for session in drawn} == {23}
    assert set("".join(drawn)) == set(BASE64URL)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], None),
        (["a=b"], None),
        (["JSESSIONID=x"], "x"),
        (["a=b; JSESSIONID=x:y=z; c=d"], "x:y=z"),
        (["a=b;JSESSIONID=x"], "x"),
        (["JSESSIONID=x; JSESSIONID=y"], "x"),
        (["a=b", "JSESSIONID=x"], "x"),  # HTTP/2 gateways split the field
        (["jsessionid=x"], None),
        (["XJSESSIONID=x; JSESSIONIDX=y"], None),
        (["JSESSIONID"], None),
        (["JSESSIONID="], ""),
    ],
)
def test_the_first_cookie_of_the_name_counts(headers: list[str], value: str | None) -> None:
    assert find_session_cookie(headers) == value


@given(jsessionids, clone_ids)
def test_the_owner_changes_nothing_of_an_id_that_lists_it(asked: JSessionId, own: str) -> None:
    listed = JSessionId(asked.cache_id, asked.session, (*asked.clone_ids, own))
    assert follow_session(listed, own, owner=own, cache_id=listed.cache_id) == listed


def test_a_clone_id_that_begins_like_another_is_not_contained_in_it() -> None:
    asked = JSessionId(1, "a" * 23, ("clone10",))
    followed = follow_session(asked, "clone1", owner="clone10", cache_id=1)
    assert followed.clone_ids == ("clone10", "clone1")


def test_the_cache_id_after_9999_is_0000() -> None:
    asked = JSessionId(9999, "a" * 23, ("clone1",))
    assert str(follow_session(asked, "clone2", owner="clone1", cache_id=9999)).startswith("0000")


def test_a_cookie_from_before_the_change_gets_the_present_one_again(store: SessionStore) -> None:
    """Two requests in flight at failover: the second must not count as another change of server."""
    old = str(store.visit(None, "clone1").jsessionid)
    first, second = store.visit(old, "clone2"), store.visit(old, "clone2")
    assert first.jsessionid == second.jsessionid
    assert second.sets_cookie
    assert second.jsessionid.cache_id == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(path=st.lists(st.sampled_from(["clone1", "clone10", "clone2"]), min_size=1, max_size=20))
def test_a_session_that_wanders_counts_every_visit(store: SessionStore, path: list[str]) -> None:
    """Each server joins the list once, where it first came; the cache id counts the changes of server."""
    visit = store.visit(None, path[0])
    for clone_id in path[1:]:
        before = visit
        visit = store.visit(str(before.jsessionid), clone_id)
        assert not visit.is_new
        assert visit.jsessionid.session == before.jsessionid.session
        assert visit.sets_cookie == (visit.jsessionid != before.jsessionid)
    changes = sum(a != b for a, b in pairwise(path))
    assert visit.count == len(path)
    assert visit.jsessionid.clone_ids == tuple(dict.fromkeys(path))
    assert visit.jsessionid.cache_id == 1 + changes


def test_two_servers_lose_no_count(tmp_path: Path) -> None:
    """Each thread is a server with a connection of its own to the file; both count in one session."""
    path, visits = tmp_path / "sessions.db", 300
    with closing(SessionStore(path)) as store:
        cookie = str(store.visit(None, "clone1").jsessionid)

        def visit_often(clone_id: str) -> None:
            with closing(SessionStore(path)) as own:
                for _ in range(visits):
                    own.visit(cookie, clone_id)

        servers = [threading.Thread(target=visit_often, args=(f"clone{n}",)) for n in (1, 2)]
        for server in servers:
            server.start()
        for server in servers:
            server.join()
        assert store.visit(cookie, "clone1").count == 1 + 2 * visits + 1


def test_sessions_are_found_again_in_the_file(tmp_path: Path) -> None:
    with closing(SessionStore(tmp_path / "sessions.db")) as store:
        cookie = str(store.visit(None, "clone1").jsessionid)
    with closing(SessionStore(tmp_path / "sessions.db")) as store:
        assert store.visit(cookie, "clone1").count == 2


def test_the_oldest_sessions_are_dropped(tmp_path: Path) -> None:
    with closing(SessionStore(tmp_path / "sessions.db", max_sessions=3)) as store:
        cookies = [str(store.visit(None, "clone1").jsessionid) for _ in range(5)]
        known = [not store.visit(cookie, "clone1").is_new for cookie in reversed(cookies[1:])]
    # The newest three are known; asking for the fourth opened a session, as an unknown id does.
    assert known == [True, True, True, False]


def test_a_visit_that_fails_leaves_the_store_usable(store: SessionStore) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.visit(
            None, "\ud800"
        )  # no UTF-8, so SQLite refuses it in the middle of the transaction
    assert store.visit(None, "clone1").count == 1


@pytest.mark.skipif(not CAPTURED.exists(), reason="the captured answers are not beside the project")
def test_every_captured_answer_of_liberty_is_given(store: SessionStore) -> None:
    """The table of cookies at failover, row by row; only new sessions have other characters than Liberty drew."""
    with CAPTURED.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        rows = list(csv.DictReader(lines, delimiter="\t"))
    rows = [
        row for row in rows if row["server"] in {"s1", "s2", "s3"}
    ]  # s4 keeps its sessions in memory
    assert len(rows) >= 8
    ours: dict[str, str] = {}  # Liberty's 23 characters -> ours
    for row in rows:
        request = row["request"]
        for theirs, mine in ours.items():
            request = request.replace(theirs, mine)
        clone_id = row["server"].replace("s", "clone")
        visit = store.visit(find_session_cookie([request]), clone_id)
        if row["set-cookie"] == "-":
            assert not visit.sets_cookie, row
            continue
        expected = parse_jsessionid(row["set-cookie"].removeprefix("JSESSIONID=").partition(";")[0])
        assert expected is not None
        is_new = expected.session not in ours
        assert visit.is_new == is_new, row
        if is_new:
            ours[expected.session] = visit.jsessionid.session
        assert visit.sets_cookie
        assert visit.jsessionid == JSessionId(
            expected.cache_id, ours[expected.session], expected.clone_ids
        ), row

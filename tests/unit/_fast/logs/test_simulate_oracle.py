"""A session is read of a request as the oracle reads it, and comes out the same when a simulation sends it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracles.clone_ids import (
    cookie_values,
    find_clone_ids,
    param_values,
    split_clone_ids,
)
from tests.support.simulated import TWO, make_xml, read_xml
from tests.unit._fast.decide.test_affinity_oracle import TEXTS
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.logs.request import Process
from wsproxy._fast.logs.simulate import read_affinity
from wsproxy.replay.world import World
from wsproxy.simulate.traffic import Head

pytestmark = pytest.mark.asan

PLUS = make_xml("", "", cluster='CloneSeparatorChange="true"')
PROCESSES: dict[bytes, Process] = {
    b":": World(read_xml(TWO)).new_process(),
    b"+": World(read_xml(PLUS)).new_process(),
}
# no blanks: the head would have ended there; no commas: a simulation sends cookies, and a comma ends one
PATHS = TEXTS.map(lambda text: b"/a/x;jsessionid=" + text.translate(None, b" \t,"))
SSL = b"SESSIONMANAGEMENTAFFINI"


def session_of(cookies: list[bytes], path: bytes, separator: bytes) -> bytes:
    """What stays of the first value that has clone ids (PLUGIN 3.1, liberty.md)."""
    values = [value for field in cookies for value in cookie_values(field, b"JSESSIONID")]
    for value in values + param_values(path, b"jsessionid"):
        if split_clone_ids(value, separator):
            encoded = b"%%%02X" % ord(separator)
            text = value.replace(encoded.lower(), separator).replace(encoded, separator)
            session = text.partition(separator)[0]
            if session[:4].isdigit() and len(session) >= 12:
                session = session[4:]
            return b"" if session.startswith(SSL) else session
    return b""


@given(st.lists(TEXTS, max_size=4), PATHS, st.sampled_from([b":", b"+"]))
def test_any_request_is_read_and_sent_alike(
    cookies: list[bytes], path: bytes, separator: bytes
) -> None:
    process = PROCESSES[separator]
    request = ReplayedRequest(process.decider, process.view, b"www", 80, path, cookies)
    session, clones = read_affinity(request)
    assert list(clones) == find_clone_ids(cookies, path, separator=separator)
    assert session == (session_of(cookies, path, separator) if clones else b"")
    head = Head(b"www", 80, request.path, b"JSESSIONID", 0, separator)
    again = ReplayedRequest(
        process.decider, process.view, b"www", 80, head.path, head.cookies(session, clones)
    )
    # one too short for a cache id keeps what is written in front of it, and is a session of its own all the same
    kept = session if not session or len(session) >= 8 else b"0000" + session
    assert read_affinity(again) == (kept, clones)
    assert again.match() == request.match()

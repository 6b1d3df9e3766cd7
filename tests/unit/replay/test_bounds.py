"""Logs that nobody writes in earnest: each ends with a result, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest

from tests.support.plugin_log import PluginLog, Replayed, replay_path
from tests.support.simulated import TWO, Simulated, read_xml, simulated
from wsproxy.errors import StartError
from wsproxy.logs.messages import Code, read_fields
from wsproxy.logs.plugin_reader import MOST_LINE, Reading, read_plain
from wsproxy.logs.words import time_text
from wsproxy.replay.replay import MOST_CHECKS, MOST_TRIES
from wsproxy.replay.summary import MOST_NAMES, MOST_POINTS, OTHERS, Summary
from wsproxy.replay.world import World

# Fields of one message that a live request may have (MAX_FIELDS of _fast.http.fields).
MOST_COOKIES = 300
# Processes whose state is kept (MOST_PROCESSES of _fast.logs.follow).
MOST_PROCESSES = 512

Write = Callable[[PluginLog], Path]


@pytest.fixture
def log() -> PluginLog:
    return PluginLog()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(log: PluginLog) -> Path:
        path = tmp_path / "http_plugin.log"
        path.write_text(log.text())
        return path

    return written


def simple(log: PluginLog, stamp: str) -> None:
    """A request for ``TWO``, at that moment."""
    made = PluginLog()
    made.write(Code.BEGIN)
    made.write(Code.REQUEST_IS, host="www:80", uri="/a/x")
    made.write(
        Code.GROUP, group="c", score=4, exact=0, cookie="JSESSIONID", url="jsessionid"
    )  # fmt: skip
    made.write(Code.PICKED, server="s1", weight=1)
    made.write(Code.STATUS_LINE, minor=1, status=200, reason="OK")
    made.write(Code.END)
    log.lines += [stamp + line[line.index("]") + 1 :] for line in made.lines]


def of_dates(log: PluginLog, write: Write, *dates: str) -> tuple[Replayed, Simulated]:
    for date in dates:
        simple(log, f"[{date}]")
    path = write(log)
    return replay_path(path, World(read_xml(TWO))), simulated(path)


@pytest.mark.parametrize("what", ["cookies", "values"])
def test_more_cookie_fields_than_a_request_may_have(
    log: PluginLog, write: Write, what: str
) -> None:
    """The rest is left out; the ids of sessions were part of the error once."""
    log.routed("/shop/a")
    for _ in range(MOST_COOKIES + 10 if what == "values" else 1):
        log.write(Code.PARSING, value="0000session:k1")
    log.named("n_s1")
    log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
    for _ in range(MOST_COOKIES + 10 if what == "cookies" else 1):
        log.write(Code.COOKIE, value="JSESSIONID=0000session:k1")
    log.write(Code.STATUS_LINE, minor=1, status=200, reason="x")
    log.write(Code.END)
    path = write(log)
    assert replay_path(path).only().server == "n_s1"
    assert simulated(path).result.requests == 1


def test_logs_of_different_years_have_a_timeline_of_few_steps(log: PluginLog, write: Write) -> None:
    """It had one step for each second between them: gigabytes of zeros."""
    dates = ("Wed Oct 03 22:18:41 2026", "Sun Oct 03 22:18:41 1971", "Fri Oct 03 22:18:41 9998")
    found, result = of_dates(log, write, *dates)
    assert found.replay.summary.requests == 3
    for side in (result.before, result.after):
        timeline = side.timeline
        assert [sum(timeline.requests[name]) for name in ("s1", "s2")] == [
            each.requests for each in side.servers
        ]
        assert all(len(row) <= MOST_POINTS for row in timeline.requests.values())


def test_the_last_second_of_all_dates(log: PluginLog, write: Write) -> None:
    found, result = of_dates(log, write, "Fri Dec 31 23:59:60 9999")
    assert found.only().time == "9999-12-31T23:59:59.999999"
    assert result.result.last == "9999-12-31T23:59:59.999999"
    assert time_text(10**20) == "9999-12-31T23:59:59.999999"


def test_a_pace_with_which_the_log_would_never_end(log: PluginLog, write: Write) -> None:
    for date in ("Wed Oct 03 22:18:41 2012", "Sat Oct 03 22:18:41 2026"):
        simple(log, f"[{date}]")
    with pytest.raises(StartError, match=r"--rate: found x1e-06; allowed is"):
        simulated(write(log), rate="x0.000001")


def test_lines_of_counters_alone_are_a_request_each(log: PluginLog, write: Write) -> None:
    """LogLevel Stats: they were all one request for each thread, which kept them all."""
    for at in range(1, 101):
        log.counters("n_s1", 0, 0, at, tid=at % 3)
    found = replay_path(write(log))
    assert len(found.outcomes) == 100
    assert found.others() == []
    assert found.replay.summary.servers()["n_s1"].requests == 100


def test_a_failed_try_and_the_next_one_are_one_request_of_stats(
    log: PluginLog, write: Write
) -> None:
    log.counters("n_s1", 1, 0, 0)
    log.write(Code.FAILED_TRY, server="n_s1", host="h1")
    log.counters("n_s2", 0, 0, 1)
    request = replay_path(write(log)).only()
    assert (request.server, request.failures) == ("n_s2", 1)


def test_a_request_that_fails_for_ever_keeps_some_of_it(log: PluginLog, write: Write) -> None:
    log.routed("/shop/a")
    for _ in range(MOST_CHECKS + MOST_TRIES):
        log.failed("n_s1", "h1")
    request = replay_path(write(log)).only()
    assert len(request.checks) == MOST_CHECKS
    assert request.result == "differs"
    assert simulated(write(log)).before.failed_tries <= MOST_TRIES


def test_more_processes_than_are_kept(log: PluginLog, write: Write) -> None:
    """Each has shared memory of its own, and httpd runs thousands of them in a week."""
    for pid in range(1, MOST_PROCESSES + 20):
        log.pid = pid
        log.simple()
    found = replay_path(write(log))
    assert found.replay.summary.processes == MOST_PROCESSES + 19
    assert len(found.replay.processes) <= MOST_PROCESSES
    assert found.replay.summary.results["same"] == len(found.outcomes) == MOST_PROCESSES + 19


def test_requests_of_forgotten_processes_are_judged(log: PluginLog, write: Write) -> None:
    for pid in range(1, MOST_PROCESSES + 20):
        log.pid = pid
        log.routed("/shop/a")
    found = replay_path(write(log))
    assert len(found.outcomes) == MOST_PROCESSES + 19
    assert len(found.replay.processes) <= MOST_PROCESSES


def test_a_header_field_cannot_say_whose_log_it_is(log: PluginLog, write: Write) -> None:
    log.routed("/shop/a")
    log.raw("DETAIL", "   Webserver: wsproxy")
    log.raw("DETAIL", "   Plugins loaded.")
    found = replay_path(write(log))
    assert (found.replay.shared, found.replay.has_start) == (None, False)


def test_a_log_that_names_thousands_of_servers() -> None:
    summary = Summary()
    for at in range(MOST_NAMES + 100):
        summary.count_mark(at * 1_000_000, f"s{at}")
    assert len(summary.servers()) == MOST_NAMES + 1
    assert summary.servers()[OTHERS].marks == 100


def test_a_uri_of_pieces_of_the_message_takes_no_time() -> None:
    """A client may write it; all ways to divide it took seconds."""
    begin = "ws_common: websphereUriMatch: "
    text = f"{begin}Found a match '" + "' to '" * 230 + "' in UriGroup: " * 80 + " with score " * 90
    began = process_time()
    for _ in range(20):
        assert read_fields(Code.URI_MATCH, text.encode()[:4000], len(begin)) is None
    assert process_time() - began < 2.0


def test_tolerated_texts_end_where_what_follows_stands_first() -> None:
    text = b"Found a match '/a'*' to '/a'b' in UriGroup: u's with score 7, exact match 6"
    assert read_fields(Code.URI_MATCH, text, 0) == (b"/a'*", b"/a'b", b"u's", 7, 6)


def test_a_line_without_end_of_an_access_log_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"x" * (3 * MOST_LINE + 7) + b"\nlast")
    reading = Reading()
    lines = [line for rows in read_plain([str(path)], reading) for line in rows]
    assert max(len(text) for _, text in lines) <= 2 * MOST_LINE
    assert sum(len(text) for _, text in lines) == 3 * MOST_LINE + 11
    assert lines[-1] == (len(lines), b"last")

"""Access logs as a source of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.plugin_log import make_world
from wsproxy.logs.access_reader import AccessRecord, read_record
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.outcome import RequestOutcome
from wsproxy.replay.replay import Replay

LOG = Path(__file__).parents[3].parent / "shared" / "corpus" / "logs" / "14.log"
COMMON = b'10.0.0.1 - joe [13/Jun/2015:10:32:04 -0400] "GET /shop/a?x=1 HTTP/1.1" 200 66497'
COMBINED = COMMON + b' "http://h/" "Mozilla/5.0 (a \\"b\\")"'


def outcome(line: bytes, log_format: str = "common") -> RequestOutcome:
    record = read_record(1, line, log_format)
    assert record
    outcomes: list[RequestOutcome] = []
    replay = Replay(make_world(), Reading(), outcomes.append, only_other=False)
    replay.take_access(record, b"www.example.com", 443)
    assert len(outcomes) == 1
    return outcomes[0]


def test_common_and_combined_are_read() -> None:
    for line, log_format in ((COMMON, "common"), (COMBINED, "combined"), (COMBINED, "common")):
        record = read_record(3, line, log_format)
        assert record
        assert (record.method, record.target, record.status) == (b"GET", b"/shop/a?x=1", 200)
        assert record.time_us == 1434191524_000000
    assert read_record(1, COMMON, "combined") is None


@pytest.mark.parametrize(
    "line",
    [b"", b"x", COMMON.replace(b"GET ", b""), COMMON.replace(b"13/Jun", b"31/Jun"), COMMON.replace(b"/shop", b"http://x/shop")],
)  # fmt: skip
def test_what_is_no_request_is_told(line: bytes) -> None:
    assert read_record(1, line, "common") is None


def test_virtual_host_before_the_client_is_the_requests() -> None:
    record = read_record(1, b"www.a.example:443 " + COMMON, "common")
    assert record
    assert record.vhost == b"www.a.example:443"


def test_session_and_server_are_found_behind_the_request() -> None:
    line = COMMON.replace(b"x=1", b"WAS=evil:1") + b' JSESSIONID="0000a:k1" WAS=h1:9443'
    record = read_record(1, line, "common")
    assert record
    assert (record.session, record.server) == (b"0000a:k1", b"h1:9443")
    absent = read_record(1, COMMON + b" JSESSIONID=- WAS=-", "common")
    assert absent
    assert (absent.session, absent.server) == (b"", b"")


def test_what_the_client_sent_with_it_is_neither_session_nor_server() -> None:
    """Referer and User-Agent of a combined line may say what they like."""
    line = COMMON + b' "JSESSIONID=evil:k1" "WAS=evil:1" WAS=h1:9443 JSESSIONID=0000***:k1'
    record = read_record(1, line, "combined")
    assert record
    assert (record.session, record.server) == (b"0000***:k1", b"h1:9443")


def test_what_was_escaped_is_read_as_it_came() -> None:
    line = COMMON.replace(b"x=1", rb"\\x=\"1\xfc\t")
    record = read_record(1, line, "common")
    assert record
    assert record.target == b'/shop/a?\\x="1\xfc\t'


@pytest.mark.parametrize(
    ("shown", "session"),
    [
        (rb"JSESSIONID=\"0000***:k1\"", b"0000***:k1"),
        (rb'JSESSIONID="\"0000***:k1\""', b"0000***:k1"),
        (rb"JSESSIONID=0000***:k\xff1", b"0000***:k\xff1"),
        (rb"JSESSIONID=\"", b'"'),
    ],
)
def test_escapes_of_the_session_are_read_back(shown: bytes, session: bytes) -> None:
    """A quoted cookie is written as it came, and its quotes are no part of a clone id."""
    record = read_record(1, COMMON + b" " + shown + b" WAS=h1:1", "common")
    assert record
    assert record.session == session


@pytest.mark.parametrize(
    ("rest", "duration_us"),
    [
        (b"", -1), (b" D=1500", 1500), (b' D="1500" WAS=h1:1', 1500), (b" D=- x", -1), (b" 1500", -1),
        (b' "http://h/?D=7" "a D=7;"', -1), (b" WAS=h1:1 D=0", 0),
    ],
)  # fmt: skip
def test_how_long_it_took_is_told_by_name(rest: bytes, duration_us: int) -> None:
    record = read_record(1, COMMON + rest, "common")
    assert record
    assert record.duration_us == duration_us


def test_request_that_went_where_its_session_is_is_the_same() -> None:
    found = outcome(COMMON + b' JSESSIONID="0000a:k1" WAS=h1:9443')
    assert (found.result, found.server, found.by_affinity, found.group) == (
        "same",
        "n_s1",
        True,
        "shop",
    )


def test_request_that_went_elsewhere_differs() -> None:
    found = outcome(COMMON + b' JSESSIONID="0000a:k1" WAS=h2:9443')
    assert [(check.what, check.logged, check.ours) for check in found.checks if check.result == "differs"] == [
        ("server", "n_s2", "n_s1")
    ]  # fmt: skip


def test_server_that_no_transport_names_differs() -> None:
    found = outcome(COMMON + b" WAS=h9:9443")
    assert found.checks[0].note == "no server of the cluster has this Transport"
    assert found.result == "differs"


def test_without_server_nothing_can_be_said() -> None:
    found = outcome(COMMON + b' JSESSIONID="0000a:k1"')
    (check,) = (check for check in found.checks if check.result == "undecided")
    assert (check.what, check.ours) == ("server", "n_s1")
    assert "WAS=%{WAS}e" in check.note


@pytest.mark.skipif(not LOG.exists(), reason=f"no corpus at {LOG}")
def test_log_of_the_corpus_is_read() -> None:
    for number, line in enumerate(LOG.read_bytes().splitlines()):
        if line:
            record = read_record(number, line, "common")
            assert record
            assert record.session == b"00006zV1pGhZFY7Gg2P1nzrkjyd:19670enb4"


JSON = (
    b'{"time":"2015-06-13T14:32:04.250Z","id":"00001e8e-00000001","client":"10.0.0.1","host":"www.example.com","port":443,'
    b'"request":"GET /shop/a?x=\\u00e9 HTTP/1.1","method":"GET","path":"/shop/a","query":"?x=\\u00e9","protocol":"HTTP/1.1",'
    b'"status":200,"body_bytes":5,"duration_us":1840,"server":"10.0.0.2:9080","connection":"kept","jsessionid":"0000***:k1",'
    b'"referer":null,"user_agent":null,"one_that_comes_later":{"a":1}}'
)


@pytest.mark.parametrize(("text", "size"), [(b"1234", 1234), (b"0", 0), (b"-", 0)])
def test_size_of_an_answer_is_read(text: bytes, size: int) -> None:
    line = b'10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 ' + text
    record = read_record(1, line, "common")
    assert record is not None
    assert record.size == size
    assert read_record(1, JSON.replace(b'"body_bytes":5,', b""), "json").size == -1  # type: ignore[union-attr]


def test_lines_of_json_are_read() -> None:
    """With the VirtualHost's host and port; names that a later release adds are no hindrance."""
    record = read_record(3, JSON, "json")
    assert record == AccessRecord(
        3, 1434205924_250000, b"www.example.com:443", b"GET", b"/shop/a?x=\xe9", 200, b"0000***:k1",
        b"10.0.0.2:9080", 1840, 5,
    )  # fmt: skip
    nobody = read_record(1, JSON.replace(b'"10.0.0.2:9080"', b"null"), "json")
    assert nobody
    assert nobody.server == b""


@pytest.mark.parametrize(
    "line",
    [
        COMMON,
        b"{}",
        b"",
        JSON[:-1],
        JSON.replace(b'"GET /shop', b'"garbage'),
        JSON.replace(b'"GET /shop/a?x=\\u00e9 HTTP/1.1"', b"null"),
        JSON.replace(b'"status":200', b'"status":"200"'),
        JSON.replace(b'"2015-', b'"x'),
        JSON.replace(b"\\u00e9", b"\\u20ac"),
    ],
)
def test_what_is_no_line_of_json_is_none(line: bytes) -> None:
    assert read_record(1, line, "json") is None


def test_lines_of_json_are_replayed() -> None:
    record = read_record(1, JSON, "json")
    assert record
    outcomes: list[RequestOutcome] = []
    replay = Replay(make_world(), Reading(), outcomes.append, only_other=False)
    replay.take_access(record, b"", 0)
    [found] = outcomes
    assert (found.host, found.port, found.status) == ("www.example.com", 443, 200)

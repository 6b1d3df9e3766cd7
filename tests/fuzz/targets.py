"""
What the fuzzer feeds: a function of bytes for each reader of bytes that strangers write.

Driven by ``tests.fuzz.child`` with what libFuzzer makes up, and by ``test_replay`` with what is kept. A target returns where
all is well; anything that it raises is a finding. It checks what must hold for every input, not only that nothing crashes:
compiled reader and oracle agree, cuts do not matter, what is written reads back as the same. Each is a pure function of its
bytes (also the cuts and options that it tries are taken from them), so that a finding can be repeated.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.oracles import http_head, log_lines, rewrite
from tests.support.oracles import mask as mask_oracle
from tests.support.oracles.chunked import parse_chunked
from tests.support.oracles.clone_ids import find_clone_ids
from tests.support.oracles.errors import HeadError, RefusedError
from tests.support.oracles.trailers import passed
from tests.support.verdicts import Verdict, by_oracle, compiled
from wsproxy._fast.decide.affinity import read_clone_ids
from wsproxy._fast.decide.edits import rewrite_request, rewrite_response
from wsproxy._fast.http.chunked import read_chunks
from wsproxy._fast.http.head import has_head_end, read_request, read_response
from wsproxy._fast.http.trailers import relay_chunks
from wsproxy._fast.logs.lines import LineScanner, read_lines
from wsproxy._fast.tell.mask import SessionNames, mask
from wsproxy._fast.tell.readable import escape, unescape
from wsproxy._fast.tell.told import mask_head
from wsproxy.config.fmt import format_config
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError
from wsproxy.logs.messages import wanted
from wsproxy.logs.plugin_reader import Reading, Unwrapper
from wsproxy.replay.outcome import RequestOutcome
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World
from wsproxy.routing.table import build_route_table

PEER = b"192.0.2.1"
LOCAL_HOSTS = (b"127.0.0.1", b"::1")
PORT = 443
PRIVATE = 8  # FIELD_PRIVATE in fields.pxd
HOP_BY_HOP = (5, 12, 13)  # FIELD_HOP_BY_HOP, FIELD_TE, FIELD_TRAILER
ADDED_ROOM = 1024  # ADDED in rewrite.pyx
CONSTANT_ROOM = 200  # more than rewrite.constant_lines gives for PEER
CUTS = 3
# read_clone_ids looks at this many, MAX_CLONE_IDS in affinity.pxd
MOST_CLONE_IDS = 64
MOST_COOKIE_FIELDS = 300


class Choices:
    """Numbers that follow from the data, so that the same data is always tried in the same way."""

    def __init__(self, data: bytes) -> None:
        self.state = zlib.crc32(data)

    def below(self, end: int) -> int:
        """A number from 0 to ``end - 1``; a linear congruence, quicker than random.Random."""
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % end

    def flag(self) -> bool:
        return self.below(2) == 1


def check_same(found: object, expected: object, what: str) -> None:
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"


def check_prefixes(
    read: Callable[[bytes], dict[str, Any] | int], data: bytes, whole: Verdict, choices: Choices
) -> None:
    """A part is waited for or judged as the whole; the end is found by whoever looks twice as by whoever looks once."""
    end_of_head = has_head_end(data)
    for _ in range(CUTS):
        cut = choices.below(len(data) + 1)
        part = compiled(read(data[:cut]))
        assert part is None or part == whole, f"cut at {cut}: {part!r}, whole: {whole!r}"
        first = has_head_end(data[:cut])
        assert first in (0, end_of_head), (cut, first, end_of_head)
        if first == 0:
            check_same(has_head_end(data, cut), end_of_head, f"second look from {cut}")
    if isinstance(whole, dict):
        size = whole["size"]
        assert 0 < size <= len(data)
        check_same(data[size - 4 : size], b"\r\n\r\n", "end of the head")
        check_same((has_head_end(data[:size]), has_head_end(data[: size - 1])), (1, 0), "its end")
        check_same(compiled(read(data[:size])), whole, "head alone")
    else:
        # an end was seen: the parser must not wait for more, and where it waits there is none
        assert (whole is None) <= (end_of_head == 0), (whole, end_of_head)


def request_head(data: bytes) -> None:
    """Request heads: read as the oracle reads them, and written so that they read back as the same request."""
    choices = Choices(data)
    whole = compiled(read_request(data))
    check_same(whole, by_oracle(http_head.parse_request, data), "request")
    check_prefixes(read_request, data, whole, choices)
    limits: dict[str, Any] = {
        "head_bytes": choices.below(len(data) + 2),
        "target_bytes": choices.below(40),
        "header_fields": choices.below(6),
    }
    small = compiled(read_request(data, **limits))
    check_same(small, by_oracle(http_head.parse_request, data, **limits), f"with {limits}")
    limits = {"trace": True, "refuse_ambiguous": choices.flag()}
    other = compiled(read_request(data, **limits))
    check_same(other, by_oracle(http_head.parse_request, data, **limits), f"with {limits}")
    if isinstance(whole, dict):
        check_rewritten_request(data, whole, choices)


def check_rewritten_request(data: bytes, before: dict[str, Any], choices: Choices) -> None:
    local_host = LOCAL_HOSTS[choices.below(2)]
    keep_private, failover = choices.flag(), choices.flag()
    host = len(before["host"] or local_host)
    room = before["size"] + len(before["authority"]) + 2 * host + CONSTANT_ROOM + ADDED_ROOM
    written = rewrite_request(
        data,
        peer=PEER,
        local_host=local_host,
        port=PORT,
        keep_private=keep_private,
        failover=failover,
        capacity=room,
    )
    assert isinstance(written, bytes), written
    expected = rewrite.request(
        data,
        peer=PEER,
        local_host=local_host,
        port=PORT,
        keep_private=keep_private,
        failover=failover,
    )
    check_same(written, expected, "written request")
    # with the private fields that we add there may be more than the 300 that we read; that limit is for clients
    after = read_request(written, head_bytes=1 << 30, target_bytes=1 << 30)
    if after == -HeadError.TOO_MANY_FIELDS:
        assert len(before["fields"]) > 280
        return
    assert isinstance(after, dict), after
    for name in ("method", "target", "path_len", "content_length", "chunked"):
        check_same(after[name], before[name], name)
    check_same(after["size"], len(written), "bytes written")
    assert not after["upgrade"]
    check_same(after["host"], before["host"] or local_host, "host")
    assert not any(kind in HOP_BY_HOP for _, _, kind, _ in after["fields"]), "hop-by-hop field"
    if not keep_private:
        private = [value for _, value, kind, _ in after["fields"] if kind == PRIVATE]
        own = [b"false", b"http", PEER, PEER, b"HTTP/1.%d" % before["minor"], after["host"]]
        own += [b"%d" % PORT, b"-1", *([b"true"] if failover else [])]
        check_same(private, own, "private fields")


def response_head(data: bytes) -> None:
    """Response heads: as request heads."""
    choices = Choices(data)
    whole = compiled(read_response(data))
    check_same(whole, by_oracle(http_head.parse_response, data), "response")
    check_prefixes(read_response, data, whole, choices)
    limits = {"head_bytes": choices.below(len(data) + 2), "header_fields": choices.below(6)}
    small = compiled(read_response(data, **limits))
    check_same(small, by_oracle(http_head.parse_response, data, **limits), f"with {limits}")
    if isinstance(whole, dict):
        check_rewritten_response(data, whole, choices)


def check_rewritten_response(data: bytes, before: dict[str, Any], choices: Choices) -> None:
    flags: dict[str, Any] = {
        name: choices.flag() for name in ("close", "say_keep_alive", "drop_length", "drop_chunked")
    }
    written = rewrite_response(data, capacity=before["size"] + ADDED_ROOM, **flags)
    assert isinstance(written, bytes), written
    check_same(written, rewrite.response(data, **flags), f"written with {flags}")
    after = read_response(written, head_bytes=1 << 30)
    if after == -HeadError.TOO_MANY_FIELDS:
        assert len(before["fields"]) > 280
        return
    assert isinstance(after, dict), after
    check_same(after["size"], len(written), "bytes written")
    check_same(after["status"], before["status"], "status")
    length = -1 if flags["drop_length"] else before["content_length"]
    check_same(after["content_length"], length, "length")
    check_same(after["chunked"], before["chunked"] and not flags["drop_chunked"], "chunked")
    assert not any(kind == PRIVATE for _, _, kind, _ in after["fields"]), "private field"
    assert after["keep_alive"] or flags["close"]


def chunks(pieces: list[bytes]) -> tuple[tuple[bytes, int, bool] | HeadError, bytes]:
    """What these pieces came to, and what of them goes on."""
    try:
        payload, consumed, done, forwarded = read_chunks(pieces)
    except ValueError as error:
        return HeadError(error.args[0]), b""
    return (payload, consumed, done), forwarded


def cut(data: bytes, choices: Choices, most: int) -> Iterator[bytes]:
    """``data`` in pieces of 0 to ``most`` bytes."""
    at = 0
    while at < len(data):
        length = choices.below(most + 1)
        yield data[at : at + length]
        at += length


def chunked(data: bytes) -> None:
    """Chunked bodies: as the oracle reads them, whatever the pieces; what goes on is the same body."""
    choices = Choices(data)
    whole, forwarded = chunks([data])
    try:
        body = parse_chunked(data)
        expected: tuple[bytes, int, bool] | HeadError = (body.payload, body.consumed, body.done)
    except RefusedError as error:
        expected = error.reason
    check_same(whole, expected, "body")
    # byte by byte only what is short: pieces are what takes the time here
    for most in (1 if len(data) <= 64 else 16, 1 + choices.below(len(data) + 1)):
        again, forwarded_again = chunks(list(cut(data, choices, most)))
        check_same(again, whole, f"in pieces of {most}")
        if isinstance(whole, tuple):
            check_same(forwarded_again, forwarded, f"forwarded of pieces of {most}")
    if isinstance(whole, tuple):
        payload, consumed, done = whole
        assert len(payload) + (5 if done else 0) <= consumed <= len(data)
        assert len(forwarded) <= consumed
        check_same(data[: len(forwarded)], forwarded, "forwarded is what came")
        check_trailers(data, consumed, done, choices)
        if done:
            # without trailers, and with the empty line that the proxy writes: the same body, and nothing after it
            check_same(
                chunks([forwarded + b"\r\n"])[0], (payload, len(forwarded) + 2, True), "sent"
            )
        else:
            rest = chunks([forwarded])[0]
            assert isinstance(rest, tuple), rest
            check_same(rest[0], payload, "payload of what is sent so far")


def check_trailers(data: bytes, consumed: int, done: bool, choices: Choices) -> None:
    """What goes on with its trailers, whole and in pieces: the oracle's, and nothing that belongs into a head."""
    for passes in (True, False):
        expected = passed(data[:consumed], passes=passes) if done else None
        for pieces in ([data], list(cut(data, choices, 1 + choices.below(len(data) + 1)))):
            sent, used, is_done = relay_chunks(pieces, passes)
            check_same((used, is_done), (consumed, done), "relayed")
            if expected is not None:
                check_same(sent, expected, f"sent with passes={passes}")


COOKIE_NAMES = (b"JSESSIONID", b"J", b"SSLJSESSION", b"a-b_c")
URL_NAMES = (b"jsessionid", b"j", b"JSESSIONID", b"x")


def clone_ids(data: bytes) -> None:
    """
    Clone ids of cookies and paths.

    The first byte says which names and separator are configured, the last line is the path, the others are Cookie fields.
    """
    options = data[0] if data else 0
    *cookies, path = data[1:].split(b"\n")
    cookies = cookies[:MOST_COOKIE_FIELDS]
    separator = b"+" if options & 1 else b":"
    name, url_id = COOKIE_NAMES[options >> 1 & 3], URL_NAMES[options >> 3 & 3]
    found = read_clone_ids(cookies, path, name, url_id, separator)
    check_same(found, find_clone_ids(cookies, path, name, url_id, separator), "clone ids")
    assert len(found) <= MOST_CLONE_IDS
    for clone_id in found:
        assert clone_id, "an empty clone id"
        assert separator not in clone_id, clone_id
        assert any(clone_id in text for text in (*cookies, path)), f"{clone_id!r} was made up"
    if len(found) < MOST_CLONE_IDS:
        each = [read_clone_ids([text], b"", name, url_id, separator) for text in cookies]
        if b"SSLJSESSION" not in data:  # its ids come before those of all fields
            apart = [one for ids in each for one in ids]
            apart += read_clone_ids([], path, name, url_id, separator)
            check_same(found, apart, "field by field")


def plugin_cfg(data: bytes) -> None:
    """plugin-cfg.xml: a configuration that routes, or a refusal that says why and where, and nothing else."""
    lines = data.count(b"\n") + 1
    try:
        loaded = parse_config(data, "f")
    except ConfigRefusedError as refused:
        problems = refused.problems
        assert any(problem.severity == "error" for problem in problems), "refused without an error"
        text = str(refused)
        assert text.replace("\n", " ").isprintable(), text
    else:
        problems = loaded.problems
        assert all(problem.severity == "warning" for problem in problems), problems
        repr(loaded.config)  # what a traceback would show
        compiled = build_route_table(loaded.config)
        for path in (b"/", b"/snoop/x;jsessionid=0000a:c1", b"//%2e"):
            match = compiled.table.match_path(b"localhost", 9080, path)
            assert match is None or 0 <= match.route < len(compiled.routes), match
        canonical = format_config(data, "f")
        assert format_config(canonical.encode(), "f") == canonical, canonical
        written = write_config(loaded.config)
        assert parse_config(written.encode(), "f").config == loaded.config, written
    in_utf_16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data
    for problem in problems:
        assert str(problem).isprintable(), problem
        assert 0 <= problem.line <= lines or in_utf_16, (problem, lines)


LOG_CONFIG = (
    b'<Config><VirtualHostGroup Name="default_host"><VirtualHost Name="*:443"/></VirtualHostGroup>'
    b'<ServerCluster Name="c"><Server Name="s1" CloneID="k1" MaxConnections="2"><Transport Hostname="h1" Port="9080"/></Server>'
    b'<Server Name="s2" CloneID="k2"><Transport Hostname="h2" Port="9080"/></Server></ServerCluster>'
    b'<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup>'
    b'<Route VirtualHostGroup="default_host" UriGroup="u" ServerCluster="c"/></Config>'
)


@functools.cache
def log_world() -> World:
    return World(parse_config(LOG_CONFIG, "f").config)


def plugin_log(data: bytes) -> None:
    """
    http_plugin.log: lines as the oracle reads them, whatever the blocks; each is accounted for; any of them can be replayed.

    Checks of a replay name lines that exist, and every one of them is the same, different or undecided with a reason.
    """
    choices = Choices(data)
    found = [
        (line.number, (line.time_us, line.pid, line.tid, line.level, line.text))
        for line in read_lines(data, wanted())
    ]
    check_same(found, log_lines.read_lines(data), "lines")
    scanner = LineScanner(wanted(), wanted_only=True)
    unwrapper = Unwrapper(scanner)
    outcomes: list[RequestOutcome] = []
    replay = Replay(log_world(), Reading(), outcomes.append, only_other=False)
    for piece in cut(data, choices, 1 + choices.below(len(data) + 1)):
        replay.take(unwrapper.feed(scanner.feed(piece)))
    replay.take(unwrapper.feed(scanner.end()) + unwrapper.end())
    replay.end()
    newlines = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    check_same(scanner.lines, newlines, "number of lines")
    counted = scanner.records + scanner.foreign + scanner.blank - scanner.glued
    check_same(counted, newlines, "records, foreign and blank lines")
    for outcome in outcomes:
        assert 0 < outcome.lines[0] <= outcome.lines[1] <= newlines, outcome
        assert outcome.checks, outcome
        for check in outcome.checks:
            assert 0 <= check.line <= newlines, check
            assert (check.result == "same") <= (check.logged == check.ours or check.note != ""), (
                check
            )
            assert check.result != "undecided" or check.note, check


MASKED_COOKIES, MASKED_PARAMS = frozenset((b"JSESSIONID", b"Sid")), frozenset((b"wsid",))
SESSION_NAMES = SessionNames(MASKED_COOKIES, MASKED_PARAMS)


def told(data: bytes) -> None:
    """
    What logs tell of a head: the oracle's, in the access log and in http_plugin.log, and that reads back.

    The first byte says whether sessions are shown, and the separator.
    """
    options = data[0] if data else 0
    head = data[1:]
    shows, separator = bool(options & 1), b"+" if options & 2 else b":"
    masker = mask_oracle.Masker(
        MASKED_COOKIES, MASKED_PARAMS, mask_oracle.plain, separator, shows, not shows
    )
    line = mask_head(head, SESSION_NAMES, separator, shows_sessions=shows)
    check_same(line, masker.head(head), "head")
    written = escape(line.decode("utf-8", "surrogateescape"))
    check_same(written.encode(), mask_oracle.readable(line), "line")
    assert all(c >= " " and c != "\x7f" for c in written), written
    check_same(unescape(written.encode()), line, "read back")
    masker = mask_oracle.Masker(MASKED_COOKIES, MASKED_PARAMS, shows_sessions=shows)
    for value in head.split(b"\r\n")[:50]:
        request_line = mask(value, "request_line", SESSION_NAMES, shows_sessions=shows)
        check_same(request_line, masker.request_line(value), "request line")
        name, _, rest = value.partition(b": ")
        if name.isascii():
            field = mask(rest, name.decode(), SESSION_NAMES, shows_sessions=shows)
            if name.decode() not in ("address", "query", "request_line", "session"):
                check_same(field, masker.field(name, rest), "field")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "told": told,
    "request_head": request_head,
    "response_head": response_head,
    "chunked": chunked,
    "clone_ids": clone_ids,
    "plugin_cfg": plugin_cfg,
    "plugin_log": plugin_log,
}
# Readers that the fuzzer is to have and that are not written yet -> what to wait for. With a reader comes its target here.
MISSING: dict[str, str] = {}

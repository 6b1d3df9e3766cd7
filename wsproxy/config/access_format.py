"""
The format of the access log: a part of Apache's LogFormat -> what ``_fast.tell.access_line`` writes.

Used by ``config.settings_file`` to check ``log.access_format`` and by ``process.access_log``. Pure. What httpd would write and
wsproxy does not know is refused, not left out: a column that is missing moves all behind it.
"""

from __future__ import annotations

import re

from wsproxy._fast.tell.access_parts import MOST_ITEMS, MOST_LATE, Item

COMMON = '%h %l %u %t "%r" %>s %b'
COMBINED = COMMON + ' "%{Referer}i" "%{User-Agent}i"'
# combined, and behind it what takes part in replays and joins the logs. Readers of combined ignore what follows.
DEFAULT = COMBINED + " D=%D WAS=%{WAS}e JSESSIONID=%{JSESSIONID}C id=%L"
NAMED = {"common": COMMON, "combined": COMBINED}
JSON = "json"
# Of a line of JSON, in their order. docs/access-log.md names them; what is here stays here and means what it means.
JSON_FIELDS: tuple[tuple[str, Item, bytes], ...] = (
    ("time", Item.TIME, b""),
    ("id", Item.REQUEST_ID, b""),
    ("client", Item.ADDRESS, b""),
    ("host", Item.HOST, b""),
    ("port", Item.PORT, b""),
    ("request", Item.REQUEST_LINE, b""),
    ("method", Item.METHOD, b""),
    ("path", Item.PATH, b""),
    ("query", Item.QUERY, b""),
    ("protocol", Item.PROTOCOL, b""),
    ("status", Item.STATUS, b""),
    ("body_bytes", Item.BODY_BYTES, b""),
    ("duration_us", Item.MICROSECONDS, b""),
    ("server", Item.SERVER, b""),
    ("connection", Item.CONNECTION, b""),
    ("jsessionid", Item.COOKIE, b"JSESSIONID"),
    ("referer", Item.FIELD, b"Referer"),
    ("user_agent", Item.FIELD, b"User-Agent"),
    ("cluster", Item.CLUSTER, b""),
    ("server_name", Item.SERVER_NAME, b""),
    ("rule", Item.RULE, b""),
    ("route", Item.ROUTE, b""),
    ("tries", Item.TRIES, b""),
    ("cause", Item.CAUSE, b""),
    ("receive_us", Item.RECEIVE_TIME, b""),
    ("queue_us", Item.QUEUE_TIME, b""),
    ("connect_us", Item.CONNECT_TIME, b""),
    ("send_us", Item.SEND_TIME, b""),
    ("first_byte_us", Item.FIRST_BYTE_TIME, b""),
    ("answer_us", Item.ANSWER_TIME, b""),
)
# What only wsproxy knows: ``%{NAME}x``, by the names that JSON has.
_OWN = (
    "cluster", "server_name", "rule", "route", "tries", "cause",
    "receive_us", "queue_us", "connect_us", "send_us", "first_byte_us", "answer_us",
)  # fmt: skip

_PLAIN: dict[str, tuple[Item, bytes]] = {
    "h": (Item.ADDRESS, b""),
    "a": (Item.ADDRESS, b""),
    "A": (Item.LOCAL_ADDRESS, b""),
    "l": (Item.TEXT, b"-"),
    "u": (Item.TEXT, b"-"),
    "t": (Item.TIME, b""),
    "r": (Item.REQUEST_LINE, b""),
    "m": (Item.METHOD, b""),
    "U": (Item.PATH, b""),
    "q": (Item.QUERY, b""),
    "H": (Item.PROTOCOL, b""),
    "v": (Item.HOST, b""),
    "V": (Item.HOST, b""),
    "p": (Item.PORT, b""),
    "P": (Item.PID, b""),
    "L": (Item.REQUEST_ID, b""),
    "s": (Item.STATUS, b""),
    "b": (Item.BODY_BYTES, b"-"),
    "B": (Item.BODY_BYTES, b""),
    "O": (Item.ALL_BYTES, b""),
    "D": (Item.MICROSECONDS, b""),
    "T": (Item.SECONDS, b""),
    "X": (Item.CONNECTION, b""),
    "%": (Item.TEXT, b"%"),
}
_NAMED: dict[tuple[str, str], tuple[Item, bytes]] = {
    ("WAS", "e"): (Item.SERVER, b""),
    ("UNIQUE_ID", "e"): (Item.REQUEST_ID, b""),
    ("c", "a"): (Item.ADDRESS, b""),
    ("canonical", "p"): (Item.PORT, b""),
    ("pid", "P"): (Item.PID, b""),
    ("us", "T"): (Item.MICROSECONDS, b""),
    ("ms", "T"): (Item.MILLISECONDS, b""),
    ("s", "T"): (Item.SECONDS, b""),
    # The plug-in's environment notes, in milliseconds (PH47518).
    ("TPCN", "e"): (Item.CONNECT_TIME, b"ms"),
    ("TPSB", "e"): (Item.SEND_TIME, b"ms"),
    ("TPWR", "e"): (Item.FIRST_BYTE_TIME, b"ms"),
    ("TPRB", "e"): (Item.ANSWER_TIME, b"ms"),
    **{(name, "x"): (item, text) for name, item, text in JSON_FIELDS if name in _OWN},
}
_OF_REQUEST = {"i": Item.FIELD, "C": Item.COOKIE}
ALLOWED = (
    "common, combined, json, or text with "
    + " ".join(f"%{name}" for name in _PLAIN)
    + " "
    + " ".join(f"%{{{name}}}{letter}" for name, letter in _NAMED)
    + " %{FIELD}i %{COOKIE}C"
)

# `<` and `>`: httpd has two values where a request was redirected internally; here they are always the same.
_DIRECTIVE = re.compile(r"%([<>]?)(?:\{([^{}]*)\})?(.?)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
# httpd's own, as a format copied from httpd.conf has them.
_ESCAPES = {'"': '"', "\\": "\\", "t": "\t"}
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Parsed = list[tuple[int, bytes]]


def parse_format(text: str) -> Parsed:
    """
    The items of a format, neighbouring texts put together.

    Raises:
        ValueError: ``found X; allowed is Y`` for the first thing in it that is not known.
    """
    if text == JSON:
        return _json_items()
    text = NAMED.get(text, text)
    if _CONTROL.search(text):
        raise ValueError("found a control character; allowed is one line")
    parsed: Parsed = []
    at = 0
    for found in _DIRECTIVE.finditer(text):
        _add_text(parsed, text[at : found.start()])
        at = found.end()
        kind, name = _item(found)
        if kind is Item.TEXT:
            _add(parsed, name)
        else:
            parsed.append((int(kind), name))
    _add_text(parsed, text[at:])
    if not parsed:
        raise ValueError(f"found nothing; allowed is {ALLOWED}")
    late = sum(kind >= Item.STATUS for kind, _ in parsed)
    if len(parsed) > MOST_ITEMS:
        raise ValueError(f"found {len(parsed)} directives and texts; allowed are {MOST_ITEMS}")
    if late > MOST_LATE:
        raise ValueError(f"found {late} directives about the answer; allowed are {MOST_LATE}")
    return parsed


def _json_items() -> Parsed:
    items: Parsed = []
    for name, kind, of in JSON_FIELDS:
        items += [(int(Item.TEXT), f'{"," if items else "{"}"{name}":'.encode()), (int(kind), of)]
    return [*items, (int(Item.TEXT), b"}")]


def _item(found: re.Match[str]) -> tuple[Item, bytes]:
    original, name, letter = found.groups()
    if name is None:
        item = _PLAIN.get(letter)
        if item is not None and not (original and item[0] is Item.TEXT):
            return item
    elif letter in _OF_REQUEST:
        if _FIELD_NAME.fullmatch(name):
            return _OF_REQUEST[letter], name.encode()
    elif (name, letter) in _NAMED:
        return _NAMED[name, letter]
    raise ValueError(f'found "{found[0]}"; allowed is {ALLOWED}')


def _add_text(parsed: Parsed, text: str) -> None:
    def replaced(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise ValueError(f'found "{found[0]}"; allowed is \\" or \\\\ or \\t')
        return _ESCAPES[found[1]]

    if text:
        _add(parsed, _ESCAPE.sub(replaced, text).encode())


def _add(parsed: Parsed, text: bytes) -> None:
    if parsed and parsed[-1][0] == Item.TEXT:
        parsed[-1] = (int(Item.TEXT), parsed[-1][1] + text)
    else:
        parsed.append((int(Item.TEXT), text))

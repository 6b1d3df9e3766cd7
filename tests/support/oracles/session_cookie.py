"""
Clone lists of session cookies in whole heads, completed and taken away with split() and regular expressions.

Driven by tests/unit/_fast: a head goes in and the head comes out that must then be rewritten. Must not share code with
``wsproxy/_fast``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from tests.support.oracles.rewrite import lines_of, name_of, nominated

CRLF = b"\r\n"
Keep = Callable[[bytes], bytes]  # a value -> what the server gets of it
LONGEST_VALUE = 1024
BLANKS = b" \t"
COOKIE_OCTETS = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # RFC 6265 4.1.1
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
MAX_AGE = re.compile(rb"-?[0-9]+")


def separators(separator: bytes) -> re.Pattern[bytes]:
    """Plain or percent-encoded."""
    return re.compile(b"(" + re.escape(separator) + b"|(?i:%%%02X))" % ord(separator))


def completed(value: bytes, clone_id: bytes, separator: bytes) -> bytes:
    """The value with the clone id in its list; as it is where it has it, or where the list would become too long."""
    parts = separators(separator).split(value)
    texts, found = parts[::2], parts[1::2]
    _, point, route = texts[0].rpartition(b".")
    if clone_id in texts[1:] or (point and route == clone_id):
        return value
    link = found[-1] if found else separator
    if found and not texts[-1]:
        link = b""
    whole = value + link + clone_id
    return whole if len(whole) <= LONGEST_VALUE else value


def can_stand_in_list(clone_id: bytes, separator: bytes) -> bool:
    return bool(
        clone_id
        and COOKIE_OCTETS.fullmatch(clone_id)
        and not separators(separator).search(clone_id)
    )


def is_deletion(attributes: list[bytes]) -> bool:
    """RFC 6265 5.2.2 and 5.3: the last Max-Age that is a number."""
    ages = [
        value.strip(BLANKS)
        for key, equals, value in (each.partition(b"=") for each in attributes)
        if equals and key.strip(BLANKS).lower() == b"max-age"
    ]
    numbers = [age for age in ages if MAX_AGE.fullmatch(age)]
    return bool(numbers) and int(numbers[-1]) <= 0


def complete_line(
    line: bytes, name: bytes, clone_id: bytes, separator: bytes
) -> tuple[bytes, bool]:
    """A Set-Cookie line as it goes on, and whether it sets the cookie."""
    colon = line.index(b":") + 1
    pair, *attributes = line[colon:].split(b";")
    key, equals, text = pair.partition(b"=")
    if not equals or key.strip(BLANKS) != name:
        return line, False
    value = text.strip(BLANKS)
    quote = b""
    if value.startswith(b'"'):
        if len(value) < 2 or not value.endswith(b'"'):
            return line, True
        value, quote = value[1:-1], b'"'
    if not value or b"," in value or is_deletion(attributes):
        return line, True
    end = len(text.rstrip(BLANKS)) - len(quote)
    start = end - len(value)
    whole = text[:start] + completed(value, clone_id, separator) + text[end:]
    return line[:colon] + b";".join([key + b"=" + whole, *attributes]), True


def complete(
    head: bytes, *, name: bytes, clone_id: bytes, separator: bytes, session: bytes, secure: bool
) -> tuple[bytes, list[bytes]]:
    """The response head with every cookie of that name completed, and lines that set ``session`` where none was set."""
    first, *fields = lines_of(head)
    if not can_stand_in_list(clone_id, separator):
        return head, []
    dropped = nominated(fields)
    is_set = False
    out = [first]
    more: list[bytes] = []
    for line in fields:
        kept = line
        if name_of(line) == b"set-cookie" and b"set-cookie" not in dropped:
            kept, sets = complete_line(line, name, clone_id, separator)
            is_set = is_set or sets
        out.append(kept)
    status = int(first.split()[1])
    value = completed(session, clone_id, separator)
    if (
        not is_set
        and value != session != b""
        and status < 500
        and status != 304
        and COOKIE_OCTETS.fullmatch(session)
        and TOKEN.fullmatch(name)
    ):
        attributes = b"; Path=/; HttpOnly" + (b"; Secure" if secure else b"")
        more = [
            b"Set-Cookie: " + name + b"=" + value + attributes,
            b'Cache-Control: no-cache="Set-Cookie"',
        ]
    return CRLF.join(out) + CRLF + CRLF, more


def kept_of(
    value: bytes, separator: bytes, *, forms: bool, known: frozenset[bytes] | None
) -> bytes:
    """What a server gets; ``forms``: values of WebSphere's form stay, ``known``: so does all but these ids at the end."""
    session, *rest = separators(separator).split(value)
    if forms and re.fullmatch(rb"(?s)0[0-9]{3}[^.]{23}", session):
        return value
    if known is None:
        return session
    while rest and rest[-1] in known:
        rest = rest[:-2]
    return session + b"".join(rest)


def strip_cookies(line: bytes, name: bytes, keep: Keep) -> bytes:
    """A Cookie line with the lists of these cookies cut off; every other byte stays."""
    colon = line.index(b":") + 1
    blanks = len(line[colon:]) - len(line[colon:].lstrip(BLANKS))
    pieces = re.split(b"([;,])", line[colon + blanks :])
    pieces[::2] = [strip_pair(pair, name, keep, is_cookie=True) for pair in pieces[::2]]
    return line[: colon + blanks] + b"".join(pieces)


def strip_pair(pair: bytes, name: bytes, keep: Keep, *, is_cookie: bool) -> bytes:
    key, equals, value = pair.partition(b"=")
    if not equals or (key.strip(BLANKS) if is_cookie else key) != name:
        return pair
    before = key + equals
    after = b""
    if is_cookie:
        bare = value.lstrip(BLANKS)
        before, value = before + value[: len(value) - len(bare)], bare
        bare = value.rstrip(BLANKS)
        value, after = bare, value[len(bare) :]
        if len(value) >= 2 and value[:1] == value[-1:] == b'"':
            before, value, after = before + b'"', value[1:-1], b'"' + after
    return before + keep(value) + after


def strip(
    head: bytes,
    *,
    name: bytes,
    url_id: bytes,
    separator: bytes,
    forms: bool = False,
    known: frozenset[bytes] | None = None,
) -> bytes:
    """The request head without clone lists in cookies of that name and in the path parameters ``url_id``; see ``kept_of``."""
    keep = partial(kept_of, separator=separator, forms=forms, known=known)
    first, *fields = lines_of(head)
    method, target, version = first.split(b" ")
    scheme = re.match(rb"(?i)https?://[^/]*", target)
    prefix = scheme[0] if scheme else b""
    path, question, query = target[len(prefix) :].partition(b"?")
    segments = []
    for segment in path.split(b"/"):
        base, *params = segment.split(b";")
        stripped = (strip_pair(each, url_id, keep, is_cookie=False) for each in params)
        segments.append(b";".join([base, *stripped]))
    target = prefix + b"/".join(segments) + question + query
    dropped = nominated(fields)
    out = [b" ".join([method, target, version])]
    for line in fields:
        is_cookie = name_of(line) == b"cookie" and b"cookie" not in dropped
        out.append(strip_cookies(line, name, keep) if is_cookie else line)
    return CRLF.join(out) + CRLF + CRLF

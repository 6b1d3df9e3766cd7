"""
What ``_fast.tell.mask`` and ``_fast.tell.readable`` write, in plain Python.

Driven by tests/unit/_fast. Values are taken to pieces with regular expressions, and httpd's escapes are put upon what is told, piece
by piece. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MASKED = b"***"
_LETTERS = {0x08: b"b", 0x09: b"t", 0x0A: b"n", 0x0B: b"v", 0x0D: b"r", 0x22: b'"', 0x5C: b"\\"}
_CACHE_ID = re.compile(
    rb"00\d\d[^\n]", re.DOTALL
)  # a number that is counted up from 0 for each session
_ENCODED_SEPARATORS = {b":": (b"%3A", b"%3a"), b"+": (b"%2B", b"%2b")}
_EQUALS = rb"=|%(?:25)*3[Dd]"
_MARK = re.compile(
    rb"(?P<authority>(?::|%(?:25)*3[Aa])(?:/|%(?:25)*2[Ff]){2})|(?P<bare>(?:/|%(?:25)*2[Ff]){2})|"
    rb"(?P<semicolon>;|%3[Bb])|(?P<equals>" + _EQUALS + rb")|(?P<query>\?)|(?P<slash>/)"
)  # fmt: skip
# Up to where a value reaches, by where it stands.
_ENDS = {
    "path": re.compile(rb"(?:(?!%3[Bb])[^;/?])*"),
    "query": re.compile(rb"[^;&# ]*"),
    "text": re.compile(rb"[^;&# ,\"'<>]*"),
}
_SECRET = re.compile(
    rb"token|secret|passw|passphrase|pwd|authoriz|credential|api-?key|access-key|subscription-key|(?<![0-9a-z])auth(?![0-9a-z])"
)
_ATTRIBUTES = set(
    b"path domain expires max-age samesite version comment commenturl port priority".split()
)
_COOKIES, _SET_COOKIES = {b"cookie", b"cookie2"}, {b"set-cookie", b"set-cookie2"}
_ADDRESSES, _HIDDEN = {b"referer", b"location", b"content-location"}, {b"$wspt", b"$wssi"}


def escape(value: bytes) -> bytes:
    """As httpd does it."""
    return b"".join(
        b"\\" + _LETTERS[c] if c in _LETTERS else b"%c" % c if 0x20 <= c <= 0x7E else b"\\x%02x" % c
        for c in value
    )


def plain(value: bytes) -> bytes:
    return value


def _ends_with_secret(text: bytes) -> bool:
    """Whether the name at its end is that of a secret."""
    name = re.search(rb"(?:[0-9A-Za-z_.\[\]-]|%(?=(?:25)*5[BbDd]))*\Z", text)
    assert name is not None
    return _SECRET.search(name[0].lower().replace(b"_", b"-")) is not None


@dataclass(frozen=True)
class Masker:
    """How one log is written; ``names``: cookies and path parameters of affinity."""

    cookies: frozenset[bytes] = frozenset()
    url_ids: frozenset[bytes] = frozenset()
    put: Callable[[bytes], bytes] = escape
    separator: bytes = b""
    shows_sessions: bool = False
    cuts_queries: bool = False

    def split_session(self, value: bytes) -> tuple[bytes, bytes]:
        """What is told in place of the id, and what follows it: separator and clone ids."""
        plain_ones = (self.separator,) if self.separator else (b":", b"+")
        coded = [each for one in plain_ones for each in _ENCODED_SEPARATORS[one]]
        at = next(
            (value.index(each) for each in (*plain_ones, *coded) if each in value), len(value)
        )
        session, clones = value[:at], value[at:]
        quote = session[:1] if session.startswith(b'"') else b""
        session = session[len(quote) :]
        cache_id = session[:4] if _CACHE_ID.match(session) else b""
        return self.put(quote) + cache_id + MASKED, clones

    def session(self, value: bytes) -> bytes:
        if self.shows_sessions:
            return self.put(value)
        hidden, clones = self.split_session(value)
        return hidden + self.put(clones)

    def is_name(self, text: bytes) -> bool:
        """Whether it ends with a name of sessions, before which no other word goes on."""
        for name in {
            each.lower() for each in self.cookies | self.url_ids | {b"jsessionid"} if each
        }:
            before, found = text[: len(text) - len(name)], text[-len(name) :]
            if found.lower() == name and (
                not re.search(rb"[0-9A-Za-z]\Z", before)
                or re.search(rb"(?s)%(?:25)*.[0-9A-Za-z]\Z", before)
            ):
                return True
        return False

    def _user_end(self, text: bytes, at: int, *, is_coded: bool, place: str) -> int:
        """Where the host begins behind a user; -1: there is none."""
        stops = rb"[/?#\\ \"<>]"
        if is_coded:
            stops = rb"[/?#\\ \"<>&]|%(?:25)*2[Ff]"
        elif place == "query":
            stops = rb"[/?#\\ \"<>&]"
        stop = re.compile(stops).search(text, at)
        end = len(text) if stop is None else stop.start()
        ats = re.compile(rb"@|%(?:25)*40" if is_coded else rb"@").finditer(text, at, end)
        # an encoded one may reach over the end
        return max((found.start() for found in ats), default=-1)

    def text(self, text: bytes, place: str = "text") -> bytes:
        """``place``: path, query, or text that is in no address."""
        out = b""
        at = told = 0
        in_param = False
        while (mark := _MARK.search(text, at)) is not None:
            at = mark.end()
            if mark["bare"] and place == "path":
                at = mark.start() + 1
                if mark[0].startswith(b"/") and not self.shows_sessions:
                    in_param = False
                continue
            if mark["authority"] or mark["bare"]:
                user_end = self._user_end(text, at, is_coded=len(mark[0]) > 3, place=place)
                if user_end >= 0:
                    out += self.put(text[told:at]) + MASKED
                    at = told = user_end
                continue
            if self.shows_sessions:
                continue
            if mark["query"]:
                place, in_param = ("query" if place == "path" else place), False
            elif mark["slash"]:
                in_param = False
            elif mark["semicolon"] and place == "path":
                in_param = True
            elif mark["equals"] and (in_param or self.is_name(text[: mark.start()])):
                value = _ENDS[place].match(text, at)
                assert value is not None
                hidden, clones = self.split_session(value[0])
                out += self.put(text[told:at]) + hidden
                at = told = value.end() - len(clones)
                in_param = False
            elif mark["equals"] and place != "path" and _ends_with_secret(text[: mark.start()]):
                value = _ENDS[place].match(text, at)
                assert value is not None
                out += self.put(text[told:at]) + MASKED
                at = told = value.end()
        return out + self.put(text[told:])

    def address(self, value: bytes) -> bytes:
        if self.cuts_queries:
            value = value.partition(b"?")[0]
        return self.text(value, "path")

    def request_line(self, value: bytes) -> bytes:
        method, blank, rest = value.partition(b" ")
        if not blank:
            return self.address(value)
        target, last, version = rest.rpartition(b" ")
        if not last:
            return self.address(method) + b" " + self.address(rest)
        return b" ".join((self.address(method), self.address(target), self.address(version)))

    def _cookie(self, cookie: bytes) -> bytes:
        name, equals, value = cookie.strip(b" \t").partition(b"=")
        if not equals:
            return MASKED
        is_session = name.rstrip(b" \t") in self.cookies
        return self.put(name) + b"=" + (self.session(value) if is_session else MASKED)

    def _attribute(self, piece: bytes) -> bytes:
        name, equals, _ = piece.partition(b"=")
        key = name.strip(b" \t").lower().replace(b"_", b"-")
        return self.text(piece) if not equals or key in _ATTRIBUTES else self._cookie(piece)

    def field(self, name: bytes, value: bytes) -> bytes:
        """The value of a field of this name."""
        key = name.lower().replace(b"_", b"-")
        if _SECRET.search(key) or (key in _HIDDEN and not self.shows_sessions):
            return MASKED
        if self.shows_sessions:
            return self.put(value) if key in _COOKIES | _SET_COOKIES else self.text(value)
        if key in _ADDRESSES:
            return self.address(value)
        if key in _COOKIES:
            pieces = re.split(b"([;,])", value)
            pieces[::2] = map(self._cookie, pieces[::2])
            pieces[1::2] = [each + b" " for each in pieces[1::2]]
            return b"".join(pieces)
        if key in _SET_COOKIES:
            cookie, semicolon, rest = value.partition(b";")
            pieces = re.split(b"([;,])", semicolon + rest)
            pieces[::2] = map(self._attribute, pieces[::2])
            return self._cookie(cookie) + b"".join(pieces)
        return self.text(value)

    def head(self, head: bytes) -> bytes:
        """All lines of a head, each with the end that it has."""
        out = []
        for at, found in enumerate(re.finditer(rb"([^\n]*)(\n|\Z)", head)):
            line, newline = found[1], found[2]
            bare = line.rstrip(b"\r")
            end = line[len(bare) :] + newline
            if not line and not newline:
                break
            if at == 0:
                told = self.text(bare) if bare.startswith(b"HTTP/") else self.request_line(bare)
            elif b":" in bare:
                name, colon, value = bare.partition(b":")
                blanks = value[: len(value) - len(value.lstrip(b" \t"))]
                told = name + colon + blanks + self.field(name, value[len(blanks) :])
            else:
                told = self.text(bare)
            out.append(told + end)
        return b"".join(out)


# What http_plugin.log does not show as it is, of characters that are UTF-8.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]")
# What would begin an escape, or a record within the line.
_BEGIN = re.compile(rb"(?s)\\x[0-9a-f]{2}|\[(?:[0-9]{2}/|... ... )")


def readable(text: bytes) -> bytes:
    """A line of http_plugin.log."""
    out = b""
    at = 0
    for character in text.decode("utf-8", "surrogateescape"):
        raw = character.encode("utf-8", "surrogateescape")
        if _CONTROL.match(character) or _BEGIN.match(text, at):
            out += b"".join(b"\\x%02x" % c for c in raw)
        else:
            out += raw
        at += len(raw)
    return out


def read_back(text: bytes) -> bytes:
    """What was written as this."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text)

"""
The clone ids of a request by PLUGIN 3.1 to 3.4, with split() instead of pointers.

Driven by tests/unit/_fast. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re

MOST_CLONE_IDS = 64
SSL_COOKIE = b"SSLJSESSION"


def split_clone_ids(
    value: bytes, separator: bytes, known: frozenset[bytes] = frozenset()
) -> list[bytes]:
    """
    What follows the first separator, split by it; the separator may be percent-encoded; empty ids match nobody.

    In front of them what follows the last point before, where it is one of the ``known`` CloneIDs.
    """
    encoded = b"%%%02X" % ord(separator)
    parts = re.split(b"(?i:" + re.escape(separator) + b"|" + re.escape(encoded) + b")", value)
    _, point, route = parts[0].rpartition(b".")
    return [route] * bool(point and route in known) + [part for part in parts[1:] if part]


def cookie_values(field: bytes, name: bytes) -> list[bytes]:
    """Every value of the cookies called exactly ``name`` in one Cookie field; ``,`` ends one as ``;`` does (RFC 2965 3.3.4)."""
    values = []
    for pair in re.split(b"[;,]", field):
        key, equals, value = pair.partition(b"=")
        value = value.strip(b" \t")
        if equals and key.strip(b" \t") == name:
            if len(value) >= 2 and value[:1] == value[-1:] == b'"':
                value = value[1:-1]
            values.append(value)
    return values


def param_values(path: bytes, name: bytes) -> list[bytes]:
    """Every value of the path parameters called exactly ``name`` (RFC 3986 3.3: they end with their segment)."""
    values = []
    for segment in path.split(b"/"):
        for param in segment.split(b";")[1:]:
            key, equals, value = param.partition(b"=")
            if equals and key == name:
                values.append(value)
    return values


def find_clone_ids(
    cookies: list[bytes],
    path: bytes,
    name: bytes = b"JSESSIONID",
    url_id: bytes = b"jsessionid",
    separator: bytes = b":",
    known: frozenset[bytes] = frozenset(),
) -> list[bytes]:
    """SSL cookie, affinity cookie, path parameter; several of one name in turn (PLUGIN 3.3, Q10)."""
    ids = [
        part
        for field in cookies
        for value in cookie_values(field, SSL_COOKIE)
        for part in split_clone_ids(value, separator)
    ]
    values = [value for field in cookies for value in cookie_values(field, name)]
    for value in values + param_values(path, url_id):
        ids += split_clone_ids(value, separator, known)
    return ids[:MOST_CLONE_IDS]

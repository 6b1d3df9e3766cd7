"""
The clone ids of a request by PLUGIN 3.1 to 3.4, with split() instead of pointers.

Driven by the parity tests. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re

MOST_CLONE_IDS = 64
SSL_COOKIE = b"SSLJSESSION"


def split_clone_ids(value: bytes, separator: bytes) -> list[bytes]:
    """What follows the first separator, split by it; the separator may be percent-encoded; empty ids match nobody."""
    encoded = b"%%%02X" % ord(separator)
    parts = re.split(b"(?i:" + re.escape(separator) + b"|" + re.escape(encoded) + b")", value)
    return [part for part in parts[1:] if part]


def cookie_values(field: bytes, name: bytes) -> list[bytes]:
    """Every value of the cookies called exactly ``name`` in one Cookie field (RFC 6265 5.2 and 5.4)."""
    values = []
    for pair in field.split(b";"):
        key, equals, value = pair.strip(b" \t").partition(b"=")
        if equals and key == name:
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
) -> list[bytes]:
    """SSL cookie, affinity cookie, path parameter; several of one name in turn (PLUGIN 3.3, Q10)."""
    values = [
        value
        for cookie in (SSL_COOKIE, name)
        for f in cookies
        for value in cookie_values(f, cookie)
    ]
    values += param_values(path, url_id)
    return [part for value in values for part in split_clone_ids(value, separator)][:MOST_CLONE_IDS]

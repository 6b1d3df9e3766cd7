"""What ``_fast.access_text`` writes, in plain Python: httpd's escapes, and the masks of ``pluginlog.masking``."""

from __future__ import annotations

from wsproxy.pluginlog.masking import MASKED, mask_params, mask_value

_LETTERS = {0x08: b"b", 0x09: b"t", 0x0A: b"n", 0x0B: b"v", 0x0D: b"r", 0x22: b'"', 0x5C: b"\\"}


def escape(value: bytes) -> bytes:
    return b"".join(
        b"\\" + _LETTERS[c] if c in _LETTERS else b"%c" % c if 0x20 <= c <= 0x7E else b"\\x%02x" % c
        for c in value
    )


def mask_session(value: bytes) -> bytes:
    return escape(mask_value(value, b":" if b":" in value else b"+"))


def mask_address(value: bytes) -> bytes:
    path, mark, query = value.partition(b"?")
    return escape(mask_params(path) + mark + query)


def mask_request_line(value: bytes) -> bytes:
    method, blank, rest = value.partition(b" ")
    if not blank:
        return mask_address(value)
    target, last, version = rest.rpartition(b" ")
    if not last:
        return mask_address(method) + b" " + mask_address(rest)
    return mask_address(method) + b" " + mask_address(target) + b" " + mask_address(version)


def mask_cookies(value: bytes, names: frozenset[bytes]) -> bytes:
    return b"; ".join(_mask_cookie(each.strip(b" \t"), names) for each in value.split(b";"))


def _mask_cookie(cookie: bytes, names: frozenset[bytes]) -> bytes:
    name, equals, value = cookie.partition(b"=")
    if not equals:
        return MASKED
    return escape(name) + b"=" + (mask_session(value) if name in names else MASKED)

"""
What of a head may stand in a log: below Trace no session id, and at no level a password.

Driven by ``writer``; ``_fast.access_text`` does the same for the access log. Pure. Clone ids stay: they say where a request
went, and nobody gets into a session with one.
"""

from __future__ import annotations

import re

from wsproxy.config.model import Config

MASKED = b"***"
# Of a value: the cache id, which is a version and no secret (PLUGIN 3.1).
CACHE_ID_LEN = 4
_COOKIE_FIELDS = (b"cookie", b"set-cookie")
_ADDRESS_FIELDS = (b"referer", b"location", b"content-location")
_PASSWORD_FIELDS = (b"authorization", b"proxy-authorization")
_CACHE_ID = re.compile(rb"00\d\d.")  # a number that is counted up from 0 for each session
# Percent-encoded, ``;`` begins no parameter for a server that decodes after it looked; the id in it is as good.
_PARAM = re.compile(rb"(;|%3[Bb])((?:(?!%3[BbDd])[^=;/?])*)(=|%3[Dd])((?:(?!%3[Bb])[^;/?])*)")
_SEPARATORS = (b":", b"+")


def affinity_cookies(config: Config) -> frozenset[bytes]:
    """Names of the cookies whose clone ids a log shows."""
    uris = (uri for group in config.uri_groups for uri in group.uris)
    return frozenset(uri.affinity_cookie.encode() for uri in uris) | {b"SSLJSESSION"}


def mask_value(value: bytes, separator: bytes = b":") -> bytes:
    """A session's value without its session id: cache id, ``***``, clone ids."""
    session, found, clones = value.partition(separator)
    if not found:
        for other in (b"%3A", b"%3a", b"%2B", b"%2b"):
            session, found, clones = value.partition(other)
            if found:
                break
    has_cache_id = _CACHE_ID.match(session) is not None
    return (session[:CACHE_ID_LEN] if has_cache_id else b"") + MASKED + found + clones


def mask_params(path: bytes) -> bytes:
    """A path whose parameters keep their clone ids only."""
    return _PARAM.sub(lambda found: found[1] + found[2] + found[3] + _mask_any(found[4]), path)


def mask_target(target: bytes) -> bytes:
    """A path or an address without query, whose parameters keep their clone ids only."""
    return mask_params(target.partition(b"?")[0])


def mask_field(
    line: bytes, separator: bytes, names: frozenset[bytes], *, shows_sessions: bool
) -> bytes:
    """
    A header line without what must not stand in a log; ``shows_sessions``: at Trace cookies do.

    ``names``: the affinity cookies, whose clone ids are kept. Of other cookies only the name is.
    """
    name, _, value = line.partition(b":")
    lower = name.lower()
    if lower in _PASSWORD_FIELDS:
        return name + b": " + MASKED
    if shows_sessions:
        return line
    if lower in _ADDRESS_FIELDS:
        return name + b": " + mask_target(value.strip())
    if lower not in _COOKIE_FIELDS:
        return line
    if lower == b"set-cookie":
        cookie, semicolon, rest = value.strip().partition(b";")
        return name + b": " + _mask_cookie(cookie, separator, names) + semicolon + rest
    cookies = (_mask_cookie(each.strip(), separator, names) for each in value.split(b";"))
    return name + b": " + b"; ".join(cookies)


def _mask_cookie(cookie: bytes, separator: bytes, names: frozenset[bytes]) -> bytes:
    name, equals, value = cookie.partition(b"=")
    if not equals:
        return MASKED
    return name + equals + (mask_value(value, separator) if name in names else MASKED)


def _mask_any(value: bytes) -> bytes:
    for separator in _SEPARATORS:
        if separator in value:
            return mask_value(value, separator)
    return mask_value(value)

"""
The reasons for which a head or body is refused, by name.

Numbers as in ``wsproxy/_fast/http/fields.pxd``; ``tests/unit/_fast/http/test_head.py`` compares the two. Must not import the compiled
parsers: an oracle that asks them is none.
"""

from __future__ import annotations

from enum import IntEnum


class HeadError(IntEnum):
    """Why a message is refused."""

    BARE_LF = 1
    BARE_CR = 2
    NUL_OR_CONTROL = 3
    OBS_FOLD = 4
    SPACE_BEFORE_COLON = 5
    BAD_FIELD_NAME = 6
    BAD_REQUEST_LINE = 7
    BAD_METHOD = 8
    BAD_TARGET = 9
    BAD_VERSION = 10
    UNSUPPORTED_VERSION = 11
    NO_HOST = 12
    SEVERAL_HOSTS = 13
    BAD_HOST = 14
    SEVERAL_CONTENT_LENGTHS = 15
    BAD_CONTENT_LENGTH = 16
    LENGTH_AND_ENCODING = 17
    BAD_TRANSFER_ENCODING = 18
    HEAD_TOO_LARGE = 19
    TOO_MANY_FIELDS = 20
    TARGET_TOO_LONG = 21
    BAD_STATUS_LINE = 22
    UNEXPECTED_STATUS = 23
    BAD_CONNECTION = 24
    BAD_CHUNK = 25
    BAD_TRAILER = 26
    BAD_EXPECT = 27
    METHOD_REFUSED = 28
    TRACE_REFUSED = 29
    TRACE_WITH_BODY = 30
    BAD_MAX_FORWARDS = 31
    AMBIGUOUS_PATH = 32
    TLS_HANDSHAKE = 33


class RefusedError(Exception):
    """A message that is refused for ``reason``."""

    def __init__(self, reason: HeadError) -> None:
        super().__init__(reason.name)
        self.reason = reason

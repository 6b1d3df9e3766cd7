"""
What a parser of heads and its oracle say, in one form, so that they can be compared.

Driven by ``tests/unit/_fast/http`` and ``tests/fuzz``. Must not judge by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.oracles import http_head
from tests.support.oracles.errors import HeadError, RefusedError
from wsproxy._fast.http.head import read_request, read_response

# What was found, None while the head is not whole, or why it is refused.
Verdict = dict[str, Any] | HeadError | None


def compiled(found: dict[str, Any] | int) -> Verdict:
    """Of what ``read_request`` or ``read_response`` returned."""
    if isinstance(found, dict):
        return found
    return HeadError(-found) if found else None


def by_oracle(
    parse: Callable[..., dict[str, object] | None], data: bytes, **limits: Any
) -> Verdict:
    try:
        return parse(data, **limits)
    except RefusedError as error:
        return error.reason


def check_request(data: bytes, **limits: Any) -> Verdict:
    """The outcome on which both agree."""
    outcome = compiled(read_request(data, **limits))
    assert outcome == by_oracle(http_head.parse_request, data, **limits)
    with_trace = compiled(read_request(data, trace=True, **limits))
    assert with_trace == by_oracle(http_head.parse_request, data, trace=True, **limits)
    return outcome


def check_response(data: bytes, **limits: int) -> Verdict:
    """The outcome on which both agree."""
    outcome = compiled(read_response(data, **limits))
    assert outcome == by_oracle(http_head.parse_response, data, **limits)
    return outcome

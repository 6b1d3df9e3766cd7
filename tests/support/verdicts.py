"""
What a parser of heads and its oracle say, in one form, so that they can be compared.

Driven by ``tests/unit/_fast/http`` and ``tests/fuzz``. Must not judge by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.oracles.errors import HeadError, RefusedError

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

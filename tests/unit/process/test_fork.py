"""How the end of a child is told."""

from __future__ import annotations

import signal

import pytest

from wsproxy.process.fork import describe_end


@pytest.mark.parametrize(
    ("exit_code", "was_told", "words"),
    [
        (0, False, "ended with exit code 0"),
        (1, True, "ended with exit code 1"),
        (-signal.SIGKILL, False, "was killed by SIGKILL"),
        (-signal.SIGKILL, True, "was killed by SIGKILL"),
        (-signal.SIGTERM, False, "was killed by SIGTERM"),
        (-signal.SIGTERM, True, "ended as it was told to, before it was ready"),
        (-50, False, "was killed by signal 50"),
    ],
)
def test_an_end_is_told_as_what_it_was(exit_code: int, was_told: bool, words: str) -> None:
    """A worker that is stopped while it starts obeys; nobody killed it."""
    assert describe_end(exit_code, was_told=was_told) == words

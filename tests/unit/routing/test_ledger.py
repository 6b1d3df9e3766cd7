"""The sentence about a request that failed somewhere."""

from __future__ import annotations

from wsproxy.routing.ledger import Attempt, describe


def test_each_attempt_says_who_why_and_whether_it_may_have_run() -> None:
    attempts = [
        Attempt("s0", "h:1", 4, "could not connect: refused"),
        Attempt(
            "s1",
            "h:2",
            8,
            "connection closed before the answer",
            bytes_sent=120,
            reused_connection=True,
        ),
        Attempt("s2", "h:3", 12, "answered 503", status=503, bytes_sent=120),
        Attempt("s3", "h:4", 16, status=200, bytes_sent=120),
    ]
    assert [each.may_have_run for each in attempts] == [False, True, True, True]
    assert describe(attempts) == (
        "s0 (h:1): could not connect: refused; it received nothing; after 4 ms; "
        "then s1 (h:2): connection closed before the answer; 120 bytes were sent on a reused connection,"
        " so it may have run the request; after 8 ms; "
        "then s2 (h:3) answered 503 after 12 ms; "
        "then s3 (h:4) answered 200 after 16 ms"
    )

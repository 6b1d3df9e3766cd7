"""
What a replay says in words beside a check: why it came out so, or what had to be assumed.

Read by ``_fast.logtries`` and ``_fast.logfollow``, which hold no text for people. Pure data; the words may change, nothing reads them.
"""

from __future__ import annotations

from typing import ClassVar


class Notes:
    """A text for each reason."""

    # By replay.Rule: why the server is the same.
    rules: ClassVar = (
        "by clone id",
        "the session moved there",
        "by regular balancing",
        "regular balancing may choose it; where its turn began is not in a log",
        "",
    )
    no_uri = "the log tells no URI"
    no_host = "the log tells no host and URI"
    no_cookies = "the log tells no cookies"
    no_lines = "its lines are not in the log"
    no_beginning = "its beginning is not in the log"
    gets_error = "nowhere: the client gets an error"
    unknown_server = "no server of this name in the configuration"
    no_route = "none: no route"
    from_cookie = "as parsed from the Cookie line"
    unnamed_server = "the log does not name the server"
    no_such_server = "no such server"
    other_scheme = "by the port it would be the other scheme; $WSSC is not in the log"
    either_scheme = "one of http and https; which the request was is not in the log"
    counts = "failed/affinity/total"
    missing_requests = "other requests of this process are not in the log"
    others_beside = "other requests ran beside it"

"""
What goes over the admin socket, as JSON: questions, answers, errors.

Read and written by ``admin.server`` and ``admin.client``; docs/admin.md names every field. Must not hold a secret: no session
id, no password, no key.
"""

from __future__ import annotations

import hashlib

import msgspec

from wsproxy.config.model import Config
from wsproxy.explain.explain import Explanation

EXPLAIN_PATH = "/v1/explain"
STATUS_PATH = "/v1/status"
CHANGES_PATH = "/v1/changes"

# Of a question's body: a head of `limits.head_bytes` at its default, twice over for JSON's escapes.
MOST_BODY_BYTES = 131_072


class ExplainQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """
    A request as a client would send it; ``headers`` are whole lines, ``NAME: VALUE``.

    ``client``: its address, for lists of who may ask; empty: nobody is named.
    """

    method: str
    url: str
    headers: list[str] = []
    client: str = ""


class WorkerStatus(msgspec.Struct):
    """A worker that runs now."""

    id: int
    pid: int


class ReloadCounts(msgspec.Struct, frozen=True):
    """
    Configurations that came after that of the start, by what became of them; dry runs and files that say what is in use count not.

    ``accepted``: every worker took it over, rollbacks included; ``refused``: it could not be used; ``failed``: not every worker took
    it over in time; ``undone``: of the accepted ones, those that the guard took back.
    """

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    undone: int = 0


class Status(msgspec.Struct):
    """
    Which proxy answers; ``pid`` of its supervisor, ``plugin_log`` empty where none is written.

    ``tls``: how clients' TLS is served, see ``_fast.net.libssl.way``.
    """

    version: str
    pid: int
    started_at: str
    config: str
    config_digest: str
    worker_count: int
    workers: list[WorkerStatus]
    plugin_log: str
    plugin_log_level: str
    reloads: ReloadCounts = ReloadCounts()
    tls: str = ""


class ExplainAnswer(msgspec.Struct):
    """The decision that the request would meet now, and who says so."""

    proxy: Status
    explanation: Explanation


class ServerChange(msgspec.Struct):
    """A server's state changed; ``request_id`` as in http_plugin.log and the access log, empty: no request is known to have done it."""

    number: int
    time: str
    kind: str
    cluster: str
    server: str
    worker: int
    error: int
    detail: str
    request: str
    request_id: str


class ChangesAnswer(msgspec.Struct):
    """The last changes of servers' states, oldest first; ``last``: what to ask for with ``since`` next time."""

    changes: list[ServerChange]
    last: int


class ErrorAnswer(msgspec.Struct):
    """What was wrong with the question: what was found, and what is allowed."""

    error: str


def digest_of(config: Config) -> str:
    """Equal for two files that say the same in the same lines; wherever they are."""
    said = msgspec.to_builtins(config)
    said.pop("path")
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()

"""
What operators ask and say over the admin socket, as JSON: servers as they are, words about them, running requests.

Read and written by ``admin.server`` and ``admin.client``; docs/admin.md names every field, and what is there stays. Must not
hold a secret: no session id, no password, no key.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from wsproxy.admin.messages import ReloadCounts, ServerChange, WorkerStatus

SERVERS_PATH = "/v1/servers"
WHY_PATH = "/v1/why"
SET_PATH = "/v1/set"
LOG_LEVEL_PATH = "/v1/loglevel"
REQUESTS_PATH = "/v1/requests"
KILL_PATH = "/v1/kill"
# What a server gets by an operator's word: the last part is the command's name.
HOLD_PATHS = ("/v1/drain", "/v1/resume", "/v1/down", "/v1/up")

# The whole proxy.
DRAIN_ALL_PATH = "/v1/drain-all"
RESUME_ALL_PATH = "/v1/resume-all"

MAINTENANCE_PATH = "/v1/maintenance"

# For ``Numbers``: what plugin-cfg.xml says.
FILE = "file"

State = Literal["up", "drained", "down"]


class ConfigStatus(msgspec.Struct):
    """The configuration that new requests go by; ``generation``: 1 is the one of the start."""

    path: str
    digest: str
    generation: int


class ServerStatus(msgspec.Struct):
    """
    A server of a cluster, over all workers.

    ``state``: "up"; "drained": requests of its sessions only; "down": marked down by requests, or taken down by an operator,
    which is what ``hold`` tells ("", "drain", "down"). ``since``, ``why``, ``by``: of the state. ``until``: when the hold ends by
    itself; empty: when it is taken back. ``weight``, ``max_connections``: as they hold; ``configured_...``: as plugin-cfg.xml has
    them, with ``set_by``, ``set_why``, ``set_at`` where an operator said otherwise. ``sessions``: about how many had a request there
    in the last 30 to 45 minutes; ``last_session_s``: seconds since the last of these; -1: none. ``share``: of the cluster's requests.
    ``weight_now``: as far as ``weight`` has grown (slow start), and ``full_weight_in_s`` it will have; 0: it has. ``answers`` that
    began, ``latency_total_ms``: how long all of them took from the request's last byte that was sent to their head; ``latency_ms``:
    the mean of the last 64 or so, the older the less; -1: none.
    """

    cluster: str
    server: str
    address: str
    role: str
    clone_id: str
    state: State
    since: str
    why: str
    by: str
    until: str
    hold: Literal["", "drain", "down"]
    marked_down: bool
    retry_in_s: float
    weight: int
    configured_weight: int
    max_connections: int
    configured_max_connections: int
    set_by: str
    set_why: str
    set_at: str
    in_flight: int
    sessions: int
    last_session_s: float
    requests: int
    by_affinity: int
    share: float
    errors: int
    weight_now: float = -1.0
    full_weight_in_s: float = 0.0
    answers: int = 0
    latency_ms: float = -1.0
    latency_total_ms: float = 0.0


class MaintenanceStatus(msgspec.Struct):
    """
    A word of maintenance that holds: of a cluster, or of the whole proxy (``cluster`` empty).

    ``until``: when it ends by itself; empty: when it is taken back.
    """

    cluster: str
    since: str
    until: str
    by: str
    why: str


class ServersAnswer(msgspec.Struct):
    """
    The proxy and its servers, in the order of plugin-cfg.xml; ``pid`` of the supervisor, ``drained``: the whole proxy is.

    ``retiring``: workers of programs that this one has replaced, which finish what they have. ``maintenance``: by operators' words;
    what wsproxy.toml says is not among them.
    """

    version: str
    pid: int
    started_at: str
    config: ConfigStatus
    worker_count: int
    workers: list[WorkerStatus]
    plugin_log: str
    plugin_log_level: str
    servers: list[ServerStatus]
    reloads: ReloadCounts = ReloadCounts()
    drained: bool = False
    retiring: list[WorkerStatus] = []
    maintenance: list[MaintenanceStatus] = []
    tls: str = ""


class WhyAnswer(msgspec.Struct):
    """A server, and those of its changes that are kept, oldest first."""

    server: ServerStatus
    changes: list[ServerChange]


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """``target``: SERVER, CLUSTER/SERVER, or a host for all its servers; ``for_s`` 0: until it is taken back."""

    target: str
    reason: str = ""
    for_s: float = 0


class AllWord(msgspec.Struct, forbid_unknown_fields=True):
    """To drain the whole proxy, or to end that."""

    reason: str = ""


class AllAnswer(msgspec.Struct):
    """``changed``: whether it was otherwise before; ``drained``: how it is now. ``warnings``: what does not work as wanted."""

    who: str
    changed: bool
    drained: bool
    warnings: list[str] = []


class MaintenanceWord(msgspec.Struct, forbid_unknown_fields=True):
    """``cluster`` a ServerCluster; empty: the whole proxy. ``for_s`` 0: until it is taken back."""

    on: bool
    cluster: str = ""
    reason: str = ""
    for_s: float = 0


class MaintenanceAnswer(msgspec.Struct):
    """``changed``: whether it was otherwise before; ``maintenance``: all words that hold now."""

    who: str
    changed: bool
    maintenance: list[MaintenanceStatus]
    warnings: list[str] = []


class Numbers(msgspec.Struct, forbid_unknown_fields=True):
    """``None``: as it is; "file": as plugin-cfg.xml says."""

    target: str
    weight: int | Literal["file"] | None = None
    max_connections: int | Literal["file"] | None = None
    reason: str = ""


class ServerResult(msgspec.Struct):
    """``changed``: whether it was otherwise before; ``note``: what else is to be known."""

    changed: bool
    note: str
    server: ServerStatus


class WordAnswer(msgspec.Struct):
    """What became of it; ``warnings``: what did not work beside it."""

    who: str
    results: list[ServerResult]
    warnings: list[str] = []


class LogLevelQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A LogLevel of plugin-cfg.xml, or "file"."""

    level: str


class LogLevelAnswer(msgspec.Struct):
    """``level`` holds now; ``configured``: what plugin-cfg.xml says. Both empty: no http_plugin.log is written."""

    plugin_log: str
    level: str
    configured: str
    changed: bool


class RunningRequest(msgspec.Struct):
    """
    A request that runs; ``id`` as in all logs, ``request``: method and path without parameters and query, empty: not kept.

    ``phase``: "queued", "connecting", "sent" (the server has not begun to answer), "answered" (it has), "tunnel", "own answer".
    """

    id: str
    worker: int
    age_s: float
    cluster: str
    server: str
    phase: str
    request: str
    client: str


class RequestsAnswer(msgspec.Struct):
    """The oldest first; ``total``: how many there are, more than are named where there are very many. ``silent``: workers that said nothing."""

    total: int
    requests: list[RunningRequest]
    silent: list[int]


class KillQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """``id``: as ``requests`` and the logs have it."""

    id: str


class KillAnswer(msgspec.Struct):
    """It was ended: client and server saw their connections cut."""

    id: str
    who: str

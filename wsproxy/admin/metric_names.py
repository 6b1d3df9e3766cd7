"""
The metrics: names, kinds, labels and meaning of each, in the order of the page.

Read by ``admin.metrics``; docs/metrics.md has the same (a test compares them). Names as Prometheus wants them: base units, a counter
ends in ``_total``. A name that was told once is not changed: people's alerts and dashboards ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

SERVER = ("cluster", "server")
CLUSTER = ("cluster",)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family; ``labels`` in the order in which they are written."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


def _all(*rows: tuple[str, Kind, tuple[str, ...], str]) -> dict[str, Metric]:
    return {name: Metric(f"wsproxy_{name}", *rest) for name, *rest in rows}  # type: ignore[arg-type]


# The proxy as a whole.
PROXY = _all(
    ("build_info", "gauge", ("version", "python"), "Always 1; what runs."),
    ("start_time_seconds", "gauge", (), "When the proxy was started, in seconds since 1970."),
    ("workers", "gauge", (), "Worker processes that run."),
    ("workers_configured", "gauge", (), "Worker processes that there are to be."),
    ("worker_deaths_total", "counter", (), "Worker processes that ended; each is started again."),
    ("ready", "gauge", (), "1: the proxy serves, and GET /ready answers 200; 0: it is drained, or no worker runs."),
    ("drained", "gauge", (), "1: an operator drains the whole proxy."),
    ("requests_total", "counter", (), "Requests of clients, whatever became of them."),
    ("open_client_connections", "gauge", (), "Connections of clients that are open."),
    ("client_connections_total", "counter", (), "Connections of clients, since the start."),
    (
        "client_connections_refused_total", "counter", (),
        "Connections over limits.client_connections, which were cut.",
    ),
    ("tls_handshakes_total", "counter", ("result",), "TLS handshakes with clients: full, resumed or failed."),
    ("log_lines_lost_total", "counter", ("log",), "Lines that a disk did not take in time, of the access log and of http_plugin.log (plugin)."),
    ("traced_requests_total", "counter", ("result",), "Requests that were to be recorded for a trace: sampled, and of these lost, for whose record a worker had no room."),
    ("trace_spans_total", "counter", ("result",), "Spans that the collector of trace.endpoint took (exported), or that were lost on the way to it."),
    ("takeovers_told_total", "counter", ("result",), "Takeovers of sessions that were news to other proxies (ha.session_key): told, not_read (they came faster than they were read), or not_posted (over a bound, or etcd did not take them in time)."),
    ("takeovers_heard_total", "counter", ("result",), "Takeovers that other proxies told: learnt, known (what is known here is newer, or the same), unknown (no such server here, or its time is over); not_believed counts batches (another secret or version)."),
    ("bridge_state", "gauge", ("site", "state"), "Of each [[ha.bridge]]: 1 for the state that its end here is in, 0 for the others: elsewhere (another member has it, or none), begun (nothing heard yet), up, waiting (the other side has none), cut."),
    ("bridge_heard_timestamp_seconds", "gauge", ("site",), "When the other site's etcd last answered this proxy, in seconds since 1970; 0: it has not."),
    ("bridge_words_total", "counter", ("site", "way"), "Words on servers that were copied while this proxy had the bridge: in (from there to here), out (from here to there, as the other end says)."),
    ("bridge_waiting_words", "gauge", ("site",), "Words from there that are known and not written here yet."),
    ("bridge_refused_total", "counter", ("site", "bound"), "What came from there and was over a bound, so not taken: word (one word's size, names or numbers), there (more words than are looked at), here (more of theirs in our etcd than may be), answer (of its etcd, too large)."),
    ("certificate_expiry_timestamp_seconds", "gauge", ("listener", "certificate"), "When a certificate that clients are shown ends, in seconds since 1970; also admin.certificate, with admin.listen as its listener."),
    ("certificate_unreadable", "gauge", ("listener", "certificate"), "1: its files cannot be read or used now; the one that was read before is shown."),
    ("keyring_expiry_timestamp_seconds", "gauge", ("file",), "When the first certificate of a keyring for servers ends (a Transport's, or upstream.tls.trust), in seconds since 1970."),
    ("keyring_unreadable", "gauge", ("file",), "1: the keyring cannot be read now; what was read before is in use."),
)  # fmt: skip

# The configuration.
CONFIG = _all(
    ("config_info", "gauge", ("digest", "path"), "Always 1; the configuration in use."),
    ("config_generation", "gauge", (), "Number of the configuration in use; the one of the start is 1."),
    ("reloads_total", "counter", ("result",), "Attempts to take over a configuration: in_use, unchanged, refused or failed; dry runs do not count."),
    ("reload_last_successful", "gauge", (), "0: the last attempt was refused or failed, and the files say something else than what is in use."),
    ("reload_last_attempt_timestamp_seconds", "gauge", (), "When the last attempt was made, in seconds since 1970; 0: none was."),
    ("reload_last_success_timestamp_seconds", "gauge", (), "When a configuration was taken over last, in seconds since 1970; 0: the one of the start holds."),
)  # fmt: skip

# Of a cluster.
CLUSTERS = _all(
    (
        "own_answers_total", "counter", ("cluster", "code"),
        "Answers that wsproxy gave by itself, by status; cluster is empty where no Route took the request. Statuses that were never given are left out, but 500, 502, 503 and 504.",
    ),
    ("own_answer_duration_seconds", "histogram", ("cluster", "code"), "From a request's first byte to the last one of an answer that wsproxy gave by itself, by class of status; cluster is empty where no Route took the request. Classes that were never given are left out."),
    ("request_receive_seconds", "histogram", ("cluster", "code"), "From a request's first byte to its last one: slow clients and uploads; of requests that were read whole, by class of the answer (1xx to 5xx), whoever gave it, none where their client left before it began. cluster is empty where no Route took the request; classes that were never given are left out."),
    ("edge_answers_total", "counter", ("cluster", "kind"), "What answered instead of a server: denied, redirected, no_host (a redirect, of a request without Host), maintenance, file (also of [fallback] directory), error_page (an operator's page instead of a server's error, edge.intercept). cluster is empty where no Route was looked for or took the request."),
    ("clients_left_total", "counter", ("cluster", "when"), "Clients that left before their answer began (before_answer), or was whole (within_answer)."),
    ("queue_length", "gauge", CLUSTER, "Requests that wait for a place at a server now."),
    ("queue_requests_total", "counter", ("cluster", "result"), "Requests that waited, by how that ended: served, in_vain, left (by their client); and full: those for whom there was no room."),
    ("queue_wait_seconds", "histogram", ("cluster", "code"), "How long requests waited for a place, each once, by class of the answer that their client got in the end (1xx to 5xx), none where it left before. Classes that were never given are left out, but 2xx."),
    ("sessions_moved_total", "counter", CLUSTER, "Sessions that went to another server than the one that has them."),
    ("affinity_remembered_total", "counter", CLUSTER, "Requests that went where their session had moved to, though their cookie still names another server."),
    ("affinity_broken_total", "counter", ("cluster", "reason"), "Requests that no server of their clone ids took: unknown_clone, down, full, tried (it failed in this request), out (an operator has taken it down)."),
)  # fmt: skip

# Of a server, or with metrics.servers = false of all servers of a cluster: without the label server then.
SERVERS = _all(
    ("server_state", "gauge", (*SERVER, "state"), "1 for the state that the server is in, 0 for the others: up, drained, down (failed, or taken down by an operator). Of a cluster: how many servers are."),
    ("server_requests_total", "counter", SERVER, "Requests given to the server, each try counted."),
    ("server_affinity_requests_total", "counter", SERVER, "Of these, those of sessions that it has."),
    ("server_requests_in_flight", "gauge", SERVER, "Requests there now, with places that are kept for who waits."),
    ("server_max_connections", "gauge", SERVER, "Most requests in flight, as it holds now; 0: no limit."),
    ("server_weight", "gauge", SERVER, "LoadBalanceWeight, as it holds now."),
    ("server_sessions", "gauge", SERVER, "About how many sessions had a request there in the last 30 to 45 minutes."),
    ("server_idle_connections", "gauge", SERVER, "Warm connections to the server, as of the last second."),
    ("server_reused_connections_total", "counter", SERVER, "Requests that went over a warm connection."),
    ("server_answers_total", "counter", (*SERVER, "code"), "Answers of the server that clients got, by class of status: 1xx (a changed protocol) to 5xx."),
    ("server_failures_total", "counter", (*SERVER, "reason"), "Tries that failed: connect, closed_early, io_timeout, bad_response, busy (503), server_error, cut (within its answer)."),
    ("server_retries_total", "counter", (*SERVER, "to"), "Failed tries after which the request went on: to the same server on a new connection, or to another one."),
    ("server_marked_down_total", "counter", SERVER, "How often the server was marked down."),
    ("server_probes_total", "counter", (*SERVER, "result"), "Active probes: ok or failed."),
    ("server_answer_bytes_total", "counter", SERVER, "Bytes of its answers that clients were sent, heads too."),
    ("server_request_body_bytes_total", "counter", SERVER, "Bytes of request bodies for it."),
    ("server_connect_seconds", "histogram", (*SERVER, "code"), "How long new connections took, TLS too, by class of the first answer that came over them (1xx to 5xx), none where none came for a client. Classes that never came are left out, but 2xx."),
    ("server_first_byte_seconds", "histogram", (*SERVER, "code"), "From the request's going to the server to the head of its answer, by class of status: 1xx (a changed protocol) to 5xx. Classes that a server never answered are left out, but 2xx."),
    ("request_duration_seconds", "histogram", (*SERVER, "code"), "From a request's first byte to its answer's last one, of answers of the server that were whole, by class of status: 2xx to 5xx; without tunnels. Classes that a server never answered are left out, but 2xx."),
)  # fmt: skip

METRICS = {**PROXY, **CONFIG, **CLUSTERS, **SERVERS}

"""
The page of metrics: what the workers counted in shared memory, and how the proxy, its clusters and its servers are.

Driven by ``admin.server``, in the process beside the workers, which hear nothing of it. Each number is a sum over all workers at
one moment. What is told is ``metric_names``' part; [metrics] in wsproxy.toml says of which clusters, and how finely.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import said_of, sessions_of
from wsproxy._fast.state.meters import (
    CODES,
    HISTOGRAM,
    BlockKind,
    ClusterWord,
    EdgeAnswer,
    Meters,
    ServerWord,
    TryFailure,
    WorkerWord,
)
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.takeover import Telling
from wsproxy._fast.tell.exposition import Blocks, Exposition, label_pair
from wsproxy.admin.bridge_counts import STATES as BRIDGE_STATES
from wsproxy.admin.bridge_counts import BridgeCounts
from wsproxy.admin.bridge_counts import Word as BridgeWord
from wsproxy.admin.certificates import Certificates
from wsproxy.admin.messages import Status
from wsproxy.admin.metric_names import METRICS
from wsproxy.config.settings_told import MetricsSettings
from wsproxy.dataplane.plan import Plan

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MS = 1000
# Told also where they are 0: what alerts ask for must be there before the first one.
_ALERTED_CODES = frozenset((500, 502, 503, 504))
# By class of status: what began an answer, which of these end (a changed protocol has no end of that kind), and also nothing.
_ANSWERED = ("1xx", "2xx", "3xx", "4xx", "5xx")
_TOLD_WHOLE = _ANSWERED[1:]
_ANY_CLASS = (*_ANSWERED, "none")
_ALWAYS_TOLD = "2xx"
_STATES = ("up", "drained", "down")
_FAILURES = {
    "connect": TryFailure.CONNECT_FAILED,
    "closed_early": TryFailure.CLOSED_EARLY_FAILED,
    "io_timeout": TryFailure.IO_TIMEOUT_FAILED,
    "bad_response": TryFailure.BAD_RESPONSE_FAILED,
    "busy": TryFailure.BUSY_FAILED,
    "server_error": TryFailure.SERVER_ERROR_FAILED,
    "cut": TryFailure.CUT_FAILED,
}
_EDGE_ANSWERS = {
    "denied": EdgeAnswer.DENIED_ANSWER,
    "redirected": EdgeAnswer.REDIRECTED_ANSWER,
    "no_host": EdgeAnswer.NO_HOST_ANSWER,
    "maintenance": EdgeAnswer.MAINTENANCE_ANSWER,
    "file": EdgeAnswer.FILE_ANSWER,
    "error_page": EdgeAnswer.PAGE_ANSWER,
}
_TELLINGS = {
    "takeovers_told_total": {
        "told": Telling.TOLD_OTHERS, "not_read": Telling.NOT_READ, "not_posted": Telling.NOT_POSTED,
    },
    "takeovers_heard_total": {
        "learnt": Telling.LEARNT, "known": Telling.KNEW_BETTER, "unknown": Telling.UNKNOWN_HERE,
        "not_believed": Telling.NOT_BELIEVED,
    },
}  # fmt: skip
_BRIDGE_WAYS = {"in": BridgeWord.COPIED_IN, "out": BridgeWord.COPIED_OUT}
_BRIDGE_BOUNDS = {
    "word": BridgeWord.OVER_WORD, "there": BridgeWord.OVER_THERE, "here": BridgeWord.OVER_HERE,
    "answer": BridgeWord.OVER_ANSWER,
}  # fmt: skip
_BROKEN = ("unknown_clone", "down", "full", "tried", "out")


@dataclass(slots=True)
class _Group:
    """What has one set of labels: a server, or all of a cluster."""

    labels: bytes
    servers: list[tuple[Cluster, int]] = field(default_factory=list)

    @property
    def slots(self) -> list[int]:
        return [live.slots()[1][index] for live, index in self.servers]


class MetricsPage:
    """The page for one configuration: whose labels are written once."""

    def __init__(
        self, status: Callable[[], Status], plan: Plan, certificates: Certificates, bridges: BridgeCounts,
    ) -> None:  # fmt: skip
        """``plan``: what holds; its state has meters. ``bridges``: of the start."""
        assert plan.state.meters is not None
        self._status = status
        self._plan = plan
        self._certificates = certificates
        self._bridges = bridges
        self._meters: Meters = plan.state.meters
        self._settings = plan.settings.metrics
        self._clusters: list[tuple[str, bytes, Cluster]] = []
        self._groups: list[_Group] = []
        for name, live in _clusters_of(plan, self._settings):
            label = label_pair("cluster", name)
            self._clusters.append((name, label, live))
            self._groups += _groups_of(live, label, by_server=self._settings.servers)
        self._server_labels = [group.labels for group in self._groups]
        self._server_slots = [group.slots for group in self._groups]
        self._cluster_labels = [label for _, label, _ in self._clusters]

    def text(self) -> bytes:
        """The page as it is now. # I/O: looks for the workers and, once a minute, at certificates."""
        out = Exposition()
        self._put_proxy(out)
        self._put_config(out)
        self._put_clusters(out)
        self._put_servers(out)
        return out.text()

    # --- the proxy --------------------------------------------------------------------------------------------------

    def _put_proxy(self, out: Exposition) -> None:
        status = self._status()
        state = self._plan.state
        words = self._meters.sums(BlockKind.WORKER_BLOCK)
        started = datetime.fromisoformat(status.started_at).timestamp()
        version = b",".join(
            (label_pair("version", status.version), label_pair("python", platform.python_version()))
        )
        _gauge(out, "build_info", 1, version)
        _gauge(out, "start_time_seconds", started)
        _gauge(out, "workers", len(status.workers))
        _gauge(out, "workers_configured", status.worker_count)
        _gauge(out, "worker_deaths_total", words[WorkerWord.DEATHS])
        _gauge(out, "ready", int(not state.is_drained and bool(status.workers)))
        _gauge(out, "drained", int(state.is_drained))
        _gauge(out, "requests_total", words[WorkerWord.REQUESTS])
        opened, closed = words[WorkerWord.OPENED], words[WorkerWord.CLOSED_CLIENTS]
        _gauge(out, "open_client_connections", max(opened - closed, 0))
        _gauge(out, "client_connections_total", opened)
        _gauge(out, "client_connections_refused_total", words[WorkerWord.REFUSED_CLIENTS])
        done, resumed = words[WorkerWord.HANDSHAKES], words[WorkerWord.RESUMED]
        _by_label(out, "tls_handshakes_total", "result", {
            "full": max(done - resumed, 0), "resumed": resumed, "failed": words[WorkerWord.HANDSHAKE_FAILED],
        })  # fmt: skip
        _by_label(out, "log_lines_lost_total", "log", {
            "access": words[WorkerWord.ACCESS_LOST], "plugin": words[WorkerWord.PLUGIN_LOST],
        })  # fmt: skip
        _by_label(out, "traced_requests_total", "result", {
            "sampled": words[WorkerWord.TRACED], "lost": words[WorkerWord.TRACES_LOST],
        })  # fmt: skip
        _by_label(out, "trace_spans_total", "result", {
            "exported": words[WorkerWord.SPANS_SENT], "lost": words[WorkerWord.SPANS_LOST],
        })  # fmt: skip
        news = state.takeovers.news_counts()
        for name, results in _TELLINGS.items():
            _by_label(out, name, "result", {result: news[at] for result, at in results.items()})
        self._put_bridges(out)
        self._put_certificates(out)
        self._put_keyrings(out)

    def _put_bridges(self, out: Exposition) -> None:
        rows = [(label_pair("site", site), row) for site, row in self._bridges.rows.items()]
        _begin(out, "bridge_state")
        for label, row in rows:
            for at, state in enumerate(BRIDGE_STATES):
                more = b"," + label_pair("state", state)
                out.number(b"wsproxy_bridge_state", label + more, int(row[BridgeWord.STATE] == at))
        _begin(out, "bridge_heard_timestamp_seconds")
        for label, row in rows:
            out.number(b"wsproxy_bridge_heard_timestamp_seconds", label, row[BridgeWord.HEARD_MS] / MS)  # fmt: skip
        _begin(out, "bridge_waiting_words")
        for label, row in rows:
            out.number(b"wsproxy_bridge_waiting_words", label, row[BridgeWord.BEHIND])
        for name, key, words in (
            ("bridge_words_total", "way", _BRIDGE_WAYS),
            ("bridge_refused_total", "bound", _BRIDGE_BOUNDS),
        ):
            _begin(out, name)
            for label, row in rows:
                for value, word in words.items():
                    out.number(f"wsproxy_{name}".encode(), label + b"," + label_pair(key, value), row[word])  # fmt: skip

    def _put_certificates(self, out: Exposition) -> None:
        found = [
            (b",".join((label_pair("listener", each.listener), label_pair("certificate", each.file))), each)
            for each in self._certificates.look()
        ]  # fmt: skip
        _begin(out, "certificate_expiry_timestamp_seconds")
        for labels, each in found:
            if each.ends_at is not None:
                out.number(b"wsproxy_certificate_expiry_timestamp_seconds", labels, each.ends_at)
        _begin(out, "certificate_unreadable")
        for labels, each in found:
            out.number(b"wsproxy_certificate_unreadable", labels, int(bool(each.problem)))

    def _put_keyrings(self, out: Exposition) -> None:
        found = [
            (label_pair("file", each.file), each) for each in self._certificates.look_at_rings()
        ]
        _begin(out, "keyring_expiry_timestamp_seconds")
        for labels, each in found:
            if each.ends_at is not None:
                out.number(b"wsproxy_keyring_expiry_timestamp_seconds", labels, each.ends_at)
        _begin(out, "keyring_unreadable")
        for labels, each in found:
            out.number(b"wsproxy_keyring_unreadable", labels, int(bool(each.problem)))

    def _put_config(self, out: Exposition) -> None:
        status = self._status()
        reloads = self._plan.state.reloads
        info = b",".join(
            (label_pair("digest", status.config_digest), label_pair("path", status.config))
        )
        _gauge(out, "config_info", 1, info)
        _gauge(out, "config_generation", self._plan.state.generation)
        _by_label(out, "reloads_total", "result", {
            "in_use": reloads.in_use, "unchanged": reloads.unchanged, "refused": reloads.refused, "failed": reloads.failed,
        })  # fmt: skip
        _gauge(out, "reload_last_successful", int(not reloads.is_refused))
        _gauge(out, "reload_last_attempt_timestamp_seconds", reloads.tried_ms / MS)
        _gauge(out, "reload_last_success_timestamp_seconds", reloads.taken_ms / MS)

    # --- clusters ---------------------------------------------------------------------------------------------------

    def _put_clusters(self, out: Exposition) -> None:
        blocks = Blocks(
            self._meters,
            BlockKind.CLUSTER_BLOCK,
            [[live.slots()[0]] for _, _, live in self._clusters],
        )
        labels = self._cluster_labels
        self._put_own_answers(out, blocks)
        self._put_own_times(out, blocks)
        self._put_edge_answers(out, blocks)
        _begin(out, "clients_left_total")
        for when, word in (
            ("before_answer", ClusterWord.LEFT_BEFORE),
            ("within_answer", ClusterWord.LEFT_WITHIN),
        ):
            out.words(b"wsproxy_clients_left_total", labels, blocks, word, label_pair("when", when))
        queued = [row for row in self._clusters if row[2].has_queue]
        waiting = Blocks(
            self._meters, BlockKind.CLUSTER_BLOCK, [[live.slots()[0]] for _, _, live in queued]
        )
        names = [label for _, label, _ in queued]
        _begin(out, "queue_length")
        for _, label, live in queued:
            out.number(b"wsproxy_queue_length", label, live.queue_length)
        _begin(out, "queue_requests_total")
        for result, word in (
            ("served", ClusterWord.QUEUE_SERVED),
            ("in_vain", ClusterWord.QUEUE_VAIN),
            ("left", ClusterWord.QUEUE_LEFT),
            ("full", ClusterWord.QUEUE_FULL),
        ):
            out.words(
                b"wsproxy_queue_requests_total", names, waiting, word, label_pair("result", result)
            )
        _put_times(out, "queue_wait_seconds", names, waiting, ClusterWord.QUEUE, _ANY_CLASS)
        self._put_sessions(out)

    def _put_own_answers(self, out: Exposition, blocks: Blocks) -> None:
        nobodys = Blocks(self._meters, BlockKind.WORKER_BLOCK, [[0]])
        _begin(out, "own_answers_total")
        for at, code in enumerate(CODES):
            label = label_pair("code", str(code) if code else "other")
            is_alerted = code in _ALERTED_CODES
            name = b"wsproxy_own_answers_total"
            out.words(name, [b'cluster=""'], nobodys, WorkerWord.WORKER_OWN + at, label, False)
            out.words(
                name, self._cluster_labels, blocks, ClusterWord.CLUSTER_OWN + at, label, is_alerted
            )

    def _put_own_times(self, out: Exposition, blocks: Blocks) -> None:
        """Cluster is empty where the request is no cluster's."""
        nobodys = Blocks(self._meters, BlockKind.WORKER_BLOCK, [[0]])
        for name, of_none, word, classes in (
            ("own_answer_duration_seconds", WorkerWord.WORKER_TIME, ClusterWord.CLUSTER_TIME, _TOLD_WHOLE),
            ("request_receive_seconds", WorkerWord.WORKER_RECEIVE, ClusterWord.CLUSTER_RECEIVE, _ANY_CLASS),
        ):  # fmt: skip
            _begin(out, name)
            _put_classes(out, name, [b'cluster=""'], nobodys, of_none, classes)
            _put_classes(out, name, self._cluster_labels, blocks, word, classes)

    def _put_edge_answers(self, out: Exposition, blocks: Blocks) -> None:
        nobodys = Blocks(self._meters, BlockKind.WORKER_BLOCK, [[0]])
        _begin(out, "edge_answers_total")
        name = b"wsproxy_edge_answers_total"
        for kind, at in _EDGE_ANSWERS.items():
            label = label_pair("kind", kind)
            out.words(name, [b'cluster=""'], nobodys, WorkerWord.WORKER_EDGE + at, label)
            cluster_word = ClusterWord.CLUSTER_EDGE + at
            out.words(name, self._cluster_labels, blocks, cluster_word, label, False)

    def _put_sessions(self, out: Exposition) -> None:
        counts = [(label, live.affinity_counts()) for _, label, live in self._clusters]
        for name, key in (("sessions_moved_total", "moved"), ("affinity_remembered_total", "remembered")):  # fmt: skip
            _begin(out, name)
            for label, count in counts:
                out.number(f"wsproxy_{name}".encode(), label, count[key])
        _begin(out, "affinity_broken_total")
        for reason in _BROKEN:
            more = b"," + label_pair("reason", reason)
            for label, count in counts:
                out.number(b"wsproxy_affinity_broken_total", label + more, count[reason])

    # --- servers ----------------------------------------------------------------------------------------------------

    def _put_servers(self, out: Exposition) -> None:
        self._put_states(out)
        blocks = Blocks(self._meters, BlockKind.SERVER_BLOCK, self._server_slots)
        self._put_words(out, blocks, "server_idle_connections", ServerWord.IDLE)
        self._put_words(out, blocks, "server_reused_connections_total", ServerWord.REUSED)
        _begin(out, "server_answers_total")
        for at, kind in enumerate(_ANSWERED):
            word, label = ServerWord.FIRST_BYTE + at * HISTOGRAM, label_pair("code", kind)
            out.counts(b"wsproxy_server_answers_total", self._server_labels, blocks, word, label)
        self._put_labelled(out, blocks, "server_failures_total", "reason", {
            reason: ServerWord.FAILED + at for reason, at in _FAILURES.items()
        })  # fmt: skip
        self._put_labelled(out, blocks, "server_retries_total", "to", {
            "same": ServerWord.RETRIED_SAME, "other": ServerWord.RETRIED_OTHER,
        })  # fmt: skip
        self._put_words(out, blocks, "server_marked_down_total", ServerWord.MARKED_DOWN)
        if self._plan.state.wants_prober:
            self._put_labelled(out, blocks, "server_probes_total", "result", {
                "ok": ServerWord.PROBES_OK, "failed": ServerWord.PROBES_FAILED,
            })  # fmt: skip
        self._put_words(out, blocks, "server_answer_bytes_total", ServerWord.ANSWER_BYTES)
        self._put_words(out, blocks, "server_request_body_bytes_total", ServerWord.BODY_BYTES)
        if self._settings.histograms:
            for name, word, classes in (
                ("server_connect_seconds", ServerWord.CONNECT, _ANY_CLASS),
                ("server_first_byte_seconds", ServerWord.FIRST_BYTE, _ANSWERED),
                ("request_duration_seconds", ServerWord.TOTAL, _TOLD_WHOLE),
            ):
                _put_times(out, name, self._server_labels, blocks, word, classes)

    def _put_words(self, out: Exposition, blocks: Blocks, name: str, word: int) -> None:
        _begin(out, name)
        out.words(f"wsproxy_{name}".encode(), self._server_labels, blocks, word)

    def _put_labelled(
        self, out: Exposition, blocks: Blocks, name: str, label: str, words: dict[str, int]
    ) -> None:
        _begin(out, name)
        for value, word in words.items():
            out.words(
                f"wsproxy_{name}".encode(),
                self._server_labels,
                blocks,
                word,
                label_pair(label, value),
            )

    def _put_states(self, out: Exposition) -> None:
        """What stands in the slots, whoever wrote it."""
        found = [_look(group) for group in self._groups]
        _begin(out, "server_state")
        for state in _STATES:
            more = b"," + label_pair("state", state)
            for labels, look in zip(self._server_labels, found, strict=True):
                out.number(b"wsproxy_server_state", labels + more, look.states[state])
        for name in (
            "server_requests_total", "server_affinity_requests_total", "server_requests_in_flight",
            "server_max_connections", "server_weight", "server_sessions",
        ):  # fmt: skip
            _begin(out, name)
            whole = f"wsproxy_{name}".encode()
            for labels, look in zip(self._server_labels, found, strict=True):
                out.number(whole, labels, look.numbers[name])


@dataclass(slots=True)
class _Look:
    """What the slots of a group's servers say, added up."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STATES, 0))
    numbers: dict[str, int] = field(default_factory=dict)


def _look(group: _Group) -> _Look:
    look = _Look()
    total = affinity = in_flight = limit = weight = sessions = 0
    for live, index in group.servers:
        state = live.server_state(index)
        look.states[_state_of(live, index, state)] += 1
        total += state["total"]
        affinity += state["affinity"]
        in_flight += state["inflight"] + state["granted"]
        limit += max(state["max_connections"], 0)
        weight += live.weight_now(index)
        sessions += sessions_of(live, index).seen
    look.numbers = {
        "server_requests_total": total,
        "server_affinity_requests_total": affinity,
        "server_requests_in_flight": in_flight,
        "server_max_connections": limit,
        "server_weight": weight,
        "server_sessions": sessions,
    }
    return look


def _state_of(live: Cluster, index: int, state: dict[str, int]) -> str:
    hold = said_of(live, index).hold if state["hold"] != Hold.NO_HOLD else Hold.NO_HOLD
    if hold == Hold.TAKEN_DOWN:
        return "down"
    if hold == Hold.DRAIN:
        return "drained"
    return "down" if state["down_until_ms"] else "up"


def _clusters_of(plan: Plan, settings: MetricsSettings) -> Iterator[tuple[str, Cluster]]:
    """Those that [metrics] wants."""
    for _, cluster, live in plan.operated():
        if any(fnmatchcase(cluster.name, pattern) for pattern in settings.clusters):
            yield cluster.name, live


def _groups_of(live: Cluster, label: bytes, *, by_server: bool) -> list[_Group]:
    """A server that stands twice in its cluster has one slot, and is told once."""
    slots = live.slots()[1]
    once = [index for index, slot in enumerate(slots) if slots.index(slot) == index]
    if not by_server:
        return [_Group(label, [(live, index) for index in once])]
    return [
        _Group(b",".join((label, label_pair("server", live.server_names[index]))), [(live, index)])
        for index in once
    ]


def _begin(out: Exposition, name: str) -> None:
    metric = METRICS[name]
    out.family(metric.name, metric.kind, metric.meaning)


def _put_times(
    out: Exposition, name: str, labels: list[bytes], blocks: Blocks, word: int, classes: tuple[str, ...]
) -> None:  # fmt: skip
    _begin(out, name)
    _put_classes(out, name, labels, blocks, word, classes, always=_ALWAYS_TOLD)


def _put_classes(
    out: Exposition, name: str, labels: list[bytes], blocks: Blocks, word: int, classes: tuple[str, ...],
    *, always: str = "",
) -> None:  # fmt: skip
    """
    Histograms one behind the other from ``word`` on, each with its label ``code``; those that have nothing are left out.

    All but ``always``: most servers answer with 2xx and one class more, and the others would be most of the page.
    """
    for at, kind in enumerate(classes):
        label = label_pair("code", kind)
        out.histogram(
            METRICS[name].name.encode(),
            labels,
            blocks,
            word + at * HISTOGRAM,
            label,
            kind == always,
        )


def _gauge(out: Exposition, name: str, value: float, labels: bytes = b"") -> None:
    """A metric of one sample."""
    _begin(out, name)
    out.number(METRICS[name].name.encode(), labels, value)


def _by_label(out: Exposition, name: str, label: str, values: dict[str, int]) -> None:
    _begin(out, name)
    for value, number in values.items():
        out.number(METRICS[name].name.encode(), label_pair(label, value), number)

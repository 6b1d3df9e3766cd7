"""
Spans of a recorded request, by OpenTelemetry's semantic conventions for HTTP.

One of the server's kind, and one of the client's for each try. Driven by ``trace.export``. Names of attributes that those conventions do not have begin with ``wsproxy.``; docs/traces.md lists all. Pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from wsproxy._fast.state.meters import TryFailure
from wsproxy._fast.tell.trace import Affinity
from wsproxy.dataplane.explained import request_id
from wsproxy.trace.records import Recorded, RecordedTry

Value = str | int | float | bool

VERSION = version("wsproxy")

NS = 1000
# RFC 9110 and RFC 5789: another method could be anything, and a client's word would be the name of a span.
KNOWN_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
)
OTHER_METHOD = "_OTHER"
# Of Span.flags: it is said whether the parent is elsewhere, and it is (trace.proto).
_PARENT_IS_REMOTE = 0x300
_HAS_PARENT = 0x100

_AFFINITY = {
    Affinity.AFFINITY_KEPT: "kept",
    Affinity.AFFINITY_REMEMBERED: "remembered",
    Affinity.AFFINITY_BROKEN: "broken",
}
# https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/: th and rv, at most 14 digits each.
_OWN_STATE = re.compile(
    r"ot=(th:[0-9a-f]{1,14}|rv:[0-9a-f]{14})(;(th:[0-9a-f]{1,14}|rv:[0-9a-f]{14}))?"
)


def failure_word(failure: TryFailure) -> str:
    """The same as in metrics: ``wsproxy_server_failures_total``."""
    return failure.name.removesuffix("_FAILED").lower()


def _value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return (
        AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)
    )


def attributes(pairs: dict[str, Value | None]) -> list[KeyValue]:
    """Without those that nobody knows: None, or an empty text."""
    return [
        KeyValue(key=key, value=_value(value))
        for key, value in pairs.items()
        if value is not None and value != ""
    ]


def resource(service_name: str, instance: str) -> Resource:
    """Whose spans these are; ``instance``: this proxy among others of its name."""
    return Resource(
        attributes=attributes(
            {
                "service.name": service_name,
                "service.version": VERSION,
                "service.instance.id": instance,
                "host.name": os.uname().nodename,
            }
        )
    )


def spans_of(request: Recorded) -> list[Span]:
    """The server's span first."""
    return [_server_span(request), *_client_spans(request)]


def batch_of(whose: Resource, spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """What a collector gets at once."""
    scope = ScopeSpans(
        scope=InstrumentationScope(name="wsproxy", version=VERSION), spans=list(spans)
    )
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=whose, scope_spans=[scope])]
    )


def _method(request: Recorded) -> dict[str, Value | None]:
    is_known = request.method in KNOWN_METHODS
    return {
        "http.request.method": request.method if is_known else OTHER_METHOD,
        "http.request.method_original": None if is_known else request.method,
    }


def own_state(fields: Sequence[str]) -> str:
    """
    What of tracestate goes into spans: OpenTelemetry's own member with its numbers for sampling, where it is there.

    The other ones belong to whoever wrote them, mean nothing to anybody else (W3C Trace Context 3.3), and come from a client: there may be a session id in
    one. They go on to the server, and into no span.
    """
    for member in ",".join(fields).split(","):
        if _OWN_STATE.fullmatch(member.strip()):
            return member.strip()
    return ""


def _name(request: Recorded) -> str:
    method = request.method if request.method in KNOWN_METHODS else "HTTP"
    return f"{method} {request.uri}" if request.uri else method


def _server_span(request: Recorded) -> Span:
    status = request.status
    last = request.tries[-1] if request.tries else None
    span = Span(
        trace_id=request.trace.to_bytes(16, "big"),
        span_id=request.span.to_bytes(8, "big"),
        parent_span_id=request.parent.to_bytes(8, "big") if request.parent else b"",
        trace_state=own_state(request.state),
        flags=request.flags | (_PARENT_IS_REMOTE if request.parent else _HAS_PARENT),
        name=_name(request),
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=request.wall_us * NS,
        end_time_unix_nano=(request.wall_us + request.ended_us) * NS,
        attributes=attributes(
            {
                **_method(request),
                "url.path": request.path,
                "url.scheme": "https" if request.is_secure else "http",
                "http.route": request.uri,
                "http.response.status_code": status or None,
                "http.request.body.size": request.body or None,
                "error.type": _error_of(request),
                "server.address": request.host,
                "server.port": request.port or None,
                "client.address": request.client,
                "network.peer.address": request.peer,
                "network.peer.port": request.peer_port or None,
                "network.protocol.version": f"1.{request.minor}",
                "user_agent.original": request.agent,
                "wsproxy.request_id": request_id(request.number, request.pid),
                "wsproxy.cluster": request.cluster,
                "wsproxy.route": request.route,
                "wsproxy.server": "" if last is None else last.server,
                "wsproxy.rule": "" if last is None else last.rule,
                "wsproxy.affinity": "" if last is None else _AFFINITY.get(last.affinity, "none"),
                "wsproxy.tries": len(request.tries),
                "wsproxy.answered_by": _answered_by(request),
                "wsproxy.sent_bytes": request.given,
            }
        ),
        events=[_waited(request, began, ended) for began, ended in request.waits],
    )
    if status >= 500 or (not request.is_whole and _was_cut(request)):
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def _was_cut(request: Recorded) -> bool:
    return bool(request.tries) and request.tries[-1].is_cut and request.own_us is None


def _answered_by(request: Recorded) -> str:
    if request.own_us is not None:
        return "wsproxy"
    return "server" if request.status else "nobody"


def _error_of(request: Recorded) -> str:
    """As the conventions have it: a status, or a word for what went wrong."""
    if request.status >= 500:
        return str(request.status)
    if request.is_whole:
        return ""
    return "cut" if _was_cut(request) else "client_left"


def _waited(request: Recorded, began_us: int, ended_us: int | None) -> Span.Event:
    ended_us = request.ended_us if ended_us is None else ended_us
    return Span.Event(
        time_unix_nano=(request.wall_us + began_us) * NS,
        name="wsproxy.queued",
        attributes=attributes({"wsproxy.queue_ms": (ended_us - began_us) / 1000}),
    )


def _client_spans(request: Recorded) -> list[Span]:
    ends = [each.began_us for each in request.tries[1:]] + [request.ended_us]
    return [_client_span(request, each, at, ends[at]) for at, each in enumerate(request.tries)]


def _client_span(request: Recorded, tried: RecordedTry, at: int, next_us: int) -> Span:
    ended_us = next_us
    is_answer = tried.answered_us is not None
    if request.own_us is not None and at == len(request.tries) - 1:
        ended_us = request.own_us
    if tried.failed_us is not None and (not is_answer or tried.is_cut):
        ended_us = tried.failed_us
    host, _, port = tried.address.rpartition(":")
    error = str(tried.status) if tried.status >= 400 else ""
    if not error and tried.failure is not None:
        error = failure_word(tried.failure)
    span = Span(
        trace_id=request.trace.to_bytes(16, "big"),
        span_id=tried.span.to_bytes(8, "big"),
        parent_span_id=request.span.to_bytes(8, "big"),
        trace_state=own_state(request.state),
        flags=request.flags | _HAS_PARENT,
        name=request.method if request.method in KNOWN_METHODS else "HTTP",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=(request.wall_us + tried.began_us) * NS,
        end_time_unix_nano=(request.wall_us + max(ended_us, tried.began_us)) * NS,
        attributes=attributes(
            {
                **_method(request),
                "url.path": request.path,
                "server.address": host.strip("[]"),
                "server.port": int(port) if port.isdigit() and port != "0" else None,
                "network.protocol.version": "1.1",
                "http.response.status_code": tried.status or None,
                "http.request.resend_count": at or None,
                "error.type": error,
                "wsproxy.cluster": request.cluster,
                "wsproxy.server": tried.server,
                "wsproxy.rule": tried.rule,
                "wsproxy.affinity": _AFFINITY.get(tried.affinity, "none"),
                "wsproxy.failure": tried.why,
                "wsproxy.reused_connection": tried.is_reused if is_answer else None,
                "wsproxy.connect_ms": None
                if tried.connected_us is None
                else tried.connected_us / 1000,
            }
        ),
    )
    if is_answer:
        span.events.append(
            Span.Event(
                time_unix_nano=(request.wall_us + (tried.answered_us or 0)) * NS,
                name="wsproxy.answer_began",
            )
        )
    if error:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = tried.why
    return span

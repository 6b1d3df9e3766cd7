"""
The decision for a live request in the fields of its answer, for clients that ask for it and may know.

Made by ``dataplane.worker``; a request that asks is told of by ``_fast.proxy.explained``, which fills its ``Decision`` from what was
decided. Must not decide anything, and must not let a byte into a field that is not printable ASCII: names come from
plugin-cfg.xml, clone ids from the client.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.tell.witness import Asked, Chosen, Passed
from wsproxy.config.model import Config
from wsproxy.config.problems import printable
from wsproxy.dataplane.introduction import is_listed
from wsproxy.explain.words import VERDICTS, words_of_none, words_of_rule
from wsproxy.routing.ledger import Attempt
from wsproxy.routing.table import CompiledRoutes, first_by_name

# What asks, and what answers; servers' own fields of these names end at wsproxy.
ASK_HEADER = "X-Wsproxy-Explain"
SERVER, ROUTE, SCORE, AFFINITY, RULE, TRIES, REQUEST_ID = (
    f"X-Wsproxy-{name}"
    for name in ("Server", "Route", "Score", "Affinity", "Rule", "Tries", "Request-Id")
)
# Of one value: a cookie can bring thousands of clone ids, and clients refuse answers with heads of some ten KiB.
MOST_CHARS = 1000
NOTHING = "none"
# Of Routes and rules, kept for traces: some 2 MB.
MOST_WORDS = 10000


def request_id(number: int, pid: int = 0) -> str:
    """The id of a worker's request in all logs: pid and number, as http_plugin.log has them; without ``pid``: of this worker."""
    return f"{pid or os.getpid():08x}-{number & 0xFFFFFFFF:08x}"


class Decisions:
    """Who may know, and the words; one a worker."""

    def __init__(self, config: Config, routes: CompiledRoutes, trusted: Sequence[str]) -> None:
        """``trusted``: addresses and networks of clients that may know."""
        self._cluster_at = first_by_name(config.server_clusters)
        self._routes = routes
        self._trusted = tuple(map(ipaddress.ip_network, trusted))
        self._trace_words: dict[tuple[object, ...], bytes] = {}

    def begin(self, peer: str) -> Decision | None:
        """What keeps the decision for a client at this address; None where it may not know."""
        return Decision(self) if is_listed(peer, self._trusted) else None

    def route_of(self, asked: Asked) -> tuple[str, str]:
        """The Route with its groups, and its scores."""
        if asked.route < 0:
            return NOTHING, NOTHING
        return self._words_of_route(asked.route), f"{asked.score}/{asked.exact}"

    def _words_of_route(self, at: int) -> str:
        route = self._routes.routes[at]
        hosts = "any host" if route.virtual_host_group is None else route.virtual_host_group
        uris = "any URI" if route.uri_group is None else route.uri_group
        return f"{hosts} / {uris} -> {route.server_cluster}"

    def rule_of(self, asked: Asked | None, chosen: Chosen) -> str:
        """Why this server, or none."""
        if not chosen.server:
            return words_of_none(is_full=any(each.full for each in chosen.passed))
        route = -1 if asked is None else asked.route
        return self._words_of_rule(route, chosen.by, is_unmet=chosen.unmet)

    def _words_of_rule(self, route: int, by: int, *, is_unmet: bool) -> str:
        balance = ""
        if route >= 0:
            name = self._routes.routes[route].server_cluster
            balance = self._routes.clusters[self._cluster_at[name]].load_balance
        return words_of_rule(by, balance, is_unmet=is_unmet)

    # for traces: the same words, asked for each request that is sampled ---------------------------------------------

    def trace_route(self, route: int, uri_group: int, uri: int) -> bytes:
        """The Route, and behind a NUL the Uri that matched, as the file has it."""
        key = route, uri_group, uri, "route"
        found = self._trace_words.get(key)
        if found is None:
            words = NOTHING if route < 0 else self._words_of_route(route)
            name = "" if uri < 0 or route < 0 else self._routes.uri_name(uri_group, uri)
            found = self._keep(key, f"{words}\0{name}")
        return found

    def trace_rule(self, route: int, by: int, *, is_unmet: bool) -> bytes:
        """Why a server was chosen; see ``words_of_rule``."""
        key = route, by, is_unmet
        found = self._trace_words.get(key)
        if found is None:
            found = self._keep(key, self._words_of_rule(route, by, is_unmet=is_unmet))
        return found

    def _keep(self, key: tuple[object, ...], words: str) -> bytes:
        """As many as a large plugin-cfg.xml has, and no more of what is only asked once."""
        if len(self._trace_words) >= MOST_WORDS:
            self._trace_words.clear()
        return self._trace_words.setdefault(key, words.encode("utf-8", "backslashreplace"))


@dataclass(slots=True, eq=False)
class Decision:
    """What was decided for one request; ``_fast.proxy.explained`` fills it, None and empty where it did not come that far."""

    words: Decisions
    asked: Asked | None = None
    chosen: Chosen | None = None
    clone_ids: list[bytes] = field(default_factory=list)
    attempts: Sequence[Attempt] = ()  # that failed, where the answer is ours
    why_unmatched: str = ""  # ``: REASON`` where no Route matches

    def of_answer(self, downstream: Downstream) -> bytes:
        """Field lines for a server's answer."""
        chosen = downstream.describe_choice()
        ledger = downstream.tries
        attempts = () if ledger is None else tuple(each for each in ledger.attempts if each.failure)
        first = self.chosen
        rule = self.words.rule_of(self.asked, chosen)
        if first is not None and not first.server:
            rule = f"after waiting in the queue: {rule}"
        if attempts:
            rule = f"after {len(attempts)} failed: {rule}"
        return self._lines(downstream, chosen, attempts, rule)

    def of_own_answer(self, downstream: Downstream) -> bytes:
        """Field lines for an answer that wsproxy gives itself."""
        attempts = tuple(each for each in self.attempts if each.failure)
        rule = ""
        if self.chosen is not None and not self.chosen.server:
            rule = self.words.rule_of(self.asked, self.chosen)
        elif attempts:
            rule = f"after {len(attempts)} failed: wsproxy answers"
        elif self.asked is not None and self.asked.route < 0:
            rule = f"no Route matches{self.why_unmatched}; the fallback answers"
        return self._lines(downstream, None, attempts, rule)

    def _lines(
        self,
        downstream: Downstream,
        served: Chosen | None,
        attempts: Sequence[Attempt],
        rule: str,
    ) -> bytes:
        rows = {REQUEST_ID: request_id(downstream.request_number)}
        if self.asked is not None:
            rows[ROUTE], rows[SCORE] = self.words.route_of(self.asked)
        if served is not None:
            rows[SERVER] = served.server
        if self.chosen is not None:
            rows[AFFINITY] = self._affinity(served)
            passed = (f"{each.server} ({_why_passed(each)})" for each in self.chosen.passed)
            failed = (f"{each.server} ({_in_short(each.failure)})" for each in attempts)
            last = () if served is None else (served.server,)
            rows[TRIES] = ", ".join((*passed, *failed, *last)) or NOTHING
        if rule:
            rows[RULE] = rule
        return b"".join(
            b"%b: %b\r\n" % (name.encode(), _value(text)) for name, text in rows.items()
        )

    def _affinity(self, served: Chosen | None) -> str:
        if not self.clone_ids:
            return NOTHING
        brought = ", ".join(clone_id.decode("latin-1") for clone_id in self.clone_ids)
        if served is not None and served.by_affinity:
            return f"by clone id {served.clone_id.decode('latin-1')}"
        if served is not None and served.remembered:
            return f"by the memory of sessions that moved, instead of clone id {brought}"
        return f"broken: clone id {brought}"


def _why_passed(passed: Passed) -> str:
    if passed.drained:
        return VERDICTS[Verdict.DRAINED]
    if passed.out:
        return VERDICTS[Verdict.OUT]
    if passed.full:
        return VERDICTS[Verdict.FULL]
    return VERDICTS[Verdict.DOWN]


def _in_short(failure: str) -> str:
    """Without the system's words, in which addresses stand."""
    return failure.partition(": ")[0]


def _value(text: str) -> bytes:
    """The text as a field's value: printable ASCII, cut to a readable length."""
    # Escapes make it longer: cut before, so that no megabyte is escaped, and after.
    value = printable(text[: MOST_CHARS + 1]).encode("ascii", "backslashreplace").strip()
    if len(value) > MOST_CHARS:
        value = value[: MOST_CHARS - 3] + b"..."
    return value or b"-"

"""
What operators do to servers of the running proxy, and how these are: words into shared memory, rows for ``status``.

Driven by ``admin.server``, in the process beside the workers. A word is a write into the slots that all workers judge by
(``_fast.decide.operate``): nobody is told, and it holds from the next decision on.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.maintain import (
    Maintenance,
    count_maintenance,
    maintain,
    maintenance_of,
)
from wsproxy._fast.decide.operate import (
    AS_FILE,
    Said,
    apply_numbers,
    clear_mark,
    end_holds,
    growth_of,
    hold_server,
    latency_of,
    numbers_of_file,
    record_word,
    said_of,
    sessions_of,
    set_numbers,
)
from wsproxy._fast.state.changes import Change, ChangeKind
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import now_ms
from wsproxy.admin.control_messages import (
    FILE,
    MaintenanceStatus,
    MaintenanceWord,
    Numbers,
    ServerResult,
    ServerStatus,
    State,
    Word,
)
from wsproxy.admin.wall_clock import iso_of, wall_ms
from wsproxy.config.find import Place, find_servers
from wsproxy.config.model import ServerCluster
from wsproxy.config.problems import nearest, printable
from wsproxy.dataplane.plan import FALLBACK_CLUSTER, Plan
from wsproxy.errors import StartError
from wsproxy.explain.words import roles_of

# LoadBalanceWeight has no highest value in plugin-cfg.xml; more than this is a slip of a finger, and turns would take ages.
MOST_WEIGHT = 100_000
MOST_CONNECTIONS = 1_000_000
# An operator who means longer takes it back by himself.
LONGEST_HOLD_S = 366 * 86400.0
MOST_REASON = 120

_HOLD_WORDS = {Hold.NO_HOLD: "", Hold.DRAIN: "drain", Hold.TAKEN_DOWN: "down"}
_NOT_DRAINED = (
    "which is the server of [fallback] and has no sessions to be left there; allowed is `wsproxy down`, which keeps all requests "
    "from it (503)"
)
# What a name in the ring of changes has room for.
_NAME_BYTES = 79


class Control:
    """The servers of one configuration."""

    def __init__(self, plan: Plan, started_at: str) -> None:
        """``started_at``: since when a server is up of whom nothing else is known."""
        self._plan = plan
        self._started_at = started_at

    # --- how they are -----------------------------------------------------------------------------------------------

    def rows(self, target: str = "") -> list[ServerStatus]:
        """
        Servers, all or those that ``target`` means.

        Raises:
            StartError: it means none, or it is not clear which.
        """
        return self._rows(set(find_servers(self._plan.operated_config, target)) if target else None)

    def _rows(self, wanted: set[Place] | None) -> list[ServerStatus]:
        """In the order of plugin-cfg.xml."""
        self.end_holds()
        last = self._last_changes()
        found = []
        for at, cluster, live in self._plan.operated():
            states = [live.server_state(index) for index in range(len(live.server_names))]
            total = sum(state["total"] for state in states)
            for index, state in enumerate(states):
                if wanted is None or (at, index) in wanted:
                    found.append(self._row(cluster, live, index, state, total, last))
        return found

    def _row(
        self,
        cluster: ServerCluster,
        live: Cluster,
        index: int,
        state: dict[str, int],
        total: int,
        last: dict[tuple[str, str], Change],
    ) -> ServerStatus:
        server = cluster.all_servers[index]
        said, now = said_of(live, index), now_ms()
        weight, limit = numbers_of_file(live, index)
        sessions, latency = sessions_of(live, index), latency_of(live, index)
        growth = growth_of(live, index, now)
        weight_set = weight if said.weight is None else said.weight
        is_marked = state["down_until_ms"] != 0
        is_set = said.weight is not None or said.limit is not None
        since, why, by = self._reason(live, index, said, last.get(_key(cluster.name, server.name)))
        return ServerStatus(
            cluster=cluster.name,
            server=server.name,
            address=", ".join(f"{each.hostname}:{each.port}" for each in server.transports),
            role="fallback" if cluster.name == FALLBACK_CLUSTER else roles_of(cluster)[index],
            clone_id=server.clone_id or "",
            state=_state_of(said.hold, is_marked=is_marked),
            since=since,
            why=why,
            by=by,
            until=_iso(said.until_ms),
            hold=_HOLD_WORDS[said.hold],  # type: ignore[arg-type]
            marked_down=is_marked,
            retry_in_s=max(state["down_until_ms"] - now, 0) / 1000 if is_marked else 0.0,
            weight=weight_set,
            configured_weight=weight,
            max_connections=limit if said.limit is None else said.limit,
            configured_max_connections=limit,
            set_by=said.numbers_who if is_set else "",
            set_why=said.numbers_why if is_set else "",
            set_at=_iso(said.numbers_ms) if is_set else "",
            in_flight=state["inflight"] + state["granted"],
            sessions=sessions.seen,
            last_session_s=sessions.last_ms / 1000 if sessions.last_ms >= 0 else -1.0,
            requests=state["total"],
            by_affinity=state["affinity"],
            share=round(state["total"] / total, 4) if total else 0.0,
            errors=state["failed"],
            weight_now=round(weight_set * growth.part, 2),
            full_weight_in_s=growth.left_ms / 1000,
            answers=latency.answers,
            latency_ms=round(latency.recent_ms, 3) if latency.answers else -1.0,
            latency_total_ms=round(latency.total_ms, 3),
        )

    def _reason(
        self, live: Cluster, index: int, said: Said, last: Change | None
    ) -> tuple[str, str, str]:
        """Since when the server is as it is, why, and who says so."""
        if said.hold != Hold.NO_HOLD:
            return _iso(said.since_ms), said.why, said.who
        failure = live.why_down(index)
        if failure is not None:
            state = live.server_state(index)
            down_ms = max(now_ms() - state["down_since_ms"], 0)
            verdict = Verdict(live.judge_server(index, now_ms()))
            after = "" if verdict == Verdict.DOWN else "; the next request tries it"
            return _iso(wall_ms() - down_ms), failure.detail + after, _seen_by(failure.worker)
        if last is None or last.kind not in _BACK:
            return self._started_at, "", ""
        return _iso(last.wall_ms), last.detail, _seen_by(last.worker)

    def _last_changes(self) -> dict[tuple[str, str], Change]:
        return {(each.cluster, each.server): each for each in self._plan.state.changes(0)}

    def changes_of(self, row: ServerStatus) -> list[Change]:
        """Those of this server that are kept, oldest first."""
        key = _key(row.cluster, row.server)
        return [each for each in self._plan.state.changes(0) if (each.cluster, each.server) == key]

    def end_holds(self) -> None:
        """Has those that are over told in the ring of changes, where no request has met them."""
        for _, _, live in self._plan.operated():
            end_holds(live)
        self.count_maintenance()

    def settle(self) -> None:
        """
        Numbers as this configuration and the words say.

        A word that was said in the moment of a reload may have reckoned the cluster's weights by the configuration before.
        """
        self.count_maintenance()
        for _, cluster, live in self._plan.operated():
            if any(
                said_of(live, index).weight is not None for index in range(len(cluster.all_servers))
            ):
                apply_numbers(live)

    # --- words ------------------------------------------------------------------------------------------------------

    def hold(self, verb: str, word: Word, who: str) -> list[ServerResult]:
        """
        Carries out ``drain``, ``resume``, ``down`` or ``up``.

        Raises:
            StartError: it is not clear which server, for how long, or why.
        """
        until_ms, length = 0, ""
        reason = checked_reason(word.reason)
        if word.for_s:
            until_ms = until_of(word.for_s)
            if verb not in ("drain", "down"):
                raise StartError(f"for_s: found {word.for_s:g}; allowed with drain and down only")
            length = f"until {_iso(until_ms)}"
        results = []
        places = find_servers(self._plan.operated_config, word.target)
        for place in places:
            live, index = self._at(place)
            if verb == "drain" and live is self._plan.fallback:
                if len(places) == 1:
                    raise StartError(f"found {word.target}, {_NOT_DRAINED}")
                results.append((place, False, f"as before: {_NOT_DRAINED}"))
                continue
            before = said_of(live, index).hold
            wanted, note = _wanted(verb, before)
            changed = wanted is not None and hold_server(
                live, index, wanted, who=who.encode(), why=reason.encode(),
                words=length.encode(), until_wall_ms=until_ms,
            )  # fmt: skip
            if verb == "up" and clear_mark(live, index, who=who.encode(), why=reason.encode()):
                changed, note = True, "it was marked down: requests find out whether it answers"
            results.append((place, changed, note))
        return self._results(results)

    def set_numbers(self, numbers: Numbers, who: str) -> list[ServerResult]:
        """
        Another weight, another MaxConnections.

        Raises:
            StartError: nothing is to be set, or what can't be.
        """
        if numbers.weight is None and numbers.max_connections is None:
            raise StartError("found nothing to set; allowed is weight, max_connections or both")
        reason = checked_reason(numbers.reason)
        weight = _checked(numbers.weight, "weight", 0, MOST_WEIGHT)
        limit = _checked(numbers.max_connections, "max_connections", -1, MOST_CONNECTIONS)
        results = []
        clusters = self._plan.operated_config.server_clusters
        for place in find_servers(self._plan.operated_config, numbers.target):
            live, index = self._at(place)
            cluster = clusters[place[0]]
            changed = set_numbers(
                live, index, weight=weight, limit=limit, who=who.encode(), why=reason.encode()
            )
            results.append((place, changed, _note_on_numbers(numbers, cluster)))
        return self._results(results)

    def maintain(self, word: MaintenanceWord, who: str) -> bool:
        """
        Whether that is otherwise than before: the page is shown instead of servers, or no more.

        Raises:
            StartError: there is no such cluster, or it is not clear for how long, or why.
        """
        reason = checked_reason(word.reason)
        until_ms = 0
        if word.for_s:
            until_ms = until_of(word.for_s)
            if not word.on:
                raise StartError(f"for_s: found {word.for_s:g}; allowed with on only")
        changed = maintain(
            self._plan.state, self._cluster(word.cluster), word.on, who=who.encode(), why=reason.encode(),
            words=f"until {_iso(until_ms)}".encode() if until_ms else b"", until_wall_ms=until_ms,
        )  # fmt: skip
        self.count_maintenance()
        return changed

    def _cluster(self, name: str) -> Cluster | None:
        """None: the whole proxy."""
        if not name:
            return None
        named = {cluster.name: live for _, cluster, live in self._plan.operated()}
        if name not in named:
            likely = nearest(name, list(named))
            hint = f"did you mean {likely}?" if likely else f"allowed is one of {', '.join(named)}"
            raise StartError(
                f"found {printable(name)}, which is no ServerCluster with a server; {hint}"
            )
        return named[name]

    def count_maintenance(self) -> None:
        """Ends words whose time is over; workers hear whether any is left."""
        count_maintenance(self._plan.state, [live for _, _, live in self._plan.operated()])

    def maintained(self) -> Iterator[tuple[str, Maintenance]]:
        """Cluster (empty: the whole proxy) and word, of those that hold."""
        if (word := maintenance_of(self._plan.state, None)) is not None:
            yield "", word
        for _, cluster, live in self._plan.operated():
            if (word := maintenance_of(self._plan.state, live)) is not None:
                yield cluster.name, word

    def maintenance(self) -> list[MaintenanceStatus]:
        """The same for people."""
        return [
            MaintenanceStatus(name, _iso(word.since_ms), _iso(word.until_ms), word.who, word.why)
            for name, word in self.maintained()
        ]

    def tell(self, kind: ChangeKind, text: str, cluster: str = "", server: str = "") -> None:
        """An entry in the ring of changes about what is no word on a server."""
        record_word(self._plan.state, kind, cluster.encode(), server.encode(), text.encode())

    def drained_by(self) -> str | None:
        """Who drains the whole proxy, with his reason; empty: it is too long ago, None: nobody does."""
        state = self._plan.state
        if not state.is_drained:
            return None
        said = [each.detail for each in state.changes() if each.kind == ChangeKind.PROXY_DRAIN_ON]
        return said[-1] if said else ""

    def said(self) -> Iterator[tuple[str, str, Said]]:
        """Cluster, server and what operators have said of it, of those of whom they have said anything."""
        for _, cluster, live in self._plan.operated():
            for index, server in enumerate(cluster.all_servers):
                said = said_of(live, index)
                if said.hold != Hold.NO_HOLD or said.weight is not None or said.limit is not None:
                    yield cluster.name, server.name, said

    def _at(self, place: Place) -> tuple[Cluster, int]:
        live = (*self._plan.clusters, self._plan.fallback)[place[0]]
        assert live is not None  # it has a server, so it was built
        return live, place[1]

    def _results(self, results: list[tuple[Place, bool, str]]) -> list[ServerResult]:
        rows = self._rows({place for place, _, _ in results})
        return [
            ServerResult(changed, note, row)
            for (_, changed, note), row in zip(sorted(results), rows, strict=True)
        ]


def until_of(for_s: float) -> int:
    """
    When a word ends that holds for so long, in ms since 1970.

    Raises:
        StartError: nobody means that long.
    """
    if not 0 < for_s <= LONGEST_HOLD_S:
        raise StartError(f"for_s: found {for_s:g}; allowed is 0 < for_s <= {LONGEST_HOLD_S:g}")
    return wall_ms() + round(for_s * 1000)


def outvoted(plan: Plan) -> Iterator[str]:
    """Numbers of plugin-cfg.xml that were edited and do not hold, because an operator said otherwise before."""
    for _, cluster, live in plan.operated():
        for index, server in enumerate(cluster.all_servers):
            said, now = said_of(live, index), numbers_of_file(live, index)
            for noun, value, then, says in (
                ("weight", said.weight, said.file_weight, now[0]),
                ("MaxConnections", said.limit, said.file_limit, now[1]),
            ):
                if value is not None and then != says:
                    yield (
                        f"server {cluster.name}/{server.name}: {noun} {value} holds, as {said.numbers_who} said; "
                        f"plugin-cfg.xml says {says} now, which `wsproxy set` with =file takes over"
                    )


# After these a server is up.
_BACK = (
    ChangeKind.UP,
    ChangeKind.DRAIN_OFF,
    ChangeKind.DOWN_OFF,
    ChangeKind.MARK_CLEARED,
)


def _key(cluster: str, server: str) -> tuple[str, str]:
    """As the ring of changes has the names."""
    cut = [name.encode()[:_NAME_BYTES].decode("utf-8", "replace") for name in (cluster, server)]
    return cut[0], cut[1]


def _seen_by(worker: int) -> str:
    """As the ring of changes has it: -1 an operator, -2 an active probe, -3 another proxy of the group."""
    return {-1: "an operator", -2: "a probe", -3: "another proxy"}.get(worker, f"worker {worker}")


def _iso(at_ms: int) -> str:
    return iso_of(at_ms) if at_ms else ""


def _state_of(hold: Hold, *, is_marked: bool) -> State:
    if hold == Hold.TAKEN_DOWN:
        return "down"
    if hold == Hold.DRAIN:
        return "drained"
    return "down" if is_marked else "up"


def _wanted(verb: str, before: Hold) -> tuple[Hold | None, str]:
    """What becomes of a server's hold, None: it stays; and a note."""
    if verb == "drain":
        if before == Hold.TAKEN_DOWN:
            return Hold.DRAIN, "it was taken down: requests of its sessions go there again"
        return Hold.DRAIN, ""
    if verb == "down":
        return Hold.TAKEN_DOWN, ""
    if verb == "resume" and before == Hold.TAKEN_DOWN:
        return None, "it is taken down; `wsproxy up` takes that back"
    if verb == "up" and before == Hold.DRAIN:
        return None, "it is drained; `wsproxy resume` takes that back"
    return Hold.NO_HOLD, ""


def checked_reason(reason: str) -> str:
    """
    The reason.

    Raises:
        StartError: it is too long, or no line.
    """
    if len(reason.encode()) > MOST_REASON or not reason.isprintable():
        raise StartError(
            f"reason: found {len(reason.encode())} bytes; allowed are {MOST_REASON}, in one printable line"
        )
    return reason


def _checked(value: int | str | None, name: str, low: int, high: int) -> object:
    if value == FILE:
        return AS_FILE
    if isinstance(value, int) and not low <= value <= high:
        raise StartError(f'{name}: found {value}; allowed is {low}..{high}, or "{FILE}"')
    return value


def _note_on_numbers(numbers: Numbers, cluster: ServerCluster) -> str:
    if numbers.weight is not None and cluster.name == FALLBACK_CLUSTER:
        return "nothing is shared with the server of [fallback]: this weight is kept, and only 0 has an effect"
    if numbers.weight not in (None, 0) and cluster.load_balance == "Random":
        return 'LoadBalance="Random" knows no weights but 0: this one is kept, and has no effect'
    return ""

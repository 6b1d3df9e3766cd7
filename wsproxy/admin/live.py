"""
The decisions of a running proxy, looked ahead: what would become of a request that came now.

Driven by ``admin.server``, in a process beside the workers that maps their shared state. Asking must change nothing: no
weight, no count, no probe, no session's place. So each question is decided on a copy of the state, by the live code.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from wsproxy._fast.changes import Change
from wsproxy._fast.state import SharedState
from wsproxy.admin.messages import (
    ChangesAnswer,
    ExplainAnswer,
    ExplainQuestion,
    ServerChange,
    Status,
    WorkerStatus,
    digest_of,
)
from wsproxy.dataplane.connections import make_engine
from wsproxy.dataplane.explain import Explainer, read_asked, split_url
from wsproxy.dataplane.explained import request_id
from wsproxy.dataplane.plan import Plan, plan_again
from wsproxy.pluginlog.writer import LEVELS, LogPlan

WORKER_NAME = "wsproxy-"


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """What the supervisor knows of the proxy; ``started_at`` as ISO 8601."""

    pid: int
    started_at: str
    worker_count: int
    plan: Plan
    log_plan: LogPlan | None


class LiveProxy:
    """Answers for the proxy whose shared state is ``facts.plan.state``."""

    def __init__(self, facts: ProxyFacts) -> None:
        """Builds what decides; the state itself is copied anew for each question."""
        plan = facts.plan
        self._facts = facts
        self._copy = SharedState()
        again = plan_again(plan, self._copy)
        engine = make_engine(again, 0, None)
        self._explainer = Explainer(plan.config, plan.routes, engine, is_live=True)
        self._digest = digest_of(plan.config)
        self._path = str(Path(plan.config.path).absolute()) if plan.config.path else ""

    def explain(self, question: ExplainQuestion) -> ExplainAnswer:
        """
        The decision now.

        Raises:
            RequestRefusedError: no request that live traffic would take.
        """
        asked = read_asked(question.method, *split_url(question.url), question.headers)
        self._facts.plan.state.copy_to(self._copy)
        return ExplainAnswer(self.status(), self._explainer.explain(asked))

    def changes(self, since: int) -> ChangesAnswer:
        """What became of servers' states after change number ``since``, as far as it is kept."""
        found = [_change_of(change) for change in self._facts.plan.state.changes(since)]
        return ChangesAnswer(found, found[-1].number if found else since)

    def status(self) -> Status:
        """Who answers, and which workers run. # I/O."""
        facts = self._facts
        log, state = facts.log_plan, facts.plan.state
        level = "" if log is None else _level_name(state.log_level or log.level)
        return Status(
            version=version("wsproxy"),
            pid=facts.pid,
            started_at=facts.started_at,
            config=self._path,
            config_digest=self._digest,
            worker_count=facts.worker_count,
            workers=_workers_of(facts.pid),
            plugin_log="" if log is None else log.path,
            plugin_log_level=level,
        )


def _change_of(change: Change) -> ServerChange:
    return ServerChange(
        change.number,
        datetime.fromtimestamp(change.wall_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        change.kind.name.lower(),
        change.cluster,
        change.server,
        change.worker,
        change.error,
        change.detail,
        change.request,
        request_id(change.tid, change.pid) if change.pid else "",
    )


def _level_name(level: int) -> str:
    return next(name for name, value in LEVELS.items() if value == level)


def _workers_of(pid: int) -> list[WorkerStatus]:
    """The supervisor's children that are workers, by the names that it gave them."""
    found = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended, or this kernel keeps no such list
        return []
    for child in children:
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:
            continue
        number = name.removeprefix(WORKER_NAME)
        if name.startswith(WORKER_NAME) and number.isdecimal():
            found.append(WorkerStatus(int(number), int(child)))
    return sorted(found, key=lambda worker: worker.id)

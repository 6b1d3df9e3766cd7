"""
The decisions of a running proxy, looked ahead: what would become of a request that came now.

Driven by ``admin.server``, in a process beside the workers that maps their shared state. Asking must change nothing: no
weight, no count, no probe, no session's place. So each question is decided on a copy of the state, by the live code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.net import libssl
from wsproxy._fast.state.changes import Change
from wsproxy._fast.state.segment import Reloads, SharedState
from wsproxy.admin.bridge_counts import BridgeCounts
from wsproxy.admin.certificates import Certificates
from wsproxy.admin.control import Control
from wsproxy.admin.control_messages import ConfigStatus, ServersAnswer
from wsproxy.admin.messages import (
    ChangesAnswer,
    ExplainAnswer,
    ExplainQuestion,
    ReloadCounts,
    ServerChange,
    Status,
    WorkerStatus,
    digest_of,
)
from wsproxy.admin.metrics import MetricsPage
from wsproxy.admin.wall_clock import iso_of
from wsproxy.config.settings_ha import HaSettings
from wsproxy.dataplane.explained import request_id
from wsproxy.dataplane.plan import Plan, plan_again
from wsproxy.dataplane.view import make_view
from wsproxy.errors import StartError
from wsproxy.explain.explain import Explainer, read_asked, split_url
from wsproxy.logs.plugin_writer import LEVELS, LogPlan

WORKER_NAME = "wsproxy-"


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """What the supervisor knows of the proxy; ``started_at`` as ISO 8601."""

    pid: int
    started_at: str
    worker_count: int
    plan: Plan
    log_plan: LogPlan | None
    first_worker: int = 0  # the number of the first of them in the shared state
    older: tuple[
        int, ...
    ] = ()  # supervisors that this one has replaced; their workers may still run
    heat: int = -1  # descriptor of how servers were over the last hours
    bridges: BridgeCounts = field(default_factory=lambda: BridgeCounts(HaSettings()))


class LiveProxy:
    """Answers for the proxy whose shared state is ``facts.plan.state``."""

    def __init__(self, facts: ProxyFacts) -> None:
        """Builds what decides; the state itself is copied anew for each question."""
        self._facts = facts
        self._certificates = Certificates(
            facts.plan.settings.listeners, admin=facts.plan.settings.admin
        )
        self.take_plan(facts.plan)

    @property
    def heat(self) -> int:
        """Descriptor of how servers were over the last hours; -1: that is kept nowhere."""
        return self._facts.heat

    def take_plan(self, plan: Plan) -> None:
        """From now on the proxy goes by this one."""
        self._plan = plan
        self._certificates.take_plan(plan)
        self._page: MetricsPage | None = None  # made when somebody asks
        self._copy = plan.state.twin()
        again = plan_again(plan, self._copy)
        again.apply()
        view = make_view(again, with_pools=False)
        self._control = Control(plan, self._facts.started_at)
        self._explainer = Explainer(
            plan.routes, Decider(0), view, is_live=True, settings=plan.settings, state=self._copy
        )
        self._digest = plan.digest or digest_of(plan.config)
        if not self.is_behind:
            self._control.settle()
        self._path = str(Path(plan.config.path).absolute()) if plan.config.path else ""

    @property
    def state(self) -> SharedState:
        """What the workers share."""
        return self._plan.state

    @property
    def control(self) -> Control:
        """What operators do, by the configuration that this process knows."""
        return self._control

    @property
    def is_behind(self) -> bool:
        """Whether another configuration holds than this process knows."""
        return self._plan.state.generation > self._plan.generation

    @property
    def log_plan(self) -> LogPlan | None:
        """Of http_plugin.log, by the configuration that this process knows; None: none is written."""
        log, path = self._facts.log_plan, self._plan.log_path
        return replace(log, path=path) if log is not None and path else None

    @property
    def state_file(self) -> str:
        """Where operators' words are kept over a restart; empty: nowhere."""
        return self._facts.plan.settings.admin.state_file

    @property
    def has_words(self) -> bool:
        """Whether anything that an operator said holds."""
        return self.state.is_drained or any(self._control.said()) or any(self._control.maintained())

    def workers(self) -> list[WorkerStatus]:
        """Those that run, also those that are being replaced. # I/O."""
        return [*_workers_of(self._facts.pid), *self.retiring()]

    def retiring(self) -> list[WorkerStatus]:
        """Those of programs that this one has replaced. # I/O."""
        return [worker for pid in self._facts.older for worker in _workers_of(pid)]

    def servers(self, target: str = "") -> ServersAnswer:
        """
        The proxy and its servers, or those that ``target`` means. # I/O.

        Raises:
            StartError: it means none, or it is not clear which.
        """
        rows = self._control.rows(target)
        status = self.status()
        return ServersAnswer(
            status.version,
            status.pid,
            status.started_at,
            ConfigStatus(status.config, status.config_digest, self._plan.generation),
            status.worker_count,
            status.workers,
            status.plugin_log,
            status.plugin_log_level,
            rows,
            status.reloads,
            drained=self._plan.state.is_drained,
            retiring=self.retiring(),
            maintenance=self._control.maintenance(),
            tls=status.tls,
        )

    def why_not_ready(self) -> str:
        """Why clients had better go elsewhere; empty: they are served. # I/O."""
        state = self._plan.state
        if state.is_drained:
            return "an operator drains the proxy"
        # A worker says by which configuration it goes as soon as it has one.
        if state.newest_generation(self._facts.worker_count, self._facts.first_worker) == 0:
            return "not every worker has its configuration yet"
        return "" if self.workers() else "no worker runs"

    def metrics(self) -> bytes:
        """
        The page of metrics. # I/O.

        Raises:
            StartError: nobody counts for this proxy.
        """
        if self._plan.state.meters is None:
            raise StartError("found a proxy without meters; allowed is one that serves")
        if self._page is None:
            self._page = MetricsPage(
                self.status, self._plan, self._certificates, self._facts.bridges
            )
        return self._page.text()

    def explain(self, question: ExplainQuestion) -> ExplainAnswer:
        """
        The decision now.

        Raises:
            RequestRefusedError: no request that live traffic would take.
        """
        settings = self._plan.settings
        url = split_url(question.url)
        asked = read_asked(question.method, *url, question.headers, settings, question.client)
        self._plan.state.copy_to(self._copy)
        return ExplainAnswer(self.status(), self._explainer.explain(asked))

    def changes(self, since: int) -> ChangesAnswer:
        """What became of servers' states after change number ``since``, as far as it is kept."""
        found = [change_of(change) for change in self._plan.state.changes(since)]
        return ChangesAnswer(found, found[-1].number if found else since)

    def status(self) -> Status:
        """Who answers, and which workers run. # I/O."""
        facts = self._facts
        log, state = self.log_plan, self._plan.state
        level = "" if log is None else level_name(state.log_level_now(log.level))
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
            reloads=_counts_of(state.reloads),
            tls=libssl.way(),
        )


def _counts_of(reloads: Reloads) -> ReloadCounts:
    return ReloadCounts(reloads.in_use, reloads.refused, reloads.failed, reloads.undone)


def change_of(change: Change) -> ServerChange:
    """As the admin socket tells it."""
    return ServerChange(
        change.number,
        iso_of(change.wall_ms, "milliseconds"),
        change.kind.name.lower(),
        change.cluster,
        change.server,
        change.worker,
        change.error,
        change.detail,
        change.request,
        request_id(change.tid, change.pid) if change.pid else "",
    )


def level_name(level: int) -> str:
    """Of a LogLevel, as plugin-cfg.xml has it."""
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

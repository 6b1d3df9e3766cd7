"""
A Plan as exchanges go by it outside of the fast path: what the slow path and the logs know of one configuration.

Made by ``dataplane.view`` with the View of the same Plan, which carries it (``View.plan``): so an exchange that began with one
configuration is retried, queued, answered, explained and logged by that one, whatever the worker goes by meanwhile. Must not
know an exchange.
"""

from __future__ import annotations

from functools import cached_property

from wsproxy.config.settings import fallback_files
from wsproxy.dataplane.explained import Decisions
from wsproxy.dataplane.files import FileSite
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.resolve import Last, Resolver
from wsproxy.routing.unmatched import Unmatched

# Of this process, whatever configuration asked: a reload amid an outage of name servers is no outage of the servers, either.
_last: Last = {}


class ServedPlan:
    """One a View. What costs memory is made by the first request that needs it."""

    def __init__(self, plan: Plan) -> None:
        """Opens nothing; ``check`` does."""
        self.generation = plan.generation
        self.state = plan.state
        self.settings = plan.settings
        self.routes = plan.routes
        # Host names are asked for anew with a new configuration: that may be why there is one.
        self.resolver = Resolver(plan.settings.upstream.resolve_s, _last)
        self._plan = plan
        self._edge_files: dict[int, FileSite] = {}

    def check(self) -> None:
        """
        Opens what requests will need. # I/O.

        Raises:
            OSError: the folder of ``[fallback] directory``, or of ``files`` of an ``[[edge]]``, is not there.
        """
        _ = self.files
        for table, edge in enumerate(self.settings.edge):
            if edge.files is not None:
                self.edge_files(table)

    @cached_property
    def files(self) -> FileSite | None:
        """What answers where no Route matches; None: a 404 does, or a server."""
        files = fallback_files(self.settings.fallback)
        return None if files is None else FileSite(files)

    def edge_files(self, table: int) -> FileSite:
        """What answers for the ``files`` of this ``[[edge]]``."""
        if table not in self._edge_files:
            files = self.settings.edge[table].files
            assert files is not None
            self._edge_files[table] = FileSite(files)
        return self._edge_files[table]

    @cached_property
    def decisions(self) -> Decisions:
        """Who may know what was decided, and the words."""
        return Decisions(self._plan.config, self.routes, self.settings.explain.trusted)

    @cached_property
    def unmatched(self) -> Unmatched:
        """Says why no Route matches. Its tables take as much memory as those of the Routes."""
        return Unmatched(self.routes)

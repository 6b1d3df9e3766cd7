"""
Active probes in virtual time: who is asked when, and what the answer does to the server.

Driven by ``simulation``, whose clock and whose outages these are. What a probe means is ``_fast.decide.probes``'s part, as it is for the
prober; here is only its timetable. Servers that are never away are not asked: each of their probes would be good, and a good probe
changes nothing for a server that is up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.probes import ProbeNews, note_probe, watch_servers
from wsproxy.config.members import members_of
from wsproxy.config.model import Config
from wsproxy.config.settings_probe import ProbeSettings, hold_ms, probe_of


@dataclass(frozen=True, slots=True)
class Probed:
    """A server that is asked; ``at``: its cluster and it, by their indices."""

    at: tuple[int, int]
    cluster: Cluster
    probe: ProbeSettings


class Probes:
    """Of one run."""

    def __init__(
        self,
        config: Config,
        clusters: Sequence[Cluster | None],
        settings: ProbeSettings,
        away: Iterable[tuple[int, int]],
        draw: Callable[[str], int],
        begin_us: int,
        begin_ms: int,
    ) -> None:
        """
        ``away``: servers that are at some time; ``draw``: a number for each name, the same in each run.

        The clock begins at ``begin_us``, which is ``begin_ms`` to servers' slots.
        """
        self._random = random.Random(draw("probes"))  # noqa: S311  # no secret
        self._due: list[
            tuple[int, int, Probed]
        ] = []  # a heap; of those that come at once the first that was asked
        self._number = 0
        wanted = set(away)
        for index, cluster in enumerate(clusters):
            if cluster is None:
                continue
            probe = probe_of(settings, cluster.name)
            # Nobody is new: the log's servers were there before it began.
            watch_servers(
                cluster,
                begin_ms,
                probed=probe.type != "off",
                hold_ms=hold_ms(probe),
                slow_start_ms=int(probe.slow_start_s * 1000),
            )
            if probe.type == "off":
                continue
            for server in sorted(
                {at for each in members_of(config.server_clusters[index]) for at in each}
            ):
                if (index, server) in wanted:
                    first_us = begin_us + int(self._random.uniform(0, probe.interval_s) * 1e6)
                    self._add(first_us, Probed((index, server), cluster, probe))

    def _add(self, at_us: int, probed: Probed) -> None:
        self._number += 1
        heappush(self._due, (at_us, self._number, probed))

    @property
    def next_us(self) -> int | None:
        """When the next one is due; None: never."""
        return self._due[0][0] if self._due else None

    def ask(self, is_away: Callable[[int, int, int], bool], now_ms: int) -> tuple[Probed, bool]:
        """
        The one that is due next, at ``now_ms`` by the slots' clock; whether it has marked its server down.

        A connection is refused, or a good page answered, in no time.
        """
        at_us, _, probed = heappop(self._due)
        probe, (index, server) = probed.probe, probed.at
        news = note_probe(
            probed.cluster,
            server,
            not is_away(index, server, at_us),
            now_ms,
            rise=probe.rise,
            fall=probe.fall,
            hold_ms=hold_ms(probe),
        )
        spread = self._random.uniform(1 - probe.jitter, 1 + probe.jitter)
        self._add(at_us + max(1, int(probe.interval_s * spread * 1e6)), probed)
        return probed, news is ProbeNews.WENT_DOWN

"""What active probes do to a server, beside what requests do."""

from __future__ import annotations

import errno

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.probes import ProbeNews, note_probe, watch_servers
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.segment import SharedState, now_ms, server_key

pytestmark = pytest.mark.asan

INTERVAL_MS = 60_000
HOLD_MS = 10_000
NONE_REACHABLE = -1


class Bed:
    """A cluster of servers that are probed; its clock is the real one, plus what has ``passed``."""

    def __init__(
        self,
        *weights: int,
        initial: str = "up",
        slow_start_ms: int = 0,
        retry_interval_s: float = INTERVAL_MS / 1000,
        random: bool = False,
        probed: bool = True,
    ) -> None:
        self.state = SharedState(8, 2)
        self.options = {"initial": initial, "hold_ms": HOLD_MS, "slow_start_ms": slow_start_ms}
        rows: list[tuple[str, str | None, int, int]] = [
            (f"s{n}", f"c{n}", weight, -1) for n, weight in enumerate(weights)
        ]
        self.cluster = applied(
            Cluster(
                self.state,
                "c",
                rows,
                list(range(len(rows))),
                [],
                retry_interval_s=retry_interval_s,
                random=random,
            )
        )
        self.passed = 0
        self.watch(probed=probed)

    def watch(self, *, probed: bool = True, initial: str = "up", slow_start_ms: int = 0) -> None:
        options = {"initial": initial, "hold_ms": HOLD_MS, "slow_start_ms": slow_start_ms}
        if not self.state.changes() and self.options:
            options, self.options = self.options, {}
        watch_servers(self.cluster, self.now, probed=probed, **options)  # type: ignore[arg-type]

    @property
    def now(self) -> int:
        return now_ms() + self.passed

    def probe(
        self, server: int, ok: bool, *, rise: int = 2, fall: int = 3, words: str = ""
    ) -> ProbeNews:
        return note_probe(
            self.cluster,
            server,
            ok,
            self.now,
            rise=rise,
            fall=fall,
            hold_ms=HOLD_MS,
            error=0 if ok else errno.ECONNREFUSED,
            detail=words.encode(),
        )

    def verdict(self, server: int) -> Verdict:
        return Verdict(self.cluster.judge_server(server, self.now))

    def serve(self, count: int) -> list[int]:
        """Servers of so many requests, each of which ends at once."""
        found = []
        for _ in range(count):
            server = self.cluster.pick_server(0, self.now)
            if server >= 0:
                self.cluster.release_server(server, 0)
            found.append(server)
        return found

    def kinds(self) -> list[ChangeKind]:
        return [change.kind for change in self.state.changes()]


def test_fall_failed_probes_in_a_row_take_a_server_out() -> None:
    bed = Bed(1, 1)
    assert [bed.probe(0, False), bed.probe(0, False)] == [ProbeNews.NOT_YET_DOWN] * 2
    assert bed.probe(0, True) is ProbeNews.NO_NEWS
    assert [bed.probe(0, False), bed.probe(0, False)] == [ProbeNews.NOT_YET_DOWN] * 2
    assert bed.verdict(0) is Verdict.USABLE
    assert bed.probe(0, False, words="probe: refused") is ProbeNews.WENT_DOWN
    assert bed.verdict(0) is Verdict.DOWN
    assert set(bed.serve(10)) == {1}
    last = bed.state.changes()[-1]
    assert last[2:8] == (
        ChangeKind.MARKED_DOWN,
        "c",
        "s0",
        -2,
        errno.ECONNREFUSED,
        "probe: refused",
    )
    assert bed.cluster.why_down(0) == last
    assert bed.kinds() == [*[ChangeKind.PROBE_FAILED] * 2, ChangeKind.MARKED_DOWN]


def test_rise_good_probes_bring_it_back_before_its_retry_interval() -> None:
    bed = Bed(1, 1)
    bed.cluster.set_down(0, 1, bed.now, errno.ECONNREFUSED, b"refused")
    assert bed.probe(0, True) is ProbeNews.NOT_YET_UP
    assert bed.verdict(0) is Verdict.DOWN
    assert bed.probe(0, True, words="probe: status 200") is ProbeNews.CAME_BACK
    assert bed.verdict(0) is Verdict.USABLE
    assert bed.kinds() == [ChangeKind.MARKED_DOWN, ChangeKind.PROBE_OK, ChangeKind.UP]
    assert (bed.state.changes()[-1].worker, bed.state.changes()[-1].detail) == (
        -2,
        "probe: status 200",
    )


def test_good_probes_from_before_a_failure_count_for_nothing() -> None:
    """Else a server that answers its health page and fails requests would be back at the next probe."""
    bed = Bed(1, 1)
    for _ in range(5):
        bed.probe(0, True)
    bed.cluster.set_down(0, 1, bed.now, errno.ECONNREFUSED, b"refused")
    assert bed.verdict(0) is Verdict.DOWN  # a passive failure marks it at once, whatever probes say
    assert bed.probe(0, True) is ProbeNews.NOT_YET_UP
    assert bed.probe(0, True) is ProbeNews.CAME_BACK


def test_it_stays_down_while_probes_fail_however_short_its_retry_interval() -> None:
    bed = Bed(1, 1, retry_interval_s=1)
    for _ in range(3):
        bed.probe(0, False)
    for _ in range(4):
        bed.passed += HOLD_MS - 1000
        assert bed.verdict(0) is Verdict.DOWN
        assert bed.probe(0, False) is ProbeNews.STAYS_DOWN
    assert set(bed.serve(10)) == {1}


def test_a_failure_of_a_request_does_not_shorten_that() -> None:
    bed = Bed(1, 1, retry_interval_s=1)
    for _ in range(3):
        bed.probe(0, False)
    bed.cluster.set_down(0, 0, bed.now, errno.ECONNREFUSED, b"refused")
    bed.passed += HOLD_MS - 1000
    assert bed.verdict(0) is Verdict.DOWN


def test_an_answer_does_not_bring_back_what_probes_keep_down() -> None:
    """Requests that were on their way still get theirs; an operator's word counts."""
    bed = Bed(1, 1)
    for _ in range(3):
        bed.probe(0, False)
    bed.cluster.set_up(0, worker=1)
    assert bed.verdict(0) is Verdict.DOWN
    bed.cluster.set_up(0)
    assert bed.verdict(0) is Verdict.USABLE


@pytest.mark.parametrize("retry_interval_s", [1, 60])
def test_without_a_prober_requests_find_out_by_themselves(retry_interval_s: float) -> None:
    """Its last mark ends: after RetryInterval, or when two more probes should have come."""
    bed = Bed(1, 1, retry_interval_s=retry_interval_s)
    for _ in range(3):
        bed.probe(0, False)
    bed.passed += max(HOLD_MS, int(retry_interval_s * 1000)) + 10
    assert bed.verdict(0) is Verdict.PROBE
    assert bed.cluster.take_server(0, 1, bed.now) == Verdict.PROBE


def test_what_a_prober_said_that_is_gone_stops_no_answer() -> None:
    bed = Bed(1, 1, retry_interval_s=1)
    # As if it had happened a while ago.
    note_probe(bed.cluster, 0, False, bed.now - HOLD_MS - 10, rise=2, fall=1, hold_ms=HOLD_MS)
    assert bed.verdict(0) is Verdict.PROBE
    bed.cluster.take_server(0, 1, bed.now)
    bed.cluster.set_up(0, worker=1)
    assert bed.verdict(0) is Verdict.USABLE


def test_new_servers_are_down_until_rise_probes_were_good() -> None:
    bed = Bed(1, initial="down")
    assert bed.verdict(0) is Verdict.DOWN
    assert bed.serve(1) == [0]  # the last chance is for whatever is marked down
    assert bed.probe(0, True) is ProbeNews.NOT_YET_UP
    assert bed.probe(0, True) is ProbeNews.CAME_BACK


def test_new_servers_get_no_request_before_their_first_probe() -> None:
    """Not even a last chance, and no session of theirs; the first result decides."""
    for ok in (True, False):
        bed = Bed(1, 1, initial="until_probed")
        assert bed.serve(3) == [NONE_REACHABLE] * 3
        assert bed.cluster.take_server(0, 0, bed.now) == Verdict.DOWN
        assert bed.probe(0, ok, words="why") is (ProbeNews.CAME_BACK if ok else ProbeNews.WENT_DOWN)
        told = bed.state.changes()[-1]
        assert (told.kind, told.detail) == (ChangeKind.UP if ok else ChangeKind.STILL_DOWN, "why")
        assert bed.verdict(0) is (Verdict.USABLE if ok else Verdict.DOWN)
        assert bed.verdict(1) is Verdict.DOWN


def test_the_only_server_of_a_cluster_gets_none_either() -> None:
    bed = Bed(1, initial="until_probed")
    assert bed.cluster.take_server(0, 0, bed.now) == Verdict.DOWN
    bed.passed += INTERVAL_MS + 10
    assert bed.cluster.take_server(0, 0, bed.now) == Verdict.PROBE  # no prober came


def test_servers_that_a_configuration_had_before_are_not_new() -> None:
    bed = Bed(1, 1, probed=False)
    bed.watch(initial="until_probed")
    assert bed.verdict(0) is Verdict.USABLE


def test_a_server_that_was_away_is_new() -> None:
    """Whatever was known of it: what comes back under its name may be another machine."""
    bed = Bed(1, 1, probed=False)
    bed.state.keep_slots({server_key("c", "s1")}, set(), 2)
    bed.watch(initial="until_probed")
    assert bed.verdict(0) is Verdict.DOWN
    assert bed.verdict(1) is Verdict.USABLE


def test_probes_that_are_not_wanted_any_more_keep_nobody_down() -> None:
    bed = Bed(1, 1, retry_interval_s=1)
    for _ in range(3):
        bed.probe(0, False)
    bed.watch(probed=False)
    bed.cluster.set_up(0, worker=0)
    assert bed.verdict(0) is Verdict.USABLE


def test_the_slot_of_another_server_is_left_alone() -> None:
    """A prober that hung for an hour may come back to a slot that was given to somebody else."""
    bed = Bed(1, 1)
    bed.state.keep_slots(set(), set(), 2)
    bed.state.note_generations(0, 2, 2)
    assert bed.state.free_slots(0) == 2
    assert bed.probe(0, False, fall=1) is ProbeNews.NOBODYS
    assert bed.state.changes() == []

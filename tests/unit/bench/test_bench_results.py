"""Medians, paired ratios, and how ``wsproxy.bench.report`` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from wsproxy.bench import report
from wsproxy.bench.results import (
    Failure,
    Machine,
    Measurement,
    Method,
    Results,
    Spread,
    paired_ratios,
    spread,
)
from wsproxy.cli.bench import bench


def measurement(proxy: str, number: int, cpu_us: float, **changes: Any) -> Measurement:
    base = Measurement(
        proxy=proxy,
        round=number,
        requests=100_000,
        seconds=5.0,
        requests_per_second=20_000.0,
        cpu_user_us=cpu_us / 4,
        cpu_system_us=cpu_us * 3 / 4,
        p50_us=500,
        p99_us=900,
        status_errors=0,
        socket_errors=0,
        short_answers=False,
        core_busy=0.99,
        core_foreign=0.0,
        load_average=1.0,
    )
    return msgspec.structs.replace(base, **changes)


def results(measurements: list[Measurement], failures: list[Failure] | None = None) -> Results:
    return Results(
        scenario="small",
        title="128-byte answers",
        started="2026-11-21T08:38:14+00:00",
        commit="0123456789ab",
        machine=Machine("AMD EPYC", 2, 24105, "6.18", "Debian", "3.11"),
        versions={"nginx": "nginx/1.22.1"},
        method=Method(3, 5, 1, 32, 1, 0, 0, 2, ["wsproxy", "nginx"], [], {"nginx": "one worker"}),
        failures=failures or [],
        measurements=measurements,
    )


def cpu(m: Measurement) -> float:
    return m.cpu_us


def test_spread_is_median_lowest_highest_in_any_order() -> None:
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)


def test_ratios_are_paired_by_round_and_not_taken_of_medians() -> None:
    """Round 2 was disturbed for both: each round's ratio is 0.5, that of other pairings is not."""
    ours = [measurement("wsproxy", n, us) for n, us in ((1, 10), (2, 40), (3, 11))]
    theirs = [measurement("nginx", n, us) for n, us in ((3, 22), (1, 20), (2, 80))]
    assert paired_ratios(ours, theirs, cpu) == Spread(0.5, 0.5, 0.5)


def test_rounds_that_only_one_side_has_are_left_out() -> None:
    ours = [measurement("wsproxy", 1, 10), measurement("wsproxy", 2, 10)]
    assert paired_ratios(ours, [measurement("nginx", 2, 40)], cpu) == Spread(0.25, 0.25, 0.25)
    assert paired_ratios(ours, [measurement("nginx", 3, 40)], cpu) is None


def test_figure_of_nought_gives_no_ratio() -> None:
    assert paired_ratios([measurement("wsproxy", 1, 10)], [measurement("nginx", 1, 0)], cpu) is None


def test_result_is_good_only_with_every_duty_done_and_every_answer_good() -> None:
    good = measurement("nginx", 1, 10)
    assert results([good]).is_good
    assert not results([good], [Failure("wsproxy", ["status 502, not 200"])]).is_good
    for bad in ({"status_errors": 1}, {"socket_errors": 1}, {"short_answers": True}):
        assert not results([good, msgspec.structs.replace(good, **bad)]).is_good


def test_ratio_table_has_a_row_for_each_peer_and_none_without_us() -> None:
    both = results([measurement("wsproxy", 1, 10), measurement("nginx", 1, 20)])
    assert report.ratio_rows(both) == [["nginx", "0.500", "1.00", "1.00", "1.00"]]
    assert report.ratio_rows(results([measurement("nginx", 1, 20)])) == []


def test_spread_is_shown_only_where_there_is_one() -> None:
    assert report.show(Spread(12.5, 12.25, 13.0), 2) == "12.50 (12.25-13.00)"
    assert report.show(Spread(54321.0, 54321.2, 54320.9), 0) == "54,321"


def test_bad_answers_are_named() -> None:
    rounds = [
        measurement("nginx", 1, 10, status_errors=3),
        measurement("nginx", 2, 10, socket_errors=2, short_answers=True),
    ]
    assert report.errors(rounds) == "3 status, 2 socket, 1 short rounds"
    assert report.errors([measurement("nginx", 1, 10)]) == "0"


def test_remarks_name_failures_idle_cores_and_disturbed_rounds() -> None:
    found = report.remarks(
        results(
            [
                measurement("nginx", 1, 10, core_busy=0.7),
                measurement("nginx", 2, 10, core_busy=0.7, core_foreign=0.2),
            ],
            [Failure("wsproxy", ["status 502, not 200"])],
        )
    )
    assert found[0] == "wsproxy: FAILED, not compared: status 502, not 200"
    assert found[1].startswith("nginx: its core was not full")
    assert found[2] == "nginx: others used up to 20% of the proxy's core (rounds 2)"
    assert found[3] == "nginx: one worker"


def test_kept_result_is_shown_as_markdown(tmp_path: Path) -> None:
    """What was kept can be rendered later, with the same figures."""
    path = tmp_path / "2026-11-21T0838-small.json"
    kept = results([measurement("wsproxy", 1, 10), measurement("nginx", 1, 20)])
    path.write_bytes(msgspec.json.encode(kept))
    shown = CliRunner().invoke(bench, ["--show", str(path), "--markdown"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert shown.output.rstrip("\n") == report.markdown(kept).rstrip("\n")
    assert (
        "| nginx | 20.00 | 5.00 | 15.00 | 20,000 | 500 | 900 | 99 | 0 |"
        in shown.output.splitlines()
    )
    assert "| nginx | 0.500 | 1.00 | 1.00 | 1.00 |" in shown.output.splitlines()


def test_core_that_others_filled_is_not_blamed_on_the_load_side() -> None:
    found = report.remarks(results([measurement("nginx", 1, 10, core_busy=0.5, core_foreign=0.49)]))
    assert found[0] == "nginx: others used up to 49% of the proxy's core (rounds 1)"


@pytest.mark.parametrize("table", ["rows", "ratio_rows"])
def test_tables_survive_a_run_in_which_everybody_failed(table: str) -> None:
    assert getattr(report, table)(results([], [Failure("nginx", ["no"])])) == []

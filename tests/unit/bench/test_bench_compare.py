"""What changed beyond noise, the report as a page, and the table of README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from bench import readme
from wsproxy.bench.compare import compared, differs
from wsproxy.bench.html import bars, timeline, write_page
from wsproxy.bench.machine import PROJECT
from wsproxy.bench.report import remarks
from wsproxy.bench.results import (
    Failure,
    Machine,
    Measurement,
    Method,
    Paced,
    Results,
    Spread,
    Window,
)
from wsproxy.cli.bench import bench


def measured(proxy: str, *cpu_us: float) -> list[Measurement]:
    """A round for each."""
    return [
        Measurement(
            proxy, number, 100_000, 5.0, 20_000.0, each / 4, each * 3 / 4, 500, 900, 0, 0,
            short_answers=False, core_busy=0.99, core_foreign=0.0, load_average=1.0,
        )
        for number, each in enumerate(cpu_us, 1)
    ]  # fmt: skip


def paced(proxy: str = "wsproxy", **changes: Any) -> Paced:
    base = Paced(
        proxy=proxy, round=1, phase="killed", requests=1000, seconds=2.0, cpu_us=20.0, core_busy=0.3, p50_us=200,
        p99_us=2000, p999_us=9000, most_us=12000, errors=0, again=0, with_owner=500, kept=500, moved=100, late_p99_us=50,
        windows=[Window(250, 0, 1500, {"c0s0": 100}), Window(250, 3, 150_000, {}), Window(0, 0, 0, {})],
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def results(*measurements: Measurement, runs: tuple[Paced, ...] = (), **changes: Any) -> Results:
    base = Results(
        scenario="small",
        title="128-byte answers",
        started="2026-11-21T08:38:14+00:00",
        commit="0123456789ab",
        machine=Machine("AMD EPYC", 2, 24105, "6.18", "Debian", "3.11"),
        versions={"nginx": "nginx version: nginx/1.22.1", "wsproxy": "wsproxy, version 0.1.0"},
        method=Method(3, 5, 1, 32, 1, 0, 0, 2, ["wsproxy", "nginx"], ["a duty"], {"nginx": "<one> worker"}),
        failures=[],
        measurements=[*measurements],
        paced=[*runs],
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def test_ranges_that_touch_are_noise_and_so_are_small_differences() -> None:
    assert differs(Spread(1.0, 0.97, 1.03), Spread(1.2, 1.04, 1.3))
    assert not differs(Spread(1.0, 0.97, 1.05), Spread(1.2, 1.04, 1.3))
    assert not differs(Spread(1.0, 0.99, 1.01), Spread(1.04, 1.02, 1.05))
    assert differs(Spread(1.0, 0.97, 1.03), Spread(0.8, 0.7, 0.9))
    assert differs(Spread(0, 0, 0), Spread(1, 1, 1))


def test_change_is_that_of_the_ratio_and_not_of_the_evening() -> None:
    """Everything takes twice the time, for the peer too: nothing changed."""
    old = results(*measured("wsproxy", 10, 11, 10), *measured("nginx", 20, 21, 20))
    slow = results(*measured("wsproxy", 20, 22, 20), *measured("nginx", 40, 42, 40))
    assert compared(old, slow) == [
        "no change beyond noise since 2026-11-21T08:38:14+00:00 (0123456789ab)"
    ]
    worse = results(*measured("wsproxy", 13, 14, 13), *measured("nginx", 20, 21, 20))
    assert compared(old, worse) == ["CPU by nginx: was 0.500 (0.500-0.524), is 0.650 (0.650-0.667)"]


def test_what_makes_runs_differ_is_said() -> None:
    old = results(*measured("wsproxy", 10, 10, 10), *measured("nginx", 20, 20, 20))
    new = results(
        *measured("wsproxy", 10, 10, 10),
        *measured("nginx", 20, 20, 20),
        machine=Machine("other", 4, 1, "6.1", "Debian", "3.11"),
        versions={"nginx": "nginx version: nginx/1.31.5", "wsproxy": "wsproxy, version 0.2.0"},
    )
    said = compared(old, new)
    assert said[0].startswith("not the same machine or kernel")
    assert said[1] == "nginx was nginx version: nginx/1.22.1, is nginx version: nginx/1.31.5"
    assert len(said) == 3


def test_few_rounds_tell_nothing() -> None:
    old = results(*measured("wsproxy", 10, 10), *measured("nginx", 20, 20))
    new = results(*measured("wsproxy", 30, 30, 30), *measured("nginx", 20, 20, 20))
    assert compared(old, new) == ["fewer than 3 rounds: nothing can be told from noise"]


def test_errors_and_broken_affinity_are_no_noise() -> None:
    old = results(runs=(paced(),))
    new = results(runs=(paced(errors=1, kept=499),))
    assert compared(old, new)[:2] == [
        "wsproxy, killed: errors: was 0, is 1",
        "wsproxy, killed: sessions at another server: was 0, is 1",
    ]


def test_latency_of_single_runs_is_not_compared() -> None:
    assert compared(results(runs=(paced(),)), results(runs=(paced(p99_us=9000),)))[0].startswith(
        "no change"
    )
    old = results(runs=(paced(), paced(round=2, p99_us=2100)))
    new = results(runs=(paced(p99_us=9000), paced(round=2, p99_us=9100)))
    assert compared(old, new) == ["wsproxy, killed: p99: was 2,050 us, is 9,050 us"]


def test_nothing_in_common_is_said() -> None:
    said = compared(results(*measured("wsproxy", 1)), results(*measured("wsproxy", 1)))
    assert said == ["nothing to compare: no peer of wsproxy is in both"]


def test_page_has_every_proxy_and_escapes_what_it_is_told() -> None:
    found = results(
        *measured("wsproxy", 10, 12),
        *measured("nginx", 20, 21),
        runs=(paced(), paced("nginx", errors=7)),
        failures=[Failure("caddy", ["<script>alert(1)</script>"])],
    )
    text = write_page([found])
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;one&gt; worker" in text
    assert "default-src 'none'" in text
    for word in ("wsproxy", "nginx", "a duty", "7 errors", "did not do its duty"):
        assert word in text


def test_bar_is_as_long_as_its_number() -> None:
    drawn = bars([("wsproxy", 10.0, 30.0, None), ("nginx", 20.0, 60.0, None)])
    # of each: the dark part, then the pale one
    widths = [
        float(piece.split("'")[0]) for piece in drawn.split("width='")[1:] if "%" not in piece[:6]
    ]
    assert widths == [82.5, 247.5, 165.0, 495.0]
    assert bars([]) == "<p class='dim'>None.</p>"


def test_line_of_a_run_has_a_cross_where_requests_failed() -> None:
    drawn = timeline([paced()])
    assert drawn.count("<path") == 1
    assert drawn.count("<polyline") == 1
    assert timeline([paced(windows=[])]) == "<p class='dim'>None.</p>"


def test_kept_result_is_shown_compared_and_drawn(tmp_path: Path) -> None:
    old, new, page = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "page.html"
    nginx = measured("nginx", 20, 21, 20)
    before = results(*measured("wsproxy", 10, 11, 10), *nginx)
    after = results(*measured("wsproxy", 16, 17, 16), *nginx, runs=(paced(),))
    old.write_bytes(msgspec.json.encode(before))
    new.write_bytes(msgspec.json.encode(after))
    argv = ["--show", str(new), "--compare", str(old), "--html", str(page)]
    shown = CliRunner().invoke(bench, argv, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "CPU by nginx: was 0.500" in shown.output
    assert "affinity kept" in shown.output
    assert "<svg" in page.read_text()


def test_configurations_are_written_without_starting_anything(tmp_path: Path) -> None:
    file = PROJECT / "plugin-cfg" / "two-clusters.xml"
    argv = [str(file), "--write", str(tmp_path), "--only", "wsproxy,nginx,caddy"]
    done = CliRunner().invoke(bench, argv, catch_exceptions=False)
    assert done.exit_code == 0
    assert "caddy cannot express: LoadBalanceWeight" in done.output
    assert "127.0.0.1:20001" in (tmp_path / "nginx" / "nginx.conf").read_text()
    names = {
        each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*") if each.is_file()
    }
    assert names == {
        "wsproxy/plugin-cfg.xml", "wsproxy/wsproxy.toml", "nginx/nginx.conf", "caddy/Caddyfile",
    }  # fmt: skip


def test_readme_is_as_its_result_files_give_it() -> None:
    """Who changed one of them runs: make readme."""
    text = readme.README.read_text(encoding="utf-8")
    assert readme.rendered(text) == text


def test_table_of_readme_has_the_peers_that_every_file_has(tmp_path: Path) -> None:
    one = results(*measured("wsproxy", 10), *measured("nginx", 20), *measured("floor", 8))
    other = results(*measured("wsproxy", 30), *measured("nginx", 20), title="64-KiB answers")
    for name, each in (("a.json", one), ("b.json", other)):
        (tmp_path / name).write_bytes(msgspec.json.encode(each))
    text = "x\n<!-- make readme: a.json\nb.json -->\nold\n<!-- end -->\ny\n"
    assert readme.rendered(text, tmp_path) == (
        "x\n<!-- make readme: a.json\nb.json -->\n| CPU time a request | of nginx 1.22 |\n|---|---:|\n"
        "| 128-byte answers | 0.50 |\n| 64-KiB answers | 1.50 |\n<!-- end -->\ny\n"
    )
    with pytest.raises(ValueError, match="found no comment"):
        readme.rendered("nothing", tmp_path)


def test_few_steps_of_the_clock_are_said() -> None:
    """Eleven requests in one step of 10 ms are 909.1 us each, whoever served them."""
    few = remarks(results(runs=(paced(), paced("nginx", requests=11, cpu_us=909.1))))
    assert any("used 10 ms of CPU in a run" in sentence for sentence in few)
    enough = remarks(results(runs=(paced(requests=10_000, cpu_us=40.0),)))
    assert not any("steps of 10 ms" in sentence for sentence in enough)

"""``wsproxy merge`` and ``wsproxy diff`` as processes: what people and machines see, exit codes, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, open_page
from tests.support.command import run_command
from tests.support.plugin_log import CONFIG, PluginLog, Traffic
from tests.support.simulated import AccessLog, make_xml
from tests.unit.config.test_diff import crowd

ONE = make_xml("").replace('"c"', '"c1"')
TWO = ONE.replace("s1", "s2").replace("k1", "k2").replace("h1", "h2").replace("c1", "c2")
ROUTELESS = '<Config><Property Name="x" Value="1"/></Config>'


def run(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_command(command, *arguments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "one.xml").write_text(ONE)
    (tmp_path / "two.xml").write_text(TWO)
    return tmp_path / "one.xml", tmp_path / "two.xml"


# --- merge ------------------------------------------------------------------------------------------------------------


def test_merge_writes_a_file_that_can_be_used(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    done = run("merge", *files, "-o", out)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        'shared-uri    ServerClusters "c1", "c2" for Uri "/a/*" on VirtualHost'
    )
    assert lines[1] == '              -> they become one ServerCluster "c1" with all their servers'
    assert lines[2] == f"              {files[0]}:1, {files[1]}:1"
    assert lines[-1] == (
        f"{out}: 2 files, 2 decisions; 1 cluster, 2 servers, 1 host, 1 URI, 1 route"
    )
    text = out.read_text()
    assert text.startswith(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<!--\nMerged by wsproxy from\n  {files[0]}\n  {files[1]}\n-->\n'
    )
    assert run("check", out).returncode == 0
    # the other way round: the same bytes
    assert run("merge", *files[::-1], "-o", out).returncode == 0
    assert out.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["one.xml", "two.xml", "out.xml"] or (
        len(list(tmp_path.iterdir())) == 3
    )


def test_merge_to_standard_output_reports_on_standard_error(files: tuple[Path, Path]) -> None:
    done = run("merge", *files, "--keep-clusters")
    assert done.returncode == 0
    assert done.stdout.startswith("<?xml")
    assert "with the rules shared-uri=keep" in done.stdout
    assert done.stdout.count("<ServerCluster") == 2
    assert '"c1" gets these requests, the first name of them' in done.stderr


def test_merge_tells_machines_everything(files: tuple[Path, Path]) -> None:
    done = run("merge", *files, "--json")
    found = json.loads(done.stdout)
    assert found["type"] == "merge"
    assert found["status"] == "merged"
    assert [note["rule"] for note in found["decisions"]] == ["shared-uri", "names"]
    assert found["decisions"][0]["places"][1] == {"file": str(files[1]), "line": 1}
    assert found["text"].startswith("<?xml")
    assert found["rules"]["standalone"] == "refuse"


def test_merge_refuses_what_no_rule_decides(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text(TWO.replace("k2", "k1"))
    out = tmp_path / "out.xml"
    done = run("merge", *files, "-o", out)
    assert done.returncode == 1
    assert not out.exists()
    assert 'CloneID="k1" for two Servers' in done.stderr
    assert f"{files[0]}:1, {files[1]}:1" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "not merged: 1 clash that no rule decides (docs/merge.md)"
    )
    found = json.loads(run("merge", *files, "--json").stdout)
    assert (found["status"], found["clashes"][0]["rule"]) == ("refused", "clone-id")
    assert run("merge", *files, "--rules", "clone-id=keep", "-o", out).returncode == 0


def test_merge_refuses_what_cannot_be_read(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text("<Config>")
    done = run("merge", *files, tmp_path / "gone.xml")
    assert done.returncode == 2
    assert f"{files[1]}:1: found" in done.stderr
    assert "gone.xml: found that it cannot be read" in done.stderr
    found = json.loads(run("merge", *files, "--json").stdout)
    assert found["status"] == "unusable"
    assert len(found["problems"]) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--rules", "shared-uri=maybe"), "allowed is shared-uri=join or keep or refuse"),
        (("-o", "one.xml"), "found one of the files to be merged"),
        (("-o", "/no/such/folder/out.xml"), "No such file or directory"),
    ],
)
def test_merge_refuses_wrong_arguments(
    files: tuple[Path, Path], arguments: tuple[str, str], why: str
) -> None:
    option, value = arguments
    if value == "one.xml":
        value = str(files[0])
    done = run("merge", *files, option, value)
    assert done.returncode == 2
    assert why in done.stderr
    assert files[0].read_text() == ONE


def test_a_file_without_route_can_be_merged(files: tuple[Path, Path]) -> None:
    """Liberty without an application writes one."""
    files[1].write_text(ROUTELESS)
    assert '<Property Name="x" Value="1"/>' in run("merge", *files).stdout


# --- diff -------------------------------------------------------------------------------------------------------------

OLD = make_xml("", "")
NEW = OLD.replace("k2", "k9").replace('Name="*:80"', 'Name="*:81"')


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "old.xml").write_text(OLD)
    (tmp_path / "new.xml").write_text(OLD.replace("k2", "k9"))
    return tmp_path / "old.xml", tmp_path / "new.xml"


@pytest.fixture
def access(tmp_path: Path) -> Path:
    log = AccessLog()
    for second in range(60):
        log.add(second, f"0000ABCDEFGHIJKLMNOPQRST{second % 10:03d}:k{second % 2 + 1}")
    (tmp_path / "access.log").write_text("\n".join(log.lines) + "\n")
    return tmp_path / "access.log"


COMMON = ("--format", "common", "--host", "www:80")


def test_diff_says_what_a_change_means(both: tuple[Path, Path]) -> None:
    done = run("diff", *both)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Servers and clusters",
        "~ sessions of s2 lose their server: its CloneID changed from k2 to k9",
        "  Server c/s2 CloneID: k2 -> k9",
        f"  {both[0]}:1, {both[1]}:1",
        "",
        "1 difference: 1 changed.",
    ]


def test_diff_of_what_means_the_same_ends_with_0(both: tuple[Path, Path]) -> None:
    both[1].write_text(OLD.replace('"v"', '"hosts"').replace("><", ">\n<"))
    done = run("diff", *both)
    assert (done.returncode, done.stdout) == (0, "Same meaning.\n")
    assert json.loads(run("diff", *both, "--json").stdout)["same"] is True


def test_diff_says_what_it_did_not_compare(tmp_path: Path) -> None:
    """As text, as JSON and in the report; and that is not the exit code of "same meaning"."""
    file, page = tmp_path / "crowd.xml", tmp_path / "page.html"
    file.write_text(crowd(1100, 1100))
    done = run("diff", file, file, "--html", page)
    assert done.returncode == 1, done.stderr
    words = "the order of Routes with the same score"
    assert f"not compared: {words}" in done.stdout
    assert done.stdout.endswith("No difference found. Not all was compared.\n")
    assert words in page.read_text()
    found = json.loads(run("diff", file, file, "--json").stdout)
    assert (found["same"], found["changes"]) == (False, [])
    assert found["not_compared"][0].startswith(words)


def test_diff_shows_whose_requests_go_elsewhere(
    both: tuple[Path, Path], access: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    done = run("diff", *both, "--log", access, *COMMON, "--html", page)
    assert done.returncode == 1
    assert "~ 30 requests of 5 sessions lose the server of their session: c/s2 -> c" in done.stdout
    assert f"{access}:2 GET www:80/a" in done.stdout
    assert "30 of 60 requests go elsewhere, 5 of 10 sessions among them." in done.stdout
    assert "ABCDEFGHIJ" not in done.stdout + page.read_text()
    found = json.loads(run("diff", *both, "--log", access, *COMMON, "--json").stdout)
    assert (found["log"]["requests"], found["log"]["elsewhere"]) == (60, 30)
    (kind,) = found["log"]["kinds"]
    assert (kind["what"], kind["requests"], len(kind["examples"])) == ("session lost", 30, 3)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (OLD.replace('Name="/a/*"', 'Name="/b/*"'), "find no route any more: c"),
        (OLD.replace('Name="c"', 'Name="d"').replace('ster="c"', 'ster="d"'), "none of 60 requests goes elsewhere"),
        (OLD.replace("k1", "x").replace("k2", "k1").replace("x", "k2"), "go to another server by their session: c/s1 -> c/s2"),
        (make_xml("").replace("k1", "k7").replace("h1", "h7").replace('Name="c"', 'Name="d"').replace('ster="c"', 'ster="d"'), "lose the server of their session: c/s1 -> d"),
    ],
)  # fmt: skip
def test_each_way_to_go_elsewhere_is_told(
    both: tuple[Path, Path], access: Path, new: str, said: str
) -> None:
    both[1].write_text(new)
    assert said in run("diff", *both, "--log", access, *COMMON).stdout


def test_a_log_in_which_nothing_can_be_compared_ends_with_3(
    both: tuple[Path, Path], access: Path, tmp_path: Path
) -> None:
    done = run("diff", *both, "--log", access)
    assert done.returncode == 3
    assert "say --format common" in done.stderr
    (tmp_path / "bad.xml").write_text("<Config")
    assert run("diff", both[0], tmp_path / "bad.xml").returncode == 2
    assert run("diff", both[0], tmp_path / "none.xml").returncode == 2
    (tmp_path / "not.log").write_text("hello\n")
    assert run("diff", *both, "--log", tmp_path / "not.log").returncode == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_report_is_a_page_that_a_browser_shows(
    both: tuple[Path, Path], access: Path, tmp_path: Path, scheme: str
) -> None:
    """Names of a file are text in it, whatever they are."""
    both[1].write_text(
        OLD.replace('Name="s2"', 'Name="&lt;script&gt;document.title=1&lt;/script&gt;"')
    )
    page = tmp_path / "report.html"
    run("diff", *both, "--log", access, *COMMON, "--html", page)
    assert not re.search(r"<script", page.read_text())
    async with open_page(page.as_uri(), scheme=scheme) as tab:
        assert await tab.run("document.title") == "wsproxy diff"
        text = await tab.run("document.body.innerText")
        assert "<script>document.title=1</script>" in text
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth") is True


def test_an_http_plugin_log_is_read_as_replay_reads_it(tmp_path: Path) -> None:
    """The sessions of one server lose it; the rest of the traffic goes where it went."""
    log = tmp_path / "http_plugin.log"
    lines = PluginLog()
    traffic = Traffic(1, lines)
    for _ in range(400):
        traffic.step()
    log.write_text(lines.text())
    (tmp_path / "old.xml").write_text(CONFIG)
    (tmp_path / "new.xml").write_text(CONFIG.replace('CloneID="k1"', 'CloneID="k9"'))
    done = run("diff", tmp_path / "old.xml", tmp_path / "new.xml", "--log", log, "--json")
    found = json.loads(done.stdout)["log"]
    assert {kind["what"] for kind in found["kinds"]} == {"session lost", "server"}
    for kind in found["kinds"]:
        assert kind["old"] == "shop/n_s1"
        assert kind["new"] == "shop" or kind["what"] == "server"
        assert all("www.example.com:443/shop/" in each["request"] for each in kind["examples"])
        assert all(Path(each["file"]) == log for each in kind["examples"])
    assert 0 < found["elsewhere"] == sum(kind["requests"] for kind in found["kinds"])
    assert found["elsewhere"] < found["requests"]
    (tmp_path / "stats.log").write_text(_stats())
    done = run("diff", tmp_path / "old.xml", tmp_path / "new.xml", "--log", tmp_path / "stats.log")
    assert done.returncode == 3
    assert "nothing can be compared: LogLevel Stats tells no URIs" in done.stderr


def _stats() -> str:
    log = PluginLog()
    log.counters("n_s1", 0, 1, 1)
    return log.text()

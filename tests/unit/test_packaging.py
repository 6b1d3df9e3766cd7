"""What the packages say of wsproxy holds: units, rotation, settings, container, Debian's version."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.process import COMMAND_S
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import load_settings
from wsproxy.process.hang import REPLACED_S
from wsproxy.process.supervisor import KILL_GRACE_S

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
SERVICE = PACKAGING / "systemd" / "wsproxy.service"
WORST = 2.0  # systemd-analyze: 0 is best, 10 worst


def section(file: Path, name: str) -> dict[str, str]:
    """What a unit says; of a key that stands there several times the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(file)
    return dict(parser[name])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_service_is_confined() -> None:
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    found = re.search(r"Overall exposure level for wsproxy.service: ([0-9.]+)", shown.stdout)
    assert found is not None
    assert float(found[1]) <= WORST
    assert f"says {found[1]} (0 is best" in (ROOT / "docs" / "installing.md").read_text()


def test_service_waits_longer_than_the_supervisor() -> None:
    """Else systemd kills the whole where one worker would have been replaced, or a stop would have ended by itself."""
    unit, default = section(SERVICE, "Service"), Settings()
    assert float(unit["WatchdogSec"]) >= default.process.hang_s + REPLACED_S
    assert float(unit["TimeoutStopSec"]) > default.timeouts.shutdown_s + KILL_GRACE_S


def test_settings_of_the_package_can_be_used() -> None:
    """And name folders that the unit lets it write to."""
    loaded = load_settings(PACKAGING / "etc" / "wsproxy.toml")
    assert loaded.problems == ()
    unit = section(SERVICE, "Service")
    assert unit["LogsDirectory"] == Path(loaded.settings.log.access).parent.name
    assert Path(loaded.settings.log.plugin).parent == Path(loaded.settings.log.access).parent
    assert Path(loaded.settings.admin.state_file).parent == Path("/var/lib", unit["StateDirectory"])


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="needs logrotate")
def test_rotation_is_understood(tmp_path: Path) -> None:
    config = tmp_path / "wsproxy"
    config.write_text((PACKAGING / "etc" / "logrotate").read_text())
    config.chmod(0o644)
    command = (shutil.which("logrotate") or "", "--debug", "--state", tmp_path / "state", config)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert "rotating pattern: /var/log/wsproxy/*.log" in shown.stderr
    assert "error" not in shown.stderr


def test_container_is_nobody_and_names_no_registry() -> None:
    text = (PACKAGING / "Containerfile").read_text()
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert images
    assert [each for each in images if "/" in each or "." in each.partition(":")[0]] == []
    [user] = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert int(user) > 0


def test_debian_has_this_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert (PACKAGING / "debian" / "changelog").read_text().startswith(f"wsproxy ({version}) ")


def test_documents_that_the_package_names_are_there_by_that_name() -> None:
    """As they are: a link to a file that Debian compresses leads nowhere."""
    patterns = (PACKAGING / "debian" / "wsproxy.docs").read_text().split()
    shipped = {file.name for pattern in patterns for file in ROOT.glob(pattern)}
    kept = re.search(r"^\tdh_compress (.*)$", (PACKAGING / "debian" / "rules").read_text(), re.MULTILINE)  # fmt: skip
    assert kept is not None
    endings = [each.removeprefix("-X") for each in kept[1].split()]
    files = [file for file in PACKAGING.rglob("*") if file.is_file()]
    named = {
        name.rstrip(".")
        for file in (*files, ROOT / "scripts" / "shipped.py")
        for name in re.findall(r"/usr/share/doc/wsproxy/([\w.-]+)", file.read_text())
    }
    assert named >= {"running.md", "upgrade.md", "settings.md", "wsproxy.toml"}
    assert named <= shipped
    for name in named:
        assert any(f"doc/wsproxy/{name}".endswith(ending) for ending in endings), name

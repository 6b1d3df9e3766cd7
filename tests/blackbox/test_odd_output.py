"""What commands print of names that drive a terminal: escapes, as text, as JSON and as HTML."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.plugin_log import CONFIG, PluginLog

ODD = "\x9b31m\u202e"
ODD_XML = "&#x9b;31m&#x202e;"
DRIVES = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin-cfg.xml, a log of it, and one that is refused, all in a folder whose name is odd as well."""
    made = tmp_path_factory.mktemp("x") / f"odd\x1b{ODD}"
    made.mkdir()
    config = CONFIG.replace('"n_s', f'"{ODD_XML}n_s').replace('"shop"', f'"{ODD_XML}shop"')
    (made / "plugin-cfg.xml").write_text(config)
    (made / "refused.xml").write_text(
        f'<Config><Route ServerCluster="{ODD_XML}" UriGroup="{ODD_XML}"/><Odd {ODD}="1"/></Config>'
    )
    (made / "toml").write_text(f'[odd]\n"{ODD}" = 1\n')
    log = PluginLog()
    log.simple(f"{ODD}n_s2", "h2", clone="k1", uri="/shop/a;b=\x1b[31m\udcff")
    (made / "log").write_bytes(log.text().encode("utf-8", "surrogateescape"))
    return made


COMMANDS: dict[str, Callable[[Path], tuple[str | Path, ...]]] = {
    "check": lambda at: ("check", at / "plugin-cfg.xml"),
    "check refused": lambda at: ("check", at / "refused.xml"),
    "check json": lambda at: ("check", "--json", at / "refused.xml"),
    "explain": lambda at: ("explain", at / "plugin-cfg.xml", "GET", "http://h/shop/a"),
    "explain json": lambda at: ("explain", "--json", at / "plugin-cfg.xml", "GET", "http://h/shop/a"),
    "explain refused": lambda at: ("explain", at / "refused.xml", "GET", "http://h/"),
    "run refused": lambda at: ("run", at / "refused.xml"),
    "run settings": lambda at: ("run", at / "plugin-cfg.xml", "--settings", at / "toml"),
    "replay": lambda at: ("replay", at / "log", "--config", at / "plugin-cfg.xml", "--html", at / "replay.html"),
    "replay json": lambda at: ("replay", "--json", at / "log", "--config", at / "plugin-cfg.xml"),
    "replay refused": lambda at: ("replay", at / "toml", "--config", at / "plugin-cfg.xml"),
    "simulate": lambda at: ("simulate", at / "log", "--config", at / "plugin-cfg.xml", "--html", at / "simulate.html"),
    "simulate json": lambda at: ("simulate", "--json", at / "log", "--config", at / "plugin-cfg.xml"),
}  # fmt: skip


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command, *arguments = COMMANDS[name](folder)
    return run_command(str(command), *arguments)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_output_drives_no_terminal(name: str, folder: Path) -> None:
    """Names of servers and files, what stands in a log, and what is wrong with a file."""
    done = run(name, folder)
    assert not DRIVES.search(done.stdout + done.stderr), done.stdout + done.stderr
    assert "202e" in done.stdout + done.stderr
    if name.endswith("json"):  # ``check`` says what people see; the others what is
        said = [
            json.dumps(json.loads(each), ensure_ascii=False) for each in _documents(done.stdout)
        ]
        assert ("\u202e" in "".join(said)) is (name != "check json")
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert not DRIVES.search(text)
        assert "\\u202e" in text


def _documents(text: str) -> list[str]:
    return text.splitlines() if text.startswith('{"') else [text]

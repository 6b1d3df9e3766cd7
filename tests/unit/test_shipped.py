"""What packages install beside the program: man pages and shell completion name what there is, and shells take it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.support.process import COMMAND_S
from wsproxy.cli.main import COMMANDS, main
from wsproxy.config.settings_file import every_setting

SCRIPT = Path(__file__).parents[2] / "scripts" / "shipped.py"
CONTEXT = click.Context(main, info_name="wsproxy")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As /usr/share."""
    folder = tmp_path_factory.mktemp("share")
    subprocess.run((sys.executable, "-P", SCRIPT, folder), check=True, timeout=COMMAND_S)
    return folder


def plain(page: Path) -> str:
    """What stands in the page, without groff's escapes."""
    text = page.read_text().replace("\\&", "").replace("\\-", "-")
    return text.replace("\\(ti", "~").replace("\\(ha", "^").replace("\\(aq", "'").replace("\\(ga", "`")  # fmt: skip


def options_of(name: str) -> set[str]:
    command = main.get_command(CONTEXT, name)
    assert command is not None
    return {
        option for each in command.params if isinstance(each, click.Option) for option in each.opts
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_page_has_each_command_with_its_options(share: Path, name: str) -> None:
    page = plain(share / "man/man1/wsproxy.1")
    _, begun, rest = page.partition(f"\n.SS wsproxy {name}\n")
    assert begun
    section = rest.partition("\n.SS ")[0]
    assert [each for each in options_of(name) if each not in section] == []


def test_page_has_each_setting(share: Path) -> None:
    lines = plain(share / "man/man5/wsproxy.toml.5").splitlines()
    assert [name for name, _ in every_setting() if f".B {name}" not in lines] == []


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
@pytest.mark.parametrize("page", ["man1/wsproxy.1", "man5/wsproxy.toml.5"])
def test_pages_are_what_man_can_show(share: Path, page: str) -> None:
    """Without a warning of groff, also of words that are longer than a line."""
    command = ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", share / "man" / page)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert shown.stderr == ""


def _bash(share: Path, *words: str) -> list[str]:
    script = share / "bash-completion/completions/wsproxy"
    listed = " ".join(words)
    command = (
        f"source {script}; COMP_WORDS=({listed} ''); COMP_CWORD={len(words)}; "
        f'_wsproxy_completion wsproxy; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    return _lines("bash", command)


def _fish(share: Path, *words: str) -> list[str]:
    script = share / "fish/vendor_completions.d/wsproxy.fish"
    shown = _lines("fish", f"source {script}; complete --do-complete '{' '.join(words)} '")
    return [line.partition("\t")[0] for line in shown]


def _lines(shell: str, command: str) -> list[str]:
    folder = Path(sys.executable).parent
    done = subprocess.run(
        (shell, "-c", command),
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(("shell", "ask"), [("bash", _bash), ("fish", _fish)])
def test_shell_completes_commands(share: Path, shell: str, ask: object) -> None:
    """The real shell with the script that is installed asks the real program."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    assert callable(ask)
    assert set(COMMANDS) <= set(ask(share, "wsproxy"))


def test_zsh_takes_the_script(share: Path) -> None:
    """And the program answers in the form that the script reads: kind, word and help, a line each."""
    script = share / "zsh/vendor-completions/_wsproxy"
    assert script.read_text().startswith("#compdef wsproxy")
    if shutil.which("zsh") is not None:
        subprocess.run(("zsh", "-n", script), check=True, timeout=COMMAND_S)
    environment = {"COMP_WORDS": "wsproxy run --l", "COMP_CWORD": "2", "_WSPROXY_COMPLETE": "zsh_complete"}  # fmt: skip
    done = subprocess.run(
        (Path(sys.executable).parent / "wsproxy",),
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
    )
    assert done.stdout.splitlines()[:2] == ["plain", "--listen"]

"""wsproxy.toml: what is read, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wsproxy.config.settings import FallbackSettings, ListenerSettings, Settings
from wsproxy.config.settings_file import parse_settings, read_settings
from wsproxy.errors import ConfigRefusedError

FILE = Path("wsproxy.toml")

TABLES = ", ".join(field.encode_name for field in msgspec.structs.fields(Settings))


def _refusal(text: str) -> list[str]:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(text, FILE)
    return str(refused.value).splitlines()


def test_empty_file_is_the_defaults() -> None:
    """Everything has a default."""
    assert parse_settings("", FILE) == Settings()


def test_values_are_read_from_every_table() -> None:
    """Top level, tables, inline and repeated tables all arrive; whole numbers serve as seconds."""
    settings = parse_settings(
        """
        workers = 3
        limits = { head_bytes = 32768, target_bytes = 2048 }
        [[listener]]
        address = "127.0.0.1:9080"
        [[listener]]
        address = "[::1]:0"
        [timeouts]
        head_s = 5
        [upstream]
        pool_size = 0
        [balancing]
        last_chance = false
        [fallback]
        mode = "upstream"
        upstream = "web.example.com:80"
        [log]
        level = "debug"
        """,
        FILE,
    )
    assert settings.workers == 3
    assert (settings.limits.head_bytes, settings.limits.target_bytes) == (32768, 2048)
    assert settings.listeners == (ListenerSettings("127.0.0.1:9080"), ListenerSettings("[::1]:0"))
    assert settings.timeouts.head_s == 5.0
    assert settings.timeouts.body_s == Settings().timeouts.body_s
    assert settings.upstream.pool_size == 0
    assert settings.balancing.last_chance is False
    assert settings.balancing.backups == "ordered"
    assert settings.fallback == FallbackSettings(mode="upstream", upstream="web.example.com:80")
    assert settings.log.level == "debug"


def test_all_problems_are_listed_with_their_lines() -> None:
    """One run names every problem: unknown names with the nearest known one, wrong types and ranges with what is allowed."""
    assert _refusal(
        """workers = "two"
worker = 2
keepalive_s = 5
[limits]
head_bytes = 12
frobnicate = 1
[timeouts]
head_s = nan
keepalives_s = 3
[log]
level = "loud"
[balancing]
last_chance = 1
"""
    ) == [
        'wsproxy.toml:1: workers: found "two"; allowed is a whole number from 0 to 128',
        "wsproxy.toml:2: found unknown setting worker; did you mean workers?",
        "wsproxy.toml:3: found unknown setting keepalive_s; did you mean timeouts.keepalive_s?",
        "wsproxy.toml:5: limits.head_bytes: found 12; allowed is a whole number from 1024 to 1048576",
        "wsproxy.toml:6: found unknown setting limits.frobnicate; allowed is one of head_bytes, header_fields, "
        "target_bytes",
        "wsproxy.toml:8: timeouts.head_s: found nan; allowed is a number from 0.05 to 86400",
        "wsproxy.toml:9: found unknown setting timeouts.keepalives_s; did you mean keepalive_s?",
        'wsproxy.toml:11: log.level: found "loud"; allowed is "debug" or "error" or "info" or "warning"',
        "wsproxy.toml:13: balancing.last_chance: found 1; allowed is true or false",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\nlimits = 3", "2: limits: found 3; allowed is a table, [limits]"),
        (
            "listener = 'a:1'",
            '1: listener: found "a:1"; allowed are tables, each under [[listener]]',
        ),
        ("listener = ['a:1']", '1: listener: found "a:1"; allowed is a table, [listener]'),
        ("\n[[listener]]", '2: listener: found no address; allowed is address = "HOST:PORT"'),
        (
            "[[listener]]\naddress = 9080",
            "2: listener.address: found 9080; allowed is text in quotes",
        ),
        (
            "[[listener]]\naddress = 'a:1'\n[[listener]]\naddress = '9080'",
            "4: listener.address: found '9080'; allowed is HOST:PORT (for port 9080: 127.0.0.1:9080 or :9080)",
        ),
        (
            "a.b.c = 1",
            f"1: found unknown setting a; allowed is one of {TABLES}",
        ),
        (
            "limits.'head_bytes' = true",
            "1: limits.head_bytes: found true; allowed is a whole number from 1024 to 1048576",
        ),
        ("\n\nworkers = ", "3: found what is no TOML: Invalid value"),
        ("workers = 1\nworkers = 2\n#", "2: found what is no TOML: Cannot overwrite a value"),
        ("workers = [1\n", "1: found what is no TOML: Unclosed array"),
        (
            "[fallback]\nmode = 'directory'",
            '2: fallback.mode: found "directory" without fallback.directory; allowed with directory = "FOLDER"',
        ),
        (
            "[fallback]\nmode = 'upstream'",
            '2: fallback.mode: found "upstream" without fallback.upstream; allowed with upstream = "HOST:PORT"',
        ),
        (
            "[fallback]\nupstream = ':80'",
            "2: fallback.upstream: found ':80'; allowed is HOST:PORT (the host is missing)",
        ),
        (
            "[limits]\nhead_bytes = 2048",
            "1: limits.target_bytes: found 16384; allowed is at most limits.head_bytes, 2048",
        ),
        (
            f"workers = '{'x' * 100}'",
            f'1: workers: found "{"x" * 56}...; allowed is a whole number from 0 to 128',
        ),
    ],
)
def test_problem_names_line_and_what_is_allowed(text: str, problem: str) -> None:
    """Each kind of mistake gets its own sentence."""
    assert _refusal(text) == [f"wsproxy.toml:{problem}"]


def test_fallback_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    """A relative folder is found from wherever wsproxy is started."""
    (tmp_path / "static").mkdir()
    file = tmp_path / "wsproxy.toml"
    file.write_text('[fallback]\nmode = "directory"\ndirectory = "static"\n')
    assert read_settings(file).fallback.directory == str(tmp_path / "static")


def test_fallback_directory_must_exist(tmp_path: Path) -> None:
    """A missing folder is found at start, not at the first request."""
    file = tmp_path / "wsproxy.toml"
    file.write_text('[fallback]\nmode = "directory"\ndirectory = "nowhere"\n')
    with pytest.raises(
        ConfigRefusedError,
        match=r"wsproxy\.toml:3: fallback\.directory: found '.*nowhere', which is no folder",
    ):
        read_settings(file)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are named."""
    with pytest.raises(ConfigRefusedError, match=r"none\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# na\xefve\n")
    with pytest.raises(ConfigRefusedError, match="found byte 0xef at offset 4; allowed is UTF-8"):
        read_settings(latin)

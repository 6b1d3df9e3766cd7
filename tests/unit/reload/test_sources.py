"""What the files say now, and what of it a running proxy can take over."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config.address import parse_address
from wsproxy.config.model import Config
from wsproxy.config.settings import HttpSettings, LimitSettings, ListenerSettings, Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.settings_reload import NEEDS_START
from wsproxy.config.settings_told import LogSettings
from wsproxy.config.xml import parse_config
from wsproxy.reload.sources import (
    Sources,
    changes_between,
    keep_what_needs_a_start,
    kept_from_start,
    look,
    read_sources,
)

XML = """<Config><ServerCluster Name="c"><Server Name="s1"{more}><Transport Hostname="127.0.0.1" Port="80"/></Server>{servers}
</ServerCluster><UriGroup Name="u"><Uri Name="/{uri}"/></UriGroup><Route ServerCluster="c" UriGroup="u"/></Config>"""
TWO = '<Server Name="s2"><Transport Hostname="127.0.0.1" Port="81"/></Server>'


def sources(folder: Path, settings: str | None = None, **parts: str) -> Sources:
    file = folder / "plugin-cfg.xml"
    file.write_text(XML.format(**{"more": "", "servers": "", "uri": "*", **parts}))
    toml = None
    if settings is not None:
        toml = folder / "wsproxy.toml"
        toml.write_text(settings)
    listen = [parse_address("127.0.0.1:0", is_listener=True)]
    return Sources((file,), toml, listen, None, look([file]))


def test_what_needs_a_start_stays_and_is_named() -> None:
    old = Settings(limits=LimitSettings(client_connections=5))
    wanted = Settings(
        workers=3,
        listeners=(ListenerSettings("127.0.0.1:1"),),
        limits=LimitSettings(client_connections=9, target_bytes=2048),
        log=LogSettings(level="debug"),
        http=HttpSettings(trace=True),
    )
    kept, names = keep_what_needs_a_start(wanted, old)
    assert names == ("workers", "listener", "log", "limits.client_connections")
    assert kept == Settings(
        limits=LimitSettings(client_connections=5, target_bytes=2048), http=HttpSettings(trace=True)
    )


def test_same_settings_need_nothing() -> None:
    assert keep_what_needs_a_start(Settings(), Settings()) == (Settings(), ())


def test_docs_name_every_setting_that_needs_a_start() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reload.md").read_text()
    for name in NEEDS_START:
        shown = name if "." in name or name == "workers" else f"[{name}]"
        assert f"`{shown}`" in page or f"`[{shown}]`" in page, name


def test_files_are_judged_as_at_a_start(tmp_path: Path) -> None:
    read = read_sources(sources(tmp_path, more=' LoadBalanceWeight="x"'), Settings())
    assert read.config is None
    assert [(each.line, each.severity) for each in read.problems] == [(1, "error")]


def test_settings_that_name_no_cluster_are_refused(tmp_path: Path) -> None:
    made = sources(tmp_path, '[affinity]\nstrip_clone_ids = ["d"]\n')
    read = read_sources(made, Settings())
    assert read.config is None
    assert "no ServerCluster" in str(read.problems[0])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, []),
        ({"servers": TWO}, ["s2 is a new server: it gets 50 % of the new sessions of c"]),
        (
            {"more": ' CloneID="a"'},
            ["sessions of s1 are found again by its CloneID a; those without it go on by turns"],
        ),
        (
            {"uri": "x/*"},
            [
                "requests for /* on every host no longer go to c",
                "requests for /x/* on every host go to c",
            ],
        ),
    ],
)
def test_changes_are_told_in_words(tmp_path: Path, parts: dict[str, str], said: list[str]) -> None:
    old = read_sources(sources(tmp_path), Settings())
    assert old.config is not None
    assert old.settings is not None
    new = read_sources(sources(tmp_path, **parts), Settings())
    assert list(changes_between(old.config, old.settings, new)) == said


def test_changed_settings_are_named(tmp_path: Path) -> None:
    read = read_sources(
        sources(tmp_path, "[http]\ntrace = true\n[retry]\non_503 = false\n"), Settings()
    )
    assert read.config is not None
    assert list(changes_between(read.config, Settings(), read)) == [
        "wsproxy.toml: http.trace is changed",
        "wsproxy.toml: retry.on_503 is changed",
    ]


def with_port(port: int, log: str = "a.log") -> Config:
    text = XML.format(more="", servers="", uri="*").replace(
        "Route S", 'Route VirtualHostGroup="v" S'
    )
    hosts = f'<VirtualHostGroup Name="v"><VirtualHost Name="*:{port}"/></VirtualHostGroup>'
    start = f'<Config><Log Name="{log}"/>{hosts}'
    return parse_config(text.replace("<Config>", start).encode(), "/etc/x.xml").config


@pytest.mark.parametrize(
    ("new", "settings", "named"),
    [
        (with_port(8080), Settings(), []),
        (
            with_port(8081),
            Settings(),
            ["ports of VirtualHosts in plugin-cfg.xml (8081 is not listened on, 8080 still is)"],
        ),
        (with_port(8081), Settings(listeners=(ListenerSettings("127.0.0.1:1"),)), []),
        (with_port(8080, "b.log"), Settings(), []),
    ],
    ids=["same", "port", "port with listener", "log"],
)
def test_what_the_start_has_for_good_is_named(
    new: Config, settings: Settings, named: list[str]
) -> None:
    loaded = LoadedSettings(settings)
    assert list(kept_from_start(with_port(8080), new, loaded, ())) == named


def test_port_is_nothing_where_the_command_line_names_addresses() -> None:
    listen = [parse_address("127.0.0.1:1", is_listener=True)]
    assert list(kept_from_start(with_port(8080), with_port(1), LoadedSettings(), listen)) == []


@pytest.mark.parametrize("ignored", ["", '"setting-no-effect"'])
def test_codes_that_nobody_wants_to_hear_of_are_read_anew(tmp_path: Path, ignored: str) -> None:
    """check.ignore of the file as it is now, whatever it was at the start."""
    made = sources(tmp_path, f'[check]\nignore = [{ignored}]\n[upstream.tls]\nverify = "chain"\n')
    told = {each.code for each in read_sources(made, Settings()).problems}
    assert ("setting-no-effect" in told) != bool(ignored), told

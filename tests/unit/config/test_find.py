"""Which servers a person means: a name, a name within a cluster, a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config.find import find_server, find_servers
from wsproxy.config.model import Config
from wsproxy.config.xml import load_config
from wsproxy.errors import StartError

SERVER = '<Server Name="{name}"><Transport Hostname="{host}" Port="1"/></Server>'


def config_of(folder: Path, **clusters: list[tuple[str, str]]) -> Config:
    file = folder / "plugin-cfg.xml"
    text = "".join(
        f'<ServerCluster Name="{cluster}">'
        + "".join(SERVER.format(name=name, host=host) for name, host in servers)
        + "</ServerCluster>"
        for cluster, servers in clusters.items()
    )
    more = (
        '<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="u"/>'
    )
    file.write_text(f"<Config>{text}{more}</Config>")
    return load_config(file).config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(
        tmp_path,
        farm=[("s1", "app1"), ("s2", "app2.example"), ("twin", "app1")],
        shop=[("twin", "APP2.example"), ("v6", "[::1]"), ("app3", "app4"), ("s9", "app3")],
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [("s1", (0, 0)), ("farm/s1", (0, 0)), ("shop/twin", (1, 0)), ("v6", (1, 1))],
)
def test_name_means_one_server(config: Config, text: str, place: tuple[int, int]) -> None:
    assert find_server(config, text) == place
    assert find_servers(config, text) == [place]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("app1", [(0, 0), (0, 2)]),
        ("app2.example", [(0, 1), (1, 0)]),
        ("App2.Example", [(0, 1), (1, 0)]),
        ("::1", [(1, 1)]),
        ("[::1]", [(1, 1)]),
    ],
)
def test_host_means_all_its_servers(
    config: Config, text: str, places: list[tuple[int, int]]
) -> None:
    assert find_servers(config, text) == places
    with pytest.raises(StartError):
        find_server(config, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("twin", "found twin, which several clusters have; allowed is one of farm/twin, shop/twin"),
        ("farm/s11", "no host of a server either; did you mean farm/s1?"),
        ("nobody", "allowed: "),
        (
            "app3",
            "found app3, which is a server and also the host of others; allowed: shop/app3, shop/s9",
        ),
    ],
)
def test_what_is_not_clear_is_refused(config: Config, text: str, said: str) -> None:
    with pytest.raises(StartError) as refused:
        find_servers(config, text)
    assert said in str(refused.value)


def test_server_that_is_called_like_its_own_host_is_clear(tmp_path: Path) -> None:
    config = config_of(tmp_path, farm=[("app1", "app1"), ("app2", "app2")])
    assert find_servers(config, "app1") == [(0, 0)]

"""Which upgrades pass: the compiled rule against the same rule written plainly, whole and mutated."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy._fast.http.upgrade import is_protocol, passes_upgrade

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NEVER = re.compile(r"(h2|http|tls|spdy).*")

names = st.sampled_from(
    [
        "websocket",
        "WebSocket",
        "h2c",
        "H2C",
        "h2",
        "h2c-14",
        "SPDY",
        "HTTP",
        "TLS",
        "chat",
        "",
        "a b",
        "x;y",
        "\xe9",
        "*",
    ]
)
protocols = st.builds(
    lambda name, rest: name + rest,
    names,
    st.sampled_from(["", "/1", "/2.0", "/", " ", "\t/1", "/1/2", "/1 h2c", "/ 1"]),
)
values = st.lists(protocols, max_size=4).map(",".join) | st.text("websockt2hc,/ \t", max_size=20)
upgrades = st.builds(
    "{}: {}\r\n".format, st.sampled_from(["Upgrade", "UPGRADE", "X-Upgrade"]), values
)
others = st.sampled_from(
    [
        "Connection: Upgrade\r\n",
        "Connection: keep-alive, upgrade\r\n",
        "connection: close\r\n",
        "Connection: Upgrade, X-Upgrade\r\n",
        "Host: x\r\n",
    ]
)


def by_oracle(lines: list[str], allowed: frozenset[str]) -> bool:
    fields = [line[:-2].split(":", 1) for line in lines]
    options = {
        option.strip(" \t").lower()
        for name, value in fields
        if name.lower() == "connection"
        for option in value.split(",")
    }
    asked = [value for name, value in fields if name.lower() == "upgrade"]
    if "upgrade" not in options or len(asked) != 1:
        return False
    for one in asked[0].lower().split(","):
        name, *version = one.strip(" \t").split("/", 1)
        if not all(map(TOKEN.fullmatch, [name, *version])) or NEVER.fullmatch(name):
            return False
        if "*" not in allowed and name not in allowed:
            return False
    return True


@pytest.mark.asan
@given(
    st.lists(upgrades | others, max_size=5),
    st.sampled_from(
        [frozenset(), frozenset(["websocket"]), frozenset(["websocket", "chat"]), frozenset("*")]
    ),
)
@example(["Connection: Upgrade\r\n", "Upgrade: websocket\r\n"], frozenset(["websocket"]))
def test_upgrade_passes_as_the_rule_says(lines: list[str], allowed: frozenset[str]) -> None:
    data = ("".join(lines) + "\r\n").encode("latin-1")
    assert passes_upgrade(data, allowed) is by_oracle(lines, allowed)


@pytest.mark.parametrize("name", ["websocket", "*", "Chat", "a.b-c"])
def test_settings_may_name(name: str) -> None:
    assert is_protocol(name)


@pytest.mark.parametrize(
    "name", ["", "h2c", "H2C", "h2c-14", "http", "TLS", "spdy", "web socket", "a/1", "é"]
)
def test_settings_may_not_name(name: str) -> None:
    assert not is_protocol(name)

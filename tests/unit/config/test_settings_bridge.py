"""[[ha.bridge]]: what is refused, with its line; files are seen from the folder of the settings."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_file import load_text, parse_settings
from wsproxy.errors import ConfigRefusedError
from wsproxy.ha.certs import make_certificates

HA = '[ha]\nstore = "etcd"\nendpoints = ["http://127.0.0.1:1"]\ncore_group = "east"\n'
FILE = Path("wsproxy.toml")


def bridge(more: str = "", endpoints: str = '"http://127.0.0.1:2"', name: str = "west") -> str:
    return f'[[ha.bridge]]\ncore_group = "{name}"\nendpoints = [{endpoints}]\n{more}'


def refusal_of(text: str, ha: str = HA) -> str:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(ha + text, FILE)
    return str(refused.value)


def test_what_goes_over_by_default() -> None:
    """What operators say; no marks."""
    [made] = parse_settings(HA + bridge(), FILE).ha.bridges
    assert (made.out, made.in_) == (("holds", "numbers"), ("holds", "numbers"))
    assert made.cell_or("wsproxy") == "wsproxy"
    assert BridgeSettings(cell="other").cell_or("wsproxy") == "other"


def test_in_is_a_setting() -> None:
    """Though it is a word of Python."""
    [made] = parse_settings(HA + bridge('in = ["marks:shop_*", "holds"]\n'), FILE).ha.bridges
    assert made.in_ == ("marks:shop_*", "holds")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bridge(name="east"), 'wsproxy.toml:6: ha.bridge.core_group: found "east" of cell "wsproxy", which is our own'),
        (bridge(name="a b"), "letters, digits"),
        (bridge('cell = "a/b"\n'), "letters, digits"),
        (bridge() + bridge(), 'found "west" of cell "wsproxy" twice'),
        (bridge(endpoints=""), "ha.bridge.endpoints: found none"),
        (bridge(endpoints='"http://10.0.0.1:2379"'), "http to another machine"),
        (bridge(endpoints='"http://127.0.0.1:1", "https://h:2"'), "http and https"),
        (bridge(endpoints='"etcd"'), "no URL of a host"),
        (bridge(endpoints='"https://h"'), "no port"),
        (bridge(endpoints='"https://h:1"'), "ha.bridge.ca: found none with https endpoints"),
        (bridge('in = ["hold"]\n'), 'ha.bridge.in: found "hold"; allowed are "holds", "numbers" and "marks"'),
        (bridge('out = ["marks:"]\n'), 'ha.bridge.out: found "marks:"'),
        (bridge("in = []\nout = []\n"), "nothing would ever be copied"),
        (bridge("marks_s = 0.0\n"), "ha.bridge.marks_s"),
        (bridge('user = "east"\n'), "ha.bridge.password_file: found one of user and password_file"),
        (bridge("cut_s = 1e9\n"), "ha.bridge.cut_s"),
        ("".join(bridge(name=f"w{number}") for number in range(9)), "found 9 bridges; allowed are 8"),
    ],
)  # fmt: skip
def test_refused(text: str, says: str) -> None:
    """With what is allowed."""
    assert says in refusal_of(text)


def test_a_group_in_another_cell_may_have_our_name() -> None:
    """Then the cell tells them apart."""
    assert parse_settings(HA + bridge('cell = "other"\n', name="east"), FILE).ha.bridges


def test_a_bridge_without_a_group() -> None:
    """Nothing would be there to be bridged."""
    assert "found a bridge without a group" in refusal_of(bridge(), ha="")


def test_keys_that_do_not_work_are_told(tmp_path: Path) -> None:
    """At the start, with the file; good ones are seen from the folder of the settings."""
    make_certificates(tmp_path / "west", [("east",)], datetime.datetime.now(datetime.UTC))
    more = 'ca = "west/ca.pem"\ncertificate = "west/east.pem"\nkey = "west/east.key"\n'
    file = tmp_path / "wsproxy.toml"
    [made] = load_text(HA + bridge(more, '"https://west1:2379"'), file).settings.ha.bridges
    assert made.key == str(tmp_path / "west/east.key")
    (tmp_path / "west/east.key").write_text("no key")
    file.write_text(HA + bridge(more, '"https://west1:2379"'))
    with pytest.raises(ConfigRefusedError, match=r"ha\.bridge\.certificate: .*east\.key"):
        parse_settings(file.read_text(), file)
    (tmp_path / "west/ca.pem").write_text("no certificate")
    with pytest.raises(ConfigRefusedError, match=r"ha\.bridge\.ca: .*ca\.pem"):
        parse_settings(file.read_text(), file)

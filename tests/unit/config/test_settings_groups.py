"""[[ha.resource]] and [[ha.policy]]: what is refused, with its line; above all an end that cannot fit into the lease."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config.settings_file import load_text, parse_settings
from wsproxy.config.settings_groups import ResourceSettings, fence_lead_s, longest_end_s
from wsproxy.config.settings_ha import HaSettings
from wsproxy.errors import ConfigRefusedError

HA = '[ha]\nstore = "etcd"\nendpoints = ["http://127.0.0.1:1"]\n'
FILE = Path("wsproxy.toml")


def refusal_of(text: str, ha: str = HA) -> str:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(ha + text, FILE)
    return str(refused.value)


def resource(more: str = "", name: str = "r") -> str:
    return f'[[ha.resource]]\nname = "{name}"\nstart = ["/bin/true"]\n{more}'


def test_defaults_fit_into_the_default_lease() -> None:
    """Also with a release."""
    ha = parse_settings(HA + resource('release = ["/bin/true"]\n'), FILE).ha
    assert [each.name for each in ha.resources] == ["r"]
    assert fence_lead_s(ResourceSettings(release=("/bin/true",))) == 2.0
    assert HaSettings().ttl_s == 5


def test_an_end_that_does_not_fit_teaches() -> None:
    """With the numbers, and with what helps."""
    text = refusal_of(resource("fence_s = 10.0\n"))
    assert "wsproxy.toml:7: ha.resource.fence_s: found 10" in text
    assert "its end takes 10.5 s" in text
    assert "a lease leaves 2.25 s" in text
    assert "a larger missed (5 with period_s = 1 make a lease of 5 s)" in text
    parse_settings(HA + "missed = 14\n" + resource("fence_s = 10.0\n"), FILE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[ha.resource]]\nname = 'r'\n", "ha.resource.start: found none"),
        (resource(name="a b"), "letters, digits"),
        (resource() + resource(), 'found "r" twice'),
        (resource(name="wsproxy.prober"), "wsproxy's own"),
        (resource('stop = ["stop.sh"]\n'), "absolute path of a program"),
        (resource('lock_files = ["lock"]\n'), "absolute path"),
        (resource('ports = ["host:80"]\n'), "IP address of this machine"),
        (resource('ports = ["80"]\n'), "ha.resource.ports"),
        (resource(f"ports = {['127.0.0.1:80'] * 9}\n"), "found 9; allowed are 8"),
        (resource("stop_s = 0.0\n"), "ha.resource.stop_s"),
        ("[[ha.policy]]\n", "letters, digits"),
        ('[[ha.policy]]\nname = "p"\ntype = "Two of N"\n', '"One of N" or'),
        ('[[ha.policy]]\nname = "p"\ntype = "Static"\n', "found none with type"),
        ('[[ha.policy]]\nname = "p"\nquorum = true\n', "all members that could be there"),
        ('[[ha.policy]]\nname = "p"\npreferred_only = true\n', "nobody would ever be active"),
        ('[[ha.policy]]\nname = "p"\ncount = 2\n', 'allowed with "M of N"'),
        ('[[ha.policy]]\nname = "p"\n[[ha.policy]]\nname = "p"\n', 'found "p" twice'),
        ('[[ha.policy]]\nname = "p"\nmatch = { a = 1 }\n', "a table of texts"),
        ('[[ha.policy]]\nname = "p"\npreferred = ["a b"]\n', "letters, digits"),
    ],
)
def test_refused(text: str, says: str) -> None:
    """What cannot work is said at the start."""
    assert says in refusal_of(text)


def test_resources_without_a_group() -> None:
    """Nobody would decide."""
    assert "found resources without a group" in refusal_of(resource(), ha="")


def test_one_prober_needs_servers_that_begin_up() -> None:
    """Where another member asks, nothing here would say that a new server is up."""
    probe = '[probe]\ntype = "tcp"\ninitial = "down"\n'
    assert "ha.one_prober: found true" in refusal_of("", ha=f"{probe}{HA}one_prober = true\n")
    (problem,) = load_text(f"{HA}one_prober = true\n", FILE).problems
    assert problem.code == "setting-no-effect"


def test_the_longest_end() -> None:
    """What the supervisor waits for at a stop."""
    assert longest_end_s([]) == 0
    assert longest_end_s([ResourceSettings(stop_s=10, stop_delay=5)]) == 25.5

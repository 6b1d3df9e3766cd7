"""keepalived.conf of a pair: word for word, and as keepalived itself judges it; settings that are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from wsproxy.ha.pair.conf import Pair, flaws, keepalived_conf, nobody_watches

PAIR = Pair(
    vip="10.78.0.100/24", address="10.78.0.11", peer="10.78.0.12", interface="eth0",
    sync_address="10.79.0.11", sync_peer="10.79.0.12", ca="ca.pem", certificate="p1.pem", key="p1.key",
)  # fmt: skip
SIX = msgspec.structs.replace(PAIR, vip="fd00::100/64", address="fd00::11", peer="fd00::12", ping_interval_s=3.0, router_id=255)  # fmt: skip
CASES = Path(__file__).parent / "conf"
KEEPALIVED = shutil.which("keepalived", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.mark.parametrize(("name", "pair"), [("two-networks", PAIR), ("ipv6", SIX)])
def test_file_is_word_for_word(name: str, pair: Pair) -> None:
    """``WSPROXY_GOLDEN=write`` writes it anew: read the diff, operators do."""
    case = CASES / f"{name}.conf"
    text = keepalived_conf(pair, PurePosixPath("/var/lib/wsproxy-ha"))
    if os.environ.get("WSPROXY_GOLDEN") == "write":
        case.write_text(text)
    assert text == case.read_text()


@pytest.fixture
def namespace() -> Iterator[str]:
    """With an interface, which keepalived wants to see."""
    name = f"wspconf{os.getpid()}"
    if os.geteuid() or subprocess.run(["ip", "netns", "add", name], check=False).returncode:
        pytest.skip("network namespaces cannot be made here (root)")
    try:
        for words in (
            ("link", "add", "eth0", "type", "veth", "peer", "name", "other"),
            ("addr", "add", "10.78.0.11/24", "dev", "eth0"),
            ("-6", "addr", "add", "fd00::11/64", "dev", "eth0", "nodad"),
            ("link", "set", "eth0", "up"),
        ):
            subprocess.run(["ip", "-n", name, *words], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.skipif(KEEPALIVED is None, reason="no keepalived on this machine: apt-get install keepalived")  # fmt: skip
@pytest.mark.parametrize(
    "pair",
    [
        PAIR,
        SIX,
        msgspec.structs.replace(PAIR, ping_interval_s=0.15),
        msgspec.structs.replace(PAIR, ping_interval_s=120.0, router_id=1),
    ],
    ids=["two-networks", "ipv6", "shortest", "longest"],
)
def test_keepalived_takes_it_without_a_word(namespace: str, pair: Pair) -> None:
    """``keepalived -t``: no error, and no warning either."""
    assert KEEPALIVED is not None
    # Scripts below a folder that anybody can write to are not run, and that is a warning.
    with tempfile.TemporaryDirectory(dir="/run") as text:
        folder = Path(text)
        for name in ("role", "down", "guard"):
            (folder / name).write_text("0\n")
        script = folder / "nobody-watches"
        script.write_text(nobody_watches(folder))
        script.chmod(0o700)
        conf = folder / "keepalived.conf"
        conf.write_text(keepalived_conf(pair, folder))
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, KEEPALIVED, "-t", "-f", str(conf)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_good_settings_have_no_flaw() -> None:
    """Of one network, of two, of IPv6 between both."""
    for pair in (PAIR, SIX, msgspec.structs.replace(PAIR, sync_address="", sync_peer="")):
        assert list(flaws(pair)) == []


@pytest.mark.parametrize(
    ("changes", "option", "found"),
    [
        ({"vip": "10.78.0.100"}, "vip", 'found "10.78.0.100"; allowed is ADDRESS/PREFIX'),
        ({"vip": "10.78.0.11/24"}, "vip", "found 10.78.0.11, which is a node's own"),
        ({"vip": "10.79.0.12/24"}, "vip", "found 10.79.0.12, which is a node's own"),
        ({"vip": "fd00::1/64"}, "vip", "found IPv4 and IPv6"),
        ({"peer": "proxy2"}, "peer", 'found "proxy2"; allowed is an IP address'),
        ({"peer": "10.78.0.11"}, "peer", "found 10.78.0.11 on both sides"),
        ({"peer": "fe80::1%x\n}\nvrrp_script y {"}, "peer", "allowed is an IP address"),
        ({"vip": "fe80::9%x {/64"}, "vip", "allowed is ADDRESS/PREFIX"),
        ({"vip": "10.78.0.100/255.255.255.0"}, "vip", "allowed is ADDRESS/PREFIX"),
        ({"sync_peer": ""}, "sync_peer", "found one address of the sync network"),
        ({"ping_interval_s": 0.1}, "ping_interval", "found 0.1; allowed are 0.15 to 120 s"),
        ({"ping_interval_s": 121.0}, "ping_interval", "found 121"),
        ({"router_id": 0}, "router_id", "found 0; allowed are 1 to 255"),
        ({"port": 0}, "port", "found 0"),
        ({"interface": 'eth0"'}, "interface", "allowed is a name of a network interface"),
        ({"check": "ftp://x"}, "check", 'found "ftp://x"; allowed is http://HOST:PORT/PATH'),
        ({"check": "http://x/a\nb"}, "check", "allowed is http://HOST:PORT/PATH"),
        ({"check": "http://u:secret@x/"}, "check", "found a user or a password in it"),
    ],
)
def test_flaws_say_what_was_found(changes: dict[str, object], option: str, found: str) -> None:
    """With the option that has it."""
    told = list(flaws(msgspec.structs.replace(PAIR, **changes)))
    assert any(name == option and found in what for name, what in told), told


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Path, Path]:
    script = tmp_path / "nobody-watches"
    script.write_text(nobody_watches(tmp_path))
    script.chmod(0o700)
    return tmp_path, script


def test_script_is_silent_while_an_agent_has_the_lock(watched: tuple[Path, Path]) -> None:
    """Whatever the proxy does: the agent knows."""
    folder, script = watched
    (folder / "proxy.pid").write_text("999999999\n")
    holder = subprocess.Popen(["flock", str(folder / "agent.lock"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        holder.stdout.readline()  # cat runs, so it has the lock
        assert subprocess.run([script], check=False).returncode == 0
    finally:
        holder.communicate()
    assert subprocess.run([script], check=False).returncode == 1


def test_script_looks_for_the_proxy_where_no_agent_is(watched: tuple[Path, Path]) -> None:
    """One that lives is well, one that is gone or a zombie is not; one that was never known is not judged."""
    folder, script = watched
    assert subprocess.run([script], check=False, stderr=subprocess.DEVNULL).returncode == 0
    (folder / "proxy.pid").write_text(f"{os.getpid()}\n")
    assert subprocess.run([script], check=False).returncode == 0
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it is a zombie, and stays one
    (folder / "proxy.pid").write_text(f"{child}\n")
    assert subprocess.run([script], check=False).returncode == 1
    os.waitpid(child, 0)
    assert subprocess.run([script], check=False).returncode == 1

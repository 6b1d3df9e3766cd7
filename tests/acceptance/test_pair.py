"""
Two proxies and a floating address, on two machines that are network namespaces of this one: real keepalived, real requests.

Needs root, namespaces, keepalived and nftables; elsewhere it is skipped, and says what is missing. What is promised for each failure
stands in docs/high-availability.md and is judged by ``wsproxy ha drill``; here bounds are wide enough for a machine that is busy, but
"nothing moves", "never two holders" and "the address is somewhere" are not.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.pair_lab import (
    PORT,
    VIP,
    Box,
    PairLab,
    ip,
    names_of,
    needs_pair_lab,
    pair_lab,
    until,
)
from tests.support.process import COMMAND_S, WAIT_S

pytestmark = needs_pair_lab
STEP_S = 300.0
URL = f"http://{VIP}:{PORT}/who"
# What a failover may take here; the drill's own report has the promised figures.
BUSY_S = 5.0


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[PairLab]:
    async with pair_lab() as found:
        yield found


async def until_log(box: Box, words: str) -> None:
    try:
        await until(lambda: words in box.log(), "")
    except AssertionError:
        raise AssertionError(f"{words!r} is not in the log:\n{box.log()}") from None


async def until_state(box: Box, state: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while True:
            if (found := await box.status())["state"] == state:
                return found
            await asyncio.sleep(0.1)


def pid_of(box: Box, name: str) -> int:
    """Its process with that name."""
    names = names_of(box.pids())
    return next(pid for pid, own in names.items() if own == name)


@asynccontextmanager
async def asking(lab: PairLab) -> AsyncIterator[list[str]]:
    """A hundred requests a second from the client meanwhile; afterwards the answers, or why there was none, in order."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", lab.client, sys.executable, "-m", "tests.support.pair_client", URL,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    answers: list[str] = []
    try:
        await asyncio.wait_for(process.stdout.readline(), WAIT_S)  # the first answer has come
        yield answers
        process.stdin.close()
        answers += json.loads(await asyncio.wait_for(process.stdout.read(), WAIT_S))
    finally:
        if process.returncode is None and not answers:
            process.kill()
        await process.wait()


def lost(answers: list[str]) -> list[str]:
    return [each for each in answers if each not in ("p1", "p2")]


async def drill(lab: PairLab, *steps: str) -> dict[str, Any]:
    """What the command measured; its report is looked at by ``test_drill_report``."""
    for box in lab.boxes:
        again = box.folder / "again"
        command = f"{sys.executable} -P -m wsproxy run {box.folder}/plugin-cfg.xml --settings {box.folder}/wsproxy.toml --workers 1"
        again.write_text(f"#!/bin/sh\nexec {command} 2>>{box.folder}/again.log\n")
        again.chmod(0o700)
        await box.done("drill", "--allow", "30", "--restart", str(again))
    words = [word for step in steps for word in ("--step", step)]
    nodes = [word for box in lab.boxes for word in ("--node", box.address)]
    out = lab.folder / "drill.json"
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", lab.client, sys.executable, "-P", "-m", "wsproxy", "ha", "drill", *nodes, *words,
        "--url", URL, "--keys", str(lab.folder / "keys"), "--name", "client", "--yes",
        "--json", str(out), "--report", str(lab.folder / "drill.html"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), STEP_S)
    assert process.returncode in (0, 1), said.decode()
    found: dict[str, Any] = json.loads(out.read_text())
    assert [each["name"] for each in found["results"]] == list(steps), said.decode()
    assert not [each["skipped"] for each in found["results"] if each["skipped"]]
    return {each["name"]: each for each in found["results"]}


# --- commands -----------------------------------------------------------------------------------------------------------


async def test_two_commands_make_a_pair_and_two_end_it(lab: PairLab) -> None:
    """Primary first, then secondary; failover makes the first idle, start --secondary brings it back; stop gives the address away."""
    one, two = lab.boxes
    assert "stand-alone" in (await one.run("status"))[1]
    said = await one.done(*one.start_words(two, "--primary"))
    assert f"primary: the address {VIP}/24 is here" in said
    assert "the other node is not there yet" in said
    assert one.holds()
    assert "secondary: 10.78.0.11 is primary" in await two.done(*two.start_words(one, "--secondary"))  # fmt: skip
    assert not two.holds()
    found = await one.status()
    assert (found["state"], found["holds"], found["keepalived"]["state"]) == ("primary", True, "master")  # fmt: skip
    assert found["peer"]["state"] == "secondary"
    assert found["warnings"] == []

    assert "idle: the other node has the address" in await one.done("failover")
    assert (one.holds(), two.holds()) == (False, True)
    code, said = await two.run("status")
    assert code == 1
    assert "nobody would take the address over: the other node is idle" in said
    assert "secondary" in await one.done("start", "--secondary")
    # From the other side: the secondary takes it.
    assert "primary: the address is here; the other node is idle" in await one.done("failover")
    await until_state(two, "idle")
    await two.done("start", "--secondary")

    assert "stand-alone" in await one.done("stop")
    await until(two.holds, "the secondary has not taken the address of a primary that stopped")
    assert not one.holds()
    await until_state(two, "primary")
    assert "stand-alone" in await two.done("stop")
    assert not two.holds()
    for box in lab.boxes:
        assert (await box.status())["state"] == "stand-alone"
        assert not set(names_of(box.pids()).values()) & {
            "keepalived",
            "wsproxy-pair",
            "wsproxy-keeper",
        }
        assert "rc=0 wsproxy ha" in (box.ha / "ha.result").read_text()
        assert "stand-alone" in (box.ha / "ha.out").read_text()


async def test_what_is_refused_changes_nothing(lab: PairLab) -> None:
    """A second primary, an address that somebody has, no proxy, other files: each says what it found; then what was lacking is given."""
    one, two = lab.boxes
    await one.done(*one.start_words(two, "--primary"))
    code, said = await two.run(*two.start_words(one, "--primary"))
    assert (code, "10.78.0.11 is primary; allowed is start --secondary" in said) == (1, True)
    assert (await two.status())["state"] == "stand-alone"
    code, said = await one.run("start", "--secondary")
    assert (code, 'found state primary, which "start --secondary" does not go with' in said) == (1, True)  # fmt: skip
    code, said = await two.run(*two.start_words(one, "--secondary", "--vip", "10.78.0.12/24"))
    assert (code, "--vip: found 10.78.0.12, which is a node's own" in said) == (1, True)
    assert "rc=1" in (two.ha / "ha.result").read_text()

    # Another configuration: the secondary is inconsistent, and takes nothing.
    cfg = two.folder / "plugin-cfg.xml"
    text = cfg.read_text()
    cfg.write_text(text.replace("/app/*", "/other/*"))
    assert two.proxy is not None
    two.proxy.send_signal(signal.SIGTERM)
    assert two.watch is not None
    await asyncio.wait_for(two.watch.exited.wait(), WAIT_S)
    code, said = await two.run(*two.start_words(one, "--secondary"))
    assert (code, "no proxy serves here" in said) == (1, True)
    await two.start_proxy()
    code, said = await two.run(*two.start_words(one, "--secondary"))
    assert (code, "allowed is the same plugin-cfg.xml" in said) == (1, True)
    assert (await two.status())["state"] == "inconsistent"
    code, said = await one.run("failover")
    assert (code, "the other node is inconsistent" in said) == (1, True)
    assert one.holds()

    cfg.write_text(text)
    await until_log(two, "the two nodes do not differ any more")
    assert "secondary" in await two.done("start", "--secondary")


async def test_configure_moves_nothing(lab: PairLab) -> None:
    """Another ping interval on both nodes, one after the other: no request is lost, and meanwhile it is told that they differ."""
    await lab.start_pair()
    async with asking(lab) as answers:
        await lab.one.done("configure", "--ping-interval", "1.2")
        await until_log(lab.two, "settings of the pair: the same options must be given")
        await lab.two.done("configure", "--ping-interval", "1.2")
        await until_log(lab.two, "the two nodes do not differ any more")
    assert set(answers) == {"p1"}
    assert "advert_int 0.4" in (lab.two.ha / "keepalived.conf").read_text()
    assert (await lab.one.status())["pair"]["ping_interval_s"] == 1.2


async def test_trace_has_the_logs_of_both(lab: PairLab) -> None:
    """Names begin with the addresses; where the other node is gone its own are there, and that is said."""
    await lab.start_pair()
    file = lab.folder / "trace.zip"
    await lab.one.done("trace", "--output", str(file))
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        for address in ("10.78.0.11", "10.78.0.12"):
            assert {f"{address}-{name}" for name in ("ha.log", "ha.out", "ha.result", "keepalived.log")} <= names  # fmt: skip
        assert b"command start role=secondary" in archive.read("10.78.0.12-ha.log")
        assert b"PRIVATE KEY" not in b"".join(archive.read(name) for name in names)
    lab.two.kill_all()
    code, said = await lab.one.run("trace", "--output", str(file))
    assert (code, "the other node's logs are not in it" in said) == (1, True)
    with zipfile.ZipFile(file) as archive:
        assert {"10.78.0.11-ha.log", "MISSING.txt"} <= set(archive.namelist())


# --- failures, measured by the drill -------------------------------------------------------------------------------------


async def test_planned_failover_loses_no_request(lab: PairLab) -> None:
    """None is reset, whatever the machine does meanwhile; and of some there and back one at least has no client that got no time for half a second."""
    await lab.start_pair()
    for _ in range(3):
        found = await drill(lab, "planned", "planned-back")
        assert all(each["has_moved"] for each in found.values())
        assert {why for each in found.values() for why in each["whys"]} <= {"no answer in time"}
        if not all(each["lost"] for each in found.values()):
            return
    raise AssertionError("each of three planned failovers, and each way back, has lost some")


def ask_who(sock: socket.socket) -> bytes:
    """Which node answers on a connection that is kept."""
    sock.sendall(f"GET /who HTTP/1.1\r\nHost: {VIP}\r\n\r\n".encode())
    data = b""
    while not data.endswith((b"p1", b"p2")):
        more = sock.recv(4096)
        assert more, data
        data += more
    return data[-2:]


async def test_open_connections_go_on_after_a_planned_failover(lab: PairLab) -> None:
    """For ten seconds their packets are passed on to the node where they began; new ones are the other node's. Then all of that is gone."""
    await lab.start_pair()
    one, two = lab.boxes
    with lab.in_client():
        kept = socket.create_connection((VIP, PORT), WAIT_S)
    with kept:
        assert await asyncio.to_thread(ask_who, kept) == b"p1"
        await one.done("failover")
        assert await asyncio.to_thread(ask_who, kept) == b"p1"
        with lab.in_client():
            new = socket.create_connection((VIP, PORT), WAIT_S)
        with new:
            assert await asyncio.to_thread(ask_who, new) == b"p2"
            assert await asyncio.to_thread(ask_who, kept) == b"p1"
            await until(lambda: VIP not in ip("-n", one.name, "addr", "show", "dev", "lo"), "the address lingers for ever")  # fmt: skip
            await until(lambda: "wsproxy_failover" not in two.tables(), "packets are passed on for ever")  # fmt: skip
            assert await asyncio.to_thread(ask_who, new) == b"p2"
    await one.done("start", "--secondary")


async def test_failures_move_the_address_and_cuts_do_not(lab: PairLab) -> None:
    """
    A killed proxy, a dead node, a stopped proxy: it moves in time. A cut sync network, cut VRRP: nothing moves, one holder, none lost.

    Of three cuts one at least has no client that got no time for half a second.
    """
    await lab.start_pair()
    found = await drill(lab, "kill", "death", "sync-cut", "vrrp-cut", "stop")
    page = (lab.folder / "drill.html").read_text()
    assert page.count("<figure>") == 5
    for name in ("kill", "death", "stop"):
        assert found[name]["has_moved"], found[name]["broken"]
        assert found[name]["outage_s"] < BUSY_S, (name, found[name]["outage_s"])
    for name in ("sync-cut", "vrrp-cut"):
        cuts = [found[name]]
        while cuts[-1]["lost"] and len(cuts) < 3:
            cuts.append((await drill(lab, name))[name])
        assert not any(each["has_moved"] or each["both_s"] for each in cuts), (name, cuts)
        assert {why for each in cuts for why in each["whys"]} <= {"no answer in time"}, name
        assert not cuts[-1]["lost"], (name, cuts)


async def test_drill_needs_a_yes_on_each_node(lab: PairLab) -> None:
    """A key of the group is not enough to break a node."""
    await lab.start_pair()
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", lab.client, sys.executable, "-P", "-m", "wsproxy", "ha", "drill",
        "--node", lab.one.address, "--node", lab.two.address, "--url", URL, "--keys", str(lab.folder / "keys"), "--name", "client", "--yes",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), COMMAND_S)
    assert (process.returncode, b"found no operator's yes on this node" in said) == (2, True)
    assert lab.one.holds()


# --- failures of what moves the address ------------------------------------------------------------------------------------


async def test_killed_agent_is_replaced_and_nothing_moves(lab: PairLab) -> None:
    """Keepalived goes on meanwhile, and the next agent takes it up."""
    await lab.start_pair()
    kept = (await lab.one.status())["keepalived"]["pid"]
    async with asking(lab) as answers:
        os.kill(pid_of(lab.one, "wsproxy-pair"), signal.SIGKILL)
        await until_log(lab.one, f"keepalived (pid {kept}) runs on")
        found = await until_state(lab.one, "primary")
        await until_log(lab.two, "the other node is heard")
    assert (found["holds"], found["keepalived"]["pid"]) == (True, kept)
    assert set(answers) == {"p1"}
    assert "failover" not in await lab.one.done("failover")


async def test_killed_keepalived_leaves_no_address_behind(lab: PairLab) -> None:
    """It is started again at once, and in the end one node has the address, and only one."""
    await lab.start_pair()
    async with asking(lab) as answers:
        for name in ("keepalived.pid", "vrrp.pid"):
            os.kill(int((lab.one.ha / name).read_text()), signal.SIGKILL)
        await until_log(lab.one, "keepalived has ended, and nobody told it to")
        await until(lambda: lab.one.holds() != lab.two.holds(), "not one holder")
        await asyncio.sleep(1.5)  # longer than VRRP needs: nobody takes it any more
        assert lab.one.holds() != lab.two.holds()
    assert len(lost(answers)) < BUSY_S * 100


async def test_dead_agent_and_dead_proxy_are_seen_by_keepalived(lab: PairLab) -> None:
    """Nobody is left on the primary but keepalived: its own script gives the address away."""
    await lab.start_pair()
    for name in ("wsproxy-keeper", "wsproxy-pair"):
        os.kill(pid_of(lab.one, name), signal.SIGKILL)
    await asyncio.sleep(1.5)  # its script has run, and does nothing while the proxy lives
    assert lab.one.holds()
    assert lab.one.proxy is not None
    os.kill(lab.one.proxy.get_pid(), signal.SIGKILL)
    await until(lambda: lab.two.holds() and not lab.one.holds(), "the address stayed with a dead proxy")  # fmt: skip
    code, said = await lab.one.run("status")
    assert (code, "no agent runs, though this node was no stand-alone one" in said) == (1, True)
    assert "stand-alone" in await lab.one.done("stop")


async def test_lost_secondary_is_told(lab: PairLab) -> None:
    """In ha.log, by status, and to the program that wants to know; the seed has no notice of it."""
    told = lab.folder / "told"
    program = lab.folder / "notify"
    program.write_text(f'#!/bin/sh\nprintf "%s|%s\\n" "$1" "$2" >>{told}\n')
    program.chmod(0o700)
    await lab.start_pair("--notify", str(program))
    async with asking(lab) as answers:
        lab.two.kill_all()
        await until_log(lab.one, "the secondary (10.78.0.12) answers on no network any more: nobody would take the address over")  # fmt: skip
        await until(lambda: told.exists() and "primary|the secondary" in told.read_text(), "not told")  # fmt: skip
    assert set(answers) == {"p1"}
    code, said = await lab.one.run("status")
    assert (code, "the other node answers on no network" in said) == (1, True)


@pytest.mark.parametrize("autostart", [False, True], ids=["by hand", "autostart"])
async def test_old_primary_comes_back_as_stand_alone_unless_autostart(
    lab: PairLab, *, autostart: bool
) -> None:
    """After a failover it is no secondary until somebody has looked, or by itself if that is wanted; the address stays where it went."""
    await lab.start_pair(*(["--autostart"] if autostart else []))
    assert lab.one.proxy is not None
    os.kill(lab.one.proxy.get_pid(), signal.SIGKILL)
    await until(lambda: lab.two.holds() and not lab.one.holds(), "the address did not move")
    await until_log(lab.one, "primary -> stand-alone: the other node has taken the address")
    await lab.one.start_proxy()
    found = await until_state(lab.one, "secondary" if autostart else "stand-alone")
    assert (await until_state(lab.two, "primary"))["holds"]
    if not autostart:
        assert found["keepalived"] is None
        await lab.one.done("start", "--secondary")
    await lab.two.done("failover")
    assert lab.one.holds()


async def test_both_networks_cut_and_whole_again_leave_one_holder_that_is_found(
    lab: PairLab,
) -> None:
    """Nobody can know better meanwhile, so both hold it; then who took it last keeps it, and clients find it at once."""
    await lab.start_pair()
    for interface in ("eth0", "eth1"):
        lab.cut(lab.one, interface)
    await until(lab.two.holds, "the secondary did not take it")
    for interface in ("eth0", "eth1"):
        lab.cut(lab.one, interface, is_up=True)
    await until(lambda: lab.two.holds() and not lab.one.holds(), "not the last one that took it")
    async with asking(lab) as answers:
        await until_state(lab.one, "stand-alone")
    assert set(answers) == {"p2"}


async def test_cut_vrrp_never_makes_two_holders(lab: PairLab) -> None:
    """Nobody hears an advert for four seconds: the address is looked at on both machines, and stays on one."""
    await lab.start_pair()
    table = (
        "table inet cut { chain o { type filter hook output priority 0; meta l4proto 112 drop; }; }"
    )
    async with asking(lab) as answers:
        for box in lab.boxes:
            box.nft(table)
        await until_log(
            lab.two, "VRRP's adverts are missing, but the other node says that it holds"
        )
        for _ in range(40):
            assert (lab.one.holds(), lab.two.holds()) == (True, False)
            await asyncio.sleep(0.1)
        for box in lab.boxes:
            box.nft("delete table inet cut")
        await until_log(lab.two, "the guard is off")
        await until_log(lab.two, "keepalived: BACKUP")
    assert set(answers) == {"p1"}
    found = await lab.two.status()
    assert (found["state"], found["warnings"]) == ("secondary", [])


# --- versions, a bad state, a boot --------------------------------------------------------------------------------------------


async def test_another_version_is_refused_unless_it_is_meant(lab: PairLab) -> None:
    """Both are named."""
    one, two = lab.boxes
    other = lab.folder / "other" / "wsproxy-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: wsproxy\nVersion: 9.9.9\n")
    env = {"PYTHONPATH": str(other.parent)}
    assert two.proxy is not None
    assert two.watch is not None
    two.proxy.send_signal(signal.SIGTERM)
    await asyncio.wait_for(two.watch.exited.wait(), WAIT_S)
    await two.start_proxy(env)
    await one.done(*one.start_words(two, "--primary"))
    code, said = await two.run(*two.start_words(one, "--secondary"), env=env)
    assert (code, "found version 9.9.9 here and " in said) == (1, True)
    assert (await two.status())["state"] == "stand-alone"
    await two.done(*two.start_words(one, "--secondary", "--any-version"))
    assert any("version 9.9.9 here" in each for each in (await two.status())["warnings"])
    await one.done("failover")


async def test_keepalived_that_always_ends_is_a_bad_state_that_mends_itself(lab: PairLab) -> None:
    """After three ends; the address is not left behind, and when it runs again the node is what it was."""
    one, two = lab.boxes
    real = shutil.which("keepalived", path="/usr/sbin:/usr/bin")
    programs = lab.folder / "programs"
    programs.mkdir()
    fake = programs / "keepalived"
    fake.write_text(f'#!/bin/sh\n[ "$1" = -t ] && exec {real} "$@"\nexit 1\n')
    fake.chmod(0o700)
    env = {"PATH": f"{programs}:{os.environ['PATH']}"}
    code, said = await one.run(*one.start_words(two, "--primary"), env=env)
    assert (code, "keepalived.log says what VRRP does" in said) == (1, True)
    code, said = await one.run("status")
    assert (code, "the state is bad" in said) == (1, True)
    assert not one.holds()
    fake.unlink()
    await until_log(one, "bad -> primary: keepalived runs again")
    await until(one.holds, "the address has not come")
    await one.done("stop")


async def test_boot_makes_stand_alone_or_with_autostart_a_pair_again(lab: PairLab) -> None:
    """Both machines lose their power; the agents that a service manager starts find each other, and one has the address."""
    await lab.start_pair("--autostart")
    for box in lab.boxes:
        box.kill_all()
    for box in lab.boxes:
        await until(lambda found=box: not found.pids(), "something runs on")  # type: ignore[misc]
        box.boot()
        await box.start_proxy()
    assert (await lab.one.status())["state"] == "stand-alone"
    for box in lab.boxes:
        await box.spawn("ha", "run", "--folder", str(box.ha))
    await until(lambda: lab.one.holds() != lab.two.holds(), "nobody has the address")
    holder, other = lab.boxes if lab.one.holds() else (lab.two, lab.one)
    await until_state(holder, "primary")
    await until_state(other, "secondary")
    # A service manager's stop gives the address away.
    os.kill(pid_of(holder, "wsproxy-pair"), signal.SIGTERM)
    await until(lambda: other.holds() and not holder.holds(), "the address stayed")

"""What servers do about clone ids, and what wsproxy does then: what it adds, it takes away; what cannot be right is said once."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import pytest_asyncio

from tests.support.client import Answer, ask, get
from tests.support.origin import OriginConnection
from tests.support.origin import field as field_of
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBSPHERE = "0000aaaaaaaaaaaaaaaaaaaaaaa"
MANY = 12  # requests on connections of their own: with two workers both get some but once in two thousand runs
_NUMBERS = itertools.count()


def tomcat(server: str) -> str:
    """With jvmRoute; a CloneID."""
    return f"{next(_NUMBERS):032X}.{server.replace('s', 'c')}"


def plain(_server: str) -> str:
    """Tomcat without jvmRoute; begins with four digits, as WebSphere's cache id."""
    return f"0003{next(_NUMBERS):028X}"


def jetty(server: str) -> str:
    """A worker name that is no CloneID."""
    return f"node0{next(_NUMBERS):020x}.node-{server}"


def spring(_server: str) -> str:
    """Base64 of a UUID."""
    return f"NmQ4ZTk4ZDItMGY4Ny00YjY3LWI0ODctYTcx{next(_NUMBERS):08d}=="


def user(_server: str) -> str:
    """A separator of its own."""
    return f"user:{next(_NUMBERS):08x}"


def own(server: str) -> str:
    """Its CloneID behind a session id that is not of WebSphere's length."""
    return f"0000{next(_NUMBERS):030d}:{server.replace('s', 'c')}"


@dataclass
class App:
    """Servers that take the whole value of the cookie for the session id, and know each other's sessions."""

    make: Callable[[str], str]  # a new session id of this server
    cookie: str = "JSESSIONID"
    known: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)  # server, value that came
    down: set[str] = field(default_factory=set)

    def value_of(self, message: bytes) -> str:
        """Of the cookie, or of the path parameter."""
        cookies = (field_of(message, b"cookie") or b"").decode()
        found = re.search(rf"(?:^|; ){self.cookie}=([^;]*)", cookies)
        found = found or re.search(r";jsessionid=([^ ;/]*)", message.decode("latin-1"))
        return found[1] if found else ""

    async def serve(self, server: str, connection: OriginConnection) -> None:
        while True:
            value = self.value_of(await connection.request())
            if server in self.down:
                return
            self.asked.append((server, value))
            line = ""
            if value not in self.known:
                made = self.make(server)
                self.known.add(made)
                line = f"Set-Cookie: {self.cookie}={made}; Path=/\r\n"
            body = f"{server} {'new' if line else 'old'}"
            head = f"HTTP/1.1 200 OK\r\n{line}Content-Length: {len(body)}\r\n\r\n"
            await connection.send((head + body).encode())


@dataclass
class Visitor:
    """A browser as far as the session cookie goes."""

    port: int
    app: str
    cookie: str = "JSESSIONID"
    value: str = ""

    def take(self, answer: Answer) -> str:
        assert answer.status == 200
        for each in answer.all(b"set-cookie"):
            name, _, value = each.partition(b";")[0].decode().partition("=")
            if name == self.cookie:
                self.value = value
        return answer.body.decode()

    async def visit(self, path: str = "x") -> str:
        """What the server says, on a connection of its own."""
        lines = [f"Cookie: a=b:c; {self.cookie}={self.value}; d=e"] if self.value else []
        return self.take(await ask(self.port, get(f"/{self.app}/{path}", *lines)))


def app_lane(name: str, cookie: str = "JSESSIONID", attributes: str = "") -> Lane:
    made = lane(name, 2, attributes)
    made.uri_attributes = f'AffinityCookie="{cookie}"'
    return made


APPS: dict[str, tuple[Callable[[str], str], str]] = {
    "tomcat": (tomcat, "JSESSIONID"),
    "plain": (plain, "JSESSIONID"),
    "jetty": (jetty, "JSESSIONID"),
    "spring": (spring, "SESSION"),
    "user": (user, "JSESSIONID"),
}


@dataclass
class Running:
    proxy: Proxy
    apps: dict[str, App]
    lanes: dict[str, Lane]

    @property
    def port(self) -> int:
        return self.proxy.port


@asynccontextmanager
async def running(lanes: list[Lane], apps: dict[str, App], workers: int, settings: str = "") -> AsyncIterator[Running]:  # fmt: skip
    """Each lane's servers play the app of its name."""
    async with AsyncExitStack() as stack:
        for each in lanes:
            app = apps[each.name]
            for member in each.members:
                script = partial(app.serve, member.name)
                await stack.enter_async_context(member.origin.serving(script))
        proxy = await stack.enter_async_context(
            running_proxy(lanes, workers=workers, settings=settings)
        )
        yield Running(proxy, apps, {each.name: each for each in lanes})


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["1w", "2w"])
async def it(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """Pairs of servers c0 and c1 of each kind, and settings as they are by default."""
    lanes = [app_lane(name, cookie) for name, (_, cookie) in APPS.items()]
    apps = {name: App(make, cookie) for name, (make, cookie) in APPS.items()}
    for name, make in (("own", own), ("mixed", own), ("echo", plain)):
        lanes.append(app_lane(name))
        apps[name] = App(make)
    apps["mixed"].make = lambda server: (own if server == "s0" else plain)(server)
    async with running(lanes, apps, request.param) as started:
        yield started


def is_added(name: str) -> bool:
    """Whether the client sees a clone id that its server did not write: Tomcat's route is read as one."""
    return name != "tomcat"


@pytest.mark.parametrize("name", APPS)
async def test_server_gets_back_what_it_set(it: Running, name: str) -> None:
    """Each session is found at each visit, at the server that made it, whichever worker the connection is at."""
    app = it.apps[name]
    visitors = [Visitor(it.port, name, app.cookie) for _ in range(6)]
    homes = [await visitor.visit() for visitor in visitors]
    assert sorted(homes) == ["s0 new"] * 3 + ["s1 new"] * 3
    app.asked.clear()
    for visitor, home in zip(visitors, homes, strict=True):
        server = home.split()[0]
        made, _, added = (
            visitor.value.rpartition(":") if is_added(name) else (visitor.value, "", "")
        )
        assert made in app.known
        assert added == ("c" + server[1:] if is_added(name) else "")
        others = [visitor.visit() for _ in range(MANY // 3)]
        assert set(await asyncio.gather(*others)) == {f"{server} old"}
    assert {value for _, value in app.asked} <= app.known


@pytest.mark.parametrize("name", ["tomcat", "plain", "spring"])
async def test_session_in_the_path_comes_back_as_it_was_made(it: Running, name: str) -> None:
    """Links that Tomcat itself writes have its route; ;jsessionid= with a clone id loses it."""
    app = it.apps[name]
    visitor = Visitor(it.port, name, app.cookie)
    home = (await visitor.visit()).split()[0]
    for _ in range(4):
        app.asked.clear()
        assert (
            await Visitor(it.port, name).visit(f"x;jsessionid={visitor.value};p=q:r")
            == f"{home} old"
        )
        assert app.asked[0][1] in app.known


@pytest.mark.parametrize("name", APPS)
async def test_session_moves_and_comes_back(it: Running, name: str) -> None:
    """Its server fails in the request: the other one knows it, gets its own id, and the client hears of the move."""
    app = it.apps[name]
    visitor = Visitor(it.port, name, app.cookie)
    home = (await visitor.visit()).split()[0]
    other = {"s0": "s1", "s1": "s0"}[home]
    before = visitor.value
    app.asked.clear()
    app.down.add(home)
    try:
        assert await visitor.visit() == f"{other} old"
        assert visitor.value == f"{before}:c{other[1]}"
        assert await visitor.visit() == f"{other} old"
    finally:
        app.down.clear()
    assert (
        await visitor.visit() == f"{home} old"
    )  # it was not marked down: it closed without an answer
    assert {value for _, value in app.asked} <= app.known


async def test_server_that_writes_clone_ids_gets_values_as_they_are(it: Running) -> None:
    """What it does counts more than the form; learned from one answer, by all workers, for its whole cluster."""
    app = it.apps["own"]
    early = Visitor(it.port, "own", value="0000EARLY:c0")
    assert (
        await early.visit() == "s0 new"
    )  # nobody has shown anything yet: by its form the list is ours
    assert app.asked == [("s0", "0000EARLY")]
    assert re.fullmatch(r"0000\d{30}:c0", early.value)
    app.asked.clear()
    others = [Visitor(it.port, "own", value=f"0000LATER{at}:c1:c0") for at in range(MANY)]
    await asyncio.gather(*(each.visit() for each in others))
    assert {server for server, _ in app.asked} == {"s1"}
    assert sorted(value for _, value in app.asked) == sorted(
        f"0000LATER{at}:c1:c0" for at in range(MANY)
    )
    for visitor in (early, *others):
        assert await visitor.visit() == f"{'s0' if visitor is early else 's1'} old"


async def test_each_server_of_a_cluster_is_what_it_shows(it: Running) -> None:
    """One that writes clone ids beside one that does not: each gets what it can read."""
    app = it.apps["mixed"]
    visitors = [Visitor(it.port, "mixed") for _ in range(4)]
    homes = [(await each.visit()).split()[0] for each in visitors]
    assert set(homes) == {"s0", "s1"}
    for visitor, home in zip(visitors, homes, strict=True):
        for _ in range(4):
            assert await visitor.visit() == f"{home} old"
    assert {value for _, value in app.asked} <= {"", *app.known}


async def test_value_of_websphere_is_passed_on_whole(it: Running) -> None:
    """Also to a server that writes no clone ids, and before anybody knows."""
    app = it.apps["plain"]
    visitor = Visitor(it.port, "plain", value=f"{WEBSPHERE}:gone:c1")
    app.asked.clear()
    await visitor.visit()
    assert app.asked == [("s1", f"{WEBSPHERE}:gone:c1")]


async def test_no_client_can_teach_what_a_server_does(it: Running) -> None:
    """A list that comes back from where a client's list went proves nothing."""
    app = it.apps["echo"]

    async def echo(connection: OriginConnection) -> None:
        while True:
            value = app.value_of(await connection.request())
            app.asked.append(("s0", value))
            line = f"Set-Cookie: JSESSIONID={value}\r\n"
            await connection.send(f"HTTP/1.1 200 OK\r\n{line}Content-Length: 2\r\n\r\nok".encode())

    fresh = app_lane("echo")
    async with (
        fresh.members[0].origin.serving(echo),
        running_proxy([fresh], workers=1) as proxy,
    ):
        for _ in range(3):
            app.asked.clear()
            await Visitor(proxy.port, "echo", value=f"{WEBSPHERE}:c0").visit()
            await Visitor(proxy.port, "echo", value="ABC:c0").visit()
            assert app.asked == [("s0", f"{WEBSPHERE}:c0"), ("s0", "ABC")]


async def test_what_servers_do_is_said_once(it: Running) -> None:
    """For each cluster, over all workers; by its nature, so it is no warning."""
    for name in ("tomcat", "spring"):
        visitors = [Visitor(it.port, name, it.apps[name].cookie) for _ in range(MANY)]
        await asyncio.gather(*(each.visit() for each in visitors))
    await it.proxy.line(
        r"INFO .*cluster spring: server s[01] writes no clone ids into SESSION: wsproxy adds them, and takes"
    )
    await it.proxy.line(
        r'INFO .*cluster tomcat: server s[01] ends its sessions in JSESSIONID with its CloneID, "\.c[01]"'
    )
    for name in ("tomcat", "spring"):
        pattern = re.compile(f"cluster {name}: server s. (writes|ends)")
        assert len([line for line in it.proxy.lines if pattern.search(line)]) == 1


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "client_gets", "server_gets", "said"),
    [
        ('clone_ids = "servers"', "", "ABC:c0", "its sessions have no affinity"),
        ("complete_clone_ids = false", "", "ABC:c0", "its sessions have no affinity"),
        ("complete_clone_ids = true", ":c0", "ABC:c0", "set affinity.strip_clone_ids"),
        ('clone_ids = "servers"\nstrip_clone_ids = ["pair"]', ":c0", "ABC", "wsproxy adds them, and takes"),
        ('complete_clone_ids = false\nstrip_clone_ids = ["*"]', "", "ABC", "its sessions have no affinity"),
    ],
)  # fmt: skip
async def test_older_settings_override(settings: str, client_gets: str, server_gets: str, said: str) -> None:  # fmt: skip
    """Each for itself; what is done about a server that writes no clone ids is said as it is."""
    app = App(plain)
    async with running([app_lane("pair")], {"pair": app}, 1, f"[affinity]\n{settings}\n") as it:
        visitor = Visitor(it.port, "pair", value="ABC:c0")
        assert await visitor.visit() == "s0 new"
        assert app.asked == [("s0", server_gets)]
        assert re.fullmatch(f"0003[0-9A-F]{{28}}{client_gets}", visitor.value)
        await it.proxy.line(
            f"cluster pair: server s0 writes no clone ids into JSESSIONID: .*{said}"
        )


async def test_websphere_form_is_stripped_where_the_setting_says_so() -> None:
    """strip_clone_ids: whatever the form."""
    app = App(plain)
    settings = '[affinity]\nstrip_clone_ids = ["pair"]\n'
    async with running([app_lane("pair")], {"pair": app}, 1, settings) as it:
        await Visitor(it.port, "pair", value=f"{WEBSPHERE}:c1").visit()
        assert app.asked == [("s1", WEBSPHERE)]


# --- what cannot be right --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_stale_file_is_said_once_for_each_server(workers: int) -> None:
    """Swapped CloneIDs, one that no server has, a route of another server; with server and both ids."""
    makes: dict[str, Callable[[str], str]] = {
        "swapped": lambda server: f"{WEBSPHERE}:{'c1' if server == 's0' else 'c0'}",
        "renewed": lambda server: f"{WEBSPHERE}:{'new7' if server == 's0' else 'c1'}",
        "routed": lambda server: f"{next(_NUMBERS):032X}.{'c1' if server == 's0' else 'c0'}",
        "right": lambda server: f"{WEBSPHERE}:c{server[1]}",
    }
    apps = {name: App(make) for name, make in makes.items()}
    async with running([app_lane(name) for name in apps], apps, workers) as it:
        for name in apps:
            await asyncio.gather(*(Visitor(it.port, name).visit() for _ in range(2 * MANY)))
        for name in ("swapped", "routed"):
            for at, other in ((0, 1), (1, 0)):
                await it.proxy.line(
                    rf'WARNING .*cluster {name}: server s{at} \(CloneID "c{at}"\) writes the clone id "c{other}" of server s{other} into JSESSIONID'
                )
        await it.proxy.line(
            r'WARNING .*cluster renewed: server s0 \(CloneID "c0"\) writes the clone id "new7" into JSESSIONID, which no Server'
        )
        told = [re.search(r"cluster (\w+):", line) for line in it.proxy.lines]
        assert sorted(each[1] for each in told if each) == [
            "renewed",
            *["routed"] * 2,
            *["swapped"] * 2,
        ]


async def test_failed_over_list_is_not_stale() -> None:
    """Liberty leaves the list that it was sent: what stands there is not what it wrote."""
    app = App(lambda _server: f"{WEBSPHERE}:c1")
    async with running([app_lane("pair")], {"pair": app}, 1) as it:
        await Visitor(it.port, "pair", value=f"{WEBSPHERE}:c0").visit()
        assert not [line for line in it.proxy.lines if "cluster pair" in line]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("brought_by", ["client", "server"])
async def test_other_separator_and_other_case_are_said_once(workers: int, brought_by: str) -> None:
    """From requests alone, and from what a server sets."""
    apps = {
        "plus": App(lambda server: f"{WEBSPHERE}+c{server[1]}"),
        "lower": App(lambda server: f"{WEBSPHERE}:c{server[1]}", cookie="jsessionid"),
    }
    lanes = [lane("plus", 2), lane("lower", 2)]
    if brought_by == "client":
        for app in apps.values():
            app.known |= {f"{WEBSPHERE}+c0", f"{WEBSPHERE}:c0", ""}
    async with running(lanes, apps, workers) as it:
        for _ in range(2 * workers):  # before them people who have no session
            await ask(it.port, get("/plus/x", "Cookie: a=b"))
            await ask(it.port, get("/lower/x", "Cookie: a=b"))
        visitors = [Visitor(it.port, "plus", "JSESSIONID") for _ in range(MANY)]
        visitors += [Visitor(it.port, "lower", "jsessionid") for _ in range(MANY)]
        if brought_by == "client":
            for each in visitors:
                each.value = f"{WEBSPHERE}{'+' if each.app == 'plus' else ':'}c0"
        await asyncio.gather(*(each.visit() for each in visitors))
        await it.proxy.line(
            r'WARNING .*cluster plus: found "\+c[01]" in JSESSIONID, and "c[01]" is the CloneID of server s[01], but the separator is ":".*CloneSeparatorChange="true"'
        )
        await it.proxy.line(
            r'WARNING .*cluster lower: found cookie "jsessionid"; AffinityCookie is "JSESSIONID"'
        )
        assert sum("cluster " in line for line in it.proxy.lines) == 2
        assert not any(WEBSPHERE in line for line in it.proxy.lines)

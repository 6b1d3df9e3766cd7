"""What the app servers answer: real processes, asked directly. The facts are Open Liberty's, captured from it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.demo_cluster import (
    Client,
    ask,
    open_connection,
    read_until,
    session_of,
    started_cluster,
)
from tests.support.process import WAIT_S
from wsproxy.demo.cluster import DemoCluster, DemoServer, ServerSpec


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoCluster]:
    specs = [ServerSpec("s1", "clone1"), ServerSpec("s2", "clone2"), ServerSpec("s3", "clone3")]
    with started_cluster(
        tmp_path_factory.mktemp("app"), *specs, ServerSpec("s10", "clone10")
    ) as it:
        yield it


@pytest.fixture
def s1(cluster: DemoCluster) -> DemoServer:
    return cluster.servers[0]


def clone_list(cookie: str | None) -> str:
    assert cookie is not None
    return cookie[27:]


# the cookie


def test_a_new_session_has_cache_id_0001_and_the_clone_id_of_its_server(s1: DemoServer) -> None:
    answer = ask(s1.url)
    assert answer.cookie is not None
    assert answer.cookie.startswith("0001")
    assert len(session_of(answer.cookie)) == 23
    assert clone_list(answer.cookie) == ":clone1"
    assert answer.headers["Set-Cookie"] == f"JSESSIONID={answer.cookie}; Path=/; HttpOnly"


def test_no_cookie_is_set_when_nothing_changed(s1: DemoServer) -> None:
    cookie = ask(s1.url).cookie
    assert ask(s1.url, cookie=cookie).cookie is None


def test_a_server_asked_at_failover_appends_itself_and_the_cache_id_grows(
    cluster: DemoCluster,
) -> None:
    cookie = ask(cluster.servers[0].url).cookie
    at_s2 = ask(cluster.servers[1].url, cookie=cookie).cookie
    assert at_s2 == f"0002{session_of(cookie)}:clone1:clone2"
    at_s3 = ask(cluster.servers[2].url, cookie=at_s2).cookie
    assert at_s3 == f"0003{session_of(cookie)}:clone1:clone2:clone3"


def test_back_at_the_first_server_the_cache_id_grows_and_the_list_stays(
    cluster: DemoCluster,
) -> None:
    client = Client()
    for server in (cluster.servers[0], cluster.servers[1], cluster.servers[0]):
        client.ask(server.url)
    assert client.cookie == f"0003{session_of(client.cookie)}:clone1:clone2"


def test_an_unknown_session_becomes_a_new_one_of_this_server_only(cluster: DemoCluster) -> None:
    unknown = "0001" + "A" * 23 + ":cloneX:cloneY"
    answer = ask(cluster.servers[2].url, cookie=unknown)
    assert session_of(answer.cookie) != "A" * 23
    assert clone_list(answer.cookie) == ":clone3"
    assert answer.json["isNew"]


def test_only_the_first_of_two_cookies_counts(s1: DemoServer) -> None:
    known = ask(s1.url).cookie
    answer = ask(s1.url, headers={"Cookie": f"JSESSIONID=0001zzzz:cloneQ; JSESSIONID={known}"})
    assert answer.json["isNew"]
    assert session_of(answer.cookie) != session_of(known)


def test_the_session_is_the_23_characters_whatever_the_cache_id_says(s1: DemoServer) -> None:
    cookie = ask(s1.url).cookie
    answer = ask(s1.url, cookie=f"0777{session_of(cookie)}:clone1")
    assert answer.json["count"] == 2
    assert answer.cookie == cookie  # the present cache id is told again


def test_a_clone_id_is_compared_as_a_whole(cluster: DemoCluster) -> None:
    """clone1 is not in ``:clone10``, although the text is."""
    s1, s10 = cluster.servers[0], cluster.servers[3]
    cookie = ask(s10.url).cookie
    assert clone_list(ask(s1.url, cookie=cookie).cookie) == ":clone10:clone1"


def test_a_session_in_the_path_is_ignored(s1: DemoServer) -> None:
    """As Liberty does unless URL rewriting is turned on."""
    cookie = ask(s1.url).cookie
    answer = ask(s1.url, f"/app/json;jsessionid={cookie}")
    assert answer.status == 404 or answer.json["isNew"]


def test_requests_at_all_servers_at_once_are_all_counted(cluster: DemoCluster) -> None:
    cookie = ask(cluster.servers[0].url).cookie
    each = 30

    def visit(server: DemoServer) -> None:
        for _ in range(each):
            ask(server.url, cookie=cookie)

    threads = [threading.Thread(target=visit, args=(server,)) for server in cluster.servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(cluster.servers[0].url, cookie=cookie).json["count"] == 1 + each * len(threads) + 1


# the pages


def test_the_page_shows_count_and_headers_but_not_the_session(s1: DemoServer) -> None:
    cookie = ask(s1.url).cookie
    answer = ask(s1.url, "/app/", cookie=cookie, headers={"$WSRA": "<192.0.2.7>"})
    page = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("text/html")
    assert '<p class="count" id="count">2</p>' in page
    assert "<tr><th>$WSRA</th><td>&lt;192.0.2.7&gt;</td></tr>" in page
    assert session_of(cookie) not in page
    assert "*" * 19 + session_of(cookie)[-4:] in page


def test_json_tells_private_headers_but_not_the_session(s1: DemoServer) -> None:
    answer = ask(s1.url, headers={"$WSRA": "192.0.2.7", "$wssc": "https", "X-Other": "x"})
    assert answer.json["privateHeaders"] == {"$WSRA": "192.0.2.7", "$wssc": "https"}
    assert answer.json["server"] == "s1"
    assert answer.json["pid"] == s1.pid
    assert session_of(answer.cookie).encode() not in answer.body


def test_headers_come_back_in_their_order_and_letters(s1: DemoServer) -> None:
    with open_connection(s1) as connection:
        connection.sendall(
            b"GET /app/headers?a=%20b HTTP/1.1\r\nhOsT: x\r\nX-Twice: 1\r\n$WSRA: 1.2.3.4\r\nX-Twice: \xe9\r\n\r\n"
        )
        head = read_until(connection, b"}\n")
    answer = json.loads(head.partition(b"\r\n\r\n")[2])
    assert answer["headers"] == [
        ["hOsT", "x"],
        ["X-Twice", "1"],
        ["$WSRA", "1.2.3.4"],
        ["X-Twice", "é"],
    ]
    assert (answer["method"], answer["target"]) == ("GET", "/app/headers?a=%20b")


def test_pages_without_a_counter_open_no_session(s1: DemoServer) -> None:
    for path in ("/app/headers", "/app/slow?ms=0", "/app/bytes?n=1", "/app"):
        assert ask(s1.url, path).cookie is None


def test_the_context_root_without_a_slash_is_redirected(s1: DemoServer) -> None:
    answer = ask(s1.url, "/app")
    assert (answer.status, answer.headers["Location"]) == (302, "/app/")


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 1_000_003])
def test_bytes_are_as_many_as_asked(s1: DemoServer, length: int) -> None:
    answer = ask(s1.url, f"/app/bytes?n={length}")
    assert answer.headers["Content-Length"] == str(length)
    assert len(answer.body) == length


@pytest.mark.parametrize(
    "path",
    [
        "/app/bytes?n=67108865",
        "/app/bytes?n=-1",
        "/app/bytes",
        "/app/slow?ms=60001",
        "/app/slow?ms=" + "9" * 5000,
        "/app/slow?ms=%D9%A3",
    ],
)
def test_a_number_out_of_range_is_refused_with_what_is_allowed(s1: DemoServer, path: str) -> None:
    answer = ask(s1.url, path)
    assert answer.status == 400
    assert b"allowed is a number from 0 to" in answer.body


def test_nothing_stops_a_server_from_outside(s1: DemoServer) -> None:
    assert ask(s1.url, "/app/stop").status == 404


def test_echo_answers_while_the_body_still_arrives(s1: DemoServer) -> None:
    with open_connection(s1) as connection:
        connection.sendall(
            b"POST /app/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        assert b"transfer-encoding: chunked" in read_until(connection, b"first\r\n").lower()
        connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        assert read_until(connection, b"0\r\n\r\n").startswith(b"6\r\nsecond\r\n")


def test_echo_keeps_an_announced_length(s1: DemoServer) -> None:
    with open_connection(s1) as connection:
        connection.sendall(b"PUT /app/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
        answer = read_until(connection, b"\r\n\r\nbody").lower()
    assert b"content-length: 4" in answer


def test_a_client_that_asks_is_told_to_continue(s1: DemoServer) -> None:
    with open_connection(s1) as connection:
        connection.sendall(
            b"POST /app/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        answers = read_until(connection, b"\r\n\r\n")
        connection.sendall(b"ok")
        answers += read_until(connection, b"ok")  # the head of the 200 may have come with the 100
    assert answers.startswith(b"HTTP/1.1 100 ")
    assert b"\r\n\r\nHTTP/1.1 200 " in answers
    assert answers.endswith(b"\r\n\r\nok")


def test_a_connection_serves_one_request_after_the_other(s1: DemoServer) -> None:
    with open_connection(s1) as connection:
        for _ in range(3):
            connection.sendall(b"GET /app/slow?ms=0 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"s1 waited 0 ms" in read_until(connection, b" ms\n")


def test_a_server_listens_on_loopback_only(s1: DemoServer) -> None:
    """Another address of 127.0.0.0/8 stands for all others: a socket on 0.0.0.0 would take it."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", s1.port), timeout=WAIT_S)


# its life


def start_app(directory: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """A server started by hand, and its port."""
    command = [sys.executable, "-m", "wsproxy.demo.app", "--name", "s", "--clone", "c"]
    command += ["--store", str(directory / "sessions.db"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    word, port = process.stdout.readline().split()
    assert word == b"listening"
    return process, int(port)


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """After 30 s unless told otherwise; here sooner, so that the test need not wait so long."""
    process, port = start_app(tmp_path, "--keep-alive", "0.2")
    with process, socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        try:
            connection.sendall(b"GET /app/slow?ms=0 HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(connection, b" ms\n")
            assert connection.recv(1) == b""
        finally:
            process.kill()


def wait_until_refused(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):  # noqa: PT012
        while True:
            with suppress(ConnectionResetError):  # closed with those that nobody accepted
                socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_request_is_finished_when_the_server_is_told_to_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    process, port = start_app(tmp_path)
    with process, socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        try:
            # The first half of the body comes back: the request is being served when the signal comes.
            connection.sendall(b"POST /app/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            read_until(connection, b"\r\n\r\nab")
            process.send_signal(number)
            wait_until_refused(port)  # it has heard of it
            connection.sendall(b"cd")
            read_until(connection, b"cd")
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()

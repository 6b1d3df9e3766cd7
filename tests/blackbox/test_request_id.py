"""One request id in http_plugin.log, the access log, the admin socket and the explained answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.admin import talk
from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import keep_answering
from tests.support.proxy import lane, running_proxy

SETTINGS = """[log]
access = "access.log"
access_format = '%>s %L'
[admin]
socket = "admin.sock"
[explain]
trusted = ["127.0.0.1"]
"""
CHANGES = b"GET /v1/changes?since=%b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def test_id_of_the_request_that_met_a_dead_server_is_everywhere(tmp_path: Path) -> None:
    """From the mark to what the client got, and to every line about it, with one grep."""
    farm = lane("farm", 2)
    log = '<Log Name="http_plugin.log" LogLevel="Stats"/>'
    async with (
        running_proxy([farm], routes=log, folder=tmp_path, settings=SETTINGS, workers=2) as proxy,
        farm.members[1].origin.serving(keep_answering),
    ):
        farm.members[0].origin.refuse()  # the session's server; the other one answers
        answer = await ask(
            proxy.port, get("/farm/x", "Cookie: JSESSIONID=0000abc:c0", "X-Wsproxy-Explain: 1")
        )
        assert answer.status == 200
        fields = dict(answer.fields)
        request_id = fields[b"x-wsproxy-request-id"].decode()
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}", request_id)
        assert (await lines_with(tmp_path / "access.log", count=1)) == [f"200 {request_id}"]
        pid, tid = request_id.split("-")
        lines = await lines_with(tmp_path / "http_plugin.log", count=10)
        assert any(f"{pid} {tid} - ERROR" in line for line in lines)
        status, found = await talk(tmp_path / "admin.sock", CHANGES % b"0")
        assert status == 200
        (change,) = found["changes"]
        assert change["kind"] == "marked_down"
        assert (change["cluster"], change["server"]) == ("farm", "s0")
        assert (change["error"], change["request"]) == (111, "GET /farm/x")
        assert change["request_id"] == request_id
        assert (await talk(tmp_path / "admin.sock", CHANGES % b"%d" % found["last"]))[1] == {
            "changes": [],
            "last": found["last"],
        }


async def test_number_of_a_change_that_is_none_is_refused(tmp_path: Path) -> None:
    farm = lane("farm")
    async with (
        running_proxy([farm], folder=tmp_path, settings=SETTINGS) as proxy,
        farm.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        assert (await client.ask(get("/farm/x"))).status == 200
        for wrong in (b"-1", b"x", b"", b"%C2%B2", b"9" * 19):
            status, answer = await talk(tmp_path / "admin.sock", CHANGES % wrong)
            assert (status, "allowed is" in answer["error"]) == (400, True), json.dumps(answer)

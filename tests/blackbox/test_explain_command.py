"""``wsproxy explain``: each step of a decision, its reason, and that the live code took it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from tests.support.process import COMMAND_S
from wsproxy.admin.messages import ErrorAnswer, ExplainAnswer, Status, WorkerStatus
from wsproxy.cli.explain import Live, LiveExplanation, explain
from wsproxy.dataplane.explained import AFFINITY, REQUEST_ID, ROUTE, RULE, SCORE, SERVER, TRIES
from wsproxy.explain.explain import CloneStep, RouteStep, ServerStep

DOCS = Path(__file__).parents[2] / "docs" / "explain.md"

CONFIG = """<Config>
<VirtualHostGroup Name="shop"><VirtualHost Name="shop.example:443"/></VirtualHostGroup>
<VirtualHostGroup Name="any"><VirtualHost Name="*:443"/><VirtualHost Name="*:80"/></VirtualHostGroup>
<UriGroup Name="cart"><Uri Name="/cart/*" AffinityCookie="SHOPID"/></UriGroup>
<UriGroup Name="all"><Uri Name="/*"/></UriGroup>
<UriGroup Name="admin"><Uri Name="/admin"/></UriGroup>
<ServerCluster Name="farm">
  <Server Name="s1" CloneID="c1" LoadBalanceWeight="4"><Transport Hostname="h1" Port="9080" Protocol="http"/>
    <Transport Hostname="h1" Port="9443" Protocol="https"/></Server>
  <Server Name="s2" CloneID="c2" MaxConnections="3"><Transport Hostname="h2" Port="9080"/></Server>
  <Server Name="s3" CloneID="c3"><Transport Hostname="h3" Port="9080"/></Server>
  <PrimaryServers><Server Name="s1"/><Server Name="s2"/></PrimaryServers>
  <BackupServers><Server Name="s3"/></BackupServers>
</ServerCluster>
<ServerCluster Name="other"><Server Name="s1"><Transport Hostname="o1" Port="1"/></Server></ServerCluster>
<Route ServerCluster="other" VirtualHostGroup="any" UriGroup="all"/>
<Route ServerCluster="farm" VirtualHostGroup="shop" UriGroup="cart"/>
<Route ServerCluster="other" VirtualHostGroup="shop" UriGroup="cart"/>
<Route ServerCluster="other" VirtualHostGroup="shop" UriGroup="admin"/>
<Route ServerCluster="other" UriGroup="admin"/>
</Config>"""
CART = "https://shop.example/cart/view;x=1?q=2"


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "plugin-cfg.xml"
    file.write_text(CONFIG)
    return str(file)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(explain, arguments)
    assert done.exit_code == code, done.output
    return done.output


def explained(*arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", code=code))
    return found


def test_each_route_has_its_scores_and_why_it_lost(config: str) -> None:
    """The first of the best wins; the path has neither ``;params`` nor query."""
    found = explained(config, "GET", CART)
    assert (found["path"], found["host"], found["port"]) == ("/cart/view", "shop.example", 443)
    assert [(step["outcome"], step["score"], step["why"]) for step in found["routes"]] == [
        ("loses", "2/1", "2/1 is less than 7/7"),
        ("wins", "7/7", "the best match"),
        ("loses", "7/7", "as good as the best match, which stands before it in the file"),
        ("no match", "", "no Uri of admin takes /cart/view"),
        ("no match", "", "no Uri of admin takes /cart/view"),
    ]
    host = explained(config, "GET", "http://elsewhere/cart/x")["routes"][1]
    assert host["why"] == "no VirtualHost of shop takes elsewhere:80"
    assert (host["uri"], host["host_score"]) == ("/cart/*", "")


def test_clone_ids_are_told_in_order_with_what_became_of_each(config: str) -> None:
    """Unknown, down, full, then the one that is usable, a backup, by the Uri's own cookie name."""
    found = explained(
        *(
            config,
            "GET",
            CART,
            "--cookie",
            "SHOPID=0000a:x:c1:c2:c3",
            "--cookie",
            "JSESSIONID=0000b:c1",
        ),
        *("--down", "farm/s1", "--full", "s2"),
    )
    assert [(step["clone_id"], step["server"], step["outcome"]) for step in found["clone_ids"]] == [
        ("x", "", "no server has it"),
        ("c1", "s1", "marked down"),
        ("c2", "s2", "at MaxConnections"),
        ("c3", "s3", "usable"),
    ]
    assert (found["server"], found["transport"]) == ("s3", "h3:9080")
    assert found["rule"] == "session affinity: the first clone id whose server is usable"
    assert found["servers"][1]["in_flight"] == found["servers"][1]["max_connections"] == 3


@pytest.mark.parametrize(
    ("cookie", "path", "words"),
    [
        ("SHOPID=1111u2IiI5700ZEexr_IaEraiO_+c2", "", 'found "+c2" in SHOPID, and "c2" is the CloneID of server s2, but the separator is ":"'),
        ("SHOPID=0000a%2bc2", "", 'found "+c2" in SHOPID'),
        ("shopid=0000a:c2", "", 'found cookie "shopid"; AffinityCookie is "SHOPID"'),
        ("a=b, Shopid = 0000a:c2", "", 'found cookie "Shopid"; AffinityCookie is "SHOPID"'),
        ("SHOPID=0000a:C2", "", 'found clone id "C2" in SHOPID; "c2" is the CloneID of server s2'),
        ("a=b", ";JSESSIONID=0000a:c2", 'found path parameter "JSESSIONID"; AffinityURLIdentifier is "jsessionid"'),
        ("a=b", ";jsessionid=0000a+c2/x", 'found "+c2" in jsessionid'),
    ],
)  # fmt: skip
def test_what_keeps_a_session_from_being_read(config: str, cookie: str, path: str, words: str) -> None:  # fmt: skip
    """PM56332: the other separator; names and clone ids in another case. The tree has the same words."""
    asked = (config, "GET", CART.replace("?", f"{path}?"), "--cookie", cookie)
    found = explained(*asked)
    [note] = found["notes"]
    assert note.startswith(words)
    assert "regular balancing" in found["rule"]
    assert note in run(*asked)


def test_session_that_is_read_has_no_notes(config: str) -> None:
    """Nor one that names nobody, or another cookie with a name that is like it."""
    for cookie in (
        "SHOPID=0000a:c2",
        "SHOPID=0000a:gone",
        "SHOPID=0000a+gone",
        "SHOPID2=0:c2",
        "xshopid=0:c2",
        "a=shopid=0:c2",
    ):
        assert explained(config, "GET", CART, "--cookie", cookie)["notes"] == []


def test_route_that_is_a_clone_id_is_one(config: str) -> None:
    """Tomcat's jvmRoute; in the cookie and in the path."""
    found = explained(config, "GET", CART, "--cookie", "SHOPID=0A1B.c2")
    assert [step["clone_id"] for step in found["clone_ids"]] == ["c2"]
    assert found["server"] == "s2"
    in_path = explained(config, "GET", CART.replace("?", ";jsessionid=0A1B.c2:c1?"))
    assert [step["clone_id"] for step in in_path["clone_ids"]] == ["c2", "c1"]
    assert explained(config, "GET", CART, "--cookie", "SHOPID=0A1B.t9")["clone_ids"] == []


def test_scheme_chooses_the_transport(config: str) -> None:
    session = ("--cookie", "SHOPID=0000a:c1")
    assert explained(config, "GET", CART, *session)["transport"] == "h1:9443"
    plain = explained(config, "GET", "http://shop.example:443/cart/", *session)
    assert plain["transport"] == "h1:9080"


def test_rules_without_affinity(config: str) -> None:
    assert "regular balancing (Round Robin)" in explained(config, "GET", CART)["rule"]
    backup = explained(config, "GET", CART, "--drained", "farm/s1", "--down", "s2")
    assert (backup["server"], backup["rule"]) == ("s3", "no primary is usable: a backup")
    lost = explained(config, "GET", CART, "--cookie", "SHOPID=0000a:c9")
    assert lost["rule"].startswith("none of its clone ids has a usable server, so regular")
    last = explained(config, "GET", CART, *(f"--down={each}" for each in ("farm/s1", "s2", "s3")))
    assert last["rule"] == "a server gets its chance: marked down"


def test_nobody_takes_it(config: str) -> None:
    """Exit code 1, and what the client gets."""
    drained = [f"--drained={each}" for each in ("farm/s1", "s2", "s3")]
    found = explained(config, "GET", CART, *drained, code=1)
    assert (found["status"], found["rule"], found["server"]) == (503, "no server is usable", "")
    none = explained(config, "GET", "http://h:8080/", code=1)
    assert (none["status"], none["cluster"], none["servers"]) == (404, "", [])
    assert "no Route matches" in none["rule"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("GET", CART, "--down", "s1"), "found server s1; allowed is one of farm/s1, other/s1"),
        (("GET", CART, "--down", "farm/s9"), "found server farm/s9; did you mean farm/s"),
        (("GET", CART, "--full", "s3"), "found s3, which has no MaxConnections"),
        (("GET", "shop.example/cart"), "found shop.example/cart; allowed is http://HOST"),
        (("GET", "http://a@b/"), "found http://a@b/; allowed is http://HOST"),
        (("GE T", CART), "refused with 400: request line is not"),
        (("GET", "http://h/a\nb"), 'url: found LF in "http://h/a\\nb"; allowed is one line'),
        (("GET", CART, "--header", "Content-Length: x"), "refused with 400"),
    ],
)
def test_what_cannot_be_used_is_named(config: str, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(config, *arguments, code=2)


def test_a_broken_file_has_each_problem_on_a_line_of_its_own(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text('<Config RefreshInterval="x">\n<Route/>\n</Config>')
    lines = run(str(broken), "GET", CART, code=2).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{broken}:1", f"{broken}:2"]


def test_nothing_of_the_settings_is_left_out(config: str, tmp_path: Path) -> None:
    """Limits, what is refused and what is encoded are those of the file: as live traffic would be treated."""
    settings = tmp_path / "wsproxy.toml"
    settings.write_text('[routing]\nambiguous_paths = "refuse"\n[http]\nnon_ascii = "encode"\n')
    with_settings = ("--settings", str(settings))
    url = "https://shop.example/cart/"
    assert "refused with 400" in run(config, "GET", f"{url}/x", *with_settings, code=2)
    assert "refused with 400" in run(config, "GET", f"{url}\xfc", code=2)
    assert explained(config, "GET", f"{url}\xfc", *with_settings)["path"] == "/cart/%C3%BC"


def test_host_of_a_header_replaces_the_urls(config: str) -> None:
    found = explained(config, "GET", "https://h/cart/x", "--header", "host: shop.example")
    assert found["cluster"] == "farm"


def test_tree_for_people(config: str) -> None:
    """As a process; nothing is cut where the output is no terminal."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "wsproxy",
            "explain",
            config,
            "GET",
            CART,
            "--cookie",
            "SHOPID=a:c2",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
        env={"PYTHONIOENCODING": "utf-8"},
    )
    lines = [re.sub(r"^[\s│├└─]*", "", line) for line in done.stdout.splitlines()]
    assert lines[0] == "GET /cart/view for shop.example:443"
    assert (
        "line 17 -> farm: host shop.example:443 1/1, uri /cart/* 6/6 = 7/7: wins, the best match"
        in lines
    )
    assert "clone id c2 of s2: usable" in lines
    assert (
        lines[-1] == "-> s2 at h2:9080: session affinity: the first clone id whose server is usable"
    )


def test_every_field_is_documented() -> None:
    text = DOCS.read_text()
    admin = (DOCS.parent / "admin.md").read_text()
    for struct in (LiveExplanation, Live, RouteStep, CloneStep, ServerStep):
        for field in msgspec.structs.fields(struct):
            assert f"`{field.encode_name}`" in text or f".{field.encode_name}`" in text, field.name
    for answer in (Status, WorkerStatus, ExplainAnswer, ErrorAnswer):
        for field in msgspec.structs.fields(answer):
            assert f"`{field.encode_name}`" in admin, field.name
    for name in (SERVER, ROUTE, SCORE, AFFINITY, RULE, TRIES, REQUEST_ID):
        assert f"`{name}`" in text
    for option in (each for each in explain.params if each.opts[0].startswith("--")):
        assert option.opts[0] in text

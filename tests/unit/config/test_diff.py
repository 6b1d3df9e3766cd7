"""What a change of plugin-cfg.xml means: every kind of change with its sentence, and no change where the meaning is the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.merging import FEWER, REQUESTS, Live, small_configs
from wsproxy.config.diff import Difference, diff
from wsproxy.config.diff_changes import Change
from wsproxy.config.diff_routes import ORDER_NOT_COMPARED
from wsproxy.config.diff_words import consequence_of, without_sentence
from wsproxy.config.model import Config, Server
from wsproxy.config.xml import parse_config


def server(name: str, more: str = "", host: str = "", *, clone: str = "") -> str:
    clone_id = clone or f"k{name[1:]}"
    where = f'<Transport Hostname="{host or name}" Port="9080"/>'
    return f'<Server Name="{name}" CloneID="{clone_id}" {more}>{where}</Server>'


BASE = f"""<Config>
<Log Name="x.log" LogLevel="Error"/>
<VirtualHostGroup Name="v"><VirtualHost Name="*:80"/></VirtualHostGroup>
<ServerCluster Name="c" RetryInterval="60">
{server("s1")}
{server("s2")}
</ServerCluster>
<ServerCluster Name="d">
{server("s3")}
</ServerCluster>
<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup>
<UriGroup Name="w"><Uri Name="/b/*"/></UriGroup>
<Route ServerCluster="c" UriGroup="u" VirtualHostGroup="v"/>
<Route ServerCluster="d" UriGroup="w" VirtualHostGroup="v"/>
</Config>"""


def read(text: str, path: str) -> Config:
    return parse_config(text.encode(), path, is_part=True).config


def changed(*pairs: tuple[str, str], base: str = BASE) -> tuple[Change, ...]:
    text = base
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return diff(read(base, "old.xml"), read(text, "new.xml")).changes


def sentence(old: str, new: str, base: str = BASE) -> str:
    change = changed((old, new), base=base)[0]
    return f"{change.kind} {change.element} {change.name} {change.attribute} | {change.consequence}"


LISTS = BASE.replace(
    f"{server('s2')}\n",
    f"{server('s2')}\n<PrimaryServers><Server Name='s1'/></PrimaryServers>"
    "<BackupServers><Server Name='s2'/></BackupServers>\n",
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('CloneID="k2"', 'CloneID="k9"',
         "changed Server c/s2 CloneID | sessions of s2 lose their server: its CloneID changed from k2 to k9"),
        (server("s2"), server("s2", 'LoadBalanceWeight="6"'),
         "changed Server c/s2 LoadBalanceWeight | s2 gets 75 % of the new sessions of its cluster instead of 50 %"),
        (server("s2"), server("s2", 'MaxConnections="0"'),
         "changed Server c/s2 MaxConnections | no effect: -1 and 0 both mean as many requests as come"),
        (server("s2"), server("s2", 'ConnectTimeout="5"'),
         "changed Server c/s2 ConnectTimeout | a connection to s2 is given up after 5 s instead of the time of upstream.connect_s"),
        (server("s2"), server("s2", 'ServerIOTimeout="-60"'),
         "changed Server c/s2 ServerIOTimeout | s2 may be silent 60 s (and is marked down then) instead of for ever"),
        (server("s2"), server("s2", 'MaxConnections="30"'),
         "changed Server c/s2 MaxConnections | s2 has at most 30 requests at a time instead of as many requests as come"),
        (server("s2"), server("s2", host="other"),
         "changed Transport c/s2/http Hostname | s2 is at other instead of s2"),
        ('Hostname="s2" Port="9080"/>', 'Hostname="s2" Port="9080"/><Transport Hostname="s2" Port="9443" Protocol="https"/>',
         "added Transport c/s2/https  | s2 can be reached by https, at s2:9443"),
        (f"{server('s2')}\n", "",
         "gone Server c/s2  | sessions of s2 lose their server: it is gone"),
        (f"{server('s3')}\n", f"{server('s3')}{server('s4')}\n",
         "added Server d/s4  | s4 is a new server: it gets 50 % of the new sessions of d"),
        (server("s2"), server("x2", host="s2", clone="k2"),
         "changed Server c/x2 Name | the server s2 is now called x2: logs show the new name, and its down mark and counts start anew"),
        (server("s2"), server("s2", 'ExtendedHandshake="true"'),
         "changed Server c/s2 ExtendedHandshake | the extra exchange before each request to s2 is on"),
        (server("s2"), server("s2", 'wsServerIdleTimeout="9"'),
         "changed Server c/s2 wsServerIdleTimeout | an idle upgraded connection to s2 is closed after 9 s instead of as timeouts.tunnel_s says"),
        (server("s2"), server("s2", 'wsServerIdleTimeout="0"'),
         "changed Server c/s2 wsServerIdleTimeout | an idle upgraded connection to s2 is closed never instead of as timeouts.tunnel_s says"),
        (server("s2"), server("s2", 'wsServerIOTimeout="0"'),
         "changed Server c/s2 wsServerIOTimeout | no effect: no value and 0 both mean never"),
        (f"{server('s3')}\n", f"{server('s3')}{server('s4', 'LoadBalanceWeight=' + chr(34) + '0' + chr(34))}\n",
         "added Server d/s4  | s4 is a new server with LoadBalanceWeight 0: it gets no new sessions"),
        (f"{server('s2')}\n", f"{server('s9', clone='k2')}\n",
         "gone Server c/s2  | sessions of s2 go to s9, which has its CloneID now"),
        ('<Uri Name="/b/*"/></UriGroup>', '<Uri Name="/b/*"/></UriGroup><ServerCluster Name="e"><Server Name="x"><Transport Hostname="x" Port="1"/></Server></ServerCluster>',
         "added ServerCluster e  | a new cluster e with 1 server"),
        ("<Config>", "<Config><Oops/>",
         "changed Config  (inside) | no effect in wsproxy, which does not know these elements"),
        ('RetryInterval="60"', 'RetryInterval="5"',
         "changed ServerCluster c RetryInterval | a server of c that was marked down is tried again after 5 s instead of 60 s"),
        ('RetryInterval="60"', 'CloneSeparatorChange="true"',
         "changed ServerCluster c CloneSeparatorChange | sessions of c lose their server: clone ids are separated by + instead of :"),
        ('LogLevel="Error"', 'LogLevel="Trace"',
         "changed Log  LogLevel | http_plugin.log has the lines of Trace instead of Error"),
        ('Name="x.log"', 'Name="y.log"', "changed Log  Name | http_plugin.log is written to y.log instead of x.log"),
        ('<Log Name="x.log" LogLevel="Error"/>\n', "", "gone Log   | no http_plugin.log is written"),
        ("<Config>", '<Config VHostMatchingCompat="true">',
         "changed Config  VHostMatchingCompat | VirtualHost ports are compared with the port that a connection came in on: requests may match other VirtualHosts"),
        ("<Config>", '<Config ASDisableNagle="true">',
         "changed Config  ASDisableNagle | no effect in wsproxy: wsproxy always sends at once"),
        ("<Config>", '<Config Oops="1">',
         "changed Config  Oops | no effect in wsproxy, which does not know this attribute"),
        ("<Config>", '<Config><Property Name="ESIEnable" Value="true"/>',
         'added Property ESIEnable  | Property "ESIEnable" is set'),
        ("<Config>", '<Config><TrustedProxyGroup><TrustedProxy Name="10.0.0.1"/></TrustedProxyGroup>',
         "added TrustedProxy 10.0.0.1  | private headers from 10.0.0.1 are believed"),
        ("<Config>", "<Config><RequestMetrics/>",
         "added RequestMetrics   | no effect in wsproxy, which does not carry it out"),
        ('<VirtualHost Name="*:80"/>', '<VirtualHost Name="*:80"/><VirtualHost Name="*:443"/>',
         "added VirtualHost *:443  | requests for *:443 go to c, d: /a/*, /b/*"),
        ('<Uri Name="/a/*"/>', '<Uri Name="/a/*"/><Uri Name="/x"/>',
         "added Uri /x  | requests for /x on *:80 go to c"),
        ('<Route ServerCluster="d" UriGroup="w" VirtualHostGroup="v"/>', "",
         "gone Uri /b/*  | requests for /b/* on *:80 no longer go to d"),
        ('<Route ServerCluster="d"', '<Route ServerCluster="c"',
         "changed Route /b/* on *:80 ServerCluster | requests for /b/* on *:80 go to c instead of d: their sessions lose their servers"),
        ('<Uri Name="/b/*"/>', '<Uri Name="/b/*" AffinityCookie="SHOP"/>',
         "changed Uri /b/* AffinityCookie | sessions of /b/* are read from the cookie SHOP instead of JSESSIONID: those that have only the other one lose their server"),
    ],
)  # fmt: skip
def test_each_change_is_told_in_one_sentence(old: str, new: str, said: str) -> None:
    assert sentence(old, new) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<PrimaryServers><Server Name='s1'/></PrimaryServers><BackupServers><Server Name='s2'/></BackupServers>",
         "<PrimaryServers><Server Name='s1'/></PrimaryServers>",
         "changed Server c/s2 role | s2 is out of service: it gets no requests, and its sessions lose their server"),
        ("<BackupServers><Server Name='s2'/></BackupServers>",
         "<BackupServers><Server Name='s2'/></BackupServers>"
         "<ClusterAddress Name='lb'><Transport Hostname='lb' Port='80'/></ClusterAddress>",
         "added ClusterAddress c  | new sessions of c go to its ClusterAddress"),
    ],
)  # fmt: skip
def test_roles_are_told(old: str, new: str, said: str) -> None:
    assert sentence(old, new, LISTS) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('CloneID="k2"', "",
         "changed Server c/s2 CloneID | sessions of s2 are found again by its CloneID k2; those without it go on by turns"),
        ('<Transport Hostname="s2" Port="9080"/>', '<Transport Hostname="s2" Port="9080"/><Transport Hostname="s2" Port="9443" Protocol="https"/>',
         "gone Transport c/s2/https  | s2 can no longer be reached by https, at s2:9443"),
        ("<Config>", '<Config><TrustedProxyGroup><TrustedProxy Name="10.0.0.1"/></TrustedProxyGroup>',
         "gone TrustedProxy 10.0.0.1  | private headers from 10.0.0.1 are no longer believed"),
        ("</Config>", '<ServerCluster Name="e"><Server Name="x"><Transport Hostname="x" Port="1"/></Server></ServerCluster></Config>',
         "gone ServerCluster e  | e and its 1 server are gone"),
        (f"{server('s3')}\n", f'{server("s3")}<Server Name="s4"><Transport Hostname="s4" Port="1"/></Server>\n',
         "gone Server d/s4  | s4 gets no requests any more"),
        ("<Config>", '<Config><Property Name="ESIEnable" Value="true"/>',
         'gone Property ESIEnable  | Property "ESIEnable" is no longer set'),
    ],
)  # fmt: skip
def test_what_goes_is_told(old: str, new: str, said: str) -> None:
    """``new`` is what the old file has, ``old`` what the new one has."""
    assert old in BASE
    assert sentence(new, old, BASE.replace(old, new)) == said if new else True
    if not new:  # taken out of the old file
        assert sentence('Name="s2" ', 'Name="s2" CloneID="k2" ', BASE.replace(old, new)) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "</BackupServers>",
            "<Server Name='s4'/></BackupServers>",
            "s4 is a new backup server of c",
        ),
        ("", "", "s4 is a new server, in neither list: it gets no requests"),
    ],
)
def test_a_new_server_is_told_with_its_role(old: str, new: str, said: str) -> None:
    pairs = [(f"{server('s2')}\n", f"{server('s2')}{server('s4')}\n")]
    changes = changed(*pairs, *([(old, new)] if old else []), base=LISTS)
    assert [each.consequence for each in changes] == [said]
    text = LISTS.replace(*pairs[0]).replace(old, new) if old else LISTS.replace(*pairs[0])
    (gone,) = diff(read(text, "old.xml"), read(LISTS, "new.xml")).changes
    assert gone.consequence == (
        "sessions of s4 lose their server: it is gone" if old else "s4 is gone; it had no requests"
    )


def test_a_cluster_address_that_moves_is_told() -> None:
    address = "<ClusterAddress Name='lb'><Transport Hostname='{}' Port='80'/></ClusterAddress>\n</ServerCluster>\n<ServerCluster Name=\"d\""
    base = BASE.replace('</ServerCluster>\n<ServerCluster Name="d"', address.format("lb"))
    assert sentence("Hostname='lb'", "Hostname='other'", base) == (
        "changed Transport c/http Hostname | lb is at other instead of lb"
    )


def test_a_property_with_another_value_is_told() -> None:
    base = BASE.replace("<Config>", '<Config><Property Name="ESIEnable" Value="true"/>')
    assert sentence('Value="true"', 'Value="false"', base) == (
        'changed Property ESIEnable Value | Property "ESIEnable" has another value'
    )


def test_clusters_without_sessions_have_none_to_lose() -> None:
    base = BASE.replace('CloneID="k3"', "")
    changes = changed(('<Route ServerCluster="d"', '<Route ServerCluster="c"'), base=base)
    assert changes[0].consequence == "requests for /b/* on *:80 go to c instead of d"


def test_two_unknown_attributes_are_compared_one_by_one() -> None:
    base = BASE.replace("<Config>", '<Config A="1" B="1">')
    (change,) = changed(('B="1"', 'B="2"'), base=base)
    assert (change.attribute, change.old, change.new) == ("B", "1", "2")


def test_a_role_changes_shares_as_well() -> None:
    changes = changed(("<Server Name='s1'/></PrimaryServers>", "<Server Name='s1'/><Server Name='s2'/></PrimaryServers>"), ("<BackupServers><Server Name='s2'/></BackupServers>", ""), base=LISTS)  # fmt: skip
    assert [each.consequence for each in changes] == ["s2 gets new sessions"]


@pytest.mark.parametrize(
    ("field", "old", "new", "both"),
    [
        ("ws_server_idle_timeout_s", -1, 0, "never"),
        ("ws_server_io_timeout_s", -9, 9, "after 9 s"),
    ],
)
def test_negative_values_of_upgrades(field: str, old: int, new: int, both: str) -> None:
    """As connections have them: those of reads alone say something by their sign."""
    said = consequence_of(Server, field, old, new, "s2")
    assert said == f"no effect: {old} and {new} both mean {both}"


def test_equal_weights_for_all_leave_their_shares() -> None:
    """No sentence says that a server gets 50 % instead of 50 %."""
    more = [(server(name), server(name, 'LoadBalanceWeight="6"')) for name in ("s1", "s2")]
    said = [each.consequence for each in changed(*more)]
    assert said == [
        f"{name} has a weight of 6 instead of 2, and gets 50 % of the new sessions of its cluster, as before"
        for name in ("s1", "s2")
    ]


def test_backups_in_another_order_take_over_otherwise() -> None:
    base = BASE.replace(
        f"{server('s2')}\n",
        f"{server('s2')}{server('s4')}\n<PrimaryServers><Server Name='s1'/></PrimaryServers>"
        "<BackupServers><Server Name='s2'/><Server Name='s4'/></BackupServers>\n",
    )
    assert sentence(
        "<Server Name='s2'/><Server Name='s4'/>", "<Server Name='s4'/><Server Name='s2'/>", base
    ) == "changed BackupServers c order | the backup servers of c take over in another order"  # fmt: skip


def test_places_are_those_of_both_files() -> None:
    (change,) = changed(('CloneID="k2"', 'CloneID="k9"'))
    assert [str(place) for place in change.places] == ["old.xml:6", "new.xml:6"]
    assert (change.old, change.new) == ("k2", "k9")


def test_a_cluster_of_another_name_is_the_same_cluster() -> None:
    changes = changed(('"c"', '"shop"'))
    assert [(c.kind, c.element, c.attribute, c.old, c.new) for c in changes] == [
        ("changed", "ServerCluster", "Name", "c", "shop")
    ]


def test_requests_go_on_where_the_other_cluster_has_their_servers() -> None:
    base = BASE.replace(f"{server('s3')}\n", f"{server('s3')}{server('s1')}{server('s2')}\n")
    (change,) = changed(('<Route ServerCluster="c"', '<Route ServerCluster="d"'), base=base)
    assert change.consequence == (
        "requests for /a/* on *:80 go to d instead of c, which has their servers, too: sessions go on"
    )


def test_the_order_of_routes_that_overlap_matters() -> None:
    """``*:80`` and ``*:*`` have one score: the first Route gets the request."""
    base = BASE.replace(
        '<Route ServerCluster="d" UriGroup="w"', '<Route ServerCluster="d" UriGroup="u"'
    ).replace(
        'UriGroup="u" VirtualHostGroup="v"/>\n</Config>',
        'UriGroup="u" VirtualHostGroup="x"/>\n<VirtualHostGroup Name="x"><VirtualHost Name="*:*"/></VirtualHostGroup></Config>',
    )
    first, second = (line for line in base.splitlines() if line.startswith("<Route"))
    (change,) = changed((f"{first}\n{second}", f"{second}\n{first}"), base=base)
    assert change.consequence == (
        "requests that match /a/* on *:* as well as /a/* on *:80 go to d instead of c: the first Route gets them"
    )
    assert len(change.places) == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"u"', '"other"'),
        ('"v"', '"hosts"'),
        ("\n", "\n\n"),
        ('<Route ServerCluster="d"', '<Route ServerCluster="c" UriGroup="u" VirtualHostGroup="v"/><Route ServerCluster="d"'),
        ("<Config>", '<Config ConfigHash="1">'),
        ("<Config>", '<Config RefreshInterval="60">'),
        ('<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup>', '<UriGroup Name="u"><Uri Name="/a/*"/><Uri Name="/a/*"/></UriGroup>'),
    ],
)  # fmt: skip
def test_what_means_the_same_is_no_difference(old: str, new: str) -> None:
    assert changed((old, new)) == ()


def test_routes_cut_otherwise_mean_the_same() -> None:
    one = BASE.replace('<Uri Name="/a/*"/>', '<Uri Name="/a/*"/><Uri Name="/z/*"/>')
    two = BASE.replace(
        "<UriGroup", '<UriGroup Name="z"><Uri Name="/z/*"/></UriGroup><UriGroup', 1
    ).replace("<Route", '<Route ServerCluster="c" UriGroup="z" VirtualHostGroup="v"/><Route', 1)
    assert diff(read(one, "old.xml"), read(two, "new.xml")) == Difference(())


def test_secrets_are_not_told() -> None:
    (change,) = changed(("<Config>", '<Config SSLPKCSPassword="geheim">'))
    assert "geheim" not in str(change)
    changes = changed((
        'Hostname="s2" Port="9080"/>',
        'Hostname="s2" Port="9080"><Property Name="password" Value="geheim"/></Transport>',
    ))  # fmt: skip
    assert "geheim" not in str(changes)


def test_every_attribute_with_an_effect_has_a_sentence() -> None:
    assert without_sentence() == []


@FEWER
@given(st.tuples(small_configs("a.xml"), small_configs("b.xml")))
def test_no_difference_means_that_every_request_goes_where_it_went(
    configs: tuple[Config, Config],
) -> None:
    """Of the same clusters with other groups and Routes, which mean the same now and then."""
    old, new = configs
    new = replace(new, server_clusters=old.server_clusters)
    names = [cluster.name for cluster in old.server_clusters]
    routes = tuple(
        replace(route, server_cluster=names[at % len(names)]) for at, route in enumerate(new.routes)
    )
    new = replace(new, routes=routes)
    assert diff(old, old) == Difference(())
    assert diff(new, replace(new, routes=(*routes, *routes))) == Difference(())
    before, after = Live(old), Live(new)
    moved = [
        request
        for request in REQUESTS
        if ((a := before.ask(request)) and (a.cluster.name, a.cookie))
        != ((b := after.ask(request)) and (b.cluster.name, b.cookie))
    ]
    if diff(old, new) == Difference(()):
        assert moved == []


def crowd(hosts: int, ports: int) -> str:
    """Each Route may take the same request as each one whose VirtualHost is of the other kind."""
    names = [f"h{at}:*" for at in range(hosts)] + [f"*:{at}" for at in range(1, ports + 1)]
    groups = "".join(
        f'<VirtualHostGroup Name="{at}"><VirtualHost Name="{name}"/></VirtualHostGroup>'
        for at, name in enumerate(names)
    )
    routes = "".join(
        f'<Route ServerCluster="c" UriGroup="u" VirtualHostGroup="{at}"/>'
        for at in range(len(names))
    )
    return (
        f'<Config>{groups}<ServerCluster Name="c">{server("s1")}</ServerCluster>'
        f'<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup>{routes}</Config>'
    )


@pytest.mark.parametrize(
    ("count", "is_whole"), [(10, True), (600, False), (1100, False)],
    ids=["as real files", "too many pairs", "too many hosts"],
)  # fmt: skip
def test_what_would_take_too_long_is_said(count: int, is_whole: bool) -> None:
    config = read(crowd(count, count), "x.xml")
    found = diff(config, config)
    assert found.changes == ()
    assert found.not_compared == (() if is_whole else (ORDER_NOT_COMPARED,))

"""Each rule of a merge: what it does, and what it says of it (docs/merge.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.merge_doc import DOC, with_tables
from tests.support.merging import Live
from wsproxy.config import merge_rules
from wsproxy.config.merge import Merged, merge
from wsproxy.config.merge_notes import MergeRefusedError, Notes, Place
from wsproxy.config.merge_rules import CHOICES, Rules, read_rules
from wsproxy.config.model import Config, ServerCluster
from wsproxy.config.natural import natural_key
from wsproxy.config.problems import MAX_PROBLEMS
from wsproxy.config.write import write_config
from wsproxy.config.xml import parse_config
from wsproxy.errors import StartError


def server(name: str, clone: str = "", host: str = "h", port: int = 9080, more: str = "") -> str:
    clone_id = f' CloneID="{clone}"' if clone else ""
    return f'<Server Name="{name}"{clone_id} {more}><Transport Hostname="{host}" Port="{port}"/></Server>'


def liberty(
    path: str,
    servers: str,
    *,
    cluster: str = "",
    uri: str = "/app/*",
    host: str = "*:80",
    config: str = "",
    of_cluster: str = "",
    of_uri: str = "",
    more: str = "",
) -> Config:
    """One application on one cluster, as Liberty writes it; lines: 2 host, 3 cluster, 4 Server, 6 Uri, 7 Route."""
    name = cluster or f"{path.removesuffix('.xml')}_Cluster"
    text = f"""<Config {config}>
<VirtualHostGroup Name="v"><VirtualHost Name="{host}"/></VirtualHostGroup>
<ServerCluster Name="{name}" {of_cluster}>
{servers}
{more}</ServerCluster>
<UriGroup Name="u"><Uri Name="{uri}" {of_uri}/></UriGroup>
<Route ServerCluster="{name}" UriGroup="u" VirtualHostGroup="v"/>
</Config>"""
    return parse_config(text.encode(), path).config


A = liberty("a.xml", server("s1", "k1", "h1"))
B = liberty("b.xml", server("s2", "k2", "h2"))


def only(merged: Merged) -> ServerCluster:
    (cluster,) = merged.config.server_clusters
    return cluster


def names(cluster: ServerCluster) -> list[str]:
    return [each.name for each in cluster.servers]


def said(merged: Merged, rule: str) -> list[str]:
    return [str(note) for note in merged.notes if note.rule == rule]


def refused(*configs: Config, rules: Rules | None = None) -> list[str]:
    with pytest.raises(MergeRefusedError) as error:
        merge(configs, rules)
    return [f"{clash.rule} | {clash}" for clash in error.value.clashes]


def clusters(merged: Merged) -> dict[str, list[str]]:
    return {each.name: names(each) for each in merged.config.server_clusters}


# --- the same requests ------------------------------------------------------------------------------------------------


def test_clusters_of_one_application_become_one() -> None:
    """Liberty writes one file for each server; the first name stays."""
    merged = merge([B, A])
    assert clusters(merged) == {"a_Cluster": ["s1", "s2"]}
    assert len(merged.config.routes) == 1
    assert said(merged, "shared-uri") == [
        'a.xml:3, b.xml:3: ServerClusters "a_Cluster", "b_Cluster" for Uri "/app/*" on VirtualHost "*:80"; '
        'they become one ServerCluster "a_Cluster" with all their servers'
    ]


def test_kept_clusters_are_kept_and_the_first_name_wins() -> None:
    merged = merge([A, B], read_rules((), keep_clusters=True))
    assert clusters(merged) == {"a_Cluster": ["s1"], "b_Cluster": ["s2"]}
    assert [route.server_cluster for route in merged.config.routes] == ["a_Cluster"]
    (note,) = said(merged, "shared-uri")
    assert note.endswith('; "a_Cluster" gets these requests, the first name of them')


def test_shared_requests_may_be_refused() -> None:
    (clash,) = refused(A, B, rules=read_rules(["shared-uri=refuse"]))
    assert clash.startswith("shared-uri | a.xml:3, b.xml:3: ServerClusters")


def test_a_server_gets_only_what_its_file_gives_it() -> None:
    """One host is shared: there both serve; on their own hosts each alone (open-liberty 35345)."""
    a = liberty("a.xml", server("s1", "k1", "h1"), host='a.ex:80"/><VirtualHost Name="*:9091')
    b = liberty("b.xml", server("s2", "k2", "h2"), host='b.ex:80"/><VirtualHost Name="*:9091')
    merged = merge([a, b])
    live = Live(merged.config)

    def ask(host: bytes, port: int) -> list[str]:
        answer = live.ask((host, port, b"/app/x"))
        assert answer is not None
        return names(answer.cluster)

    assert ask(b"a.ex", 80) == ["s1"]
    assert ask(b"b.ex", 80) == ["s2"]
    assert ask(b"x", 9091) == ["s1", "s2"]


# --- names ------------------------------------------------------------------------------------------------------------


def test_the_same_cluster_with_more_servers_is_one() -> None:
    a = liberty("a.xml", server("s1", "k1", "h1"), cluster="c")
    b = liberty("b.xml", server("s1", "k1", "h1") + server("s2", "k2", "h2"), cluster="c")
    merged = merge([a, b])
    assert clusters(merged) == {"c": ["s1", "s2"]}
    assert len(said(merged, "cluster-name")) == 1


def test_a_cluster_name_for_other_requests_is_two_clusters() -> None:
    """Every Liberty server is called defaultServer: /b must not go to the server that has only /a."""
    a = liberty("a.xml", server("s1", "k1", "h1"), cluster="c", uri="/a/*")
    b = liberty("b.xml", server("s2", "k2", "h2"), cluster="c", uri="/b/*")
    merged = merge([a, b])
    assert clusters(merged) == {"c": ["s1"], "c_2": ["s2"]}
    (note,) = said(merged, "cluster-name")
    assert "b.xml:3, a.xml:3" in note
    assert clusters(merge([a, b], read_rules(["cluster-name=join"]))) == {"c": ["s1", "s2"]}
    (clash,) = refused(a, b, rules=read_rules(["cluster-name=refuse"]))
    assert clash.startswith("cluster-name")


def test_one_cluster_with_other_uris_in_each_file_stays_one() -> None:
    servers = server("s1", "k1", "h1") + server("s2", "k2", "h2")
    merged = merge([liberty(f"{x}.xml", servers, cluster="c", uri=f"/{x}/*") for x in "ab"])
    assert clusters(merged) == {"c": ["s1", "s2"]}
    assert [route.uri_group for route in merged.config.routes] == ["u", "u_2"]
    assert len(said(merged, "group-name")) == 1


def test_two_servers_of_one_name_get_names_of_their_own() -> None:
    a = liberty("a.xml", server("node_defaultServer", "k1", "h1"))
    b = liberty("b.xml", server("node_defaultServer", "k2", "h2"))
    merged = merge([a, b])
    assert names(only(merged)) == ["node_defaultServer", "node_defaultServer_2"]
    assert said(merged, "server-name") == [
        'a.xml:4, b.xml:4: two Servers "node_defaultServer" in ServerCluster "a_Cluster" and ServerCluster "b_Cluster": '
        'CloneID="k1" at h1:9080 and CloneID="k2" at h2:9080; the second one is "node_defaultServer_2"'
    ]
    (clash,) = refused(a, b, rules=read_rules(["server-name=refuse"]))
    assert clash.startswith("server-name")


def test_one_server_under_two_names_is_one() -> None:
    """As in a file that pluginUtility merged: it renames every server."""
    merged = merge([A, liberty("b.xml", server("s1_0", "k1", "h1"))])
    assert names(only(merged)) == ["s1"]
    assert len(said(merged, "server-name")) == 1


# --- servers that contradict ------------------------------------------------------------------------------------------


def test_a_server_with_another_clone_id_at_its_address_is_refused() -> None:
    (clash,) = refused(A, liberty("b.xml", server("s1", "k9", "h1")))
    assert clash == (
        'server-changed | a.xml:4, b.xml:4: Server "s1" of ServerCluster "a_Cluster" and ServerCluster "b_Cluster" '
        'with CloneID="k1" and with CloneID="k9" at the same address; allowed is one CloneID: one of the files is older '
        "than the server's change"
    )


def test_a_server_with_its_clone_id_at_another_address_is_refused() -> None:
    (clash,) = refused(A, liberty("b.xml", server("s1", "k1", "h7")))
    assert "at h1:9080 and at h7:9080" in clash


def test_one_clone_id_for_two_servers_is_refused_or_kept() -> None:
    b = liberty("b.xml", server("s2", "k1", "h2"))
    (clash,) = refused(A, b)
    assert clash.startswith("clone-id | a.xml:4, b.xml:4: CloneID")
    merged = merge([A, b], read_rules(["clone-id=keep"]))
    assert names(only(merged)) == ["s1", "s2"]
    assert len(said(merged, "clone-id")) == 1


@pytest.mark.parametrize("clone", ["", "-1"])
def test_standalone_servers_are_not_joined_unless_asked(clone: str) -> None:
    a, b = (liberty(f"{x}.xml", server(f"s{x}", clone, f"h{x}")) for x in "ab")
    (clash,) = refused(a, b)
    assert clash.startswith("standalone | a.xml:4, b.xml:4: no CloneID (or -1) on")
    assert names(only(merge([a, b], read_rules(["standalone=join"])))) == ["sa", "sb"]
    assert clusters(merge([a, b], read_rules((), keep_clusters=True))) == {
        "a_Cluster": ["sa"],
        "b_Cluster": ["sb"],
    }


def test_standalone_servers_that_a_file_has_joined_already_stay_so() -> None:
    both = server("s1", "", "h1") + server("s2", "", "h2")
    merged = merge(
        [liberty("a.xml", both, cluster="c"), liberty("b.xml", server("s1", "", "h1"), cluster="c")]
    )
    assert names(only(merged)) == ["s1", "s2"]


def test_http_in_one_file_and_https_in_the_other_are_two_transports() -> None:
    secure = server("s1", "k1", "h1", 9443).replace("Port", 'Protocol="https" Port')
    (one,) = only(merge([A, liberty("b.xml", secure)])).servers
    assert [(t.protocol, t.port) for t in one.transports] == [("http", 9080), ("https", 9443)]


def test_another_keyring_for_one_transport_is_refused() -> None:
    def with_keyring(path: str, keyring: str) -> Config:
        item = f'<Property Name="keyring" Value="{keyring}"/>'
        text = server("s1", "k1", "h1").replace("/></Server>", f">{item}</Transport></Server>")
        return liberty(path, text)

    (clash,) = refused(with_keyring("a.xml", "/a.p12"), with_keyring("b.xml", "/b.p12"))
    assert 'keyring="/a.p12" and keyring="/b.p12" on the http Transport of Server "s1"' in clash


# --- roles and settings -----------------------------------------------------------------------------------------------


def test_a_backup_in_one_file_and_primary_in_another_is_primary() -> None:
    one, two = server("s1", "k1", "h1"), server("s2", "k2", "h2")
    lists = (
        '<PrimaryServers><Server Name="{}"/></PrimaryServers>'
        '<BackupServers><Server Name="{}"/></BackupServers>'
    )
    a = liberty("a.xml", one + two, cluster="c", more=lists.format("s1", "s2"))
    b = liberty("b.xml", one + two, cluster="c", more=lists.format("s2", "s1"))
    cluster = only(merge([a, b]))
    assert [ref.name for ref in cluster.primary_servers or ()] == ["s1", "s2"]
    assert cluster.backup_servers == ()
    assert len(said(merge([a, b]), "role")) == 2


def test_backups_stay_backups() -> None:
    """Liberty with serverRole=BACKUP writes a cluster that has only BackupServers (PM38369)."""
    backup = '<BackupServers><Server Name="s2"/></BackupServers>'
    cluster = only(merge([A, liberty("b.xml", server("s2", "k2", "h2"), more=backup)]))
    assert [ref.name for ref in cluster.primary_servers or ()] == ["s1"]
    assert [ref.name for ref in cluster.backup_servers or ()] == ["s2"]


@pytest.mark.parametrize(
    ("attribute", "one", "other", "taken"),
    [
        ("ConnectTimeout", "5", "0", "0"),
        ("ServerIOTimeout", "-60", "60", "60"),
        ("ServerIOTimeout", "-900", "60", "-900"),
        ("LoadBalanceWeight", "2", "20", "20"),
        ("MaxConnections", "-1", "30", "30"),
        ("MaxConnections", "10", "30", "10"),
        ("WaitForContinue", "true", "false", "true"),
    ],
)
def test_each_attribute_has_a_value_that_is_taken(
    attribute: str, one: str, other: str, taken: str
) -> None:
    files = [
        liberty(f"{path}.xml", server("s1", "k1", "h1", more=f'{attribute}="{value}"'), cluster="c")
        for path, value in (("a", one), ("b", other))
    ]
    merged = merge(files)
    assert f'{attribute}="{taken}"' in write_config(merged.config)
    (note,) = said(merged, "settings")
    assert note.startswith(
        f'a.xml:4, b.xml:4: {attribute}="{one}" and {attribute}="{other}" on Server "s1"'
    )
    assert write_config(merge(files[::-1]).config) == write_config(merged.config)
    (clash,) = refused(*files, rules=read_rules(["settings=refuse"]))
    assert f"--rules {attribute}=VALUE" in clash
    forced = merge(files, read_rules([f"{attribute}={one}"]))
    assert f'{attribute}="{one}"' in write_config(forced.config)


def test_weights_of_two_generators_are_told() -> None:
    """Of tWAS, which writes 2, and of Liberty, which writes 20: the first one would get hardly any session."""
    b = liberty("b.xml", server("s2", "k2", "h2", more='LoadBalanceWeight="20"'))
    (note,) = said(merge([A, b]), "weights")
    assert note.startswith(
        'a.xml:3, b.xml:3: LoadBalanceWeight="2" and LoadBalanceWeight="20" on all servers of'
    )
    mixed = server("s2", "k2", "h2", more='LoadBalanceWeight="20"') + server("s3", "k3", "h3")
    assert said(merge([A, liberty("b.xml", mixed)]), "weights") == []


def test_clashes_are_counted_where_they_are_too_many() -> None:
    notes = Notes()
    for number in range(MAX_PROBLEMS + 2):
        notes.refuse("settings", f"found {number}", "one", [Place("a.xml", 0)])
        notes.refuse("settings", f"found {number}", "one", [Place("a.xml", 0)])
    with pytest.raises(MergeRefusedError, match="and 2 more clashes") as error:
        notes.raise_if_refused()
    assert (len(error.value.clashes), error.value.counts.errors) == (MAX_PROBLEMS, MAX_PROBLEMS + 2)
    assert str(error.value.clashes[0]) == "a.xml: found 0; allowed is one"


def test_files_made_to_overlap_are_refused() -> None:
    """Thousands of ``host:*`` and ``*:port`` for one Uri: each meets each."""

    def file(path: str, hosts: list[str]) -> Config:
        return liberty(
            path, server(path[0], path[0], path[0]), host='"/><VirtualHost Name="'.join(hosts)
        )

    a = file("a.xml", ["one.ex:*"])
    text = [f'<VirtualHostGroup Name="{n}"><VirtualHost Name="{n}.ex:*"/></VirtualHostGroup><Route ServerCluster="c" VirtualHostGroup="{n}"/>' for n in range(1100)]  # fmt: skip
    text += [f'<VirtualHostGroup Name="p{n}"><VirtualHost Name="*:{n}"/></VirtualHostGroup><Route ServerCluster="c" VirtualHostGroup="p{n}"/>' for n in range(1, 1100)]  # fmt: skip
    crowded = f'<Config><ServerCluster Name="c">{server("s1", "k1", "h1")}</ServerCluster>{"".join(text)}</Config>'
    (clash,) = refused(a, parse_config(crowded.encode(), "b.xml").config)
    assert clash.startswith("too-large")


def test_a_uri_that_never_matches_is_kept() -> None:
    files = [liberty(f"{x}.xml", server(x, x, x), uri=f"/{x}/*/*") for x in "ab"]
    assert len(merge(files).config.uri_groups) == 2


def test_rules_with_values_stand_in_the_header() -> None:
    rules = read_rules(["RetryInterval=30,SSLPKCSPassword=geheim"])
    assert rules.named_values() == [("RetryInterval", '"30"'), ("SSLPKCSPassword", '"***"')]


def test_what_changes_every_request_is_not_settled() -> None:
    a = liberty("a.xml", server("s1", "k1", "h1"), config='VHostMatchingCompat="true"')
    (clash,) = refused(a, B)
    assert clash.startswith('settings | a.xml:1, b.xml:1: VHostMatchingCompat="true" and')
    assert merge([a, B], read_rules(["VHostMatchingCompat=true"])).config.vhost_matching_compat


def test_clone_separators_that_differ_are_refused_only_in_one_cluster() -> None:
    plus = 'CloneSeparatorChange="true"'
    b = liberty("b.xml", server("s2", "k2", "h2"), of_cluster=plus)
    (clash,) = refused(A, b)
    assert "CloneSeparatorChange" in clash
    apart = liberty("b.xml", server("s2", "k2", "h2"), of_cluster=plus, uri="/b/*")
    assert len(merge([A, apart]).config.server_clusters) == 2


def test_one_uri_with_two_cookies_is_refused() -> None:
    b = liberty("b.xml", server("s2", "k2", "h2"), of_uri='AffinityCookie="OTHER"')
    (clash,) = refused(A, b)
    assert (
        'AffinityCookie="JSESSIONID" and AffinityCookie="OTHER" on Uri "/app/*" of UriGroup "u"'
        in clash
    )
    merged = merge([A, b], read_rules(["AffinityCookie=OTHER"]))
    assert Live(merged.config).ask((b"h", 80, b"/app/x")).cookie == b"OTHER"  # type: ignore[union-attr]


def test_cluster_addresses_that_differ_are_refused() -> None:
    address = '<ClusterAddress Name="lb"><Transport Hostname="lb" Port="80"/></ClusterAddress>'
    (clash,) = refused(A, liberty("b.xml", server("s2", "k2", "h2"), more=address))
    assert clash.startswith("cluster-address")


def test_subtrees_that_differ_are_refused() -> None:
    metrics = '<Config><RequestMetrics armEnabled="{}"/><Route ServerCluster="c"/></Config>'
    a, b = (
        parse_config(metrics.format(value).encode(), path, is_part=True).config
        for value, path in (("true", "a.xml"), ("false", "b.xml"))
    )
    (clash,) = refused(a, b)
    assert clash.startswith("subtree | a.xml:1, b.xml:1: RequestMetrics")
    assert merge([a, A]).config.request_metrics == a.request_metrics


def test_a_value_that_is_not_there_gives_way() -> None:
    files = [
        liberty(f"{path}.xml", server("s1", "k1", "h1", more=more), cluster="c")
        for path, more in (("a", ""), ("b", 'wsServerIOTimeout="9"'))
    ]
    assert only(merge(files)).servers[0].ws_server_io_timeout_s == 9
    files[0] = liberty("a.xml", server("s1", "", "h1"), cluster="c")
    merged = merge(files, read_rules(["standalone=join"]))
    assert only(merged).servers[0].clone_id == "k1"
    assert any('taken is CloneID="k1"' in note for note in said(merged, "settings"))


def test_what_is_not_known_is_kept_and_differences_are_told() -> None:
    def file(path: str, value: str, inside: str) -> Config:
        lists = f'<PrimaryServers Oops="{value}"><Server Name="s1"/></PrimaryServers>'
        return liberty(
            path, server("s1", "k1", "h1"), cluster="c", more=f"{lists}<{inside}/>",
            of_cluster=f'Oops="{value}"',
        )  # fmt: skip

    merged = merge([file("a.xml", "2", "X"), file("b.xml", "1", "Y")])
    text = write_config(merged.config)
    assert text.count('Oops="1"') == 2
    assert "<X/>" in text
    assert "<Y/>" in text
    assert len(said(merged, "settings")) == 2


def test_a_renamed_server_has_its_name_in_all_its_clusters() -> None:
    """Where a file has it alone, too, so that logs know one name."""
    lists = '<PrimaryServers><Server Name="s"/></PrimaryServers>'
    a = liberty("a.xml", server("s", "k1", "h1"), more=lists)
    both = f"""<Config><VirtualHostGroup Name="v"><VirtualHost Name="*:80"/></VirtualHostGroup>
    <ServerCluster Name="b">{server("s", "k2", "h2")}{lists}</ServerCluster>
    <ServerCluster Name="own">{server("s", "k2", "h2")}{lists}</ServerCluster>
    <ServerCluster Name="bare">{server("s", "k2", "h2")}</ServerCluster>
    <UriGroup Name="u"><Uri Name="/app/*"/></UriGroup><UriGroup Name="w"><Uri Name="/own/*"/></UriGroup>
    <UriGroup Name="x"><Uri Name="/bare/*"/></UriGroup>
    <Route ServerCluster="b" UriGroup="u" VirtualHostGroup="v"/>
    <Route ServerCluster="own" UriGroup="w" VirtualHostGroup="v"/>
    <Route ServerCluster="bare" UriGroup="x" VirtualHostGroup="v"/></Config>"""
    merged = merge([a, parse_config(both.encode(), "b.xml").config])
    assert clusters(merged) == {"a_Cluster": ["s", "s_2"], "own": ["s_2"], "bare": ["s_2"]}
    own = merged.config.server_clusters[1]
    assert [ref.name for ref in own.primary_servers or ()] == ["s_2"]


def test_a_server_in_a_list_that_its_cluster_lacks_is_left_out() -> None:
    lists = '<PrimaryServers><Server Name="s1"/><Server Name="gone"/></PrimaryServers>'
    merged = merge([liberty("a.xml", server("s1", "k1", "h1"), more=lists), B])
    assert [ref.name for ref in only(merged).primary_servers or ()] == ["s1", "s2"]
    assert len(said(merged, "dangling")) == 1


def test_bare_servers_at_one_address_are_one_under_two_names() -> None:
    a = liberty("a.xml", server("s1", "", "h1"))
    assert names(only(merge([a, liberty("b.xml", server("s2", "", "h1"))]))) == ["s1"]
    with_id = liberty("b.xml", server("s2", "k2", "h1"))
    (clash,) = refused(with_id, liberty("c.xml", server("s3", "", "h1")))
    assert clash.startswith("standalone")


# --- limits, hosts that overlap, order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("shop:80", "*:80"),
        ("shop:80", "*:*"),
        ("shop:*", "*:80"),
        ("*:80", "*:*"),
        ("shop:*", "*:*"),
    ],
)
def test_the_narrower_virtual_host_wins_and_that_is_said(narrow: str, wide: str) -> None:
    files = [
        liberty("a.xml", server("s1", "k1", "h1"), host=wide),
        liberty("b.xml", server("s2", "k2", "h2"), host=narrow),
    ]
    merged = merge(files)
    answer = Live(merged.config).ask((b"shop", 80, b"/app/x"))
    assert answer is not None
    assert names(answer.cluster) == ["s2"]
    (note,) = said(merged, "overlap")
    assert note.startswith("b.xml:7, a.xml:7: ")
    (clash,) = refused(*files, rules=read_rules(["overlap=refuse"]))
    assert clash.startswith("overlap")


def ordered(path: str, *routes: str) -> Config:
    """A Route for each ``VIRTUALHOST=CLUSTER``, in this order."""
    text = "".join(
        f"""<VirtualHostGroup Name="v{host}"><VirtualHost Name="{host}"/></VirtualHostGroup>
        <ServerCluster Name="{path[0]}{cluster}">{server(f"s{path[0]}{cluster}", f"k{path[0]}{cluster}", f"h{path[0]}{cluster}")}</ServerCluster>
        <Route VirtualHostGroup="v{host}" ServerCluster="{path[0]}{cluster}"/>"""
        for host, cluster in (route.split("=") for route in routes)
    )
    return parse_config(f"<Config>{text}</Config>".encode(), path).config


def test_the_order_of_one_file_is_kept() -> None:
    """Though the narrower VirtualHost would come first, and the other file with it stands before."""
    merged = merge([ordered("a.xml", "*:80=3"), ordered("b.xml", "*:*=1", "*:80=2")])
    answer = Live(merged.config).ask((b"h", 80, b"/"))
    assert answer is not None
    assert names(answer.cluster) == ["sb1"]


def test_routes_in_contrary_order_are_refused() -> None:
    """Each file means its own order, and both cannot be had."""
    (clash,) = refused(
        ordered("a.xml", "*:80=1", "shop:*=2"), ordered("b.xml", "shop:*=2", "*:80=1")
    )
    assert clash.startswith("route-order | a.xml:")


# --- what leads nowhere, and the rest ---------------------------------------------------------------------------------


def test_a_route_to_a_cluster_that_its_file_lacks_stays_dead() -> None:
    """Liberty writes it while its endpoint is paused (open-liberty 35767)."""
    text = '<Config><UriGroup Name="u"><Uri Name="/x/*"/></UriGroup>\n<Route ServerCluster="{}" UriGroup="u"/></Config>'
    lonely = parse_config(text.format("gone").encode(), "b.xml", is_part=True).config
    merged = merge([A, lonely])
    assert [route.server_cluster for route in merged.config.routes] == ["a_Cluster", "gone"]
    known = parse_config(text.format("a_Cluster").encode(), "b.xml", is_part=True).config
    merged = merge([A, known])
    assert [route.server_cluster for route in merged.config.routes] == ["a_Cluster"]
    assert said(merged, "dangling")[0].startswith("b.xml:2: a Route that names")


def test_a_cluster_without_route_is_kept() -> None:
    """Liberty without an application writes one."""
    text = f'<Config><ServerCluster Name="c">{server("s9", "k9", "h9")}</ServerCluster></Config>'
    lonely = parse_config(text.encode(), "b.xml", is_part=True).config
    assert clusters(merge([A, lonely])) == {"a_Cluster": ["s1"], "c": ["s9"]}


def test_a_route_that_never_gets_a_request_is_kept_behind_the_others() -> None:
    text = f"""<Config><ServerCluster Name="c">{server("s1", "k1", "h1")}</ServerCluster>
    <ServerCluster Name="d">{server("s2", "k2", "h2")}</ServerCluster>
    <Route ServerCluster="c"/>
    <Route ServerCluster="d"/></Config>"""
    config = parse_config(text.encode(), "a.xml").config
    merged = merge([config, config])
    assert write_config(merged.config) == write_config(config)
    assert len(said(merged, "shadowed")) == 1


def test_sources_are_taken_in_natural_order() -> None:
    files = [liberty(f"s{n}.xml", server(f"s{n}", f"k{n}", f"h{n}")) for n in (10, 2, 1)]
    merged = merge(files)
    assert merged.sources == ("s1.xml", "s2.xml", "s10.xml")
    assert names(only(merged)) == ["s1", "s2", "s10"]
    assert natural_key("a01") != natural_key("a1")
    assert natural_key("9" * 5000) < natural_key("1" + "0" * 5000)  # no number is too long


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shared-uri=both", "allowed is shared-uri=join or keep or refuse"),
        ("shard-uri=keep", "did you mean shared-uri?"),
        ("RetryInterval=soon", "allowed is RetryInterval= and a whole number from 0"),
        ("RetryInterval", "did you mean RetryInterval?"),
        ("Name=x", "allowed: shared-uri"),
    ],
)
def test_a_rule_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(StartError, match="--rules: found") as error:
        read_rules([text])
    assert why in str(error.value)


def test_rules_are_read_from_several_texts() -> None:
    rules = read_rules(["shared-uri=keep, standalone=join", "RetryInterval=30"])
    assert (rules["shared-uri"], rules["standalone"], rules["clone-id"]) == (
        "keep",
        "join",
        "refuse",
    )
    assert dict(rules.values) == {(ServerCluster, "retry_interval_s"): 30}
    assert Rules().choices == {name: choices[0] for name, choices in CHOICES.items()}


def test_the_document_has_every_rule_and_what_it_takes() -> None:
    """``python -m tests.support.merge_doc`` writes the tables."""
    text = DOC.read_text()
    assert with_tables(text) == text
    source = Path(merge_rules.__file__).parent
    told = {
        rule
        for path in source.glob("merge*.py")
        for rule in re.findall(r'\.(?:decide|refuse)\(\s*"([a-z-]+)"', path.read_text())
    }
    assert told >= {"role", "names", "route-order", "server-changed"}
    assert [rule for rule in told if f"`{rule}`" not in text] == []


def test_a_password_is_not_told() -> None:
    a = liberty("a.xml", server("s1", "k1", "h1"), config='SSLPKCSPassword="one"')
    b = liberty("b.xml", server("s2", "k2", "h2"), config='SSLPKCSPassword="two"')
    (clash,) = refused(a, b)
    assert 'SSLPKCSPassword="***"' in clash
    assert "one" not in clash.replace("allowed is one value", "")

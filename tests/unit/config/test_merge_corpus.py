"""Real files: each merges with each other, routes as both, or is refused with both places."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

from tests.support.merging import Live, check_union
from tests.support.real_files import CORPUS, needs_corpus
from wsproxy.config.merge import merge
from wsproxy.config.merge_notes import MergeRefusedError, Note
from wsproxy.config.model import Config
from wsproxy.config.write import write_config
from wsproxy.config.xml import load_config, parse_config
from wsproxy.errors import ConfigRefusedError

pytestmark = needs_corpus
BROKEN = 8  # fragments and excerpts, see test_plugin_cfg_corpus.py
# the one thing that real files of the corpus contradict each other in: s4 was made with TrustedProxyEnable
TRUSTING = "plugin-cfg-s4.xml"


@cache
def whole_files() -> dict[str, Config]:
    found = {}
    for path in sorted(CORPUS.glob("*/*.xml")):
        try:
            found[path.name] = load_config(path, is_part=True).config
        except ConfigRefusedError:
            continue
    return found


def test_all_whole_files_are_here() -> None:
    assert len(whole_files()) == len(list(CORPUS.glob("*/*.xml"))) - BROKEN


def test_each_file_merges_with_each_other_or_says_why_not() -> None:
    files = whole_files()
    refused: dict[tuple[str, str], tuple[Note, ...]] = {}
    for one, other in combinations_with_replacement(files, 2):
        try:
            merged = merge([files[one], files[other]])
        except MergeRefusedError as error:
            refused[one, other] = error.clashes
            continue
        text = write_config(merged.config)
        again = parse_config(text.encode(), "merged.xml", is_part=True).config
        if one == other:
            assert text == write_config(files[one])
            assert merged.notes == ()
        _check_requests(files[one], files[other], again)
    for pair, (clash,) in refused.items():
        assert TRUSTING in pair
        assert clash.rule == "settings"
        assert "TrustedProxyEnable" in clash.found
        assert len({place.file for place in clash.places}) == 2
    assert len(refused) == sum(not each.trusted_proxy_enable for each in files.values())


def _check_requests(one: Config, other: Config, merged: Config) -> None:
    """Every VirtualHost with every Uri of the two."""
    inputs, live = [Live(one), Live(other)], Live(merged)
    hosts = {
        (host.host, host.port)
        for c in (one, other)
        for g in c.virtual_host_groups
        for host in g.virtual_hosts
    }
    uris = {uri.name for c in (one, other) for group in c.uri_groups for uri in group.uris}
    for host, port in hosts:
        for uri in uris:
            name = "some.host" if host == "*" else host
            request = (name.encode(), port or 80, uri.replace("*", "x").encode())
            check_union(inputs, live, request)


def test_all_files_at_once_merge() -> None:
    """But for the one that trusts others."""
    files = [config for name, config in whole_files().items() if name != TRUSTING]
    merged = merge(files)
    assert write_config(merged.config) == write_config(merge(files[::-1]).config)
    inputs, live = [Live(config) for config in files], Live(merged.config)
    for host in (b"x", b"localhost", b"server-a1.example.com"):
        for port in (80, 443, 8080, 9081, 9091):
            for path in (b"/", b"/app/x", b"/api/x", b"/mgmt/x", b"/app-alpha/1"):
                check_union(inputs, live, (host, port, path))


def test_three_servers_of_liberty_become_what_liberty_makes_of_them() -> None:
    """Its own tool's file for the same three: the same servers behind the same requests."""
    files = whole_files()
    merged = Live(merge([files[f"plugin-cfg-s{number}.xml"] for number in (1, 2, 3)]).config)
    theirs = Live(files["plugin-cfg-merged-s1-s2-s3.xml"])
    for port in (8080, 8443, 80):
        for path in (b"/app/x", b"/app", b"/other"):
            mine, other = merged.ask((b"h", port, path)), theirs.ask((b"h", port, path))
            assert (mine and mine.servers) == (other and other.servers)


def test_a_file_that_is_in_a_merged_one_already_adds_nothing() -> None:
    """06 is Liberty's merge of 07 and three others."""
    files = whole_files()
    big = files["06-openliberty-merge-improper-subset-expected.xml"]
    merged, before = (
        Live(merge([big, files["07-openliberty-merge-improper-subset-srv-a1.xml"]]).config),
        Live(big),
    )
    for where in (b"server-a1.example.com", b"server-b1.example.com", b"x"):
        for at in (9081, 9082, 9091):
            for path in (b"/api/x", b"/mgmt/x", b"/app-alpha/x", b"/app-beta/x"):
                mine, was = merged.ask((where, at, path)), before.ask((where, at, path))
                assert (mine and mine.servers) == (was and was.servers), (where, at, path)

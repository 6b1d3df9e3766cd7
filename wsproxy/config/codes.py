"""
Every code that ``wsproxy check`` gives a problem, with one sentence: what is known by it does not change its name.

Driven by ``--ignore`` and ``check.ignore`` (which names are known), SARIF (rules) and docs/check.md (tables made from here).
A test compares with the codes that the checks use.
"""

from __future__ import annotations

from wsproxy.config.problems import nearest, quoted

# what keeps plugin-cfg.xml from being used
REFUSALS = {
    "file-unreadable": "the file cannot be read",
    "file-empty": "there is nothing in it",
    "file-too-big": "the file is larger than any configuration (64 MiB)",
    "xml-malformed": "the file is not XML",
    "xml-truncated": "the file ends too early: it was cut off",
    "xml-limit": "elements nested beyond reason, or more than 1,000 attributes on one of them",
    "xml-doctype": "a `<!DOCTYPE`: no entity and no DTD is ever read",
    "root-not-config": "a fragment, or another file: the first element is not Config",
    "attribute-missing": "a required attribute is absent or empty",
    "attribute-value": "a value that is not a number, out of range, not `true` or `false`, or not one of the words",
    "virtual-host-name": "a VirtualHost that cannot be split into host and port",
    "cluster-duplicate": "two ServerClusters of one name: counters and marks are kept by name",
    "server-duplicate": "two Servers of one name in a ServerCluster",
    "group-duplicate": "a group's name twice with other content (with the same content: a warning)",
    "cluster-empty": "a ServerCluster without Server (a warning where no Route leads to it)",
    "server-no-transport": "a Server without Transport (a warning where no Route leads to it)",
    "hostname": "a `Hostname` or `HostnameAlias` with a scheme, a port, a path or a blank in it (a warning where no Route leads to it)",
    "no-route": "no Route at all: nothing would be forwarded. Where all there are lead nowhere it is a warning: Liberty writes such a file while its endpoint is paused",
}
# what can be used and is hardly meant
WARNINGS = {
    "attribute-unknown": "an attribute that is not known and not used; the nearest known name is given",
    "element-unknown": "an element that is not known there and not used",
    "property-unknown": "a Property of a Transport that is not known and not used",
    "element-repeated": "an element that may stand once; the first one counts",
    "text-ignored": "text between elements, such as the end of a broken comment",
    "placeholder": "a `${...}` that nobody replaced",
    "word-spelling": "a word in another spelling, read as the one that is named",
    "name-old": "an element's name of version 4, read as the one that is named",
    "virtual-host-wildcard": "a VirtualHost that never matches",
    "uri-form": "a Uri that never matches, or not what it seems to",
    "virtual-host-duplicate": "a VirtualHost twice in one group",
    "uri-duplicate": "a Uri twice in one group",
    "virtual-host-shared": "the same VirtualHost in several groups",
    "route-overlap": "two Routes claim the same Uri on the same VirtualHost; the first one wins",
    "route-unreachable": "a Route that no request takes: another one always wins (a note where that leads to the same ServerCluster)",
    "route-cluster-unknown": "a Route to a ServerCluster that is not there",
    "route-uris-unknown": "a Route with a UriGroup that is not there",
    "route-hosts-unknown": "a Route with a VirtualHostGroup that is not there",
    "cluster-unrouted": "a ServerCluster that no Route leads to",
    "host-group-unused": "a VirtualHostGroup that no Route names",
    "uri-group-unused": "a UriGroup that no Route names",
    "uri-group-unreached": "Uris that no VirtualHost leads to, though Routes name them",
    "host-group-empty": "a VirtualHostGroup without VirtualHost: its Routes never match",
    "uri-group-empty": "a UriGroup without Uri: its Routes never match",
    "clone-id-duplicate": "one CloneID on two Servers of a ServerCluster: sessions of both go to the first",
    "clone-id-missing": "a Server without CloneID among others that have one: its sessions are not found again",
    "clone-id-characters": "a CloneID that cannot be found again in a session cookie",
    "clone-id-other-cookie": "two ServerClusters share Servers and look for their sessions in different cookies",
    "clone-id-other-server": "one CloneID for Servers of two ServerClusters that look in one cookie",
    "server-unknown": "PrimaryServers or BackupServers name a Server that is not there",
    "server-listed-twice": "a Server twice in one list",
    "server-in-both-lists": "a Server in PrimaryServers and BackupServers; it is a primary",
    "server-out-of-service": "a Server in neither PrimaryServers nor BackupServers",
    "weights-zero": "no Server takes new sessions",
    "weight-starves": "a Server whose weight leaves it next to no new sessions (a note where the weight is 0)",
    "value-blank": "a name, a path or another text that begins or ends with a blank, or has a line break in it",
    "unit-mistaken": "a limit of hours where seconds are meant, of GiB where KB are: the value in words, and what was probably meant",
    "affinity-name": "an `AffinityCookie` or `AffinityURLIdentifier` in a case that servers do not write, or that no request can bring",
    "post-size-zero": "PostSizeLimit 0: every request with a body is refused",
    "headers-few": "HTTPMaxHeaders below what browsers send",
    "windows-path": "a log or a keyring with a path of Windows",
    "timeout-marks-down": "a negative ServerIOTimeout above -10: one slow answer takes a Server out of service",
    "retry-interval-long": "with negative ServerIOTimeout: RetryInterval above (Servers - 1) x ServerIOTimeout - 1",
    "transport-unused": "a second Transport of a protocol",
    "transport-duplicate": "two Servers at one address",
    "transport-no-keyring": "an https Transport without keyring",
    "keyring-kdb": "a keyring that only GSKit reads",
    "trusted-proxy-none": "TrustedProxyEnable without TrustedProxy",
    "trusted-proxy-off": "a TrustedProxy without TrustedProxyEnable",
    "trusted-proxy-name": "a TrustedProxy by host name: nobody is trusted by it",
    "not-carried-out": "something is asked for that wsproxy does not do",
    "esi-default": "the same for `ESIEnable`, which every generated file has: `--strict` does not count it",
}
# what may well be meant, and is good to know before the night in which it matters
NOTES = {
    "cluster-single": "a ServerCluster that cannot fail over: one Server, no backup",
    "post-buffer-none": "PostBufferSize 0 with several Servers: requests with a body are not sent again",
    "connect-timeout-none": "no ConnectTimeout with several Servers: the next one is tried late",
}
# what only a start with both files on this machine shows
START = {
    "settings-unreadable": "wsproxy.toml cannot be read",
    "toml-malformed": "wsproxy.toml is not TOML",
    "setting-unknown": "a setting that does not exist",
    "setting-value": "a value that a setting cannot have, down to certificates, keys and folders that it names",
    "setting-no-effect": "a setting that is no default and does nothing beside the others, this plugin-cfg.xml or `--listen`",
    "setting-unit": "hours where seconds are meant",
    "listen": "an error where you named an address that cannot be listened on; a port of a VirtualHost that is left out, or one in use, is a warning",
    "port-unmatched": "no VirtualHost takes a port that is listened on: clients that name it get 404",
    "server-is-listener": "a Transport is an address that is listened on: its requests come back until there are no descriptors left",
    "certificate-validity": "a certificate that is expired or not valid yet",
    "log-unwritable": "an error for `log.access` and `log.plugin`; a warning for a `Log Name`, which may be of another machine",
    "transport-unusable": "a keyring that cannot be used, and where its requests go",
    "tls-unverified": "`upstream.tls.verify` leaves servers unverified",
    "admin-socket": "an error for a path of your own; a warning for the default, and where a running proxy answers",
    "open-files": "a hard limit of open files below 4096",
}
# what `wsproxy publish` refuses besides
PUBLISH = {
    "secret-in-clear": "a password in plugin-cfg.xml, which everybody who can read etcd would know; keys and stash files stay on each proxy",
}
CODES = {**REFUSALS, **WARNINGS, **NOTES, **START, **PUBLISH}


_ERRORS_ONLY = {
    *REFUSALS,
    *PUBLISH,
    "settings-unreadable",
    "toml-malformed",
    "setting-unknown",
    "setting-value",
} - {"group-duplicate", "cluster-empty", "server-no-transport", "hostname", "no-route"}


def code_flaw(code: str) -> str:
    """Why nobody can ignore it, as ``found X; allowed is Y``; empty where one can."""
    if code in _ERRORS_ONLY:
        return f"found {quoted(code)}, which is always an error; allowed is the code of a warning or a note"
    if code in CODES:
        return ""
    likely = nearest(code, CODES)
    allowed = f"{quoted(likely)} (nearest code)" if likely else "a code that docs/check.md lists"
    return f"found {quoted(code)}, which is the code of nothing; allowed is {allowed}"

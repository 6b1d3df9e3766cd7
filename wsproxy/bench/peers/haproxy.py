"""
A site for HAProxy: a backend for each cluster and cookie, ``use_backend`` in order of rank, or a map where there are many paths.

Pure. The owner is found by its name, which is its clone id here. A server that fails is marked down by what requests meet
(``observe layer4``), as the plug-in does it, and tried again after RetryInterval.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsproxy.bench.peers.common import (
    Place,
    Said,
    affinity_of,
    are_equal,
    cannot_of_all,
    key_of,
    path_pattern,
    scaled,
)
from wsproxy.bench.site import ANY, Cluster, Member, Rule, Site

MOST_WEIGHT = 256
# From here on a list of conditions would be read from top to bottom for each request.
MANY_RULES = 32


def say(site: Site, place: Place) -> Said:
    """Values for ``haproxy.cfg``, and maps."""
    lines: list[str] = []
    files: dict[str, str] = {}
    for at, (host, rules) in enumerate(site.rules.items()):
        condition = ""
        if host != ANY:
            lines.append(f"    acl host{at} req.hdr(host),host_only -m str -i {host}")
            condition = f" host{at}"
        if len(rules) > MANY_RULES and not any(rule.suffix for rule in rules):
            lines += _mapped(site, rules, at, condition, place.directory, files)
        else:
            lines += [
                f"    use_backend {affinity_of(site, rule)} if{condition} "
                + f" ||{condition} ".join(_conditions(rule))
                for rule in rules
            ]
    backends = [_backend(site.clusters[at], cookie) for at, cookie in site.affinities]
    values = {"route_lines": "\n".join(lines), "backend_blocks": "\n".join(backends)}
    return Said(values, files, tuple(cannot_of_all(site)))


def _conditions(rule: Rule) -> list[str]:
    """One of them is true."""
    if rule.is_exact:
        return [f"{{ path -m str {rule.prefix} }}"]
    if rule.is_folder:
        return [f"{{ path_beg {rule.prefix} }}", f"{{ path -m str {rule.prefix[:-1]} }}"]
    if rule.suffix:
        return [f"{{ path -m reg {path_pattern(rule)} }}"]
    return [f"{{ path_beg {rule.prefix} }}"]


def _mapped(
    site: Site,
    rules: tuple[Rule, ...],
    at: int,
    condition: str,
    directory: str,
    files: dict[str, str],
) -> Iterator[str]:
    """Exact paths first: their text is as long as any prefix that fits."""
    exact = {rule.prefix: affinity_of(site, rule) for rule in rules if rule.is_exact}
    begin = {rule.prefix: affinity_of(site, rule) for rule in rules if not rule.is_exact}
    for rule in rules:
        if rule.is_folder:
            exact.setdefault(rule.prefix[:-1], affinity_of(site, rule))
    for kind, entries in (("str", exact), ("beg", begin)):
        if entries:
            name = f"host{at}-{kind}.map"
            files[name] = "".join(f"{path} {backend}\n" for path, backend in entries.items())
            found = f"path,map_{kind}({directory}/{name})"
            yield f"    use_backend %[{found}] if{condition} {{ {found} -m found }}"


def _backend(cluster: Cluster, cookie: str) -> str:
    lines = [f"backend {key_of(cluster, cookie)}"]
    lines.append(f"    balance {'random' if cluster.is_random else 'roundrobin'}")
    if sum(member.is_backup for member in cluster.members) > 1:
        lines.append("    option allbackups")
    if any(member.clone_id for member in cluster.members):
        # What stands behind the first separator of the cookie is the server's name here; an unknown name means round robin. One
        # rule with a condition for each server costs the same (measured, within the noise).
        lines.append(f"    use-server %[req.cook({cookie}),word(2,{cluster.separator})] if TRUE")
    retry_ms = max(cluster.retry_interval_s, 1) * 1000
    lines.append(
        f"    default-server check observe layer4 error-limit 1 on-error mark-down inter {retry_ms} fall 1 rise 1"
    )
    weights = scaled(cluster, MOST_WEIGHT)
    lines += [
        _line(member, "" if are_equal(cluster) else f" weight {weights[member.key]}")
        for member in cluster.members
    ]
    return "\n".join(lines)


def _line(member: Member, weight: str) -> str:
    name = member.clone_id or member.key
    most = f" maxconn {member.most}" if member.most > 0 else ""
    last = " backup" if member.is_backup else ""
    return f"    server {name} 127.0.0.1:{member.port}{weight}{most}{last}"

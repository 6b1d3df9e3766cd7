"""
How long a large plugin-cfg.xml takes: ``python -m bench.micro.config_load [--megabytes 10] [--rounds 5] [--write FILE]``.

Prints the machine, the versions and the seconds a round, checks included. Also makes such a file for other benchmarks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

from lxml import etree  # noqa: TID251  # only its version is printed

from wsproxy.config.model import Config
from wsproxy.config.xml import parse_config

HOSTS, URIS, CLUSTERS = 1_000, 10_000, 500


def make_config(size_bytes: int) -> bytes:
    """A file like generated ones of ``size_bytes`` or little more: 1,000 hosts, 10,000 URIs, 500 clusters, then servers."""
    hosts_a_group, uris_a_group = HOSTS // CLUSTERS, URIS // CLUSTERS
    head = ['<?xml version="1.0" encoding="ISO-8859-1"?>', '<Config RefreshInterval="60">']
    tail: list[str] = []
    for number in range(CLUSTERS):
        head.append(f'   <VirtualHostGroup Name="hosts_{number}">')
        head += [
            f'      <VirtualHost Name="h{number}-{host}.example.com:443"/>'
            for host in range(hosts_a_group)
        ]
        head.append("   </VirtualHostGroup>")
        tail.append(f'   <UriGroup Name="uris_{number}">')
        tail += [
            f'      <Uri AffinityCookie="JSESSIONID" AffinityURLIdentifier="jsessionid" Name="/app{number}/module{uri}/*"/>'
            for uri in range(uris_a_group)
        ]
        tail.append("   </UriGroup>")
        tail.append(
            f'   <Route ServerCluster="cluster_{number}" UriGroup="uris_{number}" VirtualHostGroup="hosts_{number}"/>'
        )
    tail.append("</Config>")
    fixed = sum(len(line) + 1 for line in (*head, *tail))
    clusters: list[str] = []
    for number in range(CLUSTERS):
        share = (size_bytes - fixed) // CLUSTERS
        clusters.append(_cluster(number, share))
    return "\n".join((*head, *clusters, *tail)).encode("latin-1")


def _cluster(number: int, size_bytes: int) -> str:
    lines = [
        f'   <ServerCluster CloneSeparatorChange="false" GetDWLMTable="false" IgnoreAffinityRequests="true" '
        f'LoadBalance="Round Robin" Name="cluster_{number}" PostBufferSize="0" PostSizeLimit="-1" '
        'RemoveSpecialHeaders="true" RetryInterval="60" ServerIOTimeoutRetry="-1">'
    ]
    length, server, names = 400, 0, []
    while length < size_bytes:
        name = f"node{number}_server{server}"
        names.append(f'         <Server Name="{name}"/>')
        text = (
            f"      <!-- member {server} of cluster {number}: generated, do not edit -->\n"
            f'      <Server CloneID="c{number}x{server}" ConnectTimeout="5" ExtendedHandshake="false" '
            f'LoadBalanceWeight="20" MaxConnections="-1" Name="{name}" ServerIOTimeout="900" '
            'WaitForContinue="false">\n'
            f'         <Transport Hostname="host{server}.c{number}.example.com" Port="9080" Protocol="http"/>\n'
            f'         <Transport Hostname="host{server}.c{number}.example.com" Port="9443" Protocol="https">\n'
            '            <Property Name="keyring" Value="/opt/plugin/plugin-key.kdb"/>\n'
            '            <Property Name="stashfile" Value="/opt/plugin/plugin-key.sth"/>\n'
            "         </Transport>\n"
            "      </Server>"
        )
        lines.append(text)
        length += len(text) + len(names[-1]) + 2
        server += 1
    lines += ["      <PrimaryServers>", *names, "      </PrimaryServers>", "   </ServerCluster>"]
    return "\n".join(lines)


def _counts(config: Config) -> dict[str, int]:
    return {
        "clusters": len(config.server_clusters),
        "servers": sum(len(cluster.servers) for cluster in config.server_clusters),
        "hosts": sum(len(group.virtual_hosts) for group in config.virtual_host_groups),
        "uris": sum(len(group.uris) for group in config.uri_groups),
        "routes": len(config.routes),
    }


def main() -> None:
    """Makes the file, loads it some times, prints one JSON object."""
    parser = argparse.ArgumentParser(description="time to load a large plugin-cfg.xml")
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="only write the file there")
    options = parser.parse_args()
    data = make_config(int(options.megabytes * 1_000_000))
    if options.write:
        options.write.write_bytes(data)
        return
    seconds: list[float] = []
    cpu_seconds: list[float] = []  # what it takes on a machine with other work to do
    counts: dict[str, int] = {}
    warnings = 0
    for _ in range(options.rounds):
        start, cpu_start = time.perf_counter(), time.process_time()
        loaded = parse_config(data, "generated.xml")
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
        counts, warnings = _counts(loaded.config), len(loaded.problems)
        del loaded
    print(
        json.dumps(
            {
                "bytes": len(data),
                **counts,
                "warnings": warnings,
                "seconds": [round(second, 3) for second in seconds],
                "median_s": round(statistics.median(seconds), 3),
                "median_cpu_s": round(statistics.median(cpu_seconds), 3),
                "python": platform.python_version(),
                "lxml": ".".join(map(str, etree.LXML_VERSION[:3])),
                "libxml2": ".".join(map(str, etree.LIBXML_VERSION)),
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()

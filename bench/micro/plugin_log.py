"""
Prints how fast a plug-in log is read, and how many decisions a second are taken again.

Run by hand: ``python -m bench.micro.plugin_log [requests]``. Must not judge: the figures depend on the machine. CPU time of this
process counts, not the clock. The logs are made up: what the plug-in writes at LogLevel Debug, and what wsproxy writes at Trace and
at Detail, which is the same without some lines. Each fifth URI is seen for the first time. A decision is a check of docs/replay.md.
"""

from __future__ import annotations

import gc
import platform
import random
import sys
import tempfile
import time
from pathlib import Path

from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy.cli.reading import MOST_UNCOLLECTED
from wsproxy.config.xml import parse_config
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World

REQUESTS = 30_000
CLUSTERS, SERVERS, PAGES = 5, 3, 1200
REPEATS = 3  # the fastest counts: anything slower was disturbed

PLUGIN_DEBUG = [
    "DEBUG: ws_common: websphereBeginRequest: Beginning a client request",
    "DETAIL: ws_common: websphereBeginRequest: Request is: host='www.example.com'; uri='{uri}'",
    "DEBUG: ws_common: websphereVhostMatch: Found a match '*:443' to 'www.example.com:443' in VhostGroup: default_host with score 1, exact match 0",
    "DEBUG: ws_common: websphereUriMatch: Found a match '/app{n}/*' to '{uri}' in UriGroup: default_host_c{n}_URIs with score 6, exact match 6",
    "DETAIL: ws_common: websphereFindServerGroup: Setting the server group: c{n}; highScore: 7; highExactMatch: 6; affinityCookie: JSESSIONID; affinityURL: jsessionid",
    "DEBUG: ws_common: websphereParseCloneID: Parsing clone ids from '0000t38n9LshJG0GOEqynT8Bk{m:04d}:clone{k}'",
    "DEBUG: ws_server: serverHasReachedMaxConnections: server node_s{k} - currentConnectionsCount 0, maxConnectionsCount -1.",
    "DETAIL: ws_common: websphereFindTransport: Setting the transport(case 3): host{k} on port 9443",
    "DEBUG: lib_htrequest: htrequestWrite: Writing the request reqInfo is OK:",
    "DETAIL:    Host: www.example.com",
    "DETAIL:    User-Agent: Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
    "DETAIL:    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "DETAIL:    Cookie: a=b; JSESSIONID=0000t38n9LshJG0GOEqynT8Bk{m:04d}:clone{k}; c=d",
    "DETAIL:    HTTP/1.1 200 OK",
    "DETAIL:    Content-Type: text/html",
    "STATS: ws_server: serverSetFailoverStatus: Server node_s{k} : pendingRequests 0 failedRequests 0 affinityRequests {i} totalRequests {i}.",
    "TRACE: ws_common: websphereEndRequest: Ending the request",
]

OWN_TRACE = [
    "DEBUG: ws_common: websphereBeginRequest: Beginning a client request",
    "DETAIL: ws_common: websphereBeginRequest: Request is: host='www.example.com:443'; uri='{uri}'",
    "TRACE: ws_common: websphereShouldHandleRequest: trying to match a route for: vhost='www.example.com:443'; uri='{uri}'",
    *PLUGIN_DEBUG[2:5],
    "TRACE: ws_common: websphereHandleSessionAffinity: Checking for session affinity",
    "TRACE: ws_common: websphereHandleSessionAffinity: Checking the cookie affinity: JSESSIONID",
    "TRACE: ws_common: websphereHandleSessionAffinity: Checking the url rewrite affinity: jsessionid",
    PLUGIN_DEBUG[5],
    "TRACE: ws_common: websphereParseCloneID: Adding clone id 'clone{k}'",
    PLUGIN_DEBUG[6],
    "STATS: ws_server_group: serverGroupCheckServerStatus: Checking status of node_s{k}, ignoreWeights 1, markedDown 0, retryNow 0, retryInSec --, wlbAllows 1 reachedMaxConnectionsLimit 0",
    "TRACE: ws_server_group: serverGroupFindClone: Match for clone 'node_s{k}'",
    "TRACE: ws_server_group: lockedServerGroupUseServer: Server node_s{k} picked, weight 0.",
    PLUGIN_DEBUG[7],
    "TRACE: ws_common: websphereGetStream: Reusing existing stream from queue, socket = 0",
    PLUGIN_DEBUG[8],
    "DETAIL:    GET {uri} HTTP/1.1",
    *PLUGIN_DEBUG[9:13],
    "DETAIL:    $WSIS: true",
    "DETAIL:    $WSSC: https",
    "DETAIL:    $WSRA: 192.0.2.7",
    "DETAIL:    $WSRH: 192.0.2.7",
    "DETAIL:    $WSPR: HTTP/1.1",
    "DETAIL:    $WSSN: www.example.com",
    "DETAIL:    $WSSP: 443",
    "TRACE: lib_htresponse: htresponseRead: Reading the response",
    *PLUGIN_DEBUG[13:],
]
OWN_DETAIL = [line for line in OWN_TRACE if line.startswith(("DETAIL", "STATS"))]
LOGS = {
    "plug-in, Debug": PLUGIN_DEBUG,
    "wsproxy, Trace": OWN_TRACE,
    "wsproxy, Detail": OWN_DETAIL,
}


def write_log(path: Path, requests: int, lines: list[str]) -> None:
    """A log of so many requests, all by affinity."""
    rng = random.Random(1)
    counts = [0] * (CLUSTERS * SERVERS)
    with path.open("w") as file:
        for number in range(requests):
            n = rng.randrange(CLUSTERS)
            k = n * SERVERS + rng.randrange(SERVERS)
            m = number if number % 5 == 0 else rng.randrange(PAGES)
            counts[k] += 1
            second = number // 100
            clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{number % 100:05d}"
            tid = 0x679F3640 + number % 7 if lines is PLUGIN_DEBUG else number
            stamp = f"[21/Nov/2026:{clock}] 0000018a {tid:08x} - "
            fields = {"uri": f"/app{n}/page{m}.jsp", "n": n, "m": m % 10000, "k": k, "i": counts[k]}
            file.writelines(f"{stamp}{line.format(**fields)}\n" for line in lines)


def make_config() -> bytes:
    """The configuration of that log."""
    text = '<Config><VirtualHostGroup Name="default_host"><VirtualHost Name="*:443"/></VirtualHostGroup>'
    for n in range(CLUSTERS):
        servers = "".join(
            f'<Server Name="node_s{k}" CloneID="clone{k}"><Transport Hostname="host{k}" Port="9443" Protocol="https"/></Server>'
            for k in range(n * SERVERS, (n + 1) * SERVERS)
        )
        text += f'<ServerCluster Name="c{n}">{servers}</ServerCluster>'
    for n in range(CLUSTERS):
        text += (
            f'<UriGroup Name="default_host_c{n}_URIs"><Uri Name="/app{n}/*"/></UriGroup>'
            f'<Route VirtualHostGroup="default_host" UriGroup="default_host_c{n}_URIs" ServerCluster="c{n}"/>'
        )
    return (text + "</Config>").encode()


def read_seconds(path: Path) -> float:
    """CPU seconds to read the log and nothing else."""
    start = time.process_time()
    for _lines in read_logs([str(path)], Reading(), wanted_only=True):
        pass
    return time.process_time() - start


def replay_seconds(path: Path, world: World, requests: int) -> tuple[float, int]:
    """CPU seconds to read and replay it, and how many decisions that were."""
    start = time.process_time()
    reading = Reading()
    replay = Replay(world, reading)
    for lines in read_logs([str(path)], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    spent = time.process_time() - start
    assert replay.summary.results["same"] == requests
    return spent, replay.summary.decisions


def choice_seconds(world: World, count: int) -> float:
    """CPU seconds for so many routes and choices by the live code, without any log."""
    process = world.new_process()
    start = time.process_time()
    for number in range(count):
        request = ReplayedRequest(
            process.decider,
            process.view,
            b"www.example.com",
            443,
            b"/app1/page",
            [b"JSESSIONID=0000a:clone4"],
        )
        request.choose(number + 1, -1)
        request.finish()
    return time.process_time() - start


def main() -> None:
    """Prints a line for each figure."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    gc.freeze()  # as the command does
    gc.set_threshold(MOST_UNCOLLECTED)
    world = World(parse_config(make_config(), "plugin-cfg.xml").config)
    print(f"{platform.machine()}, Python {platform.python_version()}, CPU time, best of {REPEATS}")
    for name, lines in LOGS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "http_plugin.log")
            write_log(path, requests, lines)
            size = path.stat().st_size
            read = min(read_seconds(path) for _ in range(REPEATS))
            replay, decisions = min(replay_seconds(path, world, requests) for _ in range(REPEATS))
        print(f"{name}: {size / 1e6:.1f} MB, {requests} requests of {len(lines)} lines")
        print(f"  read               {size / read / 1e6:10.0f} MB/s")
        print(f"  read and replay    {size / replay / 1e6:10.0f} MB/s")
        print(f"  requests           {requests / replay:10.0f} a second")
        print(f"  decisions compared {decisions / replay:10.0f} a second")
    choice = min(choice_seconds(world, 100_000) for _ in range(REPEATS))
    print(f"route and server     {100_000 / choice:10.0f} a second, without a log")


if __name__ == "__main__":
    main()

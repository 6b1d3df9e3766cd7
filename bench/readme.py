"""
The table of README.md, rendered from result files: ``make readme``.

README.md names the files in a comment above the table, one a scenario; what stands between that and the closing comment is written
anew. A test fails where it is not what the files give. Writes README.md only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wsproxy.bench.machine import PROJECT
from wsproxy.bench.proxies import OURS
from wsproxy.bench.results import Results, paired_ratios

README = PROJECT / "README.md"
BLOCK = re.compile(
    r"(<!-- make readme:(?P<files>[^>]*?)-->\n)(?P<table>.*?)(<!-- end -->)", re.DOTALL
)
VERSION = re.compile(r"(\d+\.\d+)")
# What people call them.
NAMES = {
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "httpd": "httpd",
    "caddy": "Caddy",
    "envoy": "Envoy",
    "floor": "the floor",
}


def rendered(text: str, project: Path = PROJECT) -> str:
    """
    The text with its table as the named files give it.

    Raises: ValueError where it has no such place, OSError or msgspec.DecodeError for a file. I/O.
    """
    found = BLOCK.search(text)
    if found is None:
        msg = "README.md: found no comment '<!-- make readme: FILE... -->'; allowed is one, with '<!-- end -->' behind the table"
        raise ValueError(msg)
    files = [project / name for name in found["files"].split()]
    several = [msgspec.json.decode(path.read_bytes(), type=Results) for path in files]
    table = "\n".join(lines(several))
    return text[: found.start("table")] + table + "\n" + text[found.end("table") :]


def lines(several: list[Results]) -> Iterator[str]:
    """A row a scenario, a column for each peer that all of them have: CPU time a request of ours by theirs, paired by round."""
    peers = [name for name in NAMES if all(name in results.proxies for results in several)]
    yield f"| CPU time a request | {' | '.join(f'of {_named(name, several[0])}' for name in peers)} |"
    yield f"|---|{'---:|' * len(peers)}"
    for results in several:
        yield f"| {results.title} | {' | '.join(_ratio(results, name) for name in peers)} |"


def _named(name: str, results: Results) -> str:
    found = VERSION.search(results.versions.get(name, ""))
    return f"{NAMES[name]} {found[1]}" if found and name != "floor" else NAMES[name]


def _ratio(results: Results, peer: str) -> str:
    ratio = paired_ratios(results.of(OURS), results.of(peer), lambda m: m.cpu_us)
    return "-" if ratio is None else f"{ratio.median:.2f}"


if __name__ == "__main__":
    README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write(f"{README} is as its result files give it\n")

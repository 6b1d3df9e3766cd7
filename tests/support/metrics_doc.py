"""
Writes the table of metrics into docs/metrics.md: ``python -m tests.support.metrics_doc``.

Its text comes from ``admin.metric_names``; a test fails where the two differ.
"""

from __future__ import annotations

from pathlib import Path

from wsproxy.admin.metric_names import CLUSTERS, CONFIG, PROXY, SERVERS, Metric

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics -->", "<!-- end of metrics -->"

SECTIONS = {
    "The proxy": PROXY,
    "Its configuration": CONFIG,
    "Clusters": CLUSTERS,
    "Servers": SERVERS,
}


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |"


def tables() -> str:
    parts = []
    for title, metrics in SECTIONS.items():
        rows = "\n".join(map(row, metrics.values()))
        parts.append(
            f"### {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def main() -> None:
    text = DOC.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    DOC.write_text(f"{before}{BEGIN}\n{tables()}{END}{after}")


if __name__ == "__main__":
    main()

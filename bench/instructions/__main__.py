"""
``python -m bench.instructions``: counts, compares with what was kept, and prints. ``make bench-gate`` calls it.

Ends with 0 where nothing grew, 1 where a piece grew by more than MOST_GROWTH, 3 where nothing could be compared.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import msgspec

from bench.instructions import count
from bench.instructions.kept import MOST_GROWTH, Kept, facts, grown, other_facts, read_kept
from wsproxy.bench.machine import PROJECT

FILE = PROJECT / "bench" / "results" / "instructions.json"
GREW, NOT_COMPARED = 1, 3
AGAIN = 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="what is counted now is the measure from now on")
@click.option("--only", multiple=True, metavar="NAME", help="repeatable; default: all of them")
@click.option(
    "--kept", "path", type=click.Path(dir_okay=False, path_type=Path), default=FILE, help="the file"
)
def main(keep: bool, only: tuple[str, ...], path: Path) -> None:
    """Count the instructions of the fast path and compare them with those in bench/results/instructions.json."""
    if shutil.which("valgrind") is None:
        _leave("valgrind is not installed (Debian: apt-get install valgrind)")
    if not keep and not path.exists():
        _leave(f"{path} is not there; --keep makes it")
    now = facts()
    kept = None if keep else read_kept(path)
    if kept is not None and (others := other_facts(kept, now)):
        _leave("; ".join(others))
    counts: count.Counts = {}
    if not only or set(only) - count.REQUESTS.keys():
        counts |= count.count_pieces(only)
    counts |= count.count_requests(only)
    if kept is not None:
        _count_again(kept.counts, counts)
    if unknown := set(only) - counts.keys():
        raise click.BadParameter(f"found {sorted(unknown)}; bench/README.md has their names")
    if kept is None:
        before = read_kept(path).counts if path.exists() else {}
        path.write_bytes(
            msgspec.json.format(msgspec.json.encode(Kept(now, before | counts)), indent=1) + b"\n"
        )
    sys.exit(GREW if _print(kept.counts if kept else {}, counts) else 0)


def _count_again(kept: count.Counts, counts: count.Counts) -> None:
    """
    What has grown of whole requests is counted anew, and the least counts.

    What a worker does by the clock can only add to them: on a busy machine more of it falls to each request.
    """
    for name in count.REQUESTS.keys() & counts.keys() & kept.keys():
        for _ in range(AGAIN):
            if not grown(kept[name], counts[name]):
                break
            found = count.count_requests((name,))[name]
            counts[name] = min(counts[name], found, key=lambda functions: sum(functions.values()))


def _print(kept: dict[str, dict[str, float]], counts: dict[str, dict[str, float]]) -> bool:
    """A line for each piece; whether one has grown too much, which is told with its functions."""
    failed = False
    for piece, functions in counts.items():
        total = sum(functions.values())
        if piece not in kept:
            click.echo(f"{piece:<28}{total:>10.0f} instructions")
            continue
        ratio = total / sum(kept[piece].values())
        more = grown(kept[piece], functions)
        word = f"  GREW by more than {MOST_GROWTH:.0%}:" if more else ""
        click.echo(f"{piece:<28}{total:>10.0f} instructions, {ratio:.3f} of those kept{word}")
        for line in more:
            click.echo(f"    {line}")
        failed = failed or bool(more)
    return failed


def _leave(why: str) -> None:
    click.echo(f"not compared: {why}", err=True)
    sys.exit(NOT_COMPARED)


if __name__ == "__main__":
    main()

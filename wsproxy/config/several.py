"""
One configuration from several plugin-cfg.xml, as each Liberty server writes its own: read, merged by the rules of docs/merge.md.

Driven by ``process.check_start`` for whoever runs a proxy. One file alone is that file, unmerged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wsproxy.config.merge import merge
from wsproxy.config.natural import natural_key
from wsproxy.config.xml import LoadedConfig, load_config
from wsproxy.errors import ConfigRefusedError, Counts, Problem

# What is read of a folder.
PATTERN = "*.xml"


def files_of(named: Sequence[Path]) -> list[Path]:
    """Files as they are, and of folders all that end in .xml, in natural order. # I/O."""
    found: list[Path] = []
    for each in named:
        if each.is_dir():
            found += sorted(each.glob(PATTERN), key=lambda file: natural_key(file.name))
        else:
            found.append(each)
    return found


def load_several(named: Sequence[Path], ignored: Collection[str] = ()) -> LoadedConfig:
    """
    What these files, or the files of these folders, say together. # I/O.

    Relative keyrings start from the folder of the first file.

    Raises:
        ConfigRefusedError: one of them cannot be used, or they contradict each other where no rule decides.
    """
    files = files_of(named)
    if len(files) == 1:
        return load_config(files[0], ignored)
    if not files:
        found = f"a folder without a file {PATTERN}"
        raise _refused(
            str(named[0]), "cannot be read: ", found, "a plugin-cfg.xml, or a folder of some"
        )
    parts = load_parts(files, ignored)
    merged = merge([part.config for part in parts]).config
    if not merged.routes:
        raise _refused(str(named[0]), "", "no Route in any of the files", "one at least")
    return LoadedConfig(
        replace(merged, path=str(files[0])),
        tuple(problem for part in parts for problem in part.problems),
        sum((part.counts for part in parts), Counts()),
        tuple(note for part in parts for note in part.notes),
    )


def load_parts(files: Iterable[str | Path], ignored: Collection[str] = ()) -> list[LoadedConfig]:
    """
    Each of these files, as a part of what they say together. # I/O.

    Raises:
        ConfigRefusedError: one cannot be used; it tells of all that cannot.
    """
    parts: list[LoadedConfig] = []
    refusals: list[ConfigRefusedError] = []
    for file in files:
        try:
            parts.append(load_config(file, ignored, is_part=True))
        except ConfigRefusedError as refused:
            refusals.append(refused)
    if refusals:
        raise ConfigRefusedError(
            "\n".join(map(str, refusals)),
            tuple(problem for each in refusals for problem in each.problems),
            sum((each.counts for each in refusals), Counts()),
        )
    return parts


def _refused(file: str, what: str, found: str, allowed: str) -> ConfigRefusedError:
    sentence = f"{what}found {found}; allowed is {allowed}"
    problem = Problem("error", "no-route", file, 0, found, allowed, sentence)
    return ConfigRefusedError(str(problem), (problem,), Counts(errors=1))

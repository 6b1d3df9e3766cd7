"""The floors of the fast path: imports go down, there is no circle, and the map names every module."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import wsproxy._fast

FOLDER = Path(wsproxy._fast.__file__).parent
FLOORS = ["base", "http", "state", "decide", "tell", "net", "proxy", "logs"]
IMPORT = re.compile(
    r"^\s*(?:from\s+(wsproxy[\w.]*)\s+c?import\s+(\([^)]*\)|[^\n]*)|c?import\s+(wsproxy[\w.]*))",
    re.MULTILINE,
)


def sources() -> list[Path]:
    return sorted(
        each for each in FOLDER.rglob("*.p[yx]*") if each.suffix in (".pyx", ".pxd", ".pyi")
    )


def imported(text: str) -> set[str]:
    """Modules of wsproxy that Cython or Python would import for this text."""
    found = set()
    for module, names, plain in IMPORT.findall(text):
        if plain:
            found.add(plain)
        elif module.count(".") < 3:  # a package: its modules are the names
            found.update(
                f"{module}.{name.split()[0]}"
                for name in names.strip("()").split(",")
                if name.strip()
            )
        else:
            found.add(module)
    return found


def edges() -> dict[str, set[str]]:
    """For each module what it imports, both as ``floor.name``; whatever is not in ``_fast`` stands there whole."""
    found: dict[str, set[str]] = {}
    for source in sources():
        name = ".".join(source.relative_to(FOLDER).with_suffix("").parts)
        others = {each.removeprefix("wsproxy._fast.") for each in imported(source.read_text())}
        found.setdefault(name, set()).update(others - {name})
    return found


def test_imports_are_found() -> None:
    """What the rules below stand on."""
    text = "from libc.string cimport memset\nfrom wsproxy._fast.base.buffer cimport (\n    Buffer,\n)\n"
    text += "    from wsproxy.errors import StartError\nimport wsproxy.config\nfrom wsproxy._fast.http cimport head, paths\n"
    assert imported(text) == {
        "wsproxy._fast.base.buffer",
        "wsproxy.errors.StartError",
        "wsproxy.config",
        "wsproxy._fast.http.head",
        "wsproxy._fast.http.paths",
    }
    assert "base.buffer" in edges()["net.stream"]


def test_every_module_is_on_a_floor() -> None:
    assert {each.split(".")[0] for each in edges()} == set(FLOORS)


@pytest.mark.parametrize("module", sorted(edges()))
def test_imports_go_down(module: str) -> None:
    floor = FLOORS.index(module.split(".")[0])
    up = {
        other
        for other in edges()[module]
        if other.split(".")[0] not in FLOORS or FLOORS.index(other.split(".")[0]) > floor
    }
    assert up == set()


def test_there_is_no_circle() -> None:
    try:
        TopologicalSorter(edges()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_map_names_every_module() -> None:
    """And none that is gone."""
    assert wsproxy._fast.__doc__ is not None
    named = set(re.findall(r"``(\w+)``", wsproxy._fast.__doc__))
    assert named == {each.stem for each in FOLDER.rglob("*.pxd")} | set(FLOORS)


MODULES = {each.relative_to(FOLDER).with_suffix("") for each in FOLDER.rglob("*.p[yx][xd]")}
TESTS = Path(__file__).parent


@pytest.mark.parametrize("module", sorted(MODULES), ids=str)
def test_each_module_has_its_test_file(module: Path) -> None:
    """``http/head.pyx`` is tested in ``http/test_head.py``; there is more of it in ``test_head_WHAT.py`` beside it."""
    assert (TESTS / module.parent / f"test_{module.name}.py").is_file()


def test_each_test_file_says_which_module_it_tests() -> None:
    stray = [
        str(each.relative_to(TESTS))
        for floor in FLOORS
        for each in (TESTS / floor).glob("test_*.py")
        if not any(
            module.parent.name == floor and f"{each.stem}_".startswith(f"test_{module.name}_")
            for module in MODULES
        )
    ]
    assert stray == []


def test_each_module_that_is_compiled_otherwise_is_there() -> None:
    """A module that gets another name keeps its place in HOT or COLD of setup.py."""
    text = (FOLDER.parents[1] / "setup.py").read_text()
    lists = re.findall(r"^(?:HOT|COLD) = \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert len(lists) == 2
    named = [name for each in lists for name in re.findall(r'"([\w.]+)"', each)]
    assert sorted(set(named)) == sorted(named)
    assert set(named) <= {".".join(each.parts) for each in MODULES}

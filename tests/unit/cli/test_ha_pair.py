"""`wsproxy ha start`: which of both a node is, is said once. What a live pair does: tests/acceptance/test_pair.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from wsproxy.cli.ha import ha


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--primary", "--secondary"), "found --primary and --secondary"),
        (("--secondary", "--primary"), "found --primary and --secondary"),
        ((), "found neither --primary nor --secondary"),
    ],
)
def test_a_node_is_one_of_both(words: tuple[str, ...], found: str, tmp_path: Path) -> None:
    """Neither the first nor the last of two words is taken for what was meant."""
    given = ("--peer", "127.0.0.2", "--vip", "127.0.0.3/8", "--folder", str(tmp_path / "ha"))
    done = CliRunner().invoke(ha, ["start", *words, *given])
    assert done.exit_code == 1
    assert f"{found}; allowed is one of them" in done.output

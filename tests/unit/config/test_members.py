"""Which Servers serve, and as what: by the lists of their ServerCluster."""

from __future__ import annotations

import pytest

from wsproxy.config.members import members_of
from wsproxy.config.model import Server, ServerCluster, ServerRef


def refs(names: str | None) -> tuple[ServerRef, ...] | None:
    return None if names is None else tuple(map(ServerRef, names))


@pytest.mark.parametrize(
    ("primary_names", "backup_names", "expected"),
    [
        (None, None, ([0, 1, 2], [])),
        ("ab", None, ([0, 1], [])),
        ("ba", "c", ([1, 0], [2])),  # in the order of the lists
        ("a", "ab", ([0], [1])),  # in both: a primary
        ("aa", "bb", ([0], [1])),
        ("ax", "y", ([0], [])),  # a name that is nobody's
        (None, "b", ([], [1])),
        ("", None, ([], [])),  # an empty list is a list
    ],
)
def test_members_are_those_of_the_lists(
    primary_names: str | None, backup_names: str | None, expected: tuple[list[int], list[int]]
) -> None:
    cluster = ServerCluster(
        "c",
        servers=(Server("a"), Server("b"), Server("c")),
        primary_servers=refs(primary_names),
        backup_servers=refs(backup_names),
    )
    assert members_of(cluster) == expected


def test_of_two_servers_with_one_name_the_first_is_meant() -> None:
    cluster = ServerCluster("c", servers=(Server("a"), Server("a")), primary_servers=refs("a"))
    assert members_of(cluster) == ([0], [])

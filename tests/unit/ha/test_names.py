"""Keys: names of clusters and servers may have any character and come back as they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsproxy.ha.names import Names

NAMES = Names("cell1", "DefaultCoreGroup")


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_subject_is_read_back(cluster: str, server: str) -> None:
    """Slashes, percent signs and blanks included; and no two subjects have one key."""
    cluster, server = (
        each.encode("utf-8", "replace").decode("utf-8", "replace") for each in (cluster, server)
    )
    key = NAMES.subject("mark", cluster, server)
    assert NAMES.parts_of_subject(key) == ("mark", cluster, server)


def test_what_is_no_subject() -> None:
    """Another version's key is left alone."""
    assert NAMES.parts_of_subject(NAMES.member("a")) is None
    assert NAMES.parts_of_subject(f"{NAMES.board}mark/a") is None


def test_all_stand_below_the_group() -> None:
    """One watch sees them all, and no other group's."""
    keys = (
        NAMES.member("a"),
        NAMES.seat("coordinator"),
        NAMES.config("a"),
        NAMES.id_of("a"),
        NAMES.next_id,
        NAMES.subject("mark", "c", "s"),
    )
    assert all(key.startswith("/wsproxy/cell1/DefaultCoreGroup/") for key in keys)

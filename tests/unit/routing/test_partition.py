"""The hook for partition tables does not guess."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsproxy.routing.partition import partition_servers


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_no_table_names_a_server_as_long_as_the_format_is_not_known(
    table: bytes, partition_id: bytes
) -> None:
    assert partition_servers(table, partition_id) == ()

"""Of a cipher's bytes that the socket took, which of the text these are: whole records, by the writes that they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.net.taken import plain_bytes

RECORD = 16384
WRITES = st.lists(st.integers(1, 5 * RECORD), min_size=1, max_size=31)


def records_of(length: int) -> list[int]:
    return [min(RECORD, length - at) for at in range(0, length, RECORD)]


@given(WRITES, st.integers(17, 60), st.data())
def test_whole_records_count(lengths: list[int], added: int, data: st.DataObject) -> None:
    records = [record for length in lengths for record in records_of(length)]
    writes = [(length, length + added * len(records_of(length))) for length in lengths]
    accepted = data.draw(st.integers(0, sum(made for _, made in writes)))
    whole = 0
    left = accepted
    for record in records:
        left -= record + added
        if left < 0:
            break
        whole += record
    assert plain_bytes(writes, accepted) == whole


@given(st.lists(st.integers(1, 500), min_size=33, max_size=200), st.data())
def test_more_small_writes_than_are_noted_count_as_few_at_most(
    lengths: list[int], data: st.DataObject
) -> None:
    """Never more than was taken, and all of it where all was."""
    writes = [(length, length + 22) for length in lengths]
    accepted = data.draw(st.integers(0, sum(made for _, made in writes)))
    assert plain_bytes(writes, accepted) <= accepted
    assert plain_bytes(writes, sum(made for _, made in writes)) == sum(lengths)

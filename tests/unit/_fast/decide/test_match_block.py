"""A table's bytes are the table, in whatever process and at whatever place they are mapped; other bytes are refused."""

from __future__ import annotations

import gc
import mmap
import os
import struct
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wsproxy._fast.decide.match import Match, RouteTable

pytestmark = pytest.mark.asan

# magic, layout, size, digest; then the counts of 15 arrays, and six numbers of 32 bits.
HEAD = struct.Struct("=QQQQ15Q6I")
QUERIES = [
    (b"h%d.example" % number, port, path)
    for number in (0, 7, 19, 20)
    for port in (80, 443, -1)
    for path in (b"/app%d/x" % number, b"/app%d" % number, b"/y.jsp", b"/one/%d" % number, b"/")
]


def build(*, exact_first: bool = False, max_pairs: int = 1_000_000) -> RouteTable:
    hosts = [[(b"h%d.example" % number, 80), (b"*", 443)] for number in range(20)]
    uris = [
        [(b"/app%d/*" % number, b"COOKIE%d" % number, b"id"), (b"/one/%d" % number, b"C", b"u")]
        for number in range(20)
    ]
    uris.append([(b"*.jsp", b"JSP", b"jspid"), (b"/a*b*", b"", b"")])
    routes = [(number, number, number) for number in range(20)] + [(-1, 20, 3)]
    return RouteTable(hosts, uris, routes, exact_first=exact_first, max_pairs=max_pairs)


def answers(table: RouteTable) -> list[Match | None]:
    return [table.match_path(*query) for query in QUERIES] + [
        table.match_route(3, *query) for query in QUERIES
    ]


def digest(head: bytes) -> int:
    """FNV-1a over the size and all behind the digest."""
    size = int.from_bytes(head[16:24], sys.byteorder)
    found = ((0xCBF29CE484222325 ^ size) * 0x100000001B3) % 2**64
    for byte in head[32 : HEAD.size]:
        found = ((found ^ byte) * 0x100000001B3) % 2**64
    return found


def signed(head: bytes) -> bytes:
    return head[:24] + struct.pack("=Q", digest(head)) + head[32:]


@contextmanager
def in_memfd(data: memoryview | bytes, *, before: int = 0) -> Iterator[int]:
    """A descriptor of a memory file that has these bytes, behind so many others."""
    fd = os.memfd_create("table")
    try:
        assert os.write(fd, b"\xff" * before + bytes(data)) == before + len(data)
        yield fd
    finally:
        os.close(fd)


def test_bytes_are_the_same_wherever_they_are_mapped() -> None:
    built = build()
    flat = built.flat()
    assert flat.readonly
    assert bytes(RouteTable.mapped(flat).flat()) == bytes(flat) == bytes(build().flat())


@pytest.mark.parametrize("options", [{"exact_first": True}, {"max_pairs": 0}])
def test_what_it_was_built_with_is_in_the_bytes(options: dict[str, int]) -> None:
    built = build(**options)  # type: ignore[arg-type]
    assert bytes(built.flat()) != bytes(build().flat())
    assert answers(RouteTable.mapped(bytes(built.flat()))) == answers(built)


def test_a_forked_child_that_maps_a_memory_file_answers_alike() -> None:
    """The child compiles nothing: it maps what it finds in the file, and says what it makes of each request."""
    built = build()
    with in_memfd(built.flat()) as fd:
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
                found = repr(answers(RouteTable.mapped(memory)))
                with open(theirs, "w") as pipe:
                    pipe.write(found)
            finally:
                os._exit(0)
        os.close(theirs)
        with open(ours) as pipe:
            told = pipe.read()
        assert os.waitpid(child, 0) == (child, 0)
    assert told == repr(answers(built))


def test_a_slice_of_a_mapping_with_more_behind_it() -> None:
    built = build()
    with (
        in_memfd(bytes(built.flat()) + bytes(built.flat()), before=4096) as fd,
        mmap.mmap(fd, 0, prot=mmap.PROT_READ) as memory,
        memoryview(memory)[4096:] as view,
    ):
        table = RouteTable.mapped(view)
        assert answers(table) == answers(built)
        assert bytes(table.flat()) == bytes(built.flat())
        del table


def test_memory_lives_as_long_as_the_table_and_no_longer() -> None:
    """A mapping in use cannot be closed; with the table its last holder is gone."""
    built = build()

    class Mapping(mmap.mmap):
        """One that can be watched."""

    with in_memfd(built.flat()) as fd:
        memory = Mapping(fd, 0, prot=mmap.PROT_READ)
    gone = weakref.ref(memory)
    table = RouteTable.mapped(memory)
    with pytest.raises(BufferError):
        memory.close()
    del memory
    gc.collect()
    assert gone() is not None
    flat = table.flat()
    assert answers(table) == answers(built)
    del table
    assert bytes(flat) == bytes(built.flat())
    del flat
    assert gone() is None


def test_bytes_outlive_the_table_that_was_built() -> None:
    flat = build().flat()
    gc.collect()
    assert answers(RouteTable.mapped(flat)) == answers(build())


def test_every_byte_of_the_header_counts() -> None:
    """Lookups trust it: whatever is changed in it is refused before anything is read by it."""
    flat = bytes(build().flat())
    for at in range(HEAD.size):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(flat)
            changed[at] ^= change
            with pytest.raises(ValueError, match=r"RouteTable: found .*; allowed is"):
                RouteTable.mapped(changed)


@pytest.mark.parametrize("field", range(4, 19))
@pytest.mark.parametrize("value", [1 << 20, 1 << 39, 1 << 40, 2**64 - 1])
def test_counts_that_do_not_make_the_size_are_refused(field: int, value: int) -> None:
    """Also with a right digest, and where they would add up to more than 64 bits can hold."""
    flat = bytes(build().flat())
    fields = list(HEAD.unpack_from(flat))
    fields[field] = value
    with pytest.raises(ValueError, match="does not agree"):
        RouteTable.mapped(signed(HEAD.pack(*fields)) + flat[HEAD.size :])


def test_shorter_memory_is_refused() -> None:
    """Cut anywhere: in the header, at its end, within an array, one byte before the end."""
    flat = bytes(build().flat())
    RouteTable.mapped(flat)
    for length in (0, 1, 8, HEAD.size - 1, HEAD.size, HEAD.size + 1, len(flat) // 2, len(flat) - 1):
        with pytest.raises(ValueError, match=f"found {length} bytes; allowed is"):
            RouteTable.mapped(flat[:length])


def test_other_versions_and_other_bytes_are_named() -> None:
    flat = bytearray(build().flat())
    other = bytearray(flat)
    other[8] += 1
    with pytest.raises(ValueError, match="found layout 2; allowed is 1: it was made by another"):
        RouteTable.mapped(other)
    with pytest.raises(ValueError, match="found magic 0x0; allowed is 0x736574756f727377"):
        RouteTable.mapped(bytes(4096))


def test_memory_at_an_odd_place_is_refused() -> None:
    padded = b"1234" + bytes(build().flat())
    with pytest.raises(ValueError, match="allowed is a multiple of 8"):
        RouteTable.mapped(memoryview(padded)[4:])


def test_what_is_no_memory_is_refused() -> None:
    with pytest.raises(TypeError):
        RouteTable.mapped(17)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        RouteTable.mapped(memoryview(bytes(build().flat()))[::2])


def test_a_refused_mapping_is_let_go() -> None:
    memory = mmap.mmap(-1, 4096)
    with pytest.raises(ValueError, match="magic"):
        RouteTable.mapped(memory)
    memory.close()


def test_uris_are_read_from_the_table() -> None:
    """As they stand in the file, without a Config; of groups that no Route names only their number is known."""
    uris = [[(b"/*", b"A", b"a"), (b"*.jsp", b"", b""), (b"/x*y*", b"", b"")], [(b"/b", b"", b"")]]
    table = RouteTable.mapped(bytes(RouteTable([], uris, [(-1, 0, 0)]).flat()))
    assert [table.uri_text(0, at) for at in range(table.count_uris(0))] == [
        b"/*",
        b"*.jsp",
        b"/x*y*",
    ]
    assert (table.count_uris(1), table.uri_text(1, 0)) == (1, b"")
    for group, uri in [(-1, 0), (2, 0), (0, -1), (0, 3)]:
        with pytest.raises(ValueError, match="allowed is 0 to"):
            table.uri_text(group, uri)
    with pytest.raises(ValueError, match="found UriGroup 2; allowed is 0 to 1"):
        table.count_uris(2)


def test_different_virtual_hosts_are_counted() -> None:
    rows = [[(b"h", 80), (b"H", 80), (b"*", 80)], [(b"h", 80), (b"h", -1)], [(b"unused", 1)]]
    assert RouteTable(rows, [], [(0, -1, 0), (1, -1, 0)]).vhost_count == 3

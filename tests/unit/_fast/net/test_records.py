"""What arrived of a TLS connection goes to the TLS library record by record."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

import pytest

from wsproxy._fast.net.records import MOST_RECORDS, VOID_COST, Records


def record(data: bytes) -> bytes:
    """As on the wire, with no cipher."""
    return b"\x17\x03\x03" + len(data).to_bytes(2, "big") + data


@dataclass
class Library:
    """A TLS library without a cipher: a record ``!`` brings no data, an empty one is close_notify."""

    source: ssl.MemoryBIO
    fed: list[bytes] = field(default_factory=list)
    held: bytes = b""
    rest: bytes = b""

    def pending(self) -> int:
        """Bytes of the record that was begun to be read."""
        return len(self.rest)

    def read(self, most: int, buffer: bytearray) -> int:
        """The next part of a record."""
        if not self.rest:
            self.fed.append(self.source.read())
            self.held += self.fed[-1]
            length = int.from_bytes(self.held[3:5], "big")
            if len(self.held) < 5 or len(self.held) < 5 + length:
                raise ssl.SSLWantReadError
            self.rest, self.held = self.held[5 : 5 + length], self.held[5 + length :]
            if self.rest == b"!":
                self.rest = b""
                raise ssl.SSLWantReadError
        part, self.rest = self.rest[:most], self.rest[most:]
        buffer[: len(part)] = part
        return len(part)


class Counted(Records):
    """Counts records without data, instead of ending the connection."""

    voids = 0

    def count_void(self) -> None:
        """One more."""
        self.voids += 1


class EndedError(Exception):
    """Of a connection that had too many."""


class Refusing(Records):
    """Allows no record without data."""

    def count_void(self) -> None:
        """Too many."""
        raise EndedError


def of(kind: type[Records] = Counted) -> tuple[Records, Library]:
    """Records, and the library that they feed."""
    records = kind()
    library = Library(ssl.MemoryBIO())
    records.join(library, ssl.MemoryBIO(), library.source, None)
    return records, library


def read(records: Records, most: int = 100) -> bytes:
    """One read."""
    buffer = bytearray(most)
    return bytes(buffer[: records.read_into(most, buffer)])


@pytest.mark.parametrize("step", [1, 4, 5, 6, 100])
def test_the_library_gets_no_byte_of_the_next_record(step: int) -> None:
    """However the bytes arrive."""
    records, library = of()
    wire = record(b"one") + record(b"!") + record(b"three")
    found = []
    for at in range(0, len(wire), step):
        records.arrived.write(wire[at : at + step])
        records.left = MOST_RECORDS
        while True:
            try:
                found.append(read(records))
            except ssl.SSLWantReadError:
                break
    assert found == [b"one", b"three"]
    assert isinstance(records, Counted)
    assert records.voids == 1
    assert b"".join(library.fed) == wire
    assert all(len(each) <= len(record(b"three")) for each in library.fed)
    assert records.is_quiet()


def test_a_long_record_is_read_in_parts_and_nothing_is_given_meanwhile() -> None:
    records, library = of()
    records.arrived.write(record(b"abcdef") + record(b"g"))
    assert [read(records, 4), read(records, 4)] == [b"abcd", b"ef"]
    assert library.fed == [record(b"abcdef")]
    assert not records.is_quiet()
    assert read(records, 4) == b"g"


def test_after_so_many_records_the_rest_is_asked_for_later() -> None:
    """One without data counts as many."""
    records, _ = of()
    asked: list[bool] = []
    records.read_later = lambda: asked.append(True)
    records.arrived.write(record(b"!") * (MOST_RECORDS // VOID_COST + 1))
    with pytest.raises(ssl.SSLWantReadError):
        read(records)
    assert asked == [True]
    assert isinstance(records, Counted)
    assert records.voids == MOST_RECORDS // VOID_COST
    assert records.arrived.pending


def test_the_last_of_too_many_records_without_data_ends_the_read() -> None:
    records, _ = of(Refusing)
    records.arrived.write(record(b"!") + record(b"never seen"))
    with pytest.raises(EndedError):
        read(records)


def test_nothing_is_asked_of_the_library_where_nothing_is_here() -> None:
    records, library = of()
    with pytest.raises(ssl.SSLWantReadError):
        read(records)
    assert library.fed == []


def test_the_rest_is_read_to_its_end() -> None:
    """After the transport has gone: in parts, up to close_notify, with no turn to ask for."""
    records, _ = of()
    records.read_later = lambda: pytest.fail("there is no turn any more")
    records.arrived.write(record(b"one") + record(b"two") + record(b"") + record(b"behind"))
    assert records.has_rest()
    buffer = bytearray(5)
    assert records.read_rest(memoryview(buffer)) == 5
    assert bytes(buffer) == b"onetw"
    assert records.has_rest()
    assert records.read_rest(memoryview(buffer)) == 1
    assert buffer[:1] == b"o"
    assert records.is_ended
    assert not records.has_rest()


def test_a_part_of_a_header_is_not_quiet() -> None:
    records, _ = of()
    assert records.is_quiet()
    records.arrived.write(record(b"x")[:3])
    with pytest.raises(ssl.SSLWantReadError):
        read(records)
    assert records.arrived.pending == 0
    assert not records.is_quiet()

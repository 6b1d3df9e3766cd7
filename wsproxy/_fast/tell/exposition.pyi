from typing_extensions import disjoint_base

from wsproxy._fast.state.meters import Meters

def label_pair(name: str, value: str) -> bytes: ...

@disjoint_base
class Blocks:
    count: int
    def __new__(cls, meters: Meters, kind: int, groups: list[list[int]]) -> Blocks: ...

@disjoint_base
class Exposition:
    def text(self) -> bytes: ...
    def family(self, name: str, kind: str, meaning: str) -> None: ...
    def number(self, name: bytes, labels: bytes, value: float) -> None: ...
    def words(
        self,
        name: bytes,
        labels: list[bytes],
        blocks: Blocks,
        word: int,
        more: bytes = b"",
        zeroes: bool = True,
    ) -> None: ...
    def counts(
        self, name: bytes, labels: list[bytes], blocks: Blocks, word: int, more: bytes = b""
    ) -> None: ...
    def histogram(
        self,
        name: bytes,
        labels: list[bytes],
        blocks: Blocks,
        word: int,
        more: bytes = b"",
        zeroes: bool = True,
    ) -> None: ...

from typing import Protocol

class Packer(Protocol):
    def compress(self, data: memoryview, mode: int) -> bytes: ...
    def flush(self, mode: int) -> bytes: ...

SQUEEZED_READ: int
MOST_SQUEEZED: int

def has_zstd() -> bool: ...

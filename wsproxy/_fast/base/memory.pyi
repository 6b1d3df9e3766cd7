from typing_extensions import disjoint_base

@disjoint_base
class ExactCopy:
    def __new__(cls, data: bytes) -> ExactCopy: ...

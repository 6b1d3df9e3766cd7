from typing_extensions import disjoint_base

@disjoint_base
class WaitingLine:
    def __new__(cls) -> WaitingLine: ...

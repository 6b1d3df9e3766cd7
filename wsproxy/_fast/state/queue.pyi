from typing_extensions import disjoint_base

@disjoint_base
class SharedQueue:
    def __new__(cls) -> SharedQueue: ...

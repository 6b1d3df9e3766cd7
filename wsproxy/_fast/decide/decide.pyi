from enum import IntEnum

class ChosenBy(IntEnum):
    BY_NOBODY = 0
    BY_AFFINITY = 1
    BY_TAKEOVER = 2
    BY_WEIGHT = 3
    BY_RANDOM = 4
    BY_BACKUP = 5
    BY_CLUSTER_ADDRESS = 6
    BY_RETRY = 7
    BY_LAST_CHANCE = 8
    BY_FALLBACK = 9

class Decider:
    worker_id: int
    def __init__(self, worker_id: int) -> None: ...

def rule_word(by: int) -> str: ...

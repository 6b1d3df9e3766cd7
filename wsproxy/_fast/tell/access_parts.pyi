from enum import IntEnum

MOST_ITEMS: int
MOST_LATE: int

class Item(IntEnum):
    TEXT = 0
    ADDRESS = 1
    LOCAL_ADDRESS = 2
    TIME = 3
    REQUEST_LINE = 4
    METHOD = 5
    PATH = 6
    QUERY = 7
    PROTOCOL = 8
    HOST = 9
    PORT = 10
    FIELD = 11
    COOKIE = 12
    REQUEST_ID = 13
    PID = 14
    STAMP = 15
    STATUS = 16
    BODY_BYTES = 17
    ALL_BYTES = 18
    MICROSECONDS = 19
    MILLISECONDS = 20
    SECONDS = 21
    SERVER = 22
    CONNECTION = 23
    SERVER_NAME = 24
    CLUSTER = 25
    RULE = 26
    ROUTE = 27
    TRIES = 28
    CAUSE = 29
    RECEIVE_TIME = 30
    QUEUE_TIME = 31
    CONNECT_TIME = 32
    SEND_TIME = 33
    FIRST_BYTE_TIME = 34
    ANSWER_TIME = 35

class AccessParts: ...

# Lines sent as datagrams.

cpdef enum:
    # Of one message: what UDP over IPv4 takes, 65,507 bytes, and a little less. A longer line is cut (RFC 5424 6.1).
    MOST_MESSAGE = 65000

"""
The hook for partition tables of memory-to-memory sessions (PLUGIN.md 3.5): which servers hold a partition.

App servers of a WebSphere Network Deployment cell send a table in ``$WSPT`` and its version in ``_WS_HAPRT_WLMVERSION``. The
newest of each cluster is kept in shared memory (``Cluster.partition_table``). Pure. Must not guess: a wrong reading would send
sessions to servers that do not have them, while without one they are balanced like any session whose clone id nobody has, and
stay where they were sent (``affinity.takeover_s``).
"""

from __future__ import annotations


def partition_servers(table: bytes, partition_id: bytes) -> tuple[bytes, ...]:
    """
    CloneIDs of the servers that hold this partition, best first; empty where the table does not say.

    THE PARSER GOES HERE, once a table was captured from a real cell: the format of ``$WSPT`` is published nowhere (Q8). Then
    ``_fast.decide.decide`` asks it for a clone id that no server has, and requests say the version that is kept instead of -1.
    """
    del table, partition_id
    return ()

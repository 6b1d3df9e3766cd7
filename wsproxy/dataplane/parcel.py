"""
A Plan on its way to the workers: compiled by one process, taken up by each of them piece by piece.

Made by ``reload.loader`` (``pack``), read by ``dataplane.arrival`` in workers, and by the admin process. A parcel is a file
without a name:

- where the parts begin, and the path of http_plugin.log;
- what stands in any configuration once, then ServerClusters, VirtualHosts and Routes in pieces that are read in well under a
  millisecond;
- the Routes' compiled tables, which are mapped and so are one memory for all workers, however many Uris there are;
- the whole Config again, for a loader that returns to it.

What is read was pickled by our own process of the same program, never by anybody outside.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wsproxy._fast.state.segment import SharedState
from wsproxy.config.model import Config, Route, ServerCluster, VirtualHost, VirtualHostGroup
from wsproxy.config.settings import Settings
from wsproxy.dataplane.plan import Plan, plan_steps
from wsproxy.dataplane.steps import Steps
from wsproxy.dataplane.upstream_tls import TransportSecurity
from wsproxy.routing.table import CompiledRoutes, RouteNames

# VirtualHosts or Routes of one piece: about a third of a millisecond.
PIECE = 100
# Where the tables begin and how long they are, and where the whole Config begins, in bytes from the beginning; and how long the path is.
_PLACES = struct.Struct("4Q")


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in any configuration once."""

    generation: int
    digest: str
    index: tuple[
        dict[bytes, int], dict[bytes, int]
    ]  # of ``SharedState``: the slots that the plan has
    settings: Settings
    rest: Config  # without what follows in pieces, and without UriGroups
    names: RouteNames  # the same
    clusters: int
    virtual_host_groups: int


def pack(plan: Plan) -> int:
    """
    The descriptor of a parcel, the caller's to close. # I/O.

    Raises:
        OSError: there is no room for one.
    """
    config, routes = plan.config, plan.routes
    head = Head(
        plan.generation,
        plan.digest,
        plan.state.index(),
        plan.settings,
        replace(config, server_clusters=(), virtual_host_groups=(), uri_groups=(), routes=()),
        replace(routes.names, clusters=(), routes=(), rows=(), virtual_host_groups=()),
        len(config.server_clusters),
        len(config.virtual_host_groups),
    )
    table = routes.table.flat()
    path = os.fsencode(plan.log_path)
    fd = os.memfd_create("wsproxy-parcel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.seek(_PLACES.size)
            file.write(path)
            file.write(_pickled(head))
            file.writelines(_pieces_of(plan))
            table_at = -(-file.tell() // mmap.PAGESIZE) * mmap.PAGESIZE
            file.seek(table_at)
            file.write(table)
            config_at = file.tell()
            file.write(_pickled(config))
            file.seek(0)
            file.write(_PLACES.pack(table_at, len(table), config_at, len(path)))
        # Whoever maps it reads what was checked, and never behind its end.
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        )
    except BaseException:
        os.close(fd)
        raise
    return fd


def unpack(fd: int, state: SharedState) -> Steps[Plan]:
    """
    The plan, on ``state``, whose index is that of the parcel from now on. # I/O.

    Nothing of it is applied: whoever packed it does that. Keyrings are read by whoever uses it (``Plan.security`` has read none).
    """
    memory = _map(fd)
    table_at, table_size, _, path_size = _PLACES.unpack_from(memory)
    memory.seek(_PLACES.size)
    log_path = os.fsdecode(memory.read(path_size))
    head: Head = _next(memory)
    yield
    clusters: list[ServerCluster] = []
    for _ in range(head.clusters):
        clusters.append(_next(memory))
        yield
    hosts: list[VirtualHostGroup] = []
    for _ in range(head.virtual_host_groups):
        group: VirtualHostGroup = _next(memory)
        virtual_hosts: list[VirtualHost] = yield from _list(memory)
        hosts.append(replace(group, virtual_hosts=tuple(virtual_hosts)))
    routes: list[Route] = yield from _list(memory)
    kept: list[tuple[int, tuple[int, int, int]]] = yield from _list(memory)
    config = replace(
        head.rest,
        server_clusters=tuple(clusters),
        virtual_host_groups=tuple(hosts),
        routes=tuple(routes),
    )
    yield
    names = replace(
        head.names,
        clusters=config.server_clusters,
        routes=tuple(routes[index] for index, _ in kept),
        rows=tuple(row for _, row in kept),
        virtual_host_groups=config.virtual_host_groups,
    )
    table = memoryview(memory)[table_at : table_at + table_size]
    compiled = CompiledRoutes.mapped(table, names)
    state.take_index(head.index)
    yield
    plan = yield from plan_steps(config, head.settings, state, compiled)
    security = TransportSecurity.for_config(config, head.settings)
    return replace(
        plan,
        security=security,
        digest=head.digest,
        generation=head.generation,
        log_path=log_path,
    )


def log_path_of(fd: int) -> str:
    """Of http_plugin.log, for who goes by no plan. # I/O."""
    *_, size = _PLACES.unpack(os.pread(fd, _PLACES.size, 0))
    return os.fsdecode(os.pread(fd, size, _PLACES.size))


def unpack_source(fd: int) -> tuple[int, Config, Settings]:
    """Its generation, and what it was compiled from. # I/O."""
    with _map(fd) as memory:
        *_, config_at, path_size = _PLACES.unpack_from(memory)
        memory.seek(_PLACES.size + path_size)
        head: Head = _next(memory)
        memory.seek(config_at)
        return head.generation, _next(memory), head.settings


def _map(fd: int) -> mmap.mmap:
    """Private: older kernels share no mapping of what nobody may write to any more. The pages are the same."""
    return mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def _pickled(item: object) -> bytes:
    return pickle.dumps(item, pickle.HIGHEST_PROTOCOL)


def _next(memory: mmap.mmap) -> Any:
    return pickle.load(memory)  # noqa: S301  # our own process wrote it


def _list(memory: mmap.mmap) -> Steps[list[Any]]:
    """What ``_pieces`` made."""
    found: list[Any] = []
    while piece := _next(memory):
        found += piece
        yield
    return found


def _pieces(items: Sequence[object]) -> Iterator[bytes]:
    """Slices of it; an empty one is the end."""
    for at in range(0, len(items), PIECE):
        yield _pickled(items[at : at + PIECE])
    yield _pickled(())


def _pieces_of(plan: Plan) -> Iterator[bytes]:
    config, routes = plan.config, plan.routes
    for cluster in config.server_clusters:
        yield _pickled(cluster)
    for hosts in config.virtual_host_groups:
        yield _pickled(replace(hosts, virtual_hosts=()))
        yield from _pieces(hosts.virtual_hosts)
    yield from _pieces(config.routes)
    index_of = {id(route): index for index, route in enumerate(config.routes)}
    yield from _pieces(
        [(index_of[id(route)], row) for route, row in zip(routes.routes, routes.rows, strict=True)]
    )

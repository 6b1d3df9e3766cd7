"""``[process]`` and ``[upgrade]`` of wsproxy.toml: the processes of wsproxy, and the end of those that others replace."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

# Of all time-outs: a day, so that a typing error is not one that never comes.
LONGEST_S = 86400.0
# Of process.hang_s: a worker makes four turns a second when it has nothing to do, and fewer on a busy machine.
SHORTEST_HANG_S = 1.0


class ProcessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[process]``: how the supervisor treats its processes."""

    hang_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="a worker that makes no turn of its event loop for so long is killed and started anew; 0: none is",
        ),
    ] = 30.0
    user: Annotated[
        str,
        Meta(
            description="user that wsproxy becomes when it was started as root and its sockets listen; empty: it stays who it is"
        ),
    ] = ""


class UpgradeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[upgrade]``: protocols that take over a connection; and what a program that another one replaces still does."""

    protocols: Annotated[
        tuple[str, ...],
        Meta(
            description='protocols that clients may upgrade to; "*": any but another HTTP or TLS, which never pass'
        ),
    ] = ("websocket",)
    tunnels_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long tunnels live on after `wsproxy upgrade`; they end one after the other in the second half of it",
        ),
    ] = 300.0
    requests_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long requests that run at `wsproxy upgrade` may take to finish",
        ),
    ] = 3600.0

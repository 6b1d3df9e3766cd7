"""
The admin process by TCP: its socket, its token, and what may be asked of it there.

Made by ``process.start`` before the fork (what cannot work is refused then), asked by ``admin.server`` for each question. The Unix
socket needs none of it: its file says who may.

Load balancers and Kubernetes have no token to show: /health and /ready need none, and say no more than a word. Metrics name
clusters and servers, so they need one, unless ``admin.listen`` is an address of this machine alone and no token is set. All else can
change something: never without a token.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from wsproxy.admin.page import PAGE_FILES
from wsproxy.config.address import Address, parse_address
from wsproxy.config.problems import printable
from wsproxy.config.secret_file import SecretFile
from wsproxy.config.settings_told import AdminSettings
from wsproxy.errors import StartError

BACKLOG = 64
# 16 characters at random are 64 bits and more; what is shorter is a word that people guess.
LEAST_TOKEN = 16
MOST_TOKEN = 512
# Of its file: behind the first line may stand what it is for.
MOST_BYTES = 4096

HEALTH_PATH = "/health"
READY_PATH = "/ready"
METRICS_PATH = "/metrics"
OPEN_PATHS = frozenset((HEALTH_PATH, READY_PATH))


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A listening socket; ``wanted``: what ``admin.listen`` says of it."""

    sock: socket.socket
    address: Address
    wanted: str

    def close(self) -> None:
        """Nobody can ask any more."""
        self.sock.close()


@dataclass(slots=True)
class Token:
    """What questions by TCP must show; read anew where its file changes, so that it can be replaced while the proxy runs."""

    path: str
    _file: SecretFile = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is read yet."""
        self._file = SecretFile("admin.token_file", self.path, MOST_BYTES)

    def check(self) -> None:
        """
        Reads it. # I/O.

        Raises:
            StartError: there is none that can be used, or others may read the file.
        """
        self._read()

    def fits(self, authorization: str) -> bool:
        """Whether this field of a request shows it. Takes the same time whatever is shown. # I/O."""
        try:
            secret = self._read()
        except StartError:
            return False
        scheme, _, shown = authorization.partition(" ")
        given = shown.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, secret) and scheme.lower() == "bearer"

    def _read(self) -> bytes:
        data = self._file.read()
        secret = data.partition(b"\n")[0].strip()
        if not LEAST_TOKEN <= len(secret) <= MOST_TOKEN or not secret.isascii() or b" " in secret:
            raise StartError(
                f'admin.token_file: found "{printable(self.path)}" whose first line has {len(secret)} bytes; '
                f"allowed are {LEAST_TOKEN} to {MOST_TOKEN} ASCII characters without a blank: openssl rand -hex 32"
            )
        return secret


def token_of(settings: AdminSettings) -> Token | None:
    """
    The token that questions by TCP must show; None: there is none, and ``admin.listen`` is for this machine alone. # I/O.

    Raises:
        StartError: it cannot be used.
    """
    if not settings.token_file:
        return None  # ``config.settings_file`` has looked that nobody but this machine can ask
    token = Token(settings.token_file)
    token.check()
    return token


def open_tcp(settings: AdminSettings) -> TcpSocket:
    """
    The listening socket of ``admin.listen``. # I/O.

    Raises:
        StartError: it cannot be made.
    """
    address = parse_address(settings.listen, is_listener=True)
    # Nobody is asked what it is (RFC 6761 6.3): a line of /etc/hosts could make an address of it that others reach.
    host = "127.0.0.1" if address.host == "localhost" else address.host
    is_ipv6 = ":" in address.host or (not address.host and socket.has_dualstack_ipv6())
    try:
        sock = socket.create_server(
            (host, address.port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=is_ipv6 and not address.host,
        )
    except OSError as error:
        raise StartError(
            f'admin.listen: found "{settings.listen}", where nobody can listen: {os.strerror(error.errno or 0)}'
        ) from error
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    return TcpSocket(sock, Address(host, port), settings.listen)


def is_open(method: str, path: str) -> bool:
    """Whether the answer says nothing that anybody may not know."""
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path in PAGE_FILES)


def may_ask(method: str, path: str, authorization: str, token: Token | None) -> str:
    """Why a question by TCP is refused; empty where it may be asked."""
    if is_open(method, path):
        return ""
    if token is None:
        if method in ("GET", "HEAD") and path == METRICS_PATH:
            return ""
        return "found no admin.token_file in wsproxy.toml; allowed by TCP without one is GET /metrics, /health and /ready"
    if token.fits(authorization):
        return ""
    return "found no token that is right; allowed is the field Authorization: Bearer TOKEN, with the first line of admin.token_file"


def comes_from_elsewhere(headers: Mapping[str, str], own_name: str) -> str:
    """
    Why a question is refused that a browser sends for a page of another site; empty: it is none.

    A page of another site can make a browser ask here, but not without its own name in Origin. Or its name leads to this address (DNS
    rebinding): then that name is in Host, and such a name has a point. ``own_name``: this machine's, which is allowed too.
    """
    host = headers.get("Host", "")
    origin = headers.get("Origin")
    if origin is not None and origin.lower().partition("://")[2] != host.lower():
        return f"found Origin {origin[:80]!r} at Host {host[:80]!r}; allowed is the dashboard's own page"
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "found a question of another site's page; allowed is the dashboard's own"
    name = _name_of(host)
    if "." in name and name != own_name.lower() and not name.endswith(".localhost"):
        return f"found Host {host[:80]!r}; allowed without a token is an address, a name without a point, or this machine's own name"
    return ""


def _name_of(host: str) -> str:
    """The name of a Host field, in small letters; empty: it is an address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        return host.partition(":")[0].lower().rstrip(".")
    return ""

"""
Which servers a person means: SERVER, CLUSTER/SERVER, or a host for all of its servers.

Used by every command that names one, and by the admin process. Pure.
"""

from __future__ import annotations

from wsproxy.config.model import Config
from wsproxy.config.problems import nearest
from wsproxy.errors import StartError

# Index of the cluster, and in it of the server.
Place = tuple[int, int]


def find_server(config: Config, text: str) -> Place:
    """
    Index of the cluster and, in it, of the server that SERVER or CLUSTER/SERVER names.

    Raises:
        StartError: it names none, or several.
    """
    names = _Names(config)
    if text in names.by_name:
        return names.by_name[text]
    raise StartError(f"found server {text}; {names.hint(text)}")


def find_servers(config: Config, text: str) -> list[Place]:
    """
    The one that SERVER or CLUSTER/SERVER names, or all servers, in all clusters, whose Transport has this host.

    Raises:
        StartError: it names none, or it is not clear which.
    """
    names = _Names(config)
    of_host = [
        (at, index)
        for at, cluster in enumerate(config.server_clusters)
        for index, server in enumerate(cluster.all_servers)
        if any(_host(each.hostname) == _host(text) for each in server.transports)
    ]
    if text not in names.by_name:
        if of_host and text not in names.bare:
            return of_host
        what = "several clusters have" if text in names.bare else "is no host of a server either"
        raise StartError(f"found {text}, which {what}; {names.hint(text)}")
    found = [names.by_name[text]]
    if of_host and set(of_host) != set(found):
        full = ", ".join(sorted(names.full(each) for each in {*found, *of_host}))
        raise StartError(
            f"found {text}, which is a server and also the host of others; allowed: {full}"
        )
    return found


def _host(text: str) -> str:
    return text.lower().strip("[]")


class _Names:
    """All names that servers can be called by."""

    def __init__(self, config: Config) -> None:
        self.by_name: dict[str, Place] = {}
        self.bare: dict[str, list[str]] = {}
        self._full: dict[Place, str] = {}
        for at, cluster in enumerate(config.server_clusters):
            for index, server in enumerate(cluster.all_servers):
                full = f"{cluster.name}/{server.name}"
                self._full[at, index] = full
                if full not in self.by_name:
                    self.by_name[full] = (at, index)
                    self.bare.setdefault(server.name, []).append(full)
        self.by_name.update(
            (name, self.by_name[full[0]]) for name, full in self.bare.items() if len(full) == 1
        )

    def full(self, place: Place) -> str:
        return self._full[place]

    def hint(self, text: str) -> str:
        if text in self.bare:
            return f"allowed is one of {', '.join(self.bare[text])}"
        likely = nearest(text, list(self.by_name))
        return (
            f"did you mean {likely}?" if likely else f"allowed: {', '.join(sorted(self.by_name))}"
        )

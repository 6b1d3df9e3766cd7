"""
Where everything of a core group stands in etcd, and what may be in a name. Pure; no other module spells a key.

    /wsproxy/<cell>/<core group>/
        ids/<member>            its number, given once and kept for good (no lease); ``next-id`` is the next name's
        members/<member>        that it lives, on its lease: what ``group.view.Member`` says
        seats/<seat>            who holds what only one may hold, on the holder's lease: ``coordinator``, places of HA groups
        seats/<resource>/<member>       that this member has a place of the resource's group, on its lease
        groups/<resource>/...   of one HA group: offers/<member> on its lease; epoch, written by each claim; activated/<member>, moved and cleared by operators
        policies                all policies of HA groups, one key
        board/<subject>         what is known of a server, by the word that counts most (no lease: it outlives its poster)
        board/bridges/<site>    what the member says that copies words from that site: how it goes, and what that site may take here; on its lease
        config/<member>         the digest of the configuration that it serves by, on its lease
        published               which plugin-cfg.xml all are to go by: what ``ha.master.words.Head`` says
        applied/<member>        what became of that there, on its lease

    /wsproxy-takeovers/<cell>/<core group>/     beside all that, too: heartbeats and marks do not wait for these
        <member>/<lease>-<number>       sessions that have another server now, on a lease that ends when they are forgotten

    /wsproxy-published/<cell>/<core group>/     beside all that, which is read as a whole and watched: these are megabytes
        versions/<number>       who published which contents
        contents/<sha256>       that there are such, in how many pieces
        pieces/<sha256>/<n>     a piece of them, compressed
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

ROOT = "/wsproxy/"
PUBLISHED_ROOT = "/wsproxy-published/"
TAKEOVERS_ROOT = "/wsproxy-takeovers/"
COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Names:
    """Of one core group."""

    cell: str
    core_group: str

    @property
    def root(self) -> str:
        """What all keys of the group begin with."""
        return f"{ROOT}{self.cell}/{self.core_group}/"

    @property
    def members(self) -> str:
        """Prefix of ``member``."""
        return f"{self.root}members/"

    def member(self, name: str) -> str:
        """That it lives."""
        return self.members + name

    @property
    def ids(self) -> str:
        """Prefix of ``id_of``."""
        return f"{self.root}ids/"

    @property
    def next_id(self) -> str:
        """The number that the next new name gets."""
        return f"{self.root}next-id"

    def id_of(self, name: str) -> str:
        """Its number."""
        return self.ids + name

    def seat(self, name: str) -> str:
        """Who holds it."""
        return f"{self.root}seats/{name}"

    @property
    def seats(self) -> str:
        """Prefix of ``seat``."""
        return f"{self.root}seats/"

    def place(self, resource: str, member: str) -> str:
        """Name of the seat of this member in the resource's group."""
        return f"{resource}/{member}"

    @property
    def policies(self) -> str:
        """All policies."""
        return f"{self.root}policies"

    @property
    def groups(self) -> str:
        """Prefix of ``group``."""
        return f"{self.root}groups/"

    def group(self, resource: str, what: str, member: str = "") -> str:
        """A word of one HA group: ``epoch``, ``moved``, ``cleared``; ``offers`` and ``activated`` have a member."""
        return f"{self.groups}{resource}/{what}{'/' if member else ''}{member}"

    @property
    def board(self) -> str:
        """Prefix of ``subject``."""
        return f"{self.root}board/"

    def subject(self, kind: str, cluster: str, server: str) -> str:
        """What is known of a server; names of clusters and servers may have any character."""
        return f"{self.board}{kind}/{quote(cluster, safe='')}/{quote(server, safe='')}"

    def parts_of_subject(self, key: str) -> tuple[str, str, str] | None:
        """Kind, cluster and server; None: it is none of these, or another way to write one: two keys of a server would contradict each other for ever."""
        parts = key.removeprefix(self.board).split("/")
        if not key.startswith(self.board) or len(parts) != 3:
            return None
        found = parts[0], unquote(parts[1]), unquote(parts[2])
        return found if self.subject(*found) == key else None

    @property
    def site(self) -> str:
        """The group's name beside those of other sites."""
        return f"{self.cell}/{self.core_group}"

    @property
    def bridges(self) -> str:
        """Prefix of ``bridge``; below ``board``, so that another site's certificate needs to read that alone. No subject of it."""
        return f"{self.board}bridges/"

    def bridge(self, site: str) -> str:
        """What our end of the bridge to that site says."""
        return self.bridges + quote(site, safe="")

    def site_of_bridge(self, key: str) -> str:
        """The site whose key this is."""
        return unquote(key.removeprefix(self.bridges))

    @property
    def configs(self) -> str:
        """Prefix of ``config``."""
        return f"{self.root}config/"

    def config(self, name: str) -> str:
        """The digest of what it serves by."""
        return self.configs + name

    @property
    def published(self) -> str:
        """Which plugin-cfg.xml all are to go by."""
        return f"{self.root}published"

    @property
    def applied_prefix(self) -> str:
        """Prefix of ``applied``."""
        return f"{self.root}applied/"

    def applied(self, name: str) -> str:
        """What became of it at that member."""
        return self.applied_prefix + name

    @property
    def takeovers(self) -> str:
        """Prefix of ``takeovers_of``."""
        return f"{TAKEOVERS_ROOT}{self.cell}/{self.core_group}/"

    def takeovers_of(self, member: str) -> str:
        """What all keys of this member's takeovers begin with."""
        return f"{self.takeovers}{member}/"

    @property
    def _published_root(self) -> str:
        return f"{PUBLISHED_ROOT}{self.cell}/{self.core_group}/"

    @property
    def versions(self) -> str:
        """Prefix of ``version``."""
        return f"{self._published_root}versions/"

    def version(self, number: int) -> str:
        """Who published it; in the order of numbers."""
        return f"{self.versions}{number:010d}"

    @property
    def contents(self) -> str:
        """Prefix of ``content``."""
        return f"{self._published_root}contents/"

    def content(self, sha256: str) -> str:
        """That it is there."""
        return self.contents + sha256

    def piece(self, sha256: str, number: int) -> str:
        """A part of it; none is the beginning of another's key."""
        return f"{self._published_root}pieces/{sha256}/{number:04d}"

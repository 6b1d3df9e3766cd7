"""
Makes one ServerCluster of several: which Servers are the same, and what becomes of settings and roles that differ.

Driven by ``config.merge``. Pure. Must not know which requests a cluster gets.
A Server is known by its CloneID and its addresses first, by its name second: Liberty calls every server "defaultServer".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from wsproxy.config.merge_notes import Notes, Place
from wsproxy.config.merge_rules import Placed, Rules, called, names_text, settle
from wsproxy.config.model import (
    Config,
    Property,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
)
from wsproxy.config.problems import quoted, shown

Owner = tuple[int, int]  # input, index of the ServerCluster in it
Address = tuple[str, str, int]  # Protocol, Hostname, Port
Face = tuple[str | None, frozenset[Address]]  # what a Server is known by: CloneID, addresses

# What a server outside any cluster has in place of a clone id (PLUGIN.md 3.1): no session can be found by it.
STANDALONE = "-1"
PRIMARY, BACKUP, OUT = range(3)
_ROLES = ("in PrimaryServers", "in BackupServers", "in neither list")


@dataclass(slots=True)
class _Member:
    """One server of a joined cluster, with everything that the inputs say of it."""

    found: list[tuple[Place, Server]]
    owners: set[Owner]
    roles: list[tuple[Place, int]]
    name: str = ""

    @property
    def first(self) -> Server:
        return self.found[0][1]


@dataclass(slots=True)
class Clusters:
    """The ServerClusters of all inputs, and what is made of them."""

    inputs: Sequence[Config]
    rules: Rules
    notes: Notes
    # (name, face) -> another name, where a joined cluster has two servers of one name
    renamed: dict[tuple[str, Face], str] = field(default_factory=dict)
    _taken: dict[str, set[str]] = field(default_factory=dict)

    def of(self, owner: Owner) -> ServerCluster:
        """The ServerCluster itself."""
        return self.inputs[owner[0]].server_clusters[owner[1]]

    def place(self, owner: Owner, line: int | None = None) -> Place:
        """Where it stands, or a line of its file."""
        return Place(self.inputs[owner[0]].path, self.of(owner).line if line is None else line)

    def faces(self, owners: Iterable[Owner]) -> frozenset[Face]:
        """The servers of all of them."""
        return frozenset(face_of(server) for owner in owners for server in self.of(owner).servers)

    def join(self, owners: Sequence[Owner], name: str) -> ServerCluster:
        """One cluster with all that these have, under this name."""
        first = self.of(owners[0])
        if all(self.of(owner) == first for owner in owners[1:]):
            return first if first.name == name else replace(first, name=name)
        placed = [(self.place(owner), self.of(owner)) for owner in owners]
        of = " and ".join(
            called("ServerCluster", each) for each in dict.fromkeys(c.name for _, c in placed)
        )
        members = self._members(owners, of)
        self._check_standalone(owners, members, of)
        self._check_weights(owners, of)
        merged: ServerCluster = settle(ServerCluster, of, placed, self.rules, self.notes)
        self._name(members, of)
        primaries, backups = self._lists(owners, members)
        return replace(
            merged,
            name=name,
            servers=tuple(self._server(member, of) for member in members),
            cluster_address=self._address(placed, of),
            primary_servers=primaries,
            backup_servers=backups,
        )

    # --- which servers are the same -----------------------------------------------------------------------------------

    def _members(self, owners: Sequence[Owner], of: str) -> list[_Member]:
        members: list[_Member] = []
        by_name: dict[str, list[_Member]] = {}
        by_id: dict[str, _Member] = {}
        by_addresses: dict[frozenset[Address], _Member] = {}
        for owner in owners:
            for server, role in zip(self.of(owner).servers, roles_of(self.of(owner)), strict=True):
                place = self.place(owner, server.line)
                member = self._same_name(by_name.get(server.name, ()), owner, place, server, of)
                if member is None:
                    member = self._same_server(by_id, by_addresses, owner, place, server, of)
                if member is None:
                    member = _Member([], set(), [])
                    members.append(member)
                member.found.append((place, server))
                member.owners.add(owner)
                member.roles.append((place, role))
                if member not in by_name.setdefault(server.name, []):
                    by_name[server.name].append(member)
                if (clone_id := usable_id(server)) is not None:
                    by_id.setdefault(clone_id, member)
                by_addresses.setdefault(addresses_of(server), member)
        return members

    def _same_name(
        self, known: Sequence[_Member], owner: Owner, place: Place, server: Server, of: str
    ) -> _Member | None:
        """The one of this name that it is; None where those are other servers."""
        for member in known:
            if owner in member.owners:
                continue
            for at, other in member.found:
                ids = {usable_id(server), usable_id(other)} - {None}
                mine, theirs = addresses_of(server), addresses_of(other)
                of_one = f"{called('Server', server.name)} of {of}"
                if mine & theirs or mine == theirs:
                    if len(ids) > 1:
                        self.notes.refuse(
                            "server-changed",
                            f"{of_one} with {_ids(other)} and with {_ids(server)} at the same address",
                            "one CloneID: one of the files is older than the server's change",
                            (at, place),
                        )
                    return member
                if len(ids) == 1 and usable_id(server) == usable_id(other):
                    if {a[0] for a in mine} & {a[0] for a in theirs}:
                        self.notes.refuse(
                            "server-changed",
                            f"{of_one} with {_ids(server)} at {_addresses(other)} and at {_addresses(server)}",
                            "one address: one of the files is older than the server's move, or one needs another CloneID",
                            (at, place),
                        )
                    return member
        return None

    def _same_server(
        self,
        by_id: dict[str, _Member],
        by_addresses: dict[frozenset[Address], _Member],
        owner: Owner,
        place: Place,
        server: Server,
        of: str,
    ) -> _Member | None:
        """The one that it is under another name."""
        clone_id = usable_id(server)
        member = by_addresses.get(addresses_of(server)) if clone_id is None else by_id.get(clone_id)
        if member is None or owner in member.owners or (clone_id is None and not server.transports):
            return None
        at, other = member.found[0]
        names = names_text((other.name, server.name))
        if clone_id is None:
            if usable_id(other) is not None:
                return None
            what = f"at {_addresses(server)}"
        elif not addresses_of(server) & addresses_of(other):
            if self.rules["clone-id"] == "refuse":
                self.notes.refuse(
                    "clone-id",
                    f"{shown('CloneID', clone_id)} for two Servers of {of}: {names}, at {_addresses(other)} and {_addresses(server)}",
                    "a CloneID of its own for each, or --rules clone-id=keep (sessions of both then go to the first one)",
                    (at, place),
                )
            else:
                self.notes.decide(
                    "clone-id",
                    f"{shown('CloneID', clone_id)} for two Servers of {of}: {names}",
                    "both are kept; sessions of both go to the first one",
                    (at, place),
                )
            return None
        else:
            what = f"with {shown('CloneID', clone_id)} at {_addresses(server)}"
        if other.name != server.name:
            self.notes.decide(
                "server-name",
                f"one Server {what} of {of} under the names {names}",
                f"it is one Server {quoted(other.name)}",
                (at, place),
            )
        return member

    def _check_standalone(
        self, owners: Sequence[Owner], members: Sequence[_Member], of: str
    ) -> None:
        """Servers whose sessions cannot be found again must not be mixed with others, unless a file did so already."""
        bare = [member for member in members if all(usable_id(s) is None for _, s in member.found)]
        if not bare or len(members) < 2:
            return
        if any(all(owner in member.owners for member in members) for owner in owners):
            return
        names = names_text(member.first.name for member in bare)
        found = f"no CloneID (or {STANDALONE}) on {names} of {of}, which would become one cluster"
        places = [member.found[0][0] for member in bare]
        places += [member.found[0][0] for member in members if member not in bare][:1]
        if self.rules["standalone"] == "refuse":
            self.notes.refuse(
                "standalone",
                found,
                "a CloneID for each, --keep-clusters, or --rules standalone=join where there are no sessions",
                places,
            )
        else:
            self.notes.decide(
                "standalone", found, "joined: their sessions are not found again", places
            )

    def _check_weights(self, owners: Sequence[Owner], of: str) -> None:
        """Weights mean something only beside each other: generators write 2 or 20 on every server."""
        weights: dict[int, Owner] = {}
        for owner in owners:
            found = {server.load_balance_weight for server in self.of(owner).servers}
            if len(found) > 1:
                return  # somebody thought of it
            for weight in found:
                weights.setdefault(weight, owner)
        if len(weights) > 1:
            told = " and ".join(f'LoadBalanceWeight="{weight}"' for weight in weights)
            self.notes.decide(
                "weights",
                f"{told} on all servers of {of}, each in its own file",
                "kept: new sessions are shared by these weights",
                [self.place(owner) for owner in weights.values()],
            )

    # --- what is said of them -----------------------------------------------------------------------------------------

    def _name(self, members: Sequence[_Member], of: str) -> None:
        """Each its name; the second one of a name gets another, everywhere."""
        taken: set[str] = set()
        names = {server.name for member in members for _, server in member.found}
        for member in members:
            name = member.first.name
            face = face_of(member.first)
            name = self.renamed.get((name, face), name)
            if name in taken:
                name = free_name(member.first.name, taken | names)
                what = "rename" if self.rules["server-name"] == "rename" else "refuse"
                at = [place for place, _ in member.found]
                first = next(each for each in members if each.name == member.first.name)
                at.insert(0, first.found[0][0])
                found = (
                    f"two Servers {quoted(member.first.name)} in {of}: {_ids(first.first)} at {_addresses(first.first)} "
                    f"and {_ids(member.first)} at {_addresses(member.first)}"
                )
                if what == "refuse":
                    self.notes.refuse("server-name", found, "a name of its own for each", at)
                else:
                    self.notes.decide("server-name", found, f"the second one is {quoted(name)}", at)
                for _, server in member.found:
                    self.renamed[server.name, face_of(server)] = name
            taken.add(name)
            member.name = name

    def rename(self, cluster: ServerCluster) -> ServerCluster:
        """The cluster of one file, with the names that its servers have elsewhere; a name that is taken here stays."""
        names = {server.name for server in cluster.servers}
        changes = {
            server.name: other
            for server in cluster.servers
            if (other := self.renamed.get((server.name, face_of(server)))) and other not in names
        }
        if not changes:
            return cluster

        def refs(found: tuple[ServerRef, ...] | None) -> tuple[ServerRef, ...] | None:
            if found is None:
                return None
            return tuple(replace(ref, name=changes.get(ref.name, ref.name)) for ref in found)

        return replace(
            cluster,
            servers=tuple(
                replace(each, name=changes.get(each.name, each.name)) for each in cluster.servers
            ),
            primary_servers=refs(cluster.primary_servers),
            backup_servers=refs(cluster.backup_servers),
        )

    def _server(self, member: _Member, cluster: str) -> Server:
        of = f"{called('Server', member.first.name)} of {cluster}"
        server: Server = settle(Server, of, member.found, self.rules, self.notes)
        ids = {each.clone_id for _, each in member.found}
        clone_id = next((usable_id(s) for _, s in member.found if usable_id(s)), server.clone_id)
        if len(ids) > 1:
            self.notes.decide(
                "settings",
                f"{' and '.join(_ids(each) for _, each in member.found)} on {of}",
                f"taken is {shown('CloneID', clone_id or '')}",
                [place for place, _ in member.found],
            )
        return replace(
            server,
            name=member.name,
            clone_id=clone_id,
            transports=self._transports(member, of),
        )

    def _transports(self, member: _Member, of: str) -> tuple[Transport, ...]:
        found: dict[tuple[Address, int], list[tuple[Place, Transport]]] = {}
        for place, server in member.found:
            seen: dict[Address, int] = {}
            for transport in server.transports:
                address = _address_of(transport)
                seen[address] = seen.get(address, 0) + 1  # twice in one Server stays twice
                at = Place(place.file, transport.line)
                found.setdefault((address, seen[address]), []).append((at, transport))
        return tuple(self._transport(same, of) for same in found.values())

    def _transport(self, same: list[tuple[Place, Transport]], server: str) -> Transport:
        of = f"the {same[0][1].protocol} Transport of {server}"
        transport: Transport = settle(Transport, of, same, self.rules, self.notes)
        by_name: dict[str, list[tuple[Place, Property]]] = {}
        for place, each in same:
            for item in each.properties:
                by_name.setdefault(item.name, []).append((Place(place.file, item.line), item))
        for name, items in by_name.items():
            values = list(dict.fromkeys(item.value for _, item in items))
            if len(values) > 1:
                # a keyring decides whom the server is trusted by
                self.notes.refuse(
                    "settings",
                    f"{' and '.join(shown(name, value) for value in values)} on {of}",
                    "one value in all files",
                    [place for place, _ in items],
                )
        return replace(transport, properties=tuple(items[0][1] for items in by_name.values()))

    def _lists(
        self, owners: Sequence[Owner], members: Sequence[_Member]
    ) -> tuple[tuple[ServerRef, ...] | None, tuple[ServerRef, ...] | None]:
        """PrimaryServers and BackupServers; who is in one anywhere is in it, primaries before backups before neither."""
        # by object: several may stand on one line
        by_server = {id(server): member for member in members for _, server in member.found}
        refs: dict[int, dict[int, list[Placed]]] = {PRIMARY: {}, BACKUP: {}, OUT: {}}
        roles = {id(member): self._role(member) for member in members}
        clusters = [self.of(owner) for owner in owners]
        for owner, cluster in zip(owners, clusters, strict=True):
            at = {server.name: by_server[id(server)] for server in reversed(cluster.servers)}
            for ref in _all_refs(cluster):
                place = self.place(owner, ref.line)
                member = at.get(ref.name)
                if member is None:
                    self.notes.decide(
                        "dangling",
                        f"{called('Server', ref.name)} in a list of {called('ServerCluster', cluster.name)}, which does not have it",
                        "left out of the list",
                        [place],
                    )
                else:
                    found = refs[roles[id(member)]].setdefault(id(member), [])
                    found.append((place, replace(ref, name=member.name)))
        if all(c.primary_servers is None and c.backup_servers is None for c in clusters):
            return None, None
        has_backups = any(c.backup_servers is not None for c in clusters)
        has_primaries = bool(refs[PRIMARY]) or any(c.primary_servers is not None for c in clusters)
        return (
            self._settled_refs(refs[PRIMARY]) if has_primaries else None,
            self._settled_refs(refs[BACKUP]) if has_backups else None,
        )

    def _settled_refs(self, refs: dict[int, list[Placed]]) -> tuple[ServerRef, ...]:
        of = "a Server in a list"
        return tuple(
            settle(ServerRef, of, found, self.rules, self.notes) for found in refs.values()
        )

    def _role(self, member: _Member) -> int:
        role = min(role for _, role in member.roles)
        if len({each for _, each in member.roles}) > 1:
            told = " and ".join(dict.fromkeys(_ROLES[each] for _, each in member.roles))
            self.notes.decide(
                "role",
                f"{called('Server', member.first.name)} {told}",
                f"it is {_ROLES[role]}",
                [place for place, _ in member.roles],
            )
        return role

    def _address(self, placed: Sequence[tuple[Place, ServerCluster]], of: str) -> Server | None:
        found = [each.cluster_address for _, each in placed]
        if any(address != found[0] for address in found):
            self.notes.refuse(
                "cluster-address",
                f"{of} with different ClusterAddresses, or one without",
                "one ClusterAddress in all files, as it takes every new session",
                [place for place, _ in placed],
            )
        return found[0]


def face_of(server: Server) -> Face:
    """What it is known by."""
    return usable_id(server), addresses_of(server)


def usable_id(server: Server) -> str | None:
    """The CloneID by which sessions are found; None where there is none."""
    return server.clone_id if server.clone_id and server.clone_id != STANDALONE else None


def addresses_of(server: Server) -> frozenset[Address]:
    """Where it listens."""
    return frozenset(_address_of(transport) for transport in server.transports)


def _address_of(transport: Transport) -> Address:
    return transport.protocol, transport.hostname.lower(), transport.port


def roles_of(cluster: ServerCluster) -> list[int]:
    """The role of each server, by its place in the file; of a name that is there twice the first one's (PLUGIN.md 1.11)."""
    if cluster.primary_servers is None and cluster.backup_servers is None:
        return [PRIMARY] * len(cluster.servers)
    primaries = {ref.name for ref in cluster.primary_servers or ()}
    backups = {ref.name for ref in cluster.backup_servers or ()}
    return [
        PRIMARY if s.name in primaries else BACKUP if s.name in backups else OUT
        for s in cluster.servers
    ]


def _all_refs(cluster: ServerCluster) -> list[ServerRef]:
    """Those of PrimaryServers, then those of BackupServers; without any list every server is a primary."""
    if cluster.primary_servers is None and cluster.backup_servers is None:
        return [ServerRef(server.name, line=server.line) for server in cluster.servers]
    return [*(cluster.primary_servers or ()), *(cluster.backup_servers or ())]


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name_2`` and so on: the first one that is free."""
    taken = set(taken)
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _ids(server: Server) -> str:
    return shown("CloneID", server.clone_id) if server.clone_id else "no CloneID"


def _addresses(server: Server) -> str:
    return ", ".join(f"{t.hostname}:{t.port}" for t in server.transports) or "no address"

"""
Which policy governs an HA group, and which of the group's members it wants active. Pure.

Driven by whoever has a group (``group.membership`` for its seats). Words and rules are HAManager's: a group's name is a set of
``name=value`` pairs, a policy has match criteria of the same form, and of the policies that match all their criteria the one with the
most governs. What a policy wants is a wish; that nobody else is active is the seats' part (``group.seat``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsproxy.config.settings_groups import PolicyType


@dataclass(frozen=True, slots=True)
class Policy:
    """
    One policy. ``match``: what a group's name must have, all of it.

    ``count``: M of "M of N". ``preferred``: who is taken first, the first first; the named ones of "Static". ``preferred_only``:
    nobody else is. ``failback``: who is preferred takes over from who is less so, else whoever is active stays.
    ``quorum``: nobody is active while the group has no majority of ``potential`` members.
    """

    name: str
    type: PolicyType
    match: Mapping[str, str]
    count: int = 1
    preferred: tuple[str, ...] = ()
    preferred_only: bool = False
    failback: bool = False
    quorum: bool = False


class PolicyClashError(Exception):
    """Two policies match a group equally well; the text names both. No policy governs it, so nobody becomes active."""


def governing(policies: Iterable[Policy], group: Mapping[str, str]) -> Policy | None:
    """
    The policy of the group with this name; None: none matches.

    Raises:
        PolicyClashError: it is not clear which.
    """
    best: list[Policy] = []
    for policy in policies:
        if not policy.match.items() <= group.items():
            continue
        if not best or len(policy.match) > len(best[0].match):
            best = [policy]
        elif len(policy.match) == len(best[0].match):
            best.append(policy)
    if len(best) > 1:
        names = " and ".join(sorted(policy.name for policy in best))
        pairs = ", ".join(f"{name}={value}" for name, value in sorted(group.items()))
        raise PolicyClashError(
            f"found policies {names} for HA group {pairs}, each with {len(best[0].match)} matching criteria; allowed is one that matches best"
        )
    return best[0] if best else None


def has_quorum(members: Collection[str], potential: Collection[str]) -> bool:
    """Whether more than half of those that could be there are."""
    return 2 * len(set(members) & set(potential)) > len(set(potential))


def choose_active(
    policy: Policy,
    members: Sequence[str],
    active: Collection[str],
    *,
    activated: Collection[str] = (),
    is_quorate: bool = True,
) -> tuple[str, ...]:
    """
    Who is to be active, of ``members`` in the order in which they joined; the most wanted first.

    ``active``: who is now. ``activated``: whom an operator, or other cluster software, has activated ("No operation").
    ``is_quorate``: as ``has_quorum`` says; without it a policy with ``quorum`` wants nobody, so whoever is active stops.
    """
    if policy.quorum and not is_quorate:
        return ()
    if policy.type == "No operation":
        wanted = [name for name in members if name in activated]
    elif policy.type == "Static":
        wanted = [name for name in policy.preferred if name in members]
    else:
        wanted = _order(policy, members, active)
        if policy.type != "All active":
            wanted = wanted[: 1 if policy.type == "One of N" else policy.count]
    return tuple(wanted)


def _order(policy: Policy, members: Sequence[str], active: Collection[str]) -> list[str]:
    """Candidates, the best first: with failback by preference, without it whoever is active goes first."""
    place = {name: index for index, name in enumerate(policy.preferred)}
    candidates = [name for name in members if name in place or not policy.preferred_only]
    last = len(place)

    def rank(name: str) -> tuple[bool, int, bool]:
        is_new = name not in active
        if policy.failback:
            return False, place.get(name, last), is_new
        return is_new, place.get(name, last), False

    return sorted(candidates, key=rank)  # stable: who joined first goes first

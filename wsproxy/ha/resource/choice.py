"""
Who is to be active in an HA group, and whether this member may take a place now: from what etcd says. Pure.

Driven by ``groups`` and ``told``. The policy's rule is ``ha.policy``'s. That the limit of a policy is never passed, not even while a policy is changed,
is a claim's part: it says that no other claim, and no policy, has come since what it was decided by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsproxy.ha.policy import Policy, PolicyClashError, choose_active, governing, has_quorum
from wsproxy.ha.resource.words import DEFAULT_POLICY, GroupsState, GroupState, policy_of


@dataclass(frozen=True, slots=True)
class Choice:
    """
    ``wanted``: who is to be active. ``policy`` None: none governs, for the reason ``doubt``, and nobody is.

    ``limit``: how many may have a place at once; None: any number. ``is_alive_s`` as in the settings.
    """

    wanted: tuple[str, ...] = ()
    policy: Policy | None = None
    limit: int | None = 0
    doubt: str = ""
    is_alive_s: int = 0


def choose(state: GroupsState, resource: str, members: Sequence[str]) -> Choice:
    """For the group of this resource; ``members``: of the view, in its order."""
    group = state.groups.get(resource)
    if group is None or not group.offers:
        return Choice(doubt="no member offers it")
    if state.policies is None:
        return Choice(doubt="the stored policies are of another version of wsproxy")
    by_name = {each.name: each for each in state.policies}
    try:
        policy = governing([policy_of(each) for each in state.policies], group.attributes)
    except PolicyClashError as error:
        return Choice(doubt=str(error))
    settings = DEFAULT_POLICY if policy is None else by_name[policy.name]
    policy = policy_of(settings)
    if group.moved and policy.type in ("One of N", "M of N"):
        others = (each for each in policy.preferred if each != group.moved)
        policy = replace(policy, preferred=(group.moved, *others), failback=True)
    able = able_of(group, members)
    is_quorate = not policy.quorum or has_quorum(members, settings.members)
    wanted = choose_active(
        policy, able, set(group.places), activated=group.activated, is_quorate=is_quorate
    )
    limit = {"One of N": 1, "M of N": policy.count}.get(policy.type)
    doubt = "" if wanted else _why_nobody(policy, able, group, is_quorate=is_quorate)
    return Choice(wanted, policy, limit, doubt, settings.is_alive_s)


def able_of(group: GroupState, members: Sequence[str]) -> list[str]:
    """Who could be chosen: members that are ready for it and have not given it up."""
    found = []
    for name in members:
        offer = group.offers.get(name)
        if offer is not None and offer.phase and not offer.given_up:
            found.append(name)
    return found


def may_claim(choice: Choice, group: GroupState, me: str) -> bool:
    """
    Whether a place is free for this member; those that others still have count, whether they are wanted or not.

    Where there is no limit, who is not wanted any more has ended first: a change of mind never makes more than either mind wanted.
    """
    if me not in choice.wanted:
        return False
    others = set(group.places) - {me}
    if choice.limit is None:
        return others <= set(choice.wanted)
    return len(others) < choice.limit


def _why_nobody(policy: Policy, able: Sequence[str], group: GroupState, *, is_quorate: bool) -> str:
    if not is_quorate:
        return f"policy {policy.name}: half of its members, or more, are not there"
    if not able:
        bad = sorted(name for name, each in group.offers.items() if each.given_up)
        return f"given up by {', '.join(bad)}" if bad else "no member is ready for it"
    if policy.type == "No operation":
        return "`wsproxy ha activate` names nobody that is ready for it"
    return f"policy {policy.name}: none of {', '.join(policy.preferred)} is ready for it"

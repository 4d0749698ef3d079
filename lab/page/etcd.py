"""The etcd clusters of a site, put together from what each member says of itself.

A member that lost its connection does not know that, it only finds no leader; a member that is gone says nothing. Seen
together, they show who is up, who leads, who is cut off, and whether there is a quorum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from lab.page.reports import EtcdMember, Report

UP, ALONE, JOINING, SILENT = "up", "without a leader", "joining", "down"


def clusters(reports: Mapping[int, Report]) -> dict[str, dict[str, Any]]:
    """The clusters by id. `reports` are those of the machines that run, by VM id.

    A cluster of which only learners speak is left out for the moment: they do not know its members.
    """
    found: dict[str, dict[int, EtcdMember]] = {}
    for vmid, report in reports.items():
        if report.etcd:
            found.setdefault(report.etcd.cluster, {})[vmid] = report.etcd
    return {
        identifier: cluster
        for identifier, members in found.items()
        if (cluster := _cluster(members, reports))["voters"] > 0
    }


def _cluster(speaking: Mapping[int, EtcdMember], reports: Mapping[int, Report]) -> dict[str, Any]:
    # Whoever has a leader, and of these the one with the latest term, knows the members best.
    witness = max(speaking.values(), key=lambda member: (member.leader is not None, member.term, len(member.members)))
    leader = Counter(member.leader for member in speaking.values() if member.leader).most_common(1)
    by_id = {member.id: (vmid, member) for vmid, member in speaking.items()}
    names = {peer.id: (peer.name, peer.learner) for peer in witness.members}
    members = {
        identifier: _member(identifier, *names.get(identifier, ("", False)), by_id.get(identifier), reports)
        for identifier in {**names, **by_id}
    }
    if leader and leader[0][0] in members:
        members[leader[0][0]]["leader"] = True
    voters = [member for member in members.values() if not member["learner"]]
    up = sum(member["state"] == UP for member in voters)
    return {
        "name": next((name for vmid in speaking if (name := reports[vmid].cluster)), "etcd"),
        "voters": len(voters),
        "up": up,
        "quorum": up > len(voters) // 2,
        "members": members,
    }


def _member(
    identifier: str,
    name: str,
    learner: bool,
    speaking: tuple[int, EtcdMember] | None,
    reports: Mapping[int, Report],
) -> dict[str, Any]:
    if speaking is None:
        state = JOINING if learner else SILENT
        return {"id": identifier, "name": name, "learner": learner, "state": state, "errors": []}
    vmid, member = speaking
    return {
        "id": identifier,
        "name": name or reports[vmid].hostname or "",
        "vm": vmid,
        "learner": member.learner,
        "state": UP if member.leader else ALONE,
        "term": member.term,
        "database_bytes": member.database_bytes,
        "errors": list(member.errors),
    }

"""The picture of etcd, put together from what its members say."""

from __future__ import annotations

from collections.abc import Sequence

from lab.page import etcd
from lab.page.reports import EtcdMember, Peer, Report

NAMES = {800: "cp1", 801: "cp2", 802: "cp3"}
GONE = 803


def report(vmid: int, leader: int | None, *, term: int = 2, learner: bool = False, knows: Sequence[int] = ()) -> Report:
    peers = tuple(Peer(id=f"m{known}", name=NAMES.get(known, "gone"), learner=False) for known in knows or NAMES)
    member = EtcdMember(
        cluster="c1",
        id=f"m{vmid}",
        leader=None if leader is None else f"m{leader}",
        learner=learner,
        term=term,
        database_bytes=20480,
        errors=() if leader else ("etcdserver: no leader",),
        members=peers,
    )
    return Report(
        pid=1, booted="", stage="running", ready=True, unmet=(), hostname=NAMES[vmid], cluster="homelab",
        talos="v1.13.0", schematic="", installed=True, addresses=(), services=(), events=(), etcd=member,
    )  # fmt: skip


def states(reports: dict[int, Report]) -> dict[str, str]:
    (cluster,) = etcd.clusters(reports).values()
    return {member["name"]: member["state"] for member in cluster["members"].values()}


def test_all_are_up() -> None:
    (cluster,) = etcd.clusters({vmid: report(vmid, 801) for vmid in NAMES}).values()
    assert (cluster["name"], cluster["up"], cluster["voters"], cluster["quorum"]) == ("homelab", 3, 3, True)
    assert [member["name"] for member in cluster["members"].values() if member.get("leader")] == ["cp2"]


def test_a_member_that_is_cut_off_is_told_from_one_that_is_down() -> None:
    reports = {800: report(800, 801), 802: report(802, None)}
    assert states(reports) == {"cp1": "up", "cp2": "down", "cp3": "without a leader"}
    (cluster,) = etcd.clusters(reports).values()
    assert (cluster["up"], cluster["quorum"]) == (1, False)


def test_who_is_cut_off_does_not_decide_who_the_members_are() -> None:
    reports = {vmid: report(vmid, 801, knows=[800, 801]) for vmid in (800, 801)}
    reports[802] = report(802, None, term=9, knows=[800, 801, 802, GONE])
    (cluster,) = etcd.clusters(reports).values()
    # The removed member is shown, because its machine still runs it, and counts as one that nobody can reach.
    assert states(reports) == {"cp1": "up", "cp2": "up", "cp3": "without a leader"}
    assert cluster["quorum"] is True


def test_a_learner_does_not_vote() -> None:
    reports = {800: report(800, 800, knows=[800, 801]), 801: report(801, 800, learner=True, knows=[800, 801])}
    (cluster,) = etcd.clusters(reports).values()
    assert (cluster["up"], cluster["voters"], cluster["quorum"]) == (1, 1, True)


def test_a_learner_that_says_nothing_yet_is_on_its_way() -> None:
    first = report(800, 800)
    assert first.etcd is not None
    peers = (Peer(id="m800", name="cp1", learner=False), Peer(id="m801", learner=True))
    reports = {800: first.model_copy(update={"etcd": first.etcd.model_copy(update={"members": peers})})}
    assert states(reports) == {"cp1": "up", "": "joining"}
    (cluster,) = etcd.clusters(reports).values()
    assert (cluster["up"], cluster["voters"]) == (1, 1)


def test_a_learner_alone_does_not_speak_for_its_cluster() -> None:
    learner = report(801, 800, learner=True)
    assert learner.etcd is not None
    knows_nobody = learner.model_copy(update={"etcd": learner.etcd.model_copy(update={"members": ()})})
    assert etcd.clusters({801: knows_nobody}) == {}


def test_a_site_without_etcd_has_no_clusters() -> None:
    assert etcd.clusters({800: report(800, 800).model_copy(update={"etcd": None})}) == {}

"""Tokens, roles and the ACL tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import datacentre
from lab.faults.fault import Fault, Faults
from lab.proxmox.access import Access
from lab.proxmox.accounts import Accounts
from lab.proxmox.errors import ApiError
from lab.proxmox.tickets import Tickets

USER, TOKEN = "ops@pve", "ops@pve!ci"


def access(*acl: tuple[str, str, str, bool], separated: bool = True, revoked: frozenset[str] = frozenset()) -> Access:
    entries = [{"path": p, "subject": s, "role": r, "propagate": g} for p, s, r, g in acl]
    site: dict[str, Any] = {
        **datacentre.load().proxmox.model_dump(),
        "roles": {"Admin": ["VM.Allocate", "VM.Audit"], "Viewer": ["VM.Audit"], "NoAccess": []},
        "users": [USER],
        "tokens": [{"user": USER, "name": "ci", "privilege_separation": separated}],
        "acl": entries,
    }
    accounts = Accounts(Path("/nowhere"), datacentre.Proxmox.model_validate(site), "secret", "root's own")
    return Access(
        accounts,
        Tickets(b"key"),
        lambda: Faults(tuple(Fault(kind="privilege-revoked", target=name) for name in revoked)),
    )


def test_a_role_reaches_down_only_where_it_propagates() -> None:
    site = access(("/", USER, "Admin", True), ("/vms", USER, "Viewer", False))
    assert site.privileges(USER, "/vms/800") == {"VM.Allocate", "VM.Audit"}
    assert site.privileges(USER, "/vms") == {"VM.Audit"}


def test_the_nearest_entry_replaces_what_comes_from_above() -> None:
    site = access(("/", USER, "Admin", True), ("/vms/800", USER, "Viewer", True))
    assert site.privileges(USER, "/vms/800") == {"VM.Audit"}
    assert site.privileges(USER, "/vms/801") == {"VM.Allocate", "VM.Audit"}


def test_no_access_wins() -> None:
    site = access(("/", USER, "Admin", True), ("/vms/100", USER, "NoAccess", True), ("/vms/100", USER, "Viewer", True))
    assert site.privileges(USER, "/vms/100") == set()


def test_a_separated_token_has_what_it_and_its_user_both_have() -> None:
    acl = [("/", USER, "Admin", True), ("/vms/800", TOKEN, "Viewer", True)]
    assert access(*acl).privileges(TOKEN, "/vms/800") == {"VM.Audit"}
    assert access(*acl).privileges(TOKEN, "/vms/801") == set()
    assert access(*acl, separated=False).privileges(TOKEN, "/vms/801") == {"VM.Allocate", "VM.Audit"}
    assert access(("/", TOKEN, "Admin", True)).privileges(TOKEN, "/vms/800") == set()


def test_a_revoked_privilege_is_gone_for_everybody() -> None:
    site = access(("/", USER, "Admin", True), revoked=frozenset({"VM.Allocate"}))
    with pytest.raises(ApiError, match=r"Permission check failed \(/vms/800, VM.Allocate\)") as caught:
        site.check(USER, "/vms/800", ["VM.Audit", "VM.Allocate"])
    assert caught.value.status == 403


def test_any_of_several_privileges_is_enough() -> None:
    site = access(("/", USER, "Viewer", True))
    site.check(USER, "/vms/800", ["VM.Allocate", "VM.Audit"], any_of=True)
    with pytest.raises(ApiError, match=r"Permission check failed \(/vms/800, VM.Allocate\|VM.Clone\)"):
        site.check(USER, "/vms/800", ["VM.Allocate", "VM.Clone"], any_of=True)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "No ticket"),
        ("Bearer x", "No ticket"),
        ("PVEAPIToken=no@pve!ci=secret", "no such user ('no@pve')"),
        ("PVEAPIToken=ops@pve!no=secret", "no such token 'no' for user 'ops@pve'"),
        ("PVEAPIToken=ops@pve!ci=wrong", "invalid token value!"),
    ],
)
def test_a_stranger_is_told_what_is_wrong_with_the_token(header: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        access().authenticate("GET", "/version", {"Authorization": header})
    assert (caught.value.status, caught.value.message) == (401, words)


def test_a_token_is_known_by_its_full_name() -> None:
    assert access().authenticate("GET", "/version", {"Authorization": "PVEAPIToken=ops@pve!ci=secret"}) == TOKEN


def test_the_lab_token_has_no_more_than_the_documented_role() -> None:
    site = datacentre.load().proxmox
    assert {role for entry in site.acl for role in [entry.role]} == {"ClusterStack"}
    assert all(token.privilege_separation for token in site.tokens)

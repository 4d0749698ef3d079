"""Logging in with a password, and the calls about users, tokens, groups, roles and permissions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Lab, MakeLab

USERS, ACL = "/access/users", "/access/acl"


async def refusal(lab: Lab, method: str, path: str, /, **parameters: object) -> tuple[int, str]:
    status, body = await lab.answer(method, path, **parameters)
    return status, body["reason"]


async def test_a_password_brings_a_ticket_that_serves_as_one(lab: Lab) -> None:
    answer = await lab.call("POST", "/access/ticket", username="root", password=lab.directory.root_password())
    assert (answer["username"], answer["ticket"].split(":")[:2]) == ("root@pam", ["PVE", "root@pam"])
    again = await lab.call("POST", "/access/ticket", username="root@pam", password=answer["ticket"])
    assert again["username"] == "root@pam"
    assert await refusal(lab, "POST", "/access/ticket", username="root@pam", password="guess") == (
        401,
        "authentication failure",
    )


async def test_root_may_do_anything_and_only_with_its_ticket(lab: Lab) -> None:
    assert await refusal(lab, "PUT", "/cluster/options", language="de") == (
        403,
        "Permission check failed (/, Sys.Modify)",
    )
    await lab.log_in()
    await lab.call("PUT", "/cluster/options", language="de")
    lab.headers["CSRFPreventionToken"] = "no such token"
    assert await refusal(lab, "PUT", "/cluster/options", language="fr") == (
        401,
        "Permission denied - invalid csrf token",
    )
    assert (await lab.call("GET", "/cluster/options"))["language"] == "de"
    lab.headers["Cookie"] = lab.headers["Cookie"][:-3]
    assert await refusal(lab, "GET", "/cluster/options") == (401, "permission denied - invalid PVE ticket")


async def test_passwords_and_tickets_are_in_no_log(lab: Lab) -> None:
    await lab.log_in()
    await lab.call("POST", USERS, userid="ops@pve", password="hunter2-hunter2")
    made = await lab.call("POST", f"{USERS}/ops@pve/token/ci")
    await lab.log_in("ops@pve", "hunter2-hunter2")
    change = {"userid": "ops@pve", "password": "correct-horse", "confirmation__password": "hunter2-hunter2"}
    await lab.call("PUT", "/access/password", **change)
    text = lab.directory.requests.read_text()
    for secret in (
        lab.directory.root_password(),
        "hunter2",
        "horse",
        made["value"],
        lab.headers["CSRFPreventionToken"],
    ):
        assert secret not in text


async def test_a_user_a_group_and_a_token_come_to_their_rights(lab: Lab, make_lab: MakeLab) -> None:
    await lab.log_in()
    await lab.call("POST", "/access/groups", groupid="operators", comment="of the night")
    await lab.call("POST", "/access/roles", roleid="Looker", privs="VM.Audit")
    await lab.call(
        "POST", USERS, userid="ops@pve", password="hunter2-hunter2", groups="operators", email="o@example.org"
    )
    await lab.call("PUT", ACL, path="/vms", roles="Looker", groups="operators")
    token = await lab.call("POST", f"{USERS}/ops@pve/token/ci", privsep=0)
    assert token["full-tokenid"] == "ops@pve!ci"

    again = await make_lab()  # after a restart
    again.headers = {"Authorization": f"PVEAPIToken=ops@pve!ci={token['value']}"}
    assert [vm["vmid"] for vm in await again.call("GET", "/nodes/ms01/qemu")] == [100]
    await again.log_in("ops@pve", "hunter2-hunter2")
    assert [vm["vmid"] for vm in await again.call("GET", "/nodes/ms01/qemu")] == [100]

    await again.log_in()
    assert (await again.call("GET", f"{USERS}/ops@pve"))["groups"] == ["operators"]
    assert await again.call("GET", "/access/groups/operators") == {"members": ["ops@pve"], "comment": "of the night"}
    assert {"path": "/vms", "type": "group", "ugid": "operators", "roleid": "Looker", "propagate": 1} in (
        await again.call("GET", ACL)
    )
    await again.call("PUT", ACL, path="/vms", roles="Looker", groups="operators", delete=1)
    again.headers = {"Authorization": f"PVEAPIToken=ops@pve!ci={token['value']}"}
    assert await again.call("GET", "/nodes/ms01/qemu") == []


async def test_a_user_who_is_gone_or_locked_out_gets_no_answer(lab: Lab) -> None:
    await lab.log_in()
    root = lab.headers
    await lab.call("POST", USERS, userid="ops@pve", password="hunter2-hunter2")
    await lab.log_in("ops@pve", "hunter2-hunter2")
    theirs = lab.headers
    for change, words in (
        ({"enable": 0}, "user 'ops@pve' is disabled"),
        ({"enable": 1, "expire": 1}, "user 'ops@pve' access expired"),
    ):
        lab.headers = root
        await lab.call("PUT", f"{USERS}/ops@pve", **change)
        lab.headers = theirs
        assert await refusal(lab, "GET", "/version") == (401, words)
    lab.headers = root
    await lab.call("DELETE", f"{USERS}/ops@pve")
    lab.headers = theirs
    assert await refusal(lab, "GET", "/version") == (401, "no such user ('ops@pve')")


async def test_a_token_that_expired_gets_no_answer(lab: Lab) -> None:
    await lab.log_in()
    token = await lab.call("POST", f"{USERS}/root@pam/token/old", expire=1)
    lab.headers = {"Authorization": f"PVEAPIToken=root@pam!old={token['value']}"}
    assert await refusal(lab, "GET", "/version") == (401, "token 'old' access expired")


@pytest.mark.parametrize(
    ("method", "path", "parameters", "answer"),
    [
        ("POST", USERS, {"userid": "root@pam"}, (500, "create user failed: user 'root@pam' already exists")),
        (
            "POST",
            USERS,
            {"userid": "a@ldap"},
            (500, "create user failed: authentication domain 'ldap' does not exist"),
        ),
        ("POST", USERS, {"userid": "a@pve", "groups": "g"}, (500, "create user failed: no such group 'g'")),
        ("GET", f"{USERS}/a@pve", {}, (500, "no such user ('a@pve')")),
        ("GET", f"{USERS}/root@pam/token/xx", {}, (500, "no such token 'xx' for user 'root@pam'")),
        ("DELETE", "/access/groups/g", {}, (500, "delete group failed: group 'g' does not exist")),
        ("POST", "/access/roles", {"roleid": "PVEMine"}, (400, "Parameter verification failed.")),
        (
            "POST",
            "/access/roles",
            {"roleid": "R", "privs": "VM.Fly"},
            (500, "create role failed: invalid privilege 'VM.Fly'"),
        ),
        (
            "DELETE",
            "/access/roles/Administrator",
            {},
            (500, "auto-generated role 'Administrator' cannot be deleted"),
        ),
        ("PUT", ACL, {"path": "/", "roles": "NoAccess"}, (400, "Parameter verification failed.")),
        (
            "PUT",
            ACL,
            {"path": "/moon", "roles": "NoAccess", "users": "root@pam"},
            (400, "Parameter verification failed."),
        ),
        (
            "PUT",
            ACL,
            {"path": "/", "roles": "Nobody", "users": "root@pam"},
            (500, "ACL update failed: role 'Nobody' does not exist"),
        ),
    ],
)
async def test_what_cannot_be_is_refused(
    lab: Lab, method: str, path: str, parameters: dict[str, object], answer: tuple[int, str]
) -> None:
    await lab.log_in()
    assert await refusal(lab, method, path, **parameters) == answer


async def test_nobody_hands_out_more_than_they_have(lab: Lab) -> None:
    """The lab's token may make VMs, so it may let others see to one; it cannot make them masters of it."""
    status, body = await lab.answer("PUT", ACL, path="/vms/800", roles="PVEVMAdmin", users="pulumi@pve")
    assert (status, list(body["errors"])) == (400, ["role"])
    await lab.call("PUT", ACL, path="/vms/800", roles="NoAccess", users="pulumi@pve")
    assert (await refusal(lab, "PUT", ACL, path="/", roles="NoAccess", users="pulumi@pve"))[0] == 403


async def test_who_may_not_manage_users_sees_themselves_alone(lab: Lab) -> None:
    assert (await refusal(lab, "POST", USERS, userid="a@pve"))[0] == 403
    await lab.log_in()
    await lab.call("POST", USERS, userid="ops@pve", password="hunter2-hunter2")
    await lab.log_in("ops@pve", "hunter2-hunter2")
    assert [user["userid"] for user in await lab.call("GET", USERS)] == ["ops@pve"]
    assert (await refusal(lab, "POST", f"{USERS}/root@pam/token/xx"))[0] == 403
    assert (await lab.call("POST", f"{USERS}/ops@pve/token/mine"))["full-tokenid"] == "ops@pve!mine"


async def test_a_password_is_changed_by_who_knows_it(lab: Lab) -> None:
    await lab.log_in()
    await lab.call("POST", USERS, userid="ops@pve", password="hunter2-hunter2")
    await lab.log_in("ops@pve", "hunter2-hunter2")
    change = ("PUT", "/access/password")
    wanted = {"userid": "ops@pve", "password": "correct-horse"}
    assert (await refusal(lab, *change, **wanted, confirmation__password="wrong-one"))[0] == 401
    await lab.call(*change, **wanted, confirmation__password="hunter2-hunter2")
    await lab.log_in("ops@pve", "correct-horse")


def test_what_is_kept_is_readable_by_its_owner_alone(lab: Lab) -> None:
    lab.cluster.access.accounts.save()
    file: Path = lab.directory.proxmox / "access.json"
    assert file.stat().st_mode & 0o077 == 0
    assert lab.directory.root_password() not in json.dumps(json.loads(file.read_text()))

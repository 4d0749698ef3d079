"""The calls under /access: logging in, users, tokens, groups, roles, permissions."""

from __future__ import annotations

import re
from typing import Any

from lab.proxmox import formats
from lab.proxmox.accounts import REALMS, ROOT, Entry, User
from lab.proxmox.cluster import Cluster, Request
from lab.proxmox.errors import failure, parameter_error, unauthorized
from lab.proxmox.privileges import BUILT_IN_ROLES
from lab.proxmox.registry import call

SEES_USERS = ["User.Modify", "Sys.Audit"]
ACL_PATH = re.compile(
    r"/|/access(/groups(/[^/]+)?|/realm(/[^/]+)?)?|/nodes(/[^/]+)?|/pool(/[A-Za-z0-9._-]+){0,3}"
    r"|/sdn(/(controllers|dns|ipams|zones|fabrics)(/[^/]+){0,3})?|/storage(/[^/]+)?|/vms(/\d{3,})?"
    r"|/mapping(/(cpu|dir|hwrng|notifications|pci|usb)(/[^/]+)?)?"
)


@call("POST /access/ticket")
async def login(cluster: Cluster, request: Request) -> Any:
    """A name without a realm is one of the realm that is asked for, else of PAM; a ticket serves as password too."""
    access, wanted = cluster.access, request.parameters
    name = wanted["username"]
    if "@" not in name:
        name = f"{name}@{wanted.get('realm', 'pam')}"
    if wanted["password"].startswith(f"PVE:{name}:"):
        if access.tickets.user_of(wanted["password"]) != name:
            raise unauthorized("authentication failure")
    elif not access.accounts.knows(name, wanted["password"]):
        raise unauthorized("authentication failure")
    return {
        "username": name,
        "ticket": access.tickets.ticket(name),
        "CSRFPreventionToken": access.tickets.csrf_token(name),
        "clustername": cluster.datacentre.proxmox.cluster,
        "cap": access.capabilities(name),
    }


@call("GET /access/domains")
async def realms(_: Cluster, __: Request) -> Any:
    return [{"realm": name, "type": kind, "comment": comment} for name, (kind, comment) in REALMS.items()]


@call("GET /access/permissions")
async def permissions(cluster: Cluster, request: Request) -> Any:
    """Everyone may see their own; a token's user may see the token's."""
    subject = request.parameters.get("userid", request.user)
    if subject.partition("!")[0] != request.user.partition("!")[0]:
        cluster.access.check(request.user, "/access", ["Sys.Audit"])
    if path := request.parameters.get("path"):
        return {path: dict.fromkeys(sorted(cluster.access.privileges(subject, path)), 1)}
    return cluster.access.report(subject)


@call("PUT /access/password")
async def change_password(cluster: Cluster, request: Request) -> Any:
    """Whoever is not root has to say the password that they have now."""
    accounts, wanted = cluster.access.accounts, request.parameters
    if request.user != ROOT:
        if "confirmation-password" not in wanted:
            raise parameter_error({"confirmation-password": "confirmation password is missing"})
        if not accounts.knows(request.user, wanted["confirmation-password"]):
            raise unauthorized("authentication failure")
    accounts.set_password(wanted["userid"], wanted["password"])


@call("GET /access/users")
async def users(cluster: Cluster, request: Request) -> Any:
    access, wanted = cluster.access, request.parameters
    shown: list[dict[str, Any]] = []
    for name, user in sorted(access.accounts.users.items()):
        visible = name == request.user or any(
            access.allowed(request.user, path, SEES_USERS, any_of=True)
            for path in ("/access/groups", *(f"/access/groups/{group}" for group in user.groups))
        )
        if not visible or wanted.get("enabled", str(user.enable)) != str(user.enable):
            continue
        entry = {"userid": name, "realm-type": REALMS[name.rpartition("@")[2]][0], **_entry(user)}
        if request.flag("full"):
            tokens = access.accounts.tokens_of(name)
            entry |= {
                "groups": ",".join(user.groups),
                "tokens": [{"tokenid": token, **value.shown()} for token, value in sorted(tokens.items())],
            }
        shown.append(entry)
    return shown


@call("POST /access/users")
async def add_user(cluster: Cluster, request: Request) -> Any:
    groups = formats.split_list(request.parameters.get("groups", ""))
    cluster.access.accounts.add_user(request.parameters["userid"], request.parameters, groups)


@call("GET /access/users/{userid}")
async def user(cluster: Cluster, request: Request) -> Any:
    name = request.parameters["userid"]
    found, tokens = cluster.access.accounts.user(name), cluster.access.accounts.tokens_of(name)
    shown = {token: value.shown() for token, value in tokens.items()}
    return {**_entry(found), "groups": found.groups, **({"tokens": shown} if shown else {})}


@call("PUT /access/users/{userid}")
async def update_user(cluster: Cluster, request: Request) -> Any:
    wanted = request.parameters
    groups = formats.split_list(wanted["groups"]) if "groups" in wanted else None
    cluster.access.accounts.update_user(wanted["userid"], wanted, groups)


@call("DELETE /access/users/{userid}")
async def remove_user(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.remove_user(request.parameters["userid"])


@call("GET /access/users/{userid}/token")
async def tokens(cluster: Cluster, request: Request) -> Any:
    name = request.parameters["userid"]
    cluster.access.accounts.user(name)
    found = cluster.access.accounts.tokens_of(name)
    return [{"tokenid": token, **value.shown()} for token, value in sorted(found.items())]


@call("GET /access/users/{userid}/token/{tokenid}")
async def token(cluster: Cluster, request: Request) -> Any:
    return cluster.access.accounts.token(*_token(request)).shown()


@call("POST /access/users/{userid}/token/{tokenid}")
async def add_token(cluster: Cluster, request: Request) -> Any:
    user, name = _token(request)
    made = cluster.access.accounts.add_token(user, name, request.parameters)
    return {"full-tokenid": f"{user}!{name}", "info": made.shown(), "value": made.secret}


@call("PUT /access/users/{userid}/token/{tokenid}")
async def update_token(cluster: Cluster, request: Request) -> Any:
    user, name = _token(request)
    deleted = formats.split_list(request.parameters.get("delete", ""))
    changed = cluster.access.accounts.update_token(user, name, request.parameters, deleted)
    if request.flag("regenerate"):
        return {**changed.shown(), "full-tokenid": f"{user}!{name}", "value": changed.secret}
    return changed.shown()


@call("DELETE /access/users/{userid}/token/{tokenid}")
async def remove_token(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.remove_token(*_token(request))


@call("GET /access/groups")
async def groups(cluster: Cluster, request: Request) -> Any:
    access, needed = cluster.access, [*SEES_USERS, "Group.Allocate"]
    return [
        {"groupid": name, "users": ",".join(access.accounts.members(name)), **({"comment": comment} if comment else {})}
        for name, comment in access.accounts.groups.items()
        if access.allowed(request.user, f"/access/groups/{name}", needed, any_of=True)
    ]


@call("POST /access/groups")
async def add_group(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.add_group(request.parameters["groupid"], request.parameters.get("comment", ""))


@call("GET /access/groups/{groupid}")
async def group(cluster: Cluster, request: Request) -> Any:
    name, accounts = request.parameters["groupid"], cluster.access.accounts
    comment = accounts.comment_of_group(name)
    return {"members": accounts.members(name), **({"comment": comment} if comment else {})}


@call("PUT /access/groups/{groupid}")
async def update_group(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.update_group(request.parameters["groupid"], request.parameters.get("comment"))


@call("DELETE /access/groups/{groupid}")
async def remove_group(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.remove_group(request.parameters["groupid"])


@call("GET /access/roles")
async def roles(cluster: Cluster, _: Request) -> Any:
    return [
        {"roleid": name, "privs": ",".join(sorted(privileges)), "special": int(name in BUILT_IN_ROLES)}
        for name, privileges in sorted(cluster.access.accounts.roles().items())
    ]


@call("POST /access/roles")
async def add_role(cluster: Cluster, request: Request) -> Any:
    privileges = formats.split_list(request.parameters.get("privs", ""))
    cluster.access.accounts.add_role(request.parameters["roleid"], privileges)


@call("GET /access/roles/{roleid}")
async def role(cluster: Cluster, request: Request) -> Any:
    name, known = request.parameters["roleid"], cluster.access.accounts.roles()
    if name not in known:
        raise failure(f"role '{name}' does not exist")
    return dict.fromkeys(sorted(known[name]), 1)


@call("PUT /access/roles/{roleid}")
async def update_role(cluster: Cluster, request: Request) -> Any:
    privileges = formats.split_list(request.parameters.get("privs", ""))
    name = request.parameters["roleid"]
    cluster.access.accounts.update_role(name, privileges, append=request.flag("append"))


@call("DELETE /access/roles/{roleid}")
async def remove_role(cluster: Cluster, request: Request) -> Any:
    cluster.access.accounts.remove_role(request.parameters["roleid"])


@call("GET /access/acl")
async def access_list(cluster: Cluster, request: Request) -> Any:
    """What the caller may change; all of it to those who may look at it."""
    access = cluster.access
    everything = access.allowed(request.user, "/access", ["Sys.Audit"])
    return [
        {
            "path": entry.path,
            "type": entry.kind,
            "ugid": entry.subject,
            "roleid": entry.role,
            "propagate": int(entry.propagate),
        }
        for entry in access.accounts.acl
        if everything or access.may_grant(request.user, entry.path)
    ]


@call("PUT /access/acl")
async def update_access_list(cluster: Cluster, request: Request) -> Any:
    wanted, accounts = request.parameters, cluster.access.accounts
    subjects = [name for kind in ("groups", "users", "tokens") for name in formats.split_list(wanted.get(kind, ""))]
    if not subjects:
        words = "either 'users', 'groups' or 'tokens' is required."
        raise parameter_error(dict.fromkeys(("users", "groups", "tokens"), words))
    path = "/" + "/".join(part for part in wanted["path"].split("/") if part)
    if not request.flag("delete") and not ACL_PATH.fullmatch(path):
        raise parameter_error({"path": f"invalid ACL path '{wanted['path']}'"})
    for role_name in formats.split_list(wanted["roles"]):
        _check_handed_out(cluster, request, path, role_name)
        for subject in subjects:
            entry = Entry(path, subject, role_name, wanted.get("propagate", "1") == "1")
            if request.flag("delete"):
                accounts.revoke(entry)
            else:
                accounts.grant(entry)


def _check_handed_out(cluster: Cluster, request: Request, path: str, role_name: str) -> None:
    """Who may not change permissions as such hands out no more than they have."""
    held = cluster.access.privileges(request.user, path)
    privileges = cluster.access.accounts.roles().get(role_name, frozenset())
    if "Permissions.Modify" not in held and not privileges <= held:
        verb = "remove" if request.flag("delete") else "add"
        words = f"Cannot {verb} role '{role_name}' - requires 'Permissions.Modify' or superset of privileges."
        raise parameter_error({"role": words})


def _token(request: Request) -> tuple[str, str]:
    return request.parameters["userid"], request.parameters["tokenid"]


def _entry(user: User) -> dict[str, Any]:
    return {"enable": user.enable, "expire": user.expire or 0, **user.texts}

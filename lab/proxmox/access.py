"""Who asks, and what they may: tokens and tickets, roles along the ACL tree, privilege separation.

Owns Proxmox's permission model, and the checks that its API description states. Privileges that a test has revoked
count for nobody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

from lab.faults.fault import Faults
from lab.proxmox.accounts import ROOT, Accounts
from lab.proxmox.errors import ApiError, not_permitted, unauthorized
from lab.proxmox.formats import split_list
from lab.proxmox.tickets import Tickets

TOP_LEVEL_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
ALSO_ALLOWS_GRANTING = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}
"""Who may do this below a path may also hand out rights there."""


class Access:
    def __init__(self, accounts: Accounts, tickets: Tickets, faults: Callable[[], Faults]) -> None:
        self.accounts = accounts
        self.tickets = tickets
        self._faults = faults
        self.pool_of: Callable[[int], str | None] = lambda _: None

    def authenticate(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """The user, or the full id (`user@realm!token`) of the token, that signs a request; else 401."""
        match = re.fullmatch(r"PVEAPIToken=(([^\s!]+)!([^\s=]+))=(\S+)", headers.get("Authorization", ""))
        if match is not None:
            return self._by_token(*match.groups())
        cookie = SimpleCookie(headers.get("Cookie", "")).get("PVEAuthCookie")
        if cookie is None or not cookie.value:
            raise unauthorized("No ticket")
        user = self.tickets.user_of(unquote(cookie.value))
        if user not in self.accounts.users:
            raise unauthorized(f"no such user ('{user}')")
        self._check_enabled(user)
        if method != "GET" and not path.endswith("/upload"):  # a browser's form cannot send the header
            self.tickets.check_csrf_token(user, headers.get("CSRFPreventionToken", ""))
        return user

    def privileges(self, user: str, path: str) -> frozenset[str]:
        """What a user or token may do on a path. A separated token has what it and its user both have."""
        granted = self._granted(user, path)
        token = self.accounts.tokens.get(user)
        if token is not None:
            owner = self._granted(user.partition("!")[0], path)
            granted = owner & granted if token.privsep else owner
        return granted - self._faults().revoked_privileges

    def allowed(self, user: str, path: str, privileges: Sequence[str], *, any_of: bool = False) -> bool:
        held = self.privileges(user, path)
        return any(p in held for p in privileges) if any_of else all(p in held for p in privileges)

    def check(self, user: str, path: str, privileges: Sequence[str], *, any_of: bool = False) -> None:
        """Raise 403 naming the path and the (first) privilege that is missing."""
        held = self.privileges(user, path)
        if any_of:
            if not held.intersection(privileges):
                raise not_permitted(f"{path}, {'|'.join(privileges)}")
            return
        for privilege in privileges:
            if privilege not in held:
                raise not_permitted(f"{path}, {privilege}")

    def check_vm(
        self, user: str, vmid: int, pool: str | None, privileges: Sequence[str], *, any_of: bool = False
    ) -> None:
        """A right on the VM, or on the pool it is about to enter."""
        if pool and self.allowed(user, f"/pool/{pool}", privileges, any_of=any_of):
            return
        self.check(user, f"/vms/{vmid}", privileges, any_of=any_of)

    def check_call(self, permissions: Mapping[str, Any] | None, user: str, parameters: Mapping[str, str]) -> None:
        """The check that the API description itself demands of a call."""
        if user == ROOT:
            return
        if permissions is None:
            raise not_permitted("user != root@pam")
        if permissions.get("user") in ("all", "world"):
            return
        if "check" not in permissions:
            raise not_permitted()
        self._evaluate(permissions["check"], user, parameters)

    def may_grant(self, user: str, path: str) -> bool:
        """Whether somebody may change the ACL at a path."""
        return self.allowed(user, path or "/access", _needed_to_grant(path), any_of=True)

    def capabilities(self, user: str) -> dict[str, dict[str, int]]:
        """What a login tells a web interface: which parts of it this user has a use for."""
        parts = {"access": "/access", "dc": "/", "mapping": "/mapping", "nodes": "/nodes", "sdn": "/sdn"}
        paths = {**parts, "storage": "/storage", "vms": "/vms"}
        return {part: dict.fromkeys(sorted(self.privileges(user, path)), 1) for part, path in paths.items()}

    def report(self, user: str) -> dict[str, dict[str, int]]:
        """What `GET /access/permissions` tells: every path that the ACL mentions, with the privileges held there."""
        paths = {*TOP_LEVEL_PATHS, *(entry.path for entry in self.accounts.acl)}
        held = {path: self.privileges(user, path) for path in sorted(paths)}
        return {path: dict.fromkeys(sorted(names), 1) for path, names in held.items() if names}

    def _by_token(self, token_id: str, user: str, name: str, secret: str) -> str:
        if user not in self.accounts.users:
            raise unauthorized(f"no such user ('{user}')")
        if token_id not in self.accounts.tokens:
            raise unauthorized(f"no such token '{name}' for user '{user}'")
        self._check_enabled(user)
        expires = self.accounts.tokens[token_id].expire
        if (expires and expires < time.time()) or token_id in self._faults().expired_tokens:
            raise unauthorized(f"token '{name}' access expired")
        if secret != self.accounts.tokens[token_id].secret:
            raise unauthorized("invalid token value!")
        return token_id

    def _check_enabled(self, name: str) -> None:
        user = self.accounts.users[name]
        if not user.enable:
            raise unauthorized(f"user '{name}' is disabled")
        if user.expire and user.expire < time.time():
            raise unauthorized(f"user '{name}' access expired")

    def _granted(self, subject: str, path: str) -> frozenset[str]:
        """The privileges of the roles that a user or token has at a path by itself."""
        known = self.accounts.roles()
        roles = {"Administrator"} if subject == ROOT else self._roles(subject, path)
        if (match := re.fullmatch(r"/vms/(\d+)", path)) and (pool := self.pool_of(int(match[1]))):
            roles = roles | self._roles(subject, f"/pool/{pool}")
        if "NoAccess" in roles:
            return frozenset()
        return frozenset().union(*(known.get(role, frozenset()) for role in roles))

    def _roles(self, subject: str, path: str) -> set[str]:
        """The nearest entry replaces what comes from above; at the same place, a user's own replace their groups'."""
        user = self.accounts.users.get(subject)
        groups = user.groups if user else []
        roles: set[str] = set()
        for ancestor in _ancestry(path):
            here = [e for e in self.accounts.acl if e.path == ancestor and (e.propagate or ancestor == path)]
            own = [entry for entry in here if entry.subject == subject]
            if found := own or [entry for entry in here if entry.subject in groups]:
                roles = {entry.role for entry in found}
        return roles

    def _evaluate(self, check: Sequence[Any], user: str, parameters: Mapping[str, str]) -> None:
        test = check[0]
        if test == "and":
            for part in check[1:]:
                self._evaluate(part, user, parameters)
        elif test == "or":
            if not any(self._passes(part, user, parameters) for part in check[1:]):
                raise not_permitted()
        elif test == "perm":
            options = dict(zip(check[3::2], check[4::2], strict=True))
            required = options.get("require_param")
            if required and required not in parameters:
                raise not_permitted()
            self.check(user, _filled(check[1], parameters), check[2], any_of=bool(options.get("any")))
        elif test == "perm-modify":
            path = _filled(check[1], parameters)
            self.check(user, path or "/access", _needed_to_grant(path), any_of=True)
        elif test == "userid-param":
            self._evaluate_user(check[1], user, parameters["userid"])
        elif test == "userid-group":
            self._evaluate_groups(check, user, parameters)
        else:
            raise not_permitted()

    def _evaluate_user(self, test: str, user: str, named: str) -> None:
        if test == "self":
            self.accounts.user(named)
            if user != named:
                raise not_permitted()
        else:
            self.check(user, f"/access/realm/{named.rpartition('@')[2]}", [test])

    def _evaluate_groups(self, check: Sequence[Any], user: str, parameters: Mapping[str, str]) -> None:
        """A right on all groups, or on the groups that the named user is in or is to be in."""
        privileges, options = check[1], dict(zip(check[2::2], check[3::2], strict=True))
        new = options.get("groups_param") == "create"
        named = None if new else self.accounts.user(parameters["userid"])
        if self.allowed(user, "/access/groups", privileges, any_of=True):
            return
        mine = [g for g in self.accounts.groups if self.allowed(user, f"/access/groups/{g}", privileges, any_of=True)]
        if "groups_param" in options:
            wanted = split_list(parameters.get("groups", ""))
            if not wanted:
                raise not_permitted(f"/access/groups, {', '.join(privileges)}")
            for group in wanted:
                if group not in mine:
                    raise not_permitted(f"/access/groups/{group}, {', '.join(privileges)}")
        if named is not None and not set(named.groups) & set(mine):
            raise not_permitted()

    def _passes(self, check: Sequence[Any], user: str, parameters: Mapping[str, str]) -> bool:
        try:
            self._evaluate(check, user, parameters)
        except ApiError:
            return False
        return True


def _needed_to_grant(path: str) -> list[str]:
    kind = path.split("/")[1] if path.count("/") > 1 else ""
    return ["Permissions.Modify", *([ALSO_ALLOWS_GRANTING[kind]] if kind in ALSO_ALLOWS_GRANTING else [])]


def _filled(template: str, parameters: Mapping[str, str]) -> str:
    return re.sub(r"\{(.+?)\}", lambda name: parameters.get(name[1], ""), template)


def _ancestry(path: str) -> Iterator[str]:
    """`/`, `/vms`, `/vms/800`."""
    yield "/"
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])

"""Who asks, and what they may: API tokens, roles, the ACL tree, privilege separation.

Owns Proxmox's permission model. Users, roles and ACL come from the datacentre file; privileges that a test has
revoked count for nobody. Tickets (password logins) are not built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lab.datacentre import Proxmox
from lab.proxmox.errors import ApiError, not_permitted, unauthorized

TOP_LEVEL_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


class Access:
    def __init__(self, site: Proxmox, token_secret: str, revoked: Callable[[], frozenset[str]]) -> None:
        self._site = site
        self._token_secret = token_secret
        self._revoked = revoked
        self._tokens = {token.id: token for token in site.tokens}
        self.pool_of: Callable[[int], str | None] = lambda _: None

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """The full id (`user@realm!token`) of whoever signs a request, or 401 in Proxmox's words."""
        match = re.fullmatch(r"PVEAPIToken=(([^\s!]+)!([^\s=]+))=(\S+)", headers.get("Authorization", ""))
        if match is None:
            raise unauthorized("No ticket")
        token_id, user, name, secret = match.groups()
        if user not in self._site.users:
            raise unauthorized(f"no such user ('{user}')")
        if token_id not in self._tokens:
            raise unauthorized(f"no such token '{name}' for user '{user}'")
        if secret != self._token_secret:
            raise unauthorized("invalid token value!")
        return token_id

    def privileges(self, user: str, path: str) -> frozenset[str]:
        """What a user or token may do on a path. A separated token has what it and its user both have."""
        granted = self._granted(user, path)
        token = self._tokens.get(user)
        if token is not None:
            owner = self._granted(token.user, path)
            granted = owner & granted if token.privilege_separation else owner
        return granted - self._revoked()

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
        if permissions is None:
            raise not_permitted("user != root@pam")
        if permissions.get("user") in ("all", "world"):
            return
        if "check" not in permissions:
            raise not_permitted()
        self._evaluate(permissions["check"], user, parameters)

    def report(self, user: str) -> dict[str, dict[str, int]]:
        """What `GET /access/permissions` tells: every path that the ACL mentions, with the privileges held there."""
        paths = {*TOP_LEVEL_PATHS, *(entry.path for entry in self._site.acl)}
        held = {path: self.privileges(user, path) for path in sorted(paths)}
        return {path: dict.fromkeys(sorted(names), 1) for path, names in held.items() if names}

    def _granted(self, subject: str, path: str) -> frozenset[str]:
        roles: set[str] = set()
        for ancestor in _ancestry(path):
            entries = [
                entry
                for entry in self._site.acl
                if entry.path == ancestor and entry.subject == subject and (entry.propagate or ancestor == path)
            ]
            if entries:  # the nearest entry replaces what comes from above
                roles = {entry.role for entry in entries}
        if (match := re.fullmatch(r"/vms/(\d+)", path)) and (pool := self.pool_of(int(match[1]))):
            roles |= {e.role for e in self._site.acl if e.path == f"/pool/{pool}" and e.subject == subject}
        if "NoAccess" in roles:
            return frozenset()
        return frozenset().union(*(self._site.roles.get(role, frozenset()) for role in roles))

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
            path = re.sub(r"\{(.+?)\}", lambda name: parameters.get(name[1], ""), check[1])
            self.check(user, path, check[2], any_of=bool(options.get("any")))
        else:
            raise not_permitted()

    def _passes(self, check: Sequence[Any], user: str, parameters: Mapping[str, str]) -> bool:
        try:
            self._evaluate(check, user, parameters)
        except ApiError:
            return False
        return True


def _ancestry(path: str) -> Iterator[str]:
    """`/`, `/vms`, `/vms/800`."""
    yield "/"
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])

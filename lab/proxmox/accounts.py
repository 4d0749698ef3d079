"""Users, groups, roles, API tokens and the access control list, as /etc/pve/user.cfg has them.

Owns what is configured, and what Proxmox refuses to configure. The site's own come from the datacentre file until
somebody changes one. What follows from it for a request is lab.proxmox.access' business.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.datacentre import Proxmox
from lab.directory import read_json, write_text
from lab.proxmox.errors import failure, parameter_error
from lab.proxmox.privileges import BUILT_IN_ROLES, PRIVILEGES

ROOT = "root@pam"
REALMS: Mapping[str, tuple[str, str]] = {
    "pam": ("pam", "Linux PAM standard authentication"),
    "pve": ("pve", "Proxmox VE authentication server"),
}
"""The realms that every Proxmox has: type and comment."""
USER_TEXTS = ("firstname", "lastname", "email", "comment", "keys")


@dataclass
class User:
    enable: int = 1
    expire: int | None = None
    texts: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    password: str | None = None
    """Salt and hash, in hexadecimal."""


@dataclass
class Token:
    privsep: int
    secret: str
    expire: int | None = None
    comment: str | None = None

    def shown(self) -> dict[str, Any]:
        values = {"privsep": self.privsep, "expire": self.expire, "comment": self.comment}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Entry:
    """One line of the access control list. The subject is a user, a group or a token."""

    path: str
    subject: str
    role: str
    propagate: bool

    @property
    def kind(self) -> str:
        if "@" not in self.subject:
            return "group"
        return "token" if "!" in self.subject else "user"


class Accounts:
    def __init__(self, path: Path, site: Proxmox, token_secret: str, root_password: str) -> None:
        self._path = path
        self._root_password = root_password
        kept = read_json(path)
        if kept is None:
            self.users = {user: User() for user in (ROOT, *site.users)}
            self.groups: dict[str, str] = {}
            self.custom_roles = {name: sorted(privileges) for name, privileges in site.roles.items()}
            self.tokens = {token.id: Token(int(token.privilege_separation), token_secret) for token in site.tokens}
            self.acl = [Entry(entry.path, entry.subject, entry.role, entry.propagate) for entry in site.acl]
        else:
            self.users = {name: User(**user) for name, user in kept["users"].items()}
            self.groups = kept["groups"]
            self.custom_roles = kept["roles"]
            self.tokens = {name: Token(**token) for name, token in kept["tokens"].items()}
            self.acl = [Entry(**entry) for entry in kept["acl"]]

    def roles(self) -> dict[str, frozenset[str]]:
        return {**{name: frozenset(held) for name, held in self.custom_roles.items()}, **BUILT_IN_ROLES}

    def user(self, name: str) -> User:
        if name not in self.users:
            raise failure(f"no such user ('{name}')")
        return self.users[name]

    def token(self, user: str, name: str) -> Token:
        self.user(user)
        if f"{user}!{name}" not in self.tokens:
            raise failure(f"no such token '{name}' for user '{user}'")
        return self.tokens[f"{user}!{name}"]

    def tokens_of(self, user: str) -> dict[str, Token]:
        found = (name.partition("!") for name in self.tokens)
        return {name: self.tokens[f"{owner}!{name}"] for owner, _, name in found if owner == user}

    def members(self, group: str) -> list[str]:
        return sorted(name for name, user in self.users.items() if group in user.groups)

    # Users

    def add_user(self, name: str, values: Mapping[str, str], groups: Iterable[str]) -> None:
        realm = name.rpartition("@")[2]
        if realm not in REALMS:
            raise failure(f"create user failed: authentication domain '{realm}' does not exist")
        if name in self.users:
            raise failure(f"create user failed: user '{name}' already exists")
        user = User(enable=int(values.get("enable", "1")), expire=_number(values, "expire") or None)
        user.texts = {text: values[text] for text in USER_TEXTS if values.get(text)}
        user.groups = self._existing(groups, "create user failed")
        if "password" in values:
            user.password = _hashed(values["password"])
        self.users[name] = user
        self.save()

    def update_user(self, name: str, values: Mapping[str, str], groups: Iterable[str] | None) -> None:
        user = self.user(name)
        if groups is not None:
            wanted = self._existing(groups, "update user failed")
            user.groups = sorted({*user.groups, *wanted}) if values.get("append") == "1" else wanted
        user.enable = int(values.get("enable", user.enable))
        user.expire = _number(values, "expire") if "expire" in values else user.expire
        user.texts |= {text: values[text] for text in USER_TEXTS if text in values}
        self.save()

    def remove_user(self, name: str) -> None:
        self.users.pop(name, None)
        self.tokens = {token: value for token, value in self.tokens.items() if token.partition("!")[0] != name}
        self.acl = [entry for entry in self.acl if entry.subject.partition("!")[0] != name]
        self.save()

    def set_password(self, name: str, password: str) -> None:
        user = self.user(name)
        user.password = _hashed(password)
        self.save()

    def knows(self, name: str, password: str) -> bool:
        """Whether a user who may log in has this password."""
        user = self.users.get(name)
        if user is None or not user.enable:
            return False
        if name == ROOT and user.password is None:
            return hmac.compare_digest(password, self._root_password)
        if user.password is None:
            return False
        salt = user.password.partition(":")[0]
        return hmac.compare_digest(_hashed(password, salt), user.password)

    # Tokens

    def add_token(self, user: str, name: str, values: Mapping[str, str]) -> Token:
        self.user(user)
        if f"{user}!{name}" in self.tokens:
            raise parameter_error({"tokenid": "Token already exists."})
        token = Token(
            privsep=int(values.get("privsep", "1")),
            secret=str(uuid.uuid4()),
            expire=_number(values, "expire"),
            comment=values.get("comment") or None,
        )
        self.tokens[f"{user}!{name}"] = token
        self.save()
        return token

    def update_token(self, user: str, name: str, values: Mapping[str, str], deleted: Iterable[str]) -> Token:
        token = self.token(user, name)
        token.privsep = int(values.get("privsep", token.privsep))
        token.expire = _number(values, "expire") if "expire" in values else token.expire
        token.comment = values.get("comment") or token.comment
        if "comment" in deleted:
            token.comment = None
        if "expire" in deleted:
            token.expire = None
        if values.get("regenerate") == "1":
            token.secret = str(uuid.uuid4())
        self.save()
        return token

    def remove_token(self, user: str, name: str) -> None:
        self.token(user, name)
        del self.tokens[f"{user}!{name}"]
        self.acl = [entry for entry in self.acl if entry.subject != f"{user}!{name}"]
        self.save()

    # Groups and roles

    def add_group(self, name: str, comment: str) -> None:
        if name in self.groups:
            raise failure(f"create group failed: group '{name}' already exists")
        self.groups[name] = comment
        self.save()

    def update_group(self, name: str, comment: str | None) -> None:
        self._check_group(name, "update group failed: ")
        self.groups[name] = self.groups[name] if comment is None else comment
        self.save()

    def remove_group(self, name: str) -> None:
        self._check_group(name, "delete group failed: ")
        del self.groups[name]
        for user in self.users.values():
            user.groups = [group for group in user.groups if group != name]
        self.acl = [entry for entry in self.acl if entry.subject != name]
        self.save()

    def comment_of_group(self, name: str) -> str:
        self._check_group(name)
        return self.groups[name]

    def add_role(self, name: str, privileges: Iterable[str]) -> None:
        if name.upper().startswith("PVE"):
            words = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"
            raise parameter_error({"roleid": words})
        if name in self.roles():
            raise failure(f"create role failed: role '{name}' already exists")
        self.custom_roles[name] = _known(privileges, "create role failed")
        self.save()

    def update_role(self, name: str, privileges: Iterable[str], *, append: bool) -> None:
        self._check_custom(name, "modified")
        if name not in self.custom_roles:
            raise failure(f"update role failed: role '{name}' does not exist")
        wanted = _known(privileges, "update role failed")
        self.custom_roles[name] = sorted({*self.custom_roles[name], *wanted}) if append else wanted
        self.save()

    def remove_role(self, name: str) -> None:
        self._check_custom(name, "deleted")
        if name not in self.custom_roles:
            raise failure(f"delete role failed: role '{name}' does not exist")
        del self.custom_roles[name]
        self.save()

    # The access control list

    def grant(self, entry: Entry) -> None:
        self._check_entry(entry)
        self._drop(entry)
        self.acl.append(entry)
        self.save()

    def revoke(self, entry: Entry) -> None:
        self._check_entry(entry)
        self._drop(entry)
        self.save()

    def _drop(self, entry: Entry) -> None:
        name = (entry.path, entry.subject, entry.role)
        self.acl = [other for other in self.acl if (other.path, other.subject, other.role) != name]

    def _check_entry(self, entry: Entry) -> None:
        where = "ACL update failed"
        if entry.role not in self.roles():
            raise failure(f"{where}: role '{entry.role}' does not exist")
        if entry.kind == "group":
            self._check_group(entry.subject, f"{where}: ")
        elif entry.kind == "user" and entry.subject not in self.users:
            raise failure(f"{where}: user '{entry.subject}' does not exist")
        elif entry.kind == "token":
            user, _, name = entry.subject.partition("!")
            self.token(user, name)

    def _check_group(self, name: str, where: str = "") -> None:
        if name not in self.groups:
            raise failure(f"{where}group '{name}' does not exist")

    def _check_custom(self, name: str, verb: str) -> None:
        if name in BUILT_IN_ROLES:
            raise failure(f"auto-generated role '{name}' cannot be {verb}")

    def _existing(self, groups: Iterable[str], where: str) -> list[str]:
        wanted = list(groups)
        for group in wanted:
            if group not in self.groups:
                raise failure(f"{where}: no such group '{group}'")
        return sorted(wanted)

    def save(self) -> None:
        content = {
            "users": {name: asdict(user) for name, user in self.users.items()},
            "groups": self.groups,
            "roles": self.custom_roles,
            "tokens": {name: asdict(token) for name, token in self.tokens.items()},
            "acl": [asdict(entry) for entry in self.acl],
        }
        write_text(self._path, json.dumps(content, indent=1) + "\n", mode=0o600)  # it has the tokens' secrets


def _known(privileges: Iterable[str], where: str) -> list[str]:
    wanted = sorted(set(privileges))
    for privilege in wanted:
        if privilege not in PRIVILEGES:
            raise failure(f"{where}: invalid privilege '{privilege}'")
    return wanted


def _number(values: Mapping[str, str], name: str) -> int | None:
    return int(values[name]) if name in values else None


def _hashed(password: str, salt: str | None = None) -> str:
    salt = salt or secrets.token_hex(8)
    return f"{salt}:{hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1 << 12, r=8, p=1).hex()}"

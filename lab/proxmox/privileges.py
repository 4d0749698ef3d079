"""Every privilege that Proxmox VE 9.2 knows, and the roles that it makes of them by itself.

Owns the two tables. Who has which role where is lab.proxmox.accounts' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.proxmox.formats import words


@dataclass(frozen=True)
class _Category:
    """The privileges about one kind of thing, by who is meant to have them."""

    root: frozenset[str] = frozenset()
    admin: frozenset[str] = frozenset()
    user: frozenset[str] = frozenset()
    audit: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.root | self.admin | self.user | self.audit


_CATEGORIES: Mapping[str, _Category] = {
    "VM": _Category(
        admin=words(
            "VM.Allocate VM.Clone VM.Config.CPU VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network "
            "VM.Config.Options VM.Migrate VM.Replicate VM.Snapshot VM.Snapshot.Rollback"
        ),
        user=words(
            "VM.Backup VM.Config.CDROM VM.Config.Cloudinit VM.Console VM.GuestAgent.FileRead "
            "VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite VM.GuestAgent.Unrestricted VM.PowerMgmt"
        ),
        audit=words("VM.Audit VM.GuestAgent.Audit"),
    ),
    "Sys": _Category(
        root=words("Sys.AccessNetwork Sys.Incoming Sys.Modify Sys.PowerMgmt"),
        admin=words("Sys.Console Sys.Syslog"),
        audit=words("Sys.Audit"),
    ),
    "Datastore": _Category(
        admin=words("Datastore.Allocate Datastore.AllocateTemplate"),
        user=words("Datastore.AllocateSpace"),
        audit=words("Datastore.Audit"),
    ),
    "SDN": _Category(admin=words("SDN.Allocate"), user=words("SDN.Use"), audit=words("SDN.Audit")),
    "User": _Category(root=words("Realm.Allocate"), admin=words("Group.Allocate Realm.AllocateUser User.Modify")),
    "Pool": _Category(admin=words("Pool.Allocate"), user=words("Pool.Audit"), audit=words("Pool.Audit")),
    "Mapping": _Category(admin=words("Mapping.Modify"), user=words("Mapping.Use"), audit=words("Mapping.Audit")),
}

PRIVILEGES = words("Permissions.Modify").union(*(category.all for category in _CATEGORIES.values()))


def _built_in_roles() -> dict[str, frozenset[str]]:
    roles = {"Administrator": PRIVILEGES, "NoAccess": frozenset[str]()}
    everything, audit = frozenset[str](), frozenset[str]()
    for name, category in _CATEGORIES.items():
        roles[f"PVE{name}Admin"] = category.admin | category.user | category.audit
        if category.user:
            roles[f"PVE{name}User"] = category.user | category.audit
        everything |= roles[f"PVE{name}Admin"]
        audit |= category.audit
    roles["PVEAdmin"] = everything - {"Mapping.Modify"}
    roles["PVEAuditor"] = audit
    roles["PVEMappingAuditor"] = _CATEGORIES["Mapping"].audit
    roles["PVETemplateUser"] = words("VM.Audit VM.Clone")
    return roles


BUILT_IN_ROLES: Mapping[str, frozenset[str]] = _built_in_roles()

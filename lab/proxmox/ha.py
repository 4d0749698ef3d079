"""High availability: which VMs the HA manager looks after, and the rules about where they may run.

Owns the configuration, as /etc/pve/ha has it, and what makes a rule invalid. It keeps what somebody has set and
nothing else: a default that nobody set is not told either. What follows from it is lab.proxmox.ha_manager's business.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.directory import read_json, write_json
from lab.proxmox import formats
from lab.proxmox.errors import ApiError, failure

Settings = dict[str, str | int]

NODE_AFFINITY, RESOURCE_AFFINITY = "node-affinity", "resource-affinity"
RESOURCE_OPTIONS = formats.words("state comment max_restart max_relocate failback auto-rebalance")
RULE_OPTIONS = {
    NODE_AFFINITY: formats.words("resources nodes strict disable comment"),
    RESOURCE_AFFINITY: formats.words("resources affinity disable comment"),
}
REQUIRED = {NODE_AFFINITY: ("nodes", "resources"), RESOURCE_AFFINITY: ("affinity", "resources")}
NUMBERS = formats.words("max_restart max_relocate failback auto-rebalance strict disable")
MIGRATED = "ha groups have been migrated to rules"


def resource_id(text: str) -> str:
    """`vm:800`, which may be written `800`."""
    return text if ":" in text else f"vm:{text}"


class Configuration:
    """Resources and rules of one cluster."""

    def __init__(self, path: Path, nodes: Iterable[str]) -> None:
        self._path = path
        self._nodes = list(nodes)
        kept = read_json(path, {"resources": {}, "rules": {}})
        self.resources: dict[str, Settings] = kept["resources"]
        self.rules: dict[str, Settings] = kept["rules"]

    @property
    def digest(self) -> str:
        text = json.dumps([self.resources, self.rules])
        return hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - as Proxmox does, to tell changes

    def resource(self, sid: str) -> dict[str, Any]:
        if sid not in self.resources:
            raise failure(f"no such resource '{sid}'")
        return {"sid": sid, "type": sid.partition(":")[0], "digest": self.digest, **self.resources[sid]}

    def add_resource(self, sid: str, values: Mapping[str, str]) -> None:
        if sid in self.resources:
            raise failure(f"create resource failed: resource ID '{sid}' already defined")
        self.resources[sid] = _resource(values)
        self._save()

    def update_resource(self, sid: str, values: Mapping[str, str]) -> None:
        self._check_digest(values)
        if sid not in self.resources:
            raise failure(f"update resource failed: no such resource '{sid}'")
        changed = {**self.resources[sid], **_resource(values)}
        for name in formats.split_list(values.get("delete", "")):
            if name not in RESOURCE_OPTIONS and name != "group":
                raise failure(f"update resource failed: no such option '{name}'")
            changed.pop(name, None)
        self.resources[sid] = changed
        self._save()

    def remove_resource(self, sid: str, *, purge: bool) -> None:
        """Take a resource out; with `purge` out of the rules too, and away with a rule that had no other."""
        self.resources.pop(sid, None)
        for name, rule in list(self.rules.items()) if purge else ():
            left = [member for member in members(rule) if member != sid]
            if not left:
                del self.rules[name]
            elif len(left) < len(members(rule)):
                rule["resources"] = ",".join(left)
        self._save()

    def rule(self, name: str) -> dict[str, Any]:
        if name not in self.rules:
            raise failure(f"no such ha rule '{name}'")
        problems = self._problems().get(name)
        shown: dict[str, Any] = {"rule": name, "digest": self.digest, "order": list(self.rules).index(name) + 1}
        return {**shown, **self.rules[name], **({"errors": problems} if problems else {})}

    def add_rule(self, name: str, values: Mapping[str, str]) -> None:
        kind = values["type"]
        rule = {"type": kind, **_rule(kind, values)}
        for option in REQUIRED[kind]:
            if option not in rule:
                raise failure(f"missing value for required option '{option}'")
        if name in self.rules:
            raise failure(f"create ha rule failed: HA rule '{name}' already defined")
        self._keep_rule(name, rule, "create ha rule failed")

    def update_rule(self, name: str, values: Mapping[str, str]) -> None:
        self._check_digest(values)
        if name not in self.rules:
            raise failure(f"update HA rules failed: HA rule '{name}' does not exist")
        kind = str(self.rules[name]["type"])
        rule = {**self.rules[name], **_rule(kind, values)}
        for option in formats.split_list(values.get("delete", "")):
            if option not in RULE_OPTIONS[kind]:
                raise failure(f"update HA rules failed: no such option '{option}'")
            if option in REQUIRED[kind]:
                raise failure(f"update HA rules failed: unable to delete required option '{option}'")
            rule.pop(option, None)
        if values.get("disable") == "0":
            rule.pop("disable", None)
        self._keep_rule(name, rule, "update HA rules failed")

    def remove_rule(self, name: str) -> None:
        self.rules.pop(name, None)
        self._save()

    def active_rules(self, kind: str) -> list[Settings]:
        """The rules of a kind that hold: neither disabled nor invalid."""
        wrong = self._problems()
        return [
            rule
            for name, rule in self.rules.items()
            if rule["type"] == kind and not rule.get("disable") and name not in wrong
        ]

    def _keep_rule(self, name: str, rule: Settings, where: str) -> None:
        if unmanaged := sorted(set(members(rule)) - set(self.resources)):
            raise failure(f"{where}: cannot use unmanaged resource(s) {', '.join(unmanaged)}.")
        if unknown := sorted(set(priorities(rule)) - set(self._nodes)):
            raise failure(f"{where}: cannot use non-existant node(s) {', '.join(unknown)}.")
        before = self.rules.get(name)
        self.rules[name] = rule
        if problems := self._problems().get(name):
            if before is None:
                del self.rules[name]
            else:
                self.rules[name] = before
            errors = {option: ", ".join(texts) for option, texts in problems.items()}
            raise ApiError(400, f"{where}: Rule '{name}' is invalid.", errors)
        self._save()

    def _problems(self) -> dict[str, dict[str, list[str]]]:
        """What is wrong with each rule, all of them taken together. What a disabled rule says does not count."""
        found: dict[str, dict[str, list[str]]] = {}

        def blame(name: str, problem: str) -> None:
            found.setdefault(name, {}).setdefault("resources", []).append(problem)

        active = {name: rule for name, rule in self.rules.items() if not rule.get("disable")}
        pinned = {name: set(members(rule)) for name, rule in active.items() if rule["type"] == NODE_AFFINITY}
        for name, mine in pinned.items():
            for sid in sorted(mine & set().union(*(theirs for other, theirs in pinned.items() if other != name))):
                blame(name, f"resource '{sid}' is already used in another node affinity rule")
        related = {name: set(members(rule)) for name, rule in active.items() if rule["type"] == RESOURCE_AFFINITY}
        for name, mine in related.items():
            affinity = active[name]["affinity"]
            if len(mine) < 2:
                blame(name, "rule is ineffective as there are less than two resources")
            if affinity == "negative" and len(mine) > len(self._nodes):
                blame(name, "rule defines more resources than available nodes")
            for other, theirs in related.items():
                opposite = active[other]["affinity"]
                if opposite != affinity and len(mine & theirs) >= 2:
                    blame(name, f"rule shares two or more resources with a {opposite} resource affinity rule")
        return found

    def _check_digest(self, values: Mapping[str, str]) -> None:
        if values.get("digest", self.digest) != self.digest:
            raise failure("detected modified configuration - file changed by other user? Try again.")

    def _save(self) -> None:
        write_json(self._path, {"resources": self.resources, "rules": self.rules})


def members(rule: Settings) -> list[str]:
    return formats.split_list(str(rule["resources"]))


def priorities(rule: Settings) -> dict[str, int]:
    """The hosts that a rule names, with their priority."""
    entries = (entry.partition(":") for entry in formats.split_list(str(rule.get("nodes", ""))))
    return {node: int(priority or 0) for node, _, priority in entries}


def _resource(values: Mapping[str, str]) -> Settings:
    if values.get("group"):
        raise failure(f"invalid parameter 'group': {MIGRATED}")
    return {name: _value(name, values[name]) for name in sorted(RESOURCE_OPTIONS) if name in values}


def _rule(kind: str, values: Mapping[str, str]) -> Settings:
    rule: Settings = {}
    for name in sorted(set(values) & set().union(*RULE_OPTIONS.values())):
        if name not in RULE_OPTIONS[kind]:
            raise failure(f"unexpected property '{name}'")
        rule[name] = _value(name, values[name])
    if not rule.get("disable", 1):
        del rule["disable"]
    if "resources" in rule:
        rule["resources"] = ",".join(sorted(members(rule)))
    if "nodes" in rule:
        rule["nodes"] = ",".join(re.sub(r":0$", "", node) for node in sorted(formats.split_list(str(rule["nodes"]))))
    return rule


def _value(name: str, text: str) -> str | int:
    return int(text) if name in NUMBERS else text

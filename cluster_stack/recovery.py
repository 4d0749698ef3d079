"""After an interrupted update: bring the state and the machines together again, without a hand on Proxmox.

Owns `python -m cluster_stack recover`. It adopts only what is provably of this very stack: a VM by the mark in its
notes (``plan.ownership``), a bootstrapped etcd by the certificates in the state. It never removes a machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi.automation as auto

from cluster_stack import project
from cluster_stack.automation import ClusterError, said, with_engine
from cluster_stack.lifecycle.talos_api import ClientConfiguration, etcd_is_running
from cluster_stack.plan.nodes import NodePlan
from cluster_stack.plan.ownership import fingerprint, marked
from cluster_stack.preflight import TOKEN_KEY, TOKEN_VARIABLE, check_token, notes_of
from cluster_stack.proxmox_api import ProxmoxApi, ProxmoxRefusedError, ProxmoxUnreachableError

PROVIDER_TYPE = "pulumi:providers:proxmoxve"
VM_TYPE = "proxmoxve:index/vmLegacy:VmLegacy"
SECRETS_TYPE = "talos:machine/secrets:Secrets"
BOOTSTRAP_TYPE = "talos:machine/bootstrap:Bootstrap"

Resource = Mapping[str, Any]


def recover(name: str, *, root: Path = project.ROOT) -> Iterator[str]:
    """Settle cluster ``name`` after an interruption; yields a sentence for each thing done.

    Only while nobody else is updating the same cluster: the first step releases the stack's lock. Raises ConfigError,
    and ClusterError where something that is in the way is not ours.
    """
    planned = project.plan(name, root)
    try:
        stack = auto.select_stack(stack_name=name, work_dir=str(root), opts=with_engine())
        stack.cancel()
        yield f"{name}: no update holds the stack's lock."
        yield from _forget_pending(stack)
        yield from _adopt_machines(stack, planned)
        yield from _adopt_bootstrap(stack, planned)
    except auto.CommandError as error:
        raise ClusterError(said(error)) from None
    yield f"Now run `pulumi up -s {name}`."


def _resources(stack: auto.Stack) -> list[Resource]:
    found: list[Resource] = (stack.export_stack().deployment or {}).get("resources") or []
    return found


def _forget_pending(stack: auto.Stack) -> Iterator[str]:
    """Creations whose end the engine never saw would make it ask at every update. What they made is found below."""
    exported = stack.export_stack()
    state = dict(exported.deployment or {})
    pending = state.pop("pending_operations", None) or ()
    if pending:
        stack.import_stack(auto.Deployment(version=exported.version, deployment=state))
    for operation in pending:
        yield f"forgot that {operation['type']} {_name(operation['resource'])} had begun."


def _adopt_machines(stack: auto.Stack, planned: project.PlannedCluster) -> Iterator[str]:
    resources = _resources(stack)
    known = {int(resource["id"]) for resource in resources if resource["type"] == VM_TYPE and resource.get("id")}
    unknown = [node for node in planned.nodes if node.vm_id not in known]
    provider = next((resource for resource in resources if resource["type"] == PROVIDER_TYPE), None)
    if not unknown or provider is None:
        return
    # All of them are asked about before one is adopted: nothing is half done when one is not ours.
    for node in list(_ours(stack, planned, unknown, str(provider["id"]))):
        _import(stack, resources, VM_TYPE, f"{node.name}-vm", f"{node.host}/{node.vm_id}", parent=node.name)
        yield f"adopted VM {node.vm_id} as {node.name}."


def _ours(
    stack: auto.Stack, planned: project.PlannedCluster, nodes: list[NodePlan], state_id: str
) -> Iterator[NodePlan]:
    """Those of ``nodes`` whose VM exists and carries this cluster's mark. Raises ClusterError at one that does not."""
    proxmox = planned.file.config.proxmox
    token = stack.get_all_config().get(f"cluster-stack:{TOKEN_KEY}", _NONE).value or os.environ.get(TOKEN_VARIABLE, "")
    check_token(stack.name, token)
    try:
        with ProxmoxApi(proxmox.endpoint, token, insecure=proxmox.insecure) as api:
            existing = {int(guest["vmid"]): guest for guest in api.get("cluster", "resources", type="vm")}
            for node in nodes:
                if node.vm_id not in existing:
                    continue
                guest = existing[node.vm_id]
                if marked(notes_of(guest, api)) != fingerprint(state_id, node.name):
                    raise ClusterError(
                        f"VM {node.vm_id} ({guest.get('name')}) on {guest['node']} is where {node.name} is to be, and "
                        f"its notes do not carry this stack's mark, so it is left alone. Move it to another id, or "
                        f"write another proxmox.vm.idBase."
                    )
                yield node
    except (ProxmoxUnreachableError, ProxmoxRefusedError) as error:
        raise ClusterError(f"{proxmox.endpoint}: {error}.") from None


_NONE = auto.ConfigValue(value="")


def _adopt_bootstrap(stack: auto.Stack, planned: project.PlannedCluster) -> Iterator[str]:
    """Talos bootstraps a cluster once; asked again it refuses, and the provider would ask for ten minutes."""
    resources = _resources(stack)
    first = planned.nodes[0]
    applied = next((found for found in resources if _name(found) == f"{first.name}-config"), None)
    if applied is None or any(resource["type"] == BOOTSTRAP_TYPE for resource in resources):
        return
    secrets = next(resource for resource in resources if resource["type"] == SECRETS_TYPE)
    client = _plain(secrets["outputs"]["clientConfiguration"])
    configuration = ClientConfiguration(
        *(_plain(client[key]) for key in ("caCertificate", "clientCertificate", "clientKey"))
    )
    if etcd_is_running(_plain(applied["inputs"]["node"]), configuration):
        name = f"{stack.name}-bootstrap"
        _import(stack, resources, BOOTSTRAP_TYPE, name, "machine_bootstrap", parent=stack.name)
        yield f"{first.name} is bootstrapped already: noted."
    else:
        yield (
            f"etcd on {first.name} does not answer, so it is taken for not bootstrapped. If it was asked to a moment "
            f"ago, run this again when etcd runs."
        )


def _import(
    stack: auto.Stack, resources: list[Resource], kind: str, name: str, identifier: str, *, parent: str
) -> None:
    package = kind.split(":", 1)[0]
    provider = next(found for found in resources if found["type"] == f"pulumi:providers:{package}")
    owner = next(
        found for found in resources if found["type"].startswith("cluster-stack:index:") and _name(found) == parent
    )
    stack.import_resources(
        resources=[{"type": kind, "name": name, "id": identifier, "parent": "parent", "provider": "provider"}],
        name_table={"parent": str(owner["urn"]), "provider": str(provider["urn"])},
        protect=False,
        generate_code=False,
    )


def _name(resource: Resource) -> str:
    return str(resource["urn"]).rsplit("::", 1)[-1]


def _plain(value: Any) -> Any:
    """A value of an exported state; a secret one stands in an envelope, as JSON text."""
    if isinstance(value, dict) and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value

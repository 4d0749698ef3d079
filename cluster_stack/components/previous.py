"""What the last update left: read from the stack's own outputs, in a preview too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pulumi

from cluster_stack.config import ClusterConfig
from cluster_stack.plan.installed import Installation, installation
from cluster_stack.plan.upgrades import Previous

TALOS_VERSION = "talos_version"
KUBERNETES_VERSION = "kubernetes_version"
VERSION_CONTRACT = "talos_version_contract"
FIRMWARE = "firmware"
SECURE_BOOT = "secure_boot"
DISK_ENCRYPTION = "disk_encryption"
POD_NETWORK = "pod_network"
CONTROL_PLANES = "control_plane_vms"
FLUX_VERSION = "flux_version"

_PATIENCE_SECONDS = (0.02, 0.1, 0.5, 2)
"""How long to wait after each failed look at the state; after the last the failure is the answer."""


def previous() -> Previous:
    """What the cluster had after the last update that completed; nothing for a new stack.

    Asks the engine for the outputs of this very stack, which it answers from the state that the update began with.
    Raises pulumi.RunError where the state cannot be read.
    """
    outputs = _own_outputs()
    return Previous(
        from_state=True,
        talos=outputs.get(TALOS_VERSION),
        kubernetes=outputs.get(KUBERNETES_VERSION),
        contract=outputs.get(VERSION_CONTRACT),
        installation=Installation(
            firmware=outputs[FIRMWARE],
            secure_boot=outputs[SECURE_BOOT],
            disk_encryption=outputs[DISK_ENCRYPTION],
            pod_network=outputs.get(POD_NETWORK),
        )
        if FIRMWARE in outputs
        else None,
        control_planes=tuple(sorted(outputs.get(CONTROL_PLANES, ()))),  # the engine hands them over in any order
        flux=outputs.get(FLUX_VERSION),
    )


def installation_outputs(config: ClusterConfig) -> dict[str, pulumi.Input[object]]:
    """What the next update reads as the installation."""
    found = installation(config)
    return {
        FIRMWARE: found.firmware,
        SECURE_BOOT: found.secure_boot,
        DISK_ENCRYPTION: found.disk_encryption,
        POD_NETWORK: found.pod_network,
    }


def _own_outputs() -> Mapping[str, Any]:
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    for pause in (*_PATIENCE_SECONDS, None):
        try:
            answer = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value or {}
            return answer.get("outputs") or {}
        except Exception as error:  # an invoke raises nothing more precise
            # The engine writes the state while it answers, and a local file's description (`.attrs` beside it) is empty
            # for a moment then: "failed to load checkpoint: EOF".
            if pause is None:
                raise pulumi.RunError(
                    f"what this cluster has cannot be read from the state: {error}. "
                    f"Run `pulumi stack output -s {pulumi.get_stack()}` to see whether the backend answers."
                ) from None
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")

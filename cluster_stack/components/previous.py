"""What the last update left: read from the stack's own outputs, in a preview too."""

from __future__ import annotations

import pulumi

from cluster_stack.plan.upgrades import Previous

TALOS_VERSION = "talos_version"
KUBERNETES_VERSION = "kubernetes_version"
VERSION_CONTRACT = "talos_version_contract"


def previous() -> Previous:
    """The versions that the cluster had after the last update that completed; all None for a new stack.

    Asks the engine for the outputs of this very stack, which it answers from the state that the update began with.
    """
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value or {}
    outputs = answer.get("outputs") or {}
    return Previous(
        talos=outputs.get(TALOS_VERSION),
        kubernetes=outputs.get(KUBERNETES_VERSION),
        contract=outputs.get(VERSION_CONTRACT),
    )

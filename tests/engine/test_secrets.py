"""Nothing secret is printed, logged, or in the state in clear. The test looks for the secrets themselves."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.site import Site

Talk = tuple[dict[str, str], str, str]
"""The secrets by their names, the state, and all that was printed."""


@pytest.fixture(scope="module")
def talk(site: Site) -> Iterator[Talk]:
    """A cluster from its first `up` to its end, through everything that prints; yields the secrets and the state."""
    began = len(site.printed)
    outputs = site.up("dev").outputs
    site.run("pulumi", "preview", "--diff", "-s", "dev")
    site.run("pulumi", "up", "--yes", "--diff", "--refresh", "-s", "dev")
    site.edit("dev", ("clusterName: talos-dev", "clusterName: talos-dev-2"))
    site.run("pulumi", "preview", "--diff", "--show-replacement-steps", "-s", "dev")
    site.run("pulumi", "up", "--yes", "--diff", "--skip-preview", "-s", "dev")
    site.edit("dev", ("clusterName: talos-dev-2", "clusterName: talos-dev"))
    site.run("pulumi", "stack", "output", "--json", "-s", "dev")
    site.run(".venv/bin/python", "-m", "cluster_stack", "outputs", "dev")
    site.run(".venv/bin/python", "-m", "cluster_stack", "recover", "dev")
    state = site.run("pulumi", "stack", "export", "-s", "dev").stdout
    clear = json.loads(site.run("pulumi", "stack", "export", "--show-secrets", "-s", "dev").stdout)
    # All but what the last command printed: it was asked for the secrets.
    printed = "\n".join(site.printed[began:-2])
    yield secrets(site, outputs, clear), state, printed
    site.destroy("dev")


def secrets(site: Site, outputs: Any, state: dict[str, Any]) -> dict[str, str]:
    """Every secret of the cluster by its name: private keys, tokens, and the API token's secret half."""
    found = {"Proxmox token": site.lab.token_secret()}
    kubeconfig = yaml.safe_load(outputs.kubeconfig)
    found["kubeconfig key"] = kubeconfig["users"][0]["user"]["client-key-data"]
    found["talosconfig key"] = yaml.safe_load(outputs.talosconfig)["contexts"]["talos-dev"]["key"]
    for resource in state["deployment"]["resources"]:
        if resource["type"] == "talos:machine/secrets:Secrets":
            collect("", json.loads(json.dumps(resource["outputs"])), found)
    return found


def collect(path: str, value: Any, found: dict[str, str]) -> None:
    if isinstance(value, dict) and "plaintext" in value:
        value = json.loads(value["plaintext"])
    if isinstance(value, dict):
        for key, below in value.items():
            collect(f"{path}.{key}", below, found)
    elif isinstance(value, str) and path.rsplit(".", 1)[-1] in SECRET_KEYS:
        found[path] = value


SECRET_KEYS = {"key", "secret", "token", "bootstrapToken", "secretboxEncryptionSecret", "clientKey"}


def forms(secret: str) -> set[str]:
    """A secret as it is, and what it is the base64 of; long ones by a piece from their middle, for line breaks."""
    texts = {secret}
    with contextlib.suppress(ValueError):
        texts.add(base64.b64decode(secret, validate=True).decode())
    return {text if len(text) < 60 else text[len(text) // 2 : len(text) // 2 + 40].split("\n")[0] for text in texts}


def leaks(names: dict[str, str], text: str) -> list[str]:
    return [name for name, secret in names.items() for form in forms(secret) if len(form) > 7 and form in text]


def test_there_is_something_to_look_for(talk: Talk) -> None:
    names, _, printed = talk
    assert len(names) >= 12
    # The search itself: what is printed on purpose would be found.
    assert leaks(names, printed + names["kubeconfig key"]) != []


def test_nothing_secret_is_printed(talk: Talk) -> None:
    names, _, printed = talk
    assert leaks(names, printed) == []


def test_nothing_secret_is_in_the_state_in_clear(talk: Talk) -> None:
    names, state, _ = talk
    assert leaks(names, state) == []


def test_nothing_secret_is_in_the_logs_of_the_lab(site: Site, talk: Talk) -> None:
    names, _, _ = talk
    logs = [site.lab.log, site.lab.requests, *site.lab.vms.glob("*/console.log")]
    for log in logs:
        assert leaks(names, Path(log).read_text(errors="replace")) == [], log


@pytest.mark.parametrize(("role", "suffix", "limit"), [("control plane", "cp1", 40), ("worker", "worker1", 24)])
def test_a_node_is_small_in_the_state(talk: Talk, role: str, suffix: str, limit: int) -> None:
    """The engine writes the whole state after every step, so its size is what limits large clusters (in KB)."""
    _, state, _ = talk
    resources = json.loads(state)["deployment"]["resources"]
    mine = [resource for resource in resources if f"dev-{suffix}" in resource["urn"].rsplit("::", 1)[-1]]
    assert len(mine) == 3
    size = sum(len(json.dumps(resource, separators=(",", ":"))) for resource in mine)
    assert size <= limit * 1000, f"{role}: {size} bytes"

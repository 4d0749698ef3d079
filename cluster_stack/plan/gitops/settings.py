"""The stack's settings that Flux and the components want: which, for what, and whether they can be right.

The values are secrets: nothing here repeats one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cluster_stack.config import ClusterFile, Problem
from cluster_stack.config.document import Path
from cluster_stack.plan.gitops.components import KINDS, Component


@dataclass(frozen=True)
class Wanted:
    name: str
    path: Path
    """The key of cluster.yaml that makes it wanted."""
    purpose: str
    form: str = ""
    """A text that is in every right value."""
    form_name: str = ""


def wanted(file: ClusterFile, components: Sequence[Component]) -> Iterator[Wanted]:
    flux = file.config.gitops.flux
    if flux.credentials_secret:
        path = ("gitops", "flux", "credentialsSecret")
        if flux.repository.startswith("ssh://"):
            yield Wanted(flux.credentials_secret, path, "the private key for Git", "PRIVATE KEY-----", "a private key")
        else:
            yield Wanted(flux.credentials_secret, path, "the token for Git")
    if flux.age_key_secret:
        path = ("gitops", "flux", "ageKeySecret")
        yield Wanted(flux.age_key_secret, path, "the age key for SOPS", "AGE-SECRET-KEY-", "an age key")
    for component in components:
        for secret in component.declaration.secrets.values():
            yield Wanted(secret.setting, _place(file, component), f"{component.name}: {secret.about.rstrip('.')}")


def check(
    file: ClusterFile,
    components: Sequence[Component],
    value: Callable[[str], str | None],
    is_encrypted: Callable[[str], bool],
) -> Iterator[Problem]:
    """``value`` and ``is_encrypted`` read the settings of the stack."""
    stack = file.config.metadata.name
    for setting in wanted(file, components):
        fix = f"Run `pulumi config set --secret {setting.name} -s {stack}`, which asks for the value."
        found = value(setting.name)
        if not found or not found.strip():
            what = f"the stack has no setting {setting.name} ({setting.purpose})."
        elif not is_encrypted(setting.name):
            what = f"the stack's setting {setting.name} ({setting.purpose}) is not encrypted."
        elif setting.form not in found:
            what = f"the stack's setting {setting.name} is not {setting.form_name}: there is no {setting.form} in it."
        else:
            continue
        yield file.problem(setting.path, what, fix)


def _place(file: ClusterFile, component: Component) -> Path:
    for kind in KINDS:
        names = getattr(file.config.gitops.infrastructure, kind)
        if component.name in names:
            return ("gitops", "infrastructure", kind, names.index(component.name))
    raise AssertionError(f"{component.name} is among the components, and cluster.yaml names it")

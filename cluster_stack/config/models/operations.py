"""What is done with a cluster over its life: upgrades, backups, GitOps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cluster_stack.config.models.base import Model, section
from cluster_stack.config.models.values import Duration, Name, SettingName, Text, matching


class Secrets(Model):
    provider: Literal["pulumi", "sops"] = "pulumi"
    """Where the cluster's secrets come from: made by Pulumi, or imported from a `talsecret.sops.yaml`."""


class UserVolume(Model):
    name: Annotated[str, matching(r"^[a-z0-9]([a-z0-9-]{0,32}[a-z0-9])?$")]
    """Name of the Talos user volume, mounted at `/var/mnt/<name>`."""
    disk_selector: Text
    """Which disk it is on: an expression of Talos (CEL), for example `disk.size > 100u * GB && !system_disk`."""
    min_size: Annotated[str, matching(r"^\d+(\.\d+)?[KMGT]?i?B$")] = "1GiB"
    """Least size, for example `10GiB`."""
    max_size: Annotated[str, matching(r"^\d+(\.\d+)?[KMGT]?i?B$")] | None = None
    """Largest size. Without it, the volume grows over the whole disk."""


class Mirror(Model):
    endpoints: Annotated[list[Annotated[str, matching(r"^https?://\S+$")]], Field(min_length=1)]
    """Addresses that are asked instead, in this order."""
    override_path: bool = False
    """The addresses hold the whole path of the registry's API."""
    skip_fallback: bool = False
    """Do not ask the registry itself when no mirror answers."""


class Registries(Model):
    mirrors: dict[Text, Mirror] = {}
    """Mirrors of container registries, by the registry's host (`docker.io`, or `*` for all)."""


class Rolling(Model):
    max_parallelism: Annotated[int, Field(ge=1)] = 1
    """How many workers are worked on at the same time. Control planes always go one by one."""


class UpgradeStrategy(Model):
    rolling: Rolling = section()
    """One after the other: how many nodes are worked on at the same time."""


class Drain(Model):
    enabled: bool = True
    """Move the workloads away before a node reboots or goes."""
    timeout: Duration = "10m"
    """How long to wait for them."""
    force: bool = False
    """Go on when they do not move in time."""


class Lifecycle(Model):
    upgrade_strategy: UpgradeStrategy = section()
    """In which order nodes are upgraded."""
    drain: Drain = section()
    """Moving the workloads away from a node before it reboots or goes."""
    health_timeout: Duration = "15m"
    """How long to wait for a node to be healthy again, and for each object of Flux to be there and ready."""
    allow_replace: list[Text] = []
    """Names of nodes whose machine may be made anew."""
    protect_control_plane: bool = True
    """Refuse what would remove a majority of the control planes."""


class S3(Model):
    endpoint: Text
    """Address of the object store."""
    bucket: Text
    """Bucket that snapshots are stored in."""


class EtcdBackups(Model):
    before_change: bool = True
    """Take a snapshot before a change that could hurt."""
    schedule: Annotated[str, matching(r"^(\S+ ){4}\S+$|^$")] = ""
    """When to take snapshots: minute, hour, day, month, weekday, as cron has it."""
    s3: S3 | None = None
    """Where snapshots are stored."""
    restore_from: str = ""
    """Snapshot that a new cluster begins with."""


class Backups(Model):
    etcd: EtcdBackups = section()
    """Snapshots of etcd, the database of Kubernetes."""


class Flux(Model):
    version: Annotated[str, matching(r"^(v\d+\.\d+\.\d+)?$")] = ""
    """Version of Flux, for example `v2.9.5`. Without it: the newest that runs on the cluster's Kubernetes."""
    repository: Annotated[str, matching(r"^((https|ssh)://\S+)?$")] = ""
    """Git repository that Flux follows: this one, or a copy of it, because it must hold `infrastructure/`."""
    branch: Annotated[str, matching(r"^[^\s:?*~^\\\[]+$")] = "main"
    """Branch of that repository."""
    path: str = ""
    """Folder in that repository with things of your own for this cluster. Flux applies its `kustomization.yaml` when
    all components are ready. Without it: the components alone."""
    credentials_secret: str = ""
    """Stack setting that holds what a private repository asks for: the private key for `ssh://`, a token for `https://`."""
    known_hosts: str = ""
    """What `ssh-keyscan <host>` says of the repository's host. Only for `ssh://`, and needed there."""
    components: list[Text] = []
    """Flux controllers to run. Without it: Flux' own choice."""
    age_key_secret: str = ""
    """Stack setting that holds the age key for SOPS."""
    interval: Duration = "10m"
    """How often Flux looks at the repository."""


class Infrastructure(Model):
    core: list[Text] = []
    """Components that every cluster gets: folders of `infrastructure/core/base`. `ingress-nginx` is among them for
    files that name it: its makers ended it in March 2026, and `envoy-gateway` is the successor."""
    optional: list[Text] = []
    """Further components: folders of `infrastructure/optional/base`."""
    overlay: Name | None = None
    """Which size of the components: a folder of `infrastructure/core/overlays`, for example `prod`. Without it: the one
    that is called as the cluster; a component that has none is taken as it is in `base`."""
    settings: dict[SettingName, Text] = {}
    """What a component wants to be told, by the names that its `component.yaml` gives."""


class Gitops(Model):
    enabled: bool = False
    """Install Flux."""
    flux: Flux = section()
    """Which Flux is installed, and which folder of which repository it follows."""
    infrastructure: Infrastructure = section()
    """The components of this project's `infrastructure` folder that Flux installs."""

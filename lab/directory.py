"""Where a lab keeps its things: one folder, everything in it, nothing anywhere else."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT_VARIABLE = "LAB_DIRECTORY"
LONGEST_PATH = 107 - len("/vms/999999999/run/agent.sock")  # sun_path of a unix socket holds 108 bytes


@dataclass(frozen=True)
class LabDirectory:
    """The folder of one lab. `run/` holds what dies with the daemon, everything else survives a stop."""

    root: Path

    @classmethod
    def find(cls, chosen: str | None = None) -> LabDirectory:
        """The folder that `--directory`, else LAB_DIRECTORY, names; by default `.lab` in the repository."""
        name = chosen or os.environ.get(ENVIRONMENT_VARIABLE)
        return cls(Path(name).resolve() if name else REPOSITORY / ".lab")

    def prepare(self) -> None:
        for folder in (
            self.root,
            self.run,
            self.certificates,
            self.proxmox,
            self.vms,
            self.pulumi_state,
            self.stacks,
            self.discovery,
            self.repositories,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def daemon(self) -> Path:
        return self.run / "daemon.json"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def kubelets_socket(self) -> Path:
        return self.run / "kubelets.sock"

    @property
    def images(self) -> Path:
        """The images of containers that are programs."""
        return self.run / "images.json"

    @property
    def kubelets_log(self) -> Path:
        return self.root / "kubelets.log"

    @property
    def hosts(self) -> Path:
        return self.run / "hosts"

    @property
    def resolver(self) -> Path:
        return self.run / "resolv.conf"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def requests(self) -> Path:
        return self.root / "requests.jsonl"

    @property
    def certificates(self) -> Path:
        return self.root / "certificates"

    @property
    def ca(self) -> Path:
        return self.certificates / "ca.crt"

    @property
    def no_certificates(self) -> Path:
        """Nothing is there: Go reads its default certificate folders beside SSL_CERT_FILE unless told of another."""
        return self.run / "no-certificates"

    @property
    def faults(self) -> Path:
        return self.root / "faults.json"

    @property
    def datacentre(self) -> Path:
        """A site of this lab's own, in place of the usual one; there need not be any."""
        return self.root / "datacentre.yaml"

    @property
    def schematics(self) -> Path:
        """Those posted to the lab's Image Factory."""
        return self.root / "schematics.json"

    @property
    def leases(self) -> Path:
        return self.root / "leases.json"

    @property
    def proxmox(self) -> Path:
        return self.root / "proxmox"

    @property
    def vms(self) -> Path:
        return self.root / "vms"

    @property
    def discovery(self) -> Path:
        return self.root / "discovery"

    @property
    def repositories(self) -> Path:
        """The bare repositories of the site's Git server."""
        return self.root / "git"

    @property
    def pulumi_state(self) -> Path:
        return self.root / "pulumi-state"

    @property
    def stacks(self) -> Path:
        """Pulumi's settings of the lab's stacks."""
        return self.root / "stacks"

    def token_secret(self) -> str:
        """The secret half of the lab's API token: made once per lab, so that two labs do not accept each other's."""
        return self._secret("token", str(uuid.uuid4()))

    def root_password(self) -> str:
        """The password of Proxmox's `root@pam`, one for each lab as well."""
        return self._secret("root-password", secrets.token_urlsafe(18))

    def ticket_key(self) -> bytes:
        """What Proxmox's tickets are signed with."""
        return self._secret("ticket-key", secrets.token_hex(32)).encode()

    def _secret(self, name: str, fresh: str) -> str:
        path = self.proxmox / name
        if not path.exists():
            write_text(path, f"{fresh}\n", mode=0o600)
        return path.read_text().strip()


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file in one step: whoever reads it, and whatever dies meanwhile, finds the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """The JSON in a file, or the default where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default

"""The lab's certificate authority and the certificates of its servers: which files there are, made when first needed.

One CA per lab folder: a client that trusts it trusts this lab and no other. Owns nothing of Talos' or Kubernetes' own
PKI.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from lab.directory import LabDirectory


def ensure_authority(directory: LabDirectory) -> None:
    if not directory.ca.exists():
        from lab import authority

        authority.create(directory)


def ensure_server(directory: LabDirectory, name: str, address: IPv4Address) -> tuple[Path, Path]:
    """The certificate and key files of one server name."""
    certificate, key = directory.certificates / f"{name}.crt", directory.certificates / f"{name}.key"
    if not certificate.exists():
        from lab import authority

        authority.sign_server(directory, name, address)
    return certificate, key

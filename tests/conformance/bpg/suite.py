"""The acceptance tests of bpg's Proxmox provider, which the Pulumi provider of this project bridges.

They drive OpenTofu with the provider compiled in, and OpenTofu drives the lab's Proxmox. They come in one program for
each Go package. The site that they expect is in `datacentre.yaml`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.datacentre import load
from lab.directory import write_text
from tests.conformance import endpoints
from tests.conformance.bpg.images import READY
from tests.conformance.site import Site
from tests.conformance.suite import Program, Suite
from toolchain import programs, tool
from toolchain.pins import BPG, TOFU
from toolchain.tools import BPG_TEST_PACKAGES

ROOT = "root@pam"
IMAGES_PORT = 8080
ACCEPTANCE = ("TestAcc", "TestBatchCreate", "TestIDGenerator", "TestProviderAuth")
"""How the tests are called that need a site; the packages have others too."""


class Bpg(Suite):
    name = "bpg"
    title = f"bpg/terraform-provider-proxmox {BPG}, its acceptance tests, with OpenTofu {TOFU}"
    tools = ("bpg-acceptance", "tofu")
    folder = Path(__file__).parent

    def programs(self) -> Sequence[Program]:
        return [
            Program(package, path) for package, path in zip(BPG_TEST_PACKAGES, programs("bpg-acceptance"), strict=True)
        ]

    def environment(self, site: Site) -> Mapping[str, str]:
        proxmox = load(site.directory.datacentre).proxmox
        scratch = site.directory.root / "scratch"
        scratch.mkdir(exist_ok=True)
        settings = scratch / "tofu.rc"
        write_text(settings, "")
        return {
            "TF_ACC": "1",
            "TF_ACC_TERRAFORM_PATH": str(tool("tofu")),
            "TF_ACC_PROVIDER_HOST": "registry.opentofu.org",  # what OpenTofu takes a provider for that names no host
            "TF_CLI_CONFIG_FILE": str(settings),
            "TMPDIR": str(scratch),
            "HOME": str(scratch),
            "PROXMOX_VE_ENDPOINT": f"https://{proxmox.name}/",
            "PROXMOX_VE_USERNAME": ROOT,
            "PROXMOX_VE_PASSWORD": site.directory.root_password(),
            "PROXMOX_VE_ACC_NODE_NAME": proxmox.nodes[0].name,
            "PROXMOX_VE_ACC_NODE_2_NAME": proxmox.nodes[1].name,
            "PROXMOX_VE_ACC_NFS_DATASTORE_ID": "nfs",
            "PROXMOX_VE_ACC_NFS_SERVER": "nas.example.test",
            "PROXMOX_VE_ACC_NFS_EXPORT": "/export/acceptance",
            "PROXMOX_VE_ACC_VM_MIGRATE_HOSTPCI_ID": "0000:01:00.0",
            "PROXMOX_VE_ACC_TEST_FILE_SERVER_IP": "127.0.0.1",  # the tests and the lab share a network
            "PROXMOX_VE_ACC_CLOUD_IMAGES_SERVER": f"http://127.0.0.1:{IMAGES_PORT}",
        }

    def wants(self, test: str) -> bool:
        return test.startswith(ACCEPTANCE)

    def prepare(self, site: Site) -> None:
        site.serve([sys.executable, "-m", "tests.conformance.bpg.images", str(IMAGES_PORT)], READY)

    def finish(self, site: Site) -> None:
        calls = endpoints.called(site.directory.requests)
        endpoints.CALLED.write_text("".join(f"{call}\n" for call in calls), encoding="utf-8")
        endpoints.write()

    def secrets(self, site: Site) -> Sequence[str]:
        return [site.directory.token_secret(), site.directory.root_password()]

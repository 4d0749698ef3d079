"""The storages of the cluster, as they are configured, and the files that come onto them."""

from __future__ import annotations

import hashlib
from typing import Any

import aiohttp
import pytest

from lab.datacentre import Image
from lab.disk_image import DiskImage

from .conftest import VM, Lab, MakeLab

QEMU, LOCAL = "/nodes/ms01/qemu", "/nodes/ms01/storage/local"
QCOW2 = DiskImage(
    format="qcow2", image=Image(version="v1.13.0", platform="nocloud", arch="amd64", schematic="0" * 64, extensions=())
).to_bytes()


async def refusal(lab: Lab, method: str, path: str, /, **parameters: object) -> str:
    body = (await lab.answer(method, path, **parameters))[1]
    return str(next(iter(body.get("errors", {}).values()), body["reason"]))


async def upload(lab: Lab, name: str, body: bytes, content: str = "iso", **fields: str) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData({"content": content, **fields}, quote_fields=False)
    form.add_field("filename", body, filename=name)
    token = f"PVEAPIToken=pulumi@pve!cluster-stack={lab.directory.token_secret()}"
    async with lab.client.post(
        f"/api2/json{LOCAL}/upload", data=form, headers=lab.headers or {"Authorization": token}
    ) as response:
        return response.status, await response.json()


async def uploaded(lab: Lab, name: str, body: bytes, content: str = "iso", **fields: str) -> str:
    status, answer = await upload(lab, name, body, content, **fields)
    assert status == 200, answer
    await lab.cluster.tasks.wait_all()
    task = await lab.call("GET", f"/nodes/ms01/tasks/{answer['data']}/status")
    return str(task["exitstatus"])


async def listed(lab: Lab, **filters: object) -> dict[str, int]:
    return {entry["volid"]: entry["size"] for entry in await lab.call("GET", f"{LOCAL}/content", **filters)}


# Configuration


async def test_a_storage_is_added_changed_and_removed(lab: Lab, make_lab: MakeLab) -> None:
    await lab.log_in()
    nas = {"type": "nfs", "server": "nas", "export": "/x", "content": "iso,images"}
    made = await lab.call("POST", "/storage", storage="nas", **nas)
    assert made == {"storage": "nas", "type": "nfs"}
    again = await make_lab()  # after a restart
    await again.log_in()
    found = await again.call("GET", "/storage/nas")
    del found["digest"]
    assert found == {**nas, "storage": "nas", "path": "/mnt/pve/nas", "shared": 1}
    assert await again.task("POST", QEMU, vmid=800, scsi0="nas:1") == "OK"
    await again.call("PUT", "/storage/nas", nodes="ms02", delete="content")
    assert (await again.call("GET", "/storage/nas"))["nodes"] == "ms02"
    words = "storage 'nas' is not available on node 'ms01'"
    assert await refusal(again, "GET", "/nodes/ms01/storage/nas/status") == words
    await again.call("DELETE", "/storage/nas")
    assert await refusal(again, "GET", "/storage/nas") == "storage 'nas' does not exist"


async def test_a_disabled_storage_serves_nobody(lab: Lab) -> None:
    await lab.log_in()
    await lab.call("PUT", "/storage/ceph", disable=1)
    (status,) = (s for s in await lab.call("GET", "/nodes/ms01/storage") if s["storage"] == "ceph")
    assert (status["enabled"], status["active"], status["total"]) == (0, 0, 0)
    enabled = [s["storage"] for s in await lab.call("GET", "/nodes/ms01/storage", enabled=1)]
    assert "ceph" not in enabled
    words = "unable to create VM 800 - storage 'ceph' is disabled"
    assert await lab.task("POST", QEMU, vmid=800, scsi0="ceph:1") == words


NEW = {"storage": "new", "type": "dir", "path": "/x"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({**NEW, "storage": "local"}, "create storage failed: storage ID 'local' already defined"),
        ({"storage": "new", "type": "dir"}, "create storage failed: missing value for required option 'path'"),
        ({**NEW, "path": "x"}, "invalid format - value does not look like a valid absolute path\n"),
        ({**NEW, "server": "y"}, "create storage failed: unexpected property 'server'"),
        ({"storage": "new", "type": "pbs"}, "storage type 'pbs' is not built in this lab"),
        (
            {**NEW, "prune__backups": "keep-all=1,keep-last=2"},
            "create storage failed: keep-all cannot be set together with other options.",
        ),
    ],
)
async def test_a_storage_that_cannot_be(lab: Lab, parameters: dict[str, object], words: str) -> None:
    await lab.log_in()
    assert await refusal(lab, "POST", "/storage", **parameters) == words


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("local", {"delete": "path"}, "update storage failed: unable to delete required option 'path'"),
        (
            "local",
            {"digest": "0"},
            "update storage failed: detected modified configuration - file changed by other user? Try again.",
        ),
        ("nowhere", {"disable": 1}, "storage 'nowhere' does not exist"),
    ],
)
async def test_a_change_of_a_storage_that_cannot_be(
    lab: Lab, name: str, parameters: dict[str, object], words: str
) -> None:
    await lab.log_in()
    assert await refusal(lab, "PUT", f"/storage/{name}", **parameters) == words


async def test_storages_are_not_configured_by_who_may_only_use_them(lab: Lab) -> None:
    lab.break_things("privilege-revoked", "Datastore.Allocate")
    words = "Permission check failed (/storage, Datastore.Allocate)"
    assert await refusal(lab, "POST", "/storage", storage="new", type="dir", path="/x") == words


# Files


async def test_a_file_is_uploaded_and_replaced(lab: Lab) -> None:
    assert await uploaded(lab, "own.iso", b"asd") == "OK"
    assert (
        await uploaded(
            lab, "own.iso", b"longer", checksum=hashlib.md5(b"longer").hexdigest(), **{"checksum-algorithm": "md5"}
        )
        == "OK"
    )
    assert await listed(lab, content="iso") == {"local:iso/own.iso": 6}
    assert await uploaded(lab, "my disc?.iso", b"x") == "OK"
    assert "local:iso/my_disc_.iso" in await listed(lab)


async def test_an_uploaded_image_is_imported(lab: Lab) -> None:
    assert await uploaded(lab, "talos.qcow2", QCOW2, content="import") == "OK"
    assert await lab.task("POST", QEMU, **{**VM, "scsi0": "local:0,import-from=local:import/talos.qcow2"}) == "OK"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    (disk,) = lab.hypervisor.machines[800]["disks"]
    assert disk["sizeBytes"] == 1246 << 20


async def test_an_upload_that_is_not_what_it_claims_fails_its_task(lab: Lab) -> None:
    sums = {"checksum": "0" * 32, "checksum-algorithm": "md5"}
    got = hashlib.md5(b"asd").hexdigest()
    assert await uploaded(lab, "own.iso", b"asd", **sums) == (
        f"checksum mismatch: got '{got}' != expect '{'0' * 32}', aborting"
    )
    assert await uploaded(lab, "own.qcow2", b"asd", content="import") == (
        "qemu-img: Could not open '/var/lib/vz/import/own.qcow2': Image is not in qcow2 format"
    )
    assert await listed(lab) == {}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("own.exe", "iso", "wrong file extension"),
        ("own.iso", "import", "invalid filename or wrong extension"),
        ("own.iso", "snippets", "value 'snippets' does not have a value in the enumeration 'iso, vztmpl, import'"),
    ],
)
async def test_an_upload_of_the_wrong_kind_is_refused(lab: Lab, name: str, content: str, words: str) -> None:
    status, body = await upload(lab, name, b"asd", content)
    assert (status, next(iter(body["errors"].values()))) == (400, words)


async def test_a_browser_uploads_without_the_header_that_its_form_cannot_send(lab: Lab) -> None:
    await lab.log_in()
    del lab.headers["CSRFPreventionToken"]
    assert (await upload(lab, "own.iso", b"asd"))[0] == 200
    assert (await lab.answer("POST", f"{LOCAL}/download-url"))[0] == 401


async def test_a_full_storage_takes_no_file(make_lab: MakeLab) -> None:
    lab = await make_lab()
    known = lab.cluster.datacentre.proxmox.storages
    full = await make_lab(storages=tuple(s.model_copy(update={"used_gib": s.size_gib}) for s in known))
    assert await uploaded(full, "own.iso", b"asd") == (
        "download failed: /var/lib/vz/template/iso/own.iso: No space left on device"
    )

"""Images on storages: what a URL offers, downloads, imports into disks, removal; and what Proxmox refuses of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from .conftest import VM, Lab

QEMU = "/nodes/ms01/qemu"
STORAGE = "/nodes/ms01/storage"
AGENT = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
URL = f"https://factory.talos.dev/image/{AGENT}/v1.13.0/nocloud-amd64.qcow2"
FILE = "talos-v1.13.0.qcow2"
VOLUME = f"local:import/{FILE}"
PATH = f"/var/lib/vz/import/{FILE}"


def wanted(**changes: object) -> dict[str, Any]:
    return {"content": "import", "filename": FILE, "url": URL, "verify__certificates": 1, **changes}


async def downloaded(lab: Lab, node: str = "ms01", **changes: object) -> None:
    assert await lab.task("POST", f"/nodes/{node}/storage/local/download-url", **wanted(**changes)) == "OK"


async def contents(lab: Lab, path: str = f"{STORAGE}/local", **filters: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await lab.call("GET", f"{path}/content", **filters)
    return found


async def test_a_url_tells_what_it_offers(lab: Lab) -> None:
    await downloaded(lab)
    (stored,) = await contents(lab, content="import")
    assert await lab.call("GET", "/nodes/ms01/query-url-metadata", url=URL) == {
        "filename": "nocloud-amd64.qcow2",
        "mimetype": "application/octet-stream",
        "size": stored["size"],
    }


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (URL.replace(AGENT, "0" * 64), "invalid server response: '404 Not Found'"),
        ("https://example.org/x.qcow2", "invalid server response: '500 Can't connect to example.org'"),
    ],
)
async def test_a_url_that_offers_nothing_is_told(lab: Lab, url: str, words: str) -> None:
    status, body = await lab.answer("GET", "/nodes/ms01/query-url-metadata", url=url)
    assert (status, body["reason"]) == (500, words)


async def test_a_downloaded_image_is_listed_and_read(lab: Lab) -> None:
    upid = await lab.call("POST", f"{STORAGE}/local/download-url", **wanted())
    assert upid.split(":")[5:7] == ["download", FILE]
    await lab.cluster.tasks.wait_all()
    (entry,) = await contents(lab, content="import")
    assert {**entry, "ctime": 0, "size": 0} == {
        "volid": VOLUME,
        "content": "import",
        "format": "qcow2",
        "ctime": 0,
        "size": 0,
    }
    assert await contents(lab, content="iso") == []
    attributes = await lab.call("GET", f"{STORAGE}/local/content/{VOLUME.replace('/', '%2F')}")
    assert attributes == {"path": PATH, "format": "qcow2", "size": 1246 << 20, "used": entry["size"]}


async def test_a_file_is_not_overwritten_unless_it_is_the_same_by_its_checksum(lab: Lab) -> None:
    await downloaded(lab)
    task = ("POST", f"{STORAGE}/local/download-url")
    assert await lab.task(*task, **wanted()) == f"refusing to override existing file '{PATH}'"
    body = (await lab.cluster.fetch("GET", URL, True)).body
    for checksum, status in (
        (hashlib.sha256(body).hexdigest(), "OK"),
        ("0" * 64, f"checksum mismatch: got '{hashlib.sha256(body).hexdigest()}' != expect '{'0' * 64}', aborting"),
    ):
        changes = {"checksum": checksum, "checksum__algorithm": "sha256"}
        assert await lab.task(*task, **wanted(**changes)) == status


@pytest.mark.parametrize(
    ("storage", "changes", "status", "words"),
    [
        (
            "c137-isos",
            {"content": "vztmpl", "filename": "alpine.tar.gz"},
            500,
            "storage 'c137-isos' is not configured for content-type 'vztmpl'",
        ),
        ("ceph", {}, 500, "can't upload to storage type 'rbd', not a file based storage!"),
        ("local-lvm", {}, 500, "can't upload to storage type 'lvmthin', not a file based storage!"),
        ("nas", {}, 500, "storage 'nas' does not exist"),
        ("local", {"filename": "talos.xz"}, 400, "invalid filename or wrong extension"),
        ("local", {"filename": "talos.qcow2", "content": "iso"}, 400, "wrong file extension"),
        ("local", {"url": "ftp://x"}, 400, "value does not match the regex pattern"),
    ],
)
async def test_a_download_that_cannot_be_is_refused(
    lab: Lab, storage: str, changes: dict[str, Any], status: int, words: str
) -> None:
    got, body = await lab.answer("POST", f"{STORAGE}/{storage}/download-url", **wanted(**changes))
    assert (got, next(iter(body.get("errors", {}).values()), body["reason"])) == (status, words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": URL.replace(AGENT, "0" * 64)}, "ERROR 404: Not Found."),
        ({"url": URL.replace("qcow2", "iso")}, f"qemu-img: Could not open '{PATH}': Image is not in qcow2 format"),
        ({"url": "https://example.org/x.qcow2"}, "download failed: wget: unable to resolve host address 'example.org'"),
        ({"compression": "gz"}, "decompression not supported for import"),
        ({"checksum": "0", "checksum__algorithm": "md5"}, "' != expect '0', aborting"),
    ],
)
async def test_a_download_that_fails_leaves_nothing(lab: Lab, changes: dict[str, Any], words: str) -> None:
    assert (await lab.task("POST", f"{STORAGE}/local/download-url", **wanted(**changes))).endswith(words)
    assert await contents(lab) == []


async def test_the_name_of_a_file_loses_what_a_name_may_not_have(lab: Lab) -> None:
    await downloaded(lab, filename="a/b/talos 1.13:x.qcow2")
    assert [entry["volid"] for entry in await contents(lab)] == ["local:import/talos_1.13_x.qcow2"]


async def test_an_iso_is_downloaded_and_booted(lab: Lab) -> None:
    url = URL.replace("nocloud-amd64.qcow2", "metal-amd64.iso")
    await downloaded(lab, content="iso", filename="talos.iso", url=url)
    assert await lab.task("POST", QEMU, **{**VM, "ide2": "file=local:iso/talos.iso,media=cdrom"}) == "OK"
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    cdrom = lab.hypervisor.machines[800]["cdrom"]
    assert cdrom
    assert (cdrom["image"]["platform"], cdrom["image"]["extensions"]) == ("metal", ["siderolabs/qemu-guest-agent"])


async def test_each_host_has_its_own_local_images(lab: Lab) -> None:
    await downloaded(lab, node="ms02")
    assert await contents(lab) == []
    assert [entry["volid"] for entry in await contents(lab, "/nodes/ms02/storage/local")] == [VOLUME]
    status = await lab.task("POST", QEMU, **{**VM, "scsi0": f"local:0,import-from={VOLUME}"})
    assert status == f"unable to create VM 800 - cannot import from '{VOLUME}' - could not get size of {VOLUME}"
    await downloaded(lab)


async def test_an_image_is_removed_by_a_task(lab: Lab) -> None:
    await downloaded(lab)
    path = f"{STORAGE}/local/content/{VOLUME.replace('/', '%2F')}"
    upid = await lab.call("DELETE", path)
    assert upid.split(":")[5:7] == ["imgdel", "local"]
    await lab.cluster.tasks.wait_all()
    assert await contents(lab) == []
    assert (await lab.answer("GET", path))[1]["reason"] == f"volume_size_info on '{VOLUME}' failed - no format"
    await downloaded(lab)
    assert await lab.call("DELETE", path, delay=5) is None
    assert (await lab.answer("DELETE", path.replace("local:", "ceph:")))[0] == 400


@pytest.mark.parametrize(
    ("privileges", "method", "path", "words"),
    [
        (["Sys.AccessNetwork"], "GET", f"/nodes/ms01/query-url-metadata?url={URL}", "Permission check failed"),
        (["Sys.AccessNetwork"], "POST", f"{STORAGE}/local/download-url", "Permission check failed"),
        (
            ["Datastore.AllocateTemplate"],
            "POST",
            f"{STORAGE}/local/download-url",
            "Permission check failed (/storage/local, Datastore.AllocateTemplate)",
        ),
        (
            ["Datastore.Allocate"],
            "DELETE",
            f"{STORAGE}/local/content/local:import%2Fx.qcow2",
            "Permission check failed (/storage/local, Datastore.Allocate)",
        ),
        (
            ["Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit"],
            "GET",
            f"{STORAGE}/local/content/local:import%2Fx.qcow2",
            "Permission check failed (/storage/local, Datastore.AllocateSpace|Datastore.Audit)",
        ),
    ],
)
async def test_images_need_each_privilege(lab: Lab, privileges: list[str], method: str, path: str, words: str) -> None:
    lab.break_things("privilege-revoked", *privileges)
    status, body = await lab.answer(method, path, **(wanted() if method == "POST" else {}))
    assert (status, body["reason"]) == (403, words)


async def test_an_imported_disk_has_the_image_and_its_size(lab: Lab) -> None:
    await downloaded(lab)
    disk = f"file=local-lvm:0,import-from={VOLUME},format=raw,size=21474836480,iothread=1,ssd=1,discard=on"
    assert await lab.task("POST", QEMU, **{**VM, "scsi0": disk, "boot": "order=scsi0"}) == "OK"
    config = await lab.call("GET", f"{QEMU}/800/config")
    assert config["scsi0"] == "local-lvm:vm-800-disk-0,discard=on,iothread=1,size=1248M,ssd=1"
    assert await lab.task("PUT", f"{QEMU}/800/resize", disk="scsi0", size=str(20 << 30)) == "OK"
    assert "size=20G" in (await lab.call("GET", f"{QEMU}/800/config"))["scsi0"]
    assert await lab.task("POST", f"{QEMU}/800/status/start") == "OK"
    machine = lab.hypervisor.machines[800]
    (found,) = machine["disks"]
    assert (found["sizeBytes"], machine["bootOrder"]) == (20 << 30, ["/dev/sda"])
    image = lab.directory.vms / "800" / "disks" / "local-lvm" / "vm-800-disk-0" / "image.json"
    assert found["path"] == str(image.parent)
    assert '"platform": "nocloud"' in image.read_text()


@pytest.mark.parametrize(
    ("disk", "size"),
    [
        ("local:0,import-from={}", "local:800/vm-800-disk-0.qcow2,size=1246M"),
        ("local:0,import-from={},format=raw", "local:800/vm-800-disk-0.raw,size=1246M"),
        ("ceph:0,import-from={}", "ceph:vm-800-disk-0,size=1246M"),
        ("ceph:0,import-from={},format=qcow2", "ceph:vm-800-disk-0,size=1246M"),
    ],
)
async def test_an_import_takes_the_format_that_the_storage_has(lab: Lab, disk: str, size: str) -> None:
    await downloaded(lab)
    assert await lab.task("POST", QEMU, vmid=800, scsi0=disk.format(VOLUME)) == "OK"
    assert (await lab.call("GET", f"{QEMU}/800/config"))["scsi0"] == size


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (
            "scsi0",
            f"local:20,import-from={VOLUME}",
            "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>",
        ),
        (
            "efidisk0",
            f"local:0,import-from={VOLUME}",
            "need to specify 'efitype' when using 'import-from'",
        ),
        ("tpmstate0", f"local:0,import-from={VOLUME}", "need to specify 'version' when using 'import-from'"),
    ],
)
async def test_an_import_has_a_syntax_of_its_own(lab: Lab, option: str, value: str, words: str) -> None:
    status, body = await lab.answer("POST", QEMU, vmid=800, **{option: value})
    assert (status, body["errors"]) == (400, {option: words})


async def test_a_new_vm_finds_nothing_of_the_disk_that_had_its_name(lab: Lab) -> None:
    await downloaded(lab)
    assert await lab.task("POST", QEMU, vmid=800, scsi0=f"local:0,import-from={VOLUME}") == "OK"
    folder = lab.directory.vms / "800" / "disks" / "local" / "vm-800-disk-0"
    assert (folder / "image.json").exists()
    await lab.call("PUT", f"{QEMU}/800/config", delete="scsi0")
    await lab.call("PUT", f"{QEMU}/800/config", delete="unused0")
    assert not folder.exists()

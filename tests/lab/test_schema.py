"""The parameter checks, against Proxmox's own description of the call that creates a VM."""

from __future__ import annotations

import pytest

from lab.proxmox import schema
from lab.proxmox.errors import ApiError
from lab.proxmox.property_strings import parse, render

from .conftest import DESCRIPTION, VM

_found = DESCRIPTION.find("POST", "/nodes/ms01/qemu")
assert _found
CREATE = _found[0]
NETWORK = CREATE.parameters["properties"]["net[n]"]["format"]
VALID = {**{name: str(value) for name, value in VM.items()}, "node": "ms01"}


def refused(**changes: str) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        schema.verify(CREATE.parameters, {**VALID, **changes})
    assert (caught.value.status, caught.value.message) == (400, "Parameter verification failed.")
    return caught.value.errors


def test_what_the_provider_sends_is_accepted() -> None:
    schema.verify(CREATE.parameters, VALID)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("colour", "red", "property is not defined in schema and the schema does not allow additional properties"),
        ("scsi31", "local:1", "property is not defined in schema and the schema does not allow additional properties"),
        ("scsi01", "local:1", "property is not defined in schema and the schema does not allow additional properties"),
        ("cores", "four", "type check ('integer') failed - got 'four'"),
        ("cores", "0", "value must have a minimum value of 1"),
        ("cpulimit", "129", "value must have a maximum value of 128"),
        ("onboot", "true", "type check ('boolean') failed - got 'true'"),
        ("bios", "uefi", "value 'uefi' does not have a value in the enumeration 'seabios, ovmf'"),
        ("vmid", "99", "invalid format - value does not look like a valid VM ID\n"),
        ("name", "home_lab", "invalid format - value does not look like a valid DNS name\n"),
        ("tags", "böse", "invalid format - invalid characters in tag\n"),
        ("description", "x" * 8193, "value may only be 8192 characters long"),
        ("serial0", "tty", "value does not match the regex pattern"),
        ("pool", "a b", "invalid format - value 'a b' does not look like a valid pool name\n"),
        (
            "boot",
            "order=foo0",
            "invalid format - format error\nboot.order: invalid format - invalid boot device 'foo0'\n\n",
        ),
        ("scsi0", "local:1,frmt=raw", "invalid format - invalid key in comma-separated list property: frmt\n"),
        (
            "scsi0",
            "raw",
            "invalid format - format error\nscsi0.file: invalid format - unable to parse volume ID 'raw'\n\n",
        ),
        (
            "agent",
            "enabled=maybe",
            "invalid format - format error\nagent.enabled: type check ('boolean') failed - got 'maybe'\n",
        ),
        (
            "net0",
            "virtio=01:00:00:00:00:00",
            "invalid format - format error\n"
            "net0.macaddr: invalid format - value does not look like a valid unicast MAC address\n\n",
        ),
        (
            "net0",
            "bridge=vmbr0",
            "invalid format - format error\nnet0.model: property is missing and it is not optional\n",
        ),
        (
            "cpu",
            "fast",
            "invalid format - format error\n"
            "cpu.cputype: invalid format - Built-in cputype 'fast' is not defined (missing 'custom-' prefix?)\n\n",
        ),
        (
            "ipconfig0",
            "gw=10.0.0.1",
            "invalid format - format error\nipconfig0.ip: missing property - 'ipconfig0.gw' requires this property\n",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_in_proxmox_words(name: str, value: str, words: str) -> None:
    assert refused(**{name: value}) == {name: words}


def test_every_wrong_parameter_is_named_at_once() -> None:
    assert set(refused(cores="0", onboot="yes", colour="red")) == {"cores", "onboot", "colour"}


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        schema.verify(CREATE.parameters, {"node": "ms01"})
    assert caught.value.errors == {"vmid": "property is missing and it is not optional"}


def test_a_parameter_may_require_another() -> None:
    assert refused(force="1") == {"archive": "missing property - 'force' requires this property"}


def test_a_network_device_is_written_as_proxmox_writes_it() -> None:
    device = parse(NETWORK, "model=virtio,bridge=vmbr0,firewall=off,macaddr=BC:24:11:00:00:01")
    assert render(NETWORK, device) == "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0"
    assert parse(NETWORK, render(NETWORK, device)) == device


@pytest.mark.parametrize("text", ["virtio,virtio", "bridge=a,bridge=b", "model=virtio,virtio=BC:24:11:00:00:01"])
def test_a_property_may_not_come_twice(text: str) -> None:
    with pytest.raises(ValueError, match=r"duplicate key|already defined"):
        parse(NETWORK, text)


def test_a_path_finds_its_call_and_its_parameters() -> None:
    found = DESCRIPTION.find("GET", "/nodes/ms01/storage/local/content/local%3Aiso%2Fx.iso")
    assert found
    assert found[0].key == "GET /nodes/{node}/storage/{storage}/content/{volume}"
    assert found[1] == {"node": "ms01", "storage": "local", "volume": "local%3Aiso%2Fx.iso"}
    assert DESCRIPTION.find("GET", "/nodes/ms01/nonsense") is None
    assert DESCRIPTION.find("PATCH", "/nodes/ms01/qemu") is None

"""Schematic ids, against the Image Factory's own code and its public instance.

``schematic_vectors.json`` says which module and version wrote its texts and ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster_stack.plan.extensions import GUEST_AGENT
from cluster_stack.plan.schematic import (
    DEFAULT_SCHEMATIC,
    GUEST_AGENT_SCHEMATIC,
    Overlay,
    Schematic,
    canonical,
    known_extensions,
    merge,
    schematic_id,
)

VECTORS = json.loads(Path(__file__).with_name("schematic_vectors.json").read_text(encoding="utf-8"))["vectors"]

UNSURE = [
    *(
        "yes",
        "No",
        "on",
        "off",
        "y",
        "<<",
        "=",
        "1:30",
        "-1:30.5",
        "0x1f",
        "0b1",
        "0o7",
        "-0X1F",
        "1e3",
        "-.5E-3",
        "1e400",
    ),
    *("1_000", "-_1", "0_x7e", "-.08_4", "9" * 400, "2026-11-24", "2026-1-2T03:04:05Z", "2026-11-24 03:04:05"),
    *("a \nb", "a\nb ", "a\n \nb", " a\nb", "\na", "\n", "a\n\n"),
    *("a\tb", "a\rb", "\x00", "\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u2028", "\ufeff", "\ue000", "\uffff"),
    *("a\nb\tc", "a\nb\N{GRINNING FACE}", "\N{GRINNING FACE}", "\U00010348"),
]
"""What YAML's versions, or releases of the factory, write or read differently, or what is not worth telling apart."""


def extensions(*names: str) -> Schematic:
    return Schematic(official_extensions=tuple(f"siderolabs/{name}" for name in names))


def arguments(*texts: str) -> Schematic:
    return Schematic(extra_kernel_args=texts)


def options(**values: Any) -> Schematic:
    return Schematic(overlay=Overlay(name="name", image="image", options=values))


def from_factory_form(data: Mapping[str, Any]) -> Schematic:
    overlay, customization = data.get("overlay"), data.get("customization", {})
    secureboot = customization.get("secureboot", {})
    return Schematic(
        overlay=Overlay(**overlay) if overlay else None,
        extra_kernel_args=tuple(customization.get("extraKernelArgs", ())),
        meta=tuple((entry["key"], entry["value"]) for entry in customization.get("meta", ())),
        official_extensions=tuple(customization.get("systemExtensions", {}).get("officialExtensions", ())),
        bootloader=customization.get("bootloader"),
        secureboot_enroll_keys=secureboot.get("enrollKeys"),
        secureboot_include_well_known_certificates=secureboot.get("includeWellKnownCertificates", False),
        disk_image_sector_size=customization.get("diskImage", {}).get("sectorSize", 0),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_text_and_id_are_the_factory_s(vector: dict[str, Any]) -> None:
    schematic = from_factory_form(vector["schematic"])
    assert canonical(schematic) == vector["canonical"]
    assert schematic_id(schematic) == vector["id"]


@pytest.mark.parametrize(
    ("schematic", "identifier"),
    [
        # In image references of public repositories that say beside them what the schematic is.
        (
            extensions("i915", "intel-ucode", "qemu-guest-agent"),
            "95d432d6bb450a67e801a6ae77c96a67e38820b62ba4159ae7e997e1695207f7",
        ),
        (
            extensions("cloudflared", "glibc", "i915", "iscsi-tools", "nut-client", "realtek-firmware"),
            "4fa1e2bb9d7fa57fe0ad9513a765322ea3064e9bfede11c3c9a18777f847bffd",
        ),
        (
            extensions("iscsi-tools", "nfs-utils", "qemu-guest-agent", "trident-iscsi-tools", "util-linux-tools"),
            "060a945412986c731a206fa0dd0b736e1363e94a38c1f3eb62dc38e63933ba8e",
        ),
        (
            merge(extensions("intel-ucode", "iscsi-tools"), extra_kernel_args=["console=ttyS0"]),
            "20e64852c1be21e6c5e22cafc52c2dcc5add07e66ce62e30fad173d709d5b652",
        ),
        (
            arguments("talos.config=metal-iso"),
            "d0b273850841b13d0193fbfb0597bac2ca30387b8a0797a43238ecafc72ed329",
        ),
    ],
    ids=["gpu", "tunnel", "storage", "console", "configuration"],
)
def test_ids_are_those_that_factory_talos_dev_has_given(schematic: Schematic, identifier: str) -> None:
    assert schematic_id(schematic) == identifier


@pytest.mark.parametrize("text", UNSURE, ids=lambda text: ascii(text[:20]))
@pytest.mark.parametrize("place", ["argument", "meta", "option"])
def test_a_text_that_could_be_written_otherwise_has_no_id(text: str, place: str) -> None:
    schematic = {
        "argument": arguments("quiet", text),
        "meta": Schematic(meta=((10, text),)),
        "option": options(data=["a", {"b": text}]),
    }[place]
    with pytest.raises(ValueError, match="no schematic id can be computed with"):
        canonical(schematic)


@pytest.mark.parametrize(
    ("schematic", "message"),
    [
        (arguments("on"), r"^'on': .* write the id that it answers as factorySchematic\.$"),
        (arguments("a" * 99 + "\t"), r"^'a{57}\.\.\.': .* Write the text without them\.$"),
        (options(data=1.5), r"^1\.5 in an overlay's options: .* It can with texts, whole numbers, true and false\.$"),
        (options(data=2**63), r"^9223372036854775808 in an overlay's options: "),
        (options(data={"a1": "b"}), r"^'a1' in an overlay's options: .* It can with keys of letters alone, A to z\.$"),
        (options(data={1: "b"}), r"^1 in an overlay's options: "),
        (options(data={"on": "b"}), r"^'on': "),
        (Schematic(meta=((256, "a"),)), r"^The keys of meta are numbers from 0 to 255\.$"),
        (Schematic(meta=((-1, "a"),)), r"^The keys of meta are numbers from 0 to 255\.$"),
        (
            Schematic(bootloader="lilo"),
            r"^'lilo' is no bootloader\. Write dual-boot, sd-boot or grub, or leave it out\.",
        ),
        (Schematic(secureboot_enroll_keys="off"), r"^'off': "),
    ],
)
def test_a_refusal_says_what_to_write_instead(schematic: Schematic, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schematic_id(schematic)


def test_an_overlay_without_anything_is_none() -> None:
    assert schematic_id(Schematic(overlay=Overlay(name="", image=""))) == DEFAULT_SCHEMATIC


def test_merged_values_come_behind_the_base_s_own() -> None:
    base = Schematic(official_extensions=("c", "a"), extra_kernel_args=("quiet", "console=tty0"), meta=((10, "x"),))
    merged = merge(base, extensions=["b", "a", "b"], extra_kernel_args=["quiet", "console=ttyS0"])
    assert merged.official_extensions == ("c", "a", "b")
    assert merged.extra_kernel_args == ("quiet", "console=tty0", "console=ttyS0")
    assert merged.meta == base.meta


def test_merging_nothing_changes_nothing() -> None:
    base = Schematic(official_extensions=("a", "a"), extra_kernel_args=("quiet", "quiet"))
    assert merge(base) == base


def test_extensions_of_well_known_ids() -> None:
    assert schematic_id(Schematic()) == DEFAULT_SCHEMATIC
    assert known_extensions(DEFAULT_SCHEMATIC) == ()
    assert schematic_id(Schematic(official_extensions=(GUEST_AGENT,))) == GUEST_AGENT_SCHEMATIC
    assert known_extensions(GUEST_AGENT_SCHEMATIC) == (GUEST_AGENT,)
    assert known_extensions("0" * 64) is None

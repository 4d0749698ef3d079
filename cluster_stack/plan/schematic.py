"""The Image Factory's id of a schematic, computed without asking the factory.

The id is the SHA-256 of the schematic's canonical text: the YAML that the factory (github.com/siderolabs/image-factory,
pkg/schematic) writes for its own struct, with Go's yaml library. It keeps the order of extensions and arguments and
drops no duplicates, so another order is another id.

Owns the canonical text and the id. Does not register a schematic: the factory serves images only of ids whose text it
has been sent once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from cluster_stack.plan.extensions import GUEST_AGENT

DEFAULT_SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
"""Id of the schematic without any customization."""

GUEST_AGENT_SCHEMATIC = "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
"""Id of the schematic with the QEMU guest agent alone."""

_REFUSAL = (
    "no schematic id can be computed with it, since the ways of writing it as YAML differ. Send the schematic to the "
    "Image Factory yourself, and write the id that it answers as factorySchematic."
)

_BOOTLOADERS = (None, "none", "dual-boot", "sd-boot", "grub")

_WELL_KNOWN: dict[str, tuple[str, ...]] = {DEFAULT_SCHEMATIC: (), GUEST_AGENT_SCHEMATIC: (GUEST_AGENT,)}


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """What a single-board computer's image needs beside Talos. Virtual machines need none."""

    name: str
    image: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Strings, whole numbers, booleans, None, and lists and mappings of them. Keys have letters only."""


@dataclass(frozen=True, kw_only=True)
class Schematic:
    """What is customized in an image: the fields of image-factory v1.4.0.

    All but ``owner``, which is the Enterprise edition's, and ``embeddedMachineConfiguration``: whoever has the id can
    download the image, so it is no place for one.
    """

    overlay: Overlay | None = None
    extra_kernel_args: tuple[str, ...] = ()
    meta: tuple[tuple[int, str], ...] = ()
    """Initial values of Talos' META partition: key (0 to 255) and value."""
    official_extensions: tuple[str, ...] = ()
    """Names such as ``siderolabs/qemu-guest-agent``."""
    bootloader: str | None = None
    """``dual-boot``, ``sd-boot`` or ``grub``. None: Talos chooses."""
    secureboot_enroll_keys: str | None = None
    """When systemd-boot enrolls the SecureBoot keys: ``manual``, ``if-safe`` or ``force``. None: ``if-safe``."""
    secureboot_include_well_known_certificates: bool = False
    disk_image_sector_size: int = 0
    """Bytes. 0: the factory's default, 512."""


def schematic_id(schematic: Schematic) -> str:
    """The id that the Image Factory gives the schematic: 64 hexadecimal digits.

    Raises ValueError as :func:`canonical` does.
    """
    return hashlib.sha256(canonical(schematic).encode()).hexdigest()


def canonical(schematic: Schematic) -> str:
    """The text that the Image Factory hashes, and answers when asked for the schematic.

    Raises ValueError, with a sentence for the user, for the rare values whose text differs between releases of the
    factory, or cannot be told with certainty: a refusal is better than an id that no image has.
    """
    document: dict[str, Any] = {}
    overlay = schematic.overlay
    if overlay and (overlay.name or overlay.image or overlay.options):
        document["overlay"] = {"image": overlay.image, "name": overlay.name}
        if overlay.options:
            document["overlay"]["options"] = _option(overlay.options)
    if any(not 0 <= key <= 255 for key, _ in schematic.meta):
        raise ValueError("The keys of meta are numbers from 0 to 255.")
    if schematic.bootloader not in _BOOTLOADERS:
        raise ValueError(
            f"{schematic.bootloader!r} is no bootloader. Write dual-boot, sd-boot or grub, or leave it out."
        )
    # The order of the struct's fields. What has its zero value is left out, but "customization" itself never is.
    secureboot = {
        "enrollKeys": schematic.secureboot_enroll_keys,
        "includeWellKnownCertificates": schematic.secureboot_include_well_known_certificates,
    }
    document["customization"] = _without_zeros(
        {
            "extraKernelArgs": list(schematic.extra_kernel_args),
            "meta": [{"key": key, "value": value} for key, value in schematic.meta],
            "systemExtensions": _without_zeros({"officialExtensions": list(schematic.official_extensions)}),
            "bootloader": None if schematic.bootloader == "none" else schematic.bootloader,
            "secureboot": _without_zeros(secureboot),
            "diskImage": _without_zeros({"sectorSize": schematic.disk_image_sector_size}),
        }
    )
    text: str = yaml.dump(
        document, Dumper=_GoDumper, default_flow_style=False, allow_unicode=True, sort_keys=False, width=float("inf")
    )
    return text


def merge(base: Schematic, extensions: Iterable[str] = (), extra_kernel_args: Iterable[str] = ()) -> Schematic:
    """``base`` with more extensions and kernel arguments behind its own; what it has already is not added again."""
    return replace(
        base,
        official_extensions=_append(base.official_extensions, extensions),
        extra_kernel_args=_append(base.extra_kernel_args, extra_kernel_args),
    )


def known_extensions(schematic_id: str) -> tuple[str, ...] | None:
    """The extensions of a well-known schematic id; None for any other, since an id alone does not tell them."""
    return _WELL_KNOWN.get(schematic_id)


def _append(own: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return (*own, *(text for text in dict.fromkeys(more) if text not in own))


def _without_zeros(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Go's ``omitempty``."""
    return {key: value for key, value in fields.items() if value}


def _option(value: Any) -> Any:
    """A value of an overlay's options, with its keys in the order in which Go writes them."""
    if isinstance(value, Mapping):
        for key in value:
            # Keys with digits or signs have an order of their own in Go.
            if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z]{1,100}", key)):
                raise ValueError(
                    f"{key!r} in an overlay's options: {_REFUSAL} It can with keys of letters alone, A to z."
                )
        return {key: _option(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_option(entry) for entry in value]
    if value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    raise ValueError(f"{value!r} in an overlay's options: {_REFUSAL} It can with texts, whole numbers, true and false.")


_NOT_A_STRING = re.compile(
    r"""
    ~? | null | Null | NULL | true | True | TRUE | false | False | FALSE
    | [-+]?([0-9]{1,300}(\.[0-9]*)? | \.[0-9]+)
    | [-+]?\.(inf | Inf | INF) | \.(nan | NaN | NAN)
    """,
    re.VERBOSE,
)
"""What YAML would read as a null, a boolean or a number if it stood without quotes."""

_AMBIGUOUS = re.compile(
    r"""
    (?i:y | yes | on | n | no | off) | << | =                # booleans and signs of YAML 1.1
    | [-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?                  # 1:30, sexagesimal in YAML 1.1
    | [-+]?0[bBoOxX][0-9a-fA-F]+                             # 0x1f
    | [-+]?\.?[0-9]+\.?[0-9]*([eE][-+]?[0-9]+)?              # 1e3, and what has more digits than any number
    | (?=[-+.0-9_])(?=.*_)[-+.:_0-9a-fA-FxXoO]+              # 1_000
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\ ][0-9].*)?         # dates
    """,
    re.VERBOSE,
)
"""What versions of YAML, and of its libraries, do not read alike."""


class _GoDumper(yaml.SafeDumper):
    """PyYAML's emitter with the layout and the quotes of Go's yaml (gopkg.in/yaml.v3, go.yaml.in/yaml/v4).

    Both descend from libyaml and agree about what needs quotes at all.
    """

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's signature
        # What stands behind a "- " is two columns further in, anything else at the next multiple of four.
        self.indents.append(self.indent)
        if self.indent is None:
            self.indent = 0
        else:
            self.indent += 2 if self.sequence_context else 4 - self.indent % 4


def _represent_text(dumper: _GoDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
        # Block scalars are where releases differ most: in how they tell the indent of a first line with spaces, and
        # in whether they have spaces at the end of a line. PyYAML also ends a document behind empty last lines.
        unsure = text[0] in " \n" or text.endswith("\n\n") or any(line.endswith(" ") for line in text.split("\n"))
    elif _NOT_A_STRING.fullmatch(text):
        style = '"'
        unsure = False
    else:
        unsure = bool(_AMBIGUOUS.fullmatch(text))
    if unsure:
        raise ValueError(f"{_shown(text)}: {_REFUSAL}")
    # Go escapes what lies beyond U+FFFF, PyYAML does not, and each has its own view of what else is not printable.
    if not all(line.isprintable() for line in text.split("\n")) or max(text, default="") > "\uffff":
        raise ValueError(
            f"{_shown(text)}: no schematic id can be computed with tabs, emoji and characters that do not print. "
            "Write the text without them."
        )
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


_GoDumper.add_representer(str, _represent_text)

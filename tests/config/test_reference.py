"""The reference says of every key what the models say, and an editor sees the mistakes that one value alone shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any

import pytest
import regress
from jsonschema import Draft7Validator
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from cluster_stack.config import cluster_names, load_text
from cluster_stack.config.document import parse
from cluster_stack.config.models import ClusterConfig
from cluster_stack.config.reference import example, files
from cluster_stack.config.reference.__main__ import main
from cluster_stack.config.reference.keys import ITEM, NAMED, Key, dotted, keys
from cluster_stack.config.reference.kinds import KINDS
from cluster_stack.config.reference.schema import _Generator, at

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "schema/cluster.schema.json").read_text())
PAGE = (ROOT / "docs/cluster-yaml.md").read_text()
EDITOR_LINE = "# yaml-language-server: $schema=../../schema/cluster.schema.json"
MINIMAL = """
metadata: {name: small}
cluster:
  talos: {version: v1.13.0}
  topology: {controlPlane: {count: 1}, workers: {count: 0}}
proxmox:
  endpoint: https://pve.example:8006/
  node: pve
  storage: {datastore: local-lvm}
  vm: {idBase: 500}
"""


def read(text: str) -> dict[str, Any]:
    return parse(text.encode(), "cluster.yaml").data


def minimal(path: str, value: object) -> dict[str, Any]:
    """The minimal file with one value more, or another one."""
    data = read(MINIMAL)
    *parts, last = path.split(".")
    reduce(lambda here, part: here.setdefault(part, {}), parts, data)[last] = value
    return data


def complaints(data: object) -> list[str]:
    """Dotted paths at which the schema refuses something."""
    return [".".join(map(str, error.absolute_path)) for error in Draft7Validator(SCHEMA).iter_errors(data)]


def allowed(data: object) -> bool:
    try:
        ClusterConfig.model_validate(data)
    except ValidationError:
        return False
    return True


def places_of(
    model: dict[str, Any], definitions: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Every key, found in what pydantic itself generates, by its references from model to model."""
    for name, value in model["properties"].items():
        here = (*path, name)
        yield here
        text = json.dumps(value)
        for reference in re.findall(r'"\$ref": "#/\$defs/(\w+)"', text):
            below = here + ((ITEM,) if '"items"' in text else (NAMED,) if '"additionalProperties"' in text else ())
            if reference != "AddressRange":
                yield from places_of(definitions[reference], definitions, below)


@pytest.mark.parametrize("name", ["schema/cluster.schema.json", "docs/cluster-yaml.md"])
def test_the_committed_files_are_what_the_models_say(name: str) -> None:
    made = cached_files()
    assert list(made) == ["schema/cluster.schema.json", "docs/cluster-yaml.md"]
    assert (ROOT / name).read_text() == made[name], "run `python -m cluster_stack.config.reference`"


cached_files = cache(files)


def test_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster_stack.config.reference.__main__.files", cached_files)
    assert main([], root=tmp_path) == 0
    assert capsys.readouterr().out.split() == list(cached_files())
    assert main(["--check"], root=tmp_path) == 0
    page = tmp_path / "docs/cluster-yaml.md"
    page.write_text("old")
    capsys.readouterr()
    assert main(["--check"], root=tmp_path) == 1
    assert capsys.readouterr().err == "docs/cluster-yaml.md is stale. Run `python -m cluster_stack.config.reference`.\n"
    assert page.read_text() == "old"
    (tmp_path / "schema/cluster.schema.json").unlink()
    assert main(["--check"], root=tmp_path) == 1
    assert "schema/cluster.schema.json is stale" in capsys.readouterr().err


def test_an_ordinary_start_does_not_load_the_reference() -> None:
    program = (
        "import sys, cluster_stack.config; print([name for name in sys.modules if 'reference' in name.split('.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_key_of_the_models_is_forgotten() -> None:
    generated = ClusterConfig.model_json_schema()
    expected = set(places_of(generated, generated["$defs"]))
    assert len(expected) > 150
    assert {key.path for key in keys()} == expected


@pytest.mark.parametrize("key", list(keys()), ids=lambda key: dotted(key.path))
def test_every_key_is_explained(key: Key) -> None:
    node = at(SCHEMA, key.path)
    assert key.description
    assert node["description"] == key.description
    assert node["markdownDescription"].startswith(key.description)
    assert page_cells()[dotted(key.path[:-1]), f"`{key.name}`"][3] == key.description.replace("|", r"\|")


@cache
def page_cells() -> dict[tuple[str, str], list[str]]:
    """(dotted path of the mapping, first cell) -> cells of the row, for each row of each section of the page."""
    found: dict[tuple[str, str], list[str]] = {}
    for place, cells in page_rows():
        assert (place, cells[0]) not in found
        found[place, cells[0]] = cells
    return found


def page_rows() -> Iterator[tuple[str, list[str]]]:
    places: list[str] = []
    for line in PAGE.splitlines():
        if heading := re.fullmatch(r"##+ (.*)", line):
            title = "" if heading[1] == "The file" else heading[1].strip("`")
            before, _, rest = title.partition("{")
            choices, _, after = rest.partition("}")
            places = [before + choice + after for choice in choices.split(",")]
        elif line.startswith("| `"):
            for place in places:
                yield place, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_value_on_the_page_has_an_example_and_every_mapping_a_link() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^##+ (.*)$", PAGE)
    }
    links = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert set(links) <= headings
    rows = [cells for _, cells in page_rows() if len(cells) == 5]
    assert [cells for cells in rows if not cells[4] and "mapping" not in cells[1]] == []


def test_units_defaults_and_choices_arrive_at_the_reader() -> None:
    memory = at(SCHEMA, ("cluster", "topology", "controlPlane", "resources", "memory"))
    assert (memory["unit"], memory["default"], memory["minimum"]) == ("MB", 8192, 2048)
    assert memory["markdownDescription"].endswith("Default: `8192` MB.")
    assert at(SCHEMA, ("proxmox", "network", "mtu"))["markdownDescription"].endswith("Unit: bytes.")
    assert at(SCHEMA, ("proxmox", "vm", "bios"))["enum"] == ["seabios", "ovmf"]
    rows = page_cells()
    assert rows["cluster.topology.controlPlane.resources", "`memory`"][1:3] == [
        "whole number of MB, 2048 to 4194304",
        "`8192`",
    ]
    assert rows["proxmox.vm", "`bios`"][1:3] == ["`seabios` or `ovmf`", ""]
    assert rows["proxmox.vm", "`idBase`"][2] == "**required**"
    assert rows["proxmox", "`nodes`"][1] == "[list of names or mappings](#proxmoxnodes)"
    assert rows["cluster.topology.workers.disks[]", "`size`"] == rows["cluster.topology.nodes.<name>.disks[]", "`size`"]


def test_the_example_on_the_page_loads() -> None:
    text = PAGE.rpartition("```yaml\n")[2].removesuffix("```\n")
    assert text.startswith(EDITOR_LINE)
    config = load_text(text.encode(), "clusters/example/cluster.yaml").config
    assert config.metadata.name == "example"


def test_the_example_with_every_key_switched_on_has_every_key_with_a_right_value() -> None:
    data = read(example.EVERYTHING)
    ClusterConfig.model_validate(data)
    assert complaints(data) == []
    assert set(example.examples()) == {key.path for key in keys() if key.below is None}


def test_a_key_without_an_example_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "EVERYTHING", example.EVERYTHING.replace("cpuType: host", ""))
    with pytest.raises(LookupError, match=r"has no proxmox\.vm\.cpuType\."):
        example.examples()


def test_a_function_that_nobody_described_is_refused() -> None:
    adapter = TypeAdapter(Annotated[str, BeforeValidator(str)])
    with pytest.raises(LookupError, match=r"kinds\.py"):
        adapter.json_schema(schema_generator=_Generator)


def test_the_schema_is_one_and_its_patterns_are_those_of_editors() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(SCHEMA)
    assert "$ref" not in text
    patterns = {json.loads(pattern) for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', text)}
    assert len(patterns) > 20
    for pattern in patterns:
        regress.Regex(pattern, "u")  # yaml-language-server compiles them as Unicode patterns of ECMAScript


@pytest.mark.parametrize("name", cluster_names(ROOT))
def test_the_schema_accepts_the_clusters_and_editors_find_it(name: str) -> None:
    file = ROOT / "clusters" / name / "cluster.yaml"
    text = file.read_text()
    assert complaints(read(text)) == []
    assert text.splitlines()[0] == EDITOR_LINE
    assert (file.parent / EDITOR_LINE.partition("$schema=")[2]).resolve() == ROOT / "schema/cluster.schema.json"


@pytest.mark.parametrize("annotation", KINDS, ids=lambda annotation: KINDS[annotation].name)
def test_the_example_of_a_kind_is_of_that_kind(annotation: Any) -> None:
    kind = KINDS[annotation]
    TypeAdapter(annotation).validate_python(kind.example)
    assert kind.form
    schema = TypeAdapter(annotation).json_schema(schema_generator=_Generator)
    assert Draft7Validator(schema).is_valid(kind.example)
    wrong = "?" if "pattern" in schema else ""
    assert not Draft7Validator(schema).is_valid(wrong)
    with pytest.raises(ValidationError):
        TypeAdapter(annotation).validate_python(wrong)


RIGHT = [
    ("proxmox.nodes", ["pve1"]),
    ("proxmox.nodes", [{"name": "pve1", "memory": 65536}]),
    ("proxmox.network.cidr", "10.0.0.0/8"),
    ("proxmox.network.cidr", "10.0.0.0/255.255.255.0"),
    ("proxmox.network.cidr6", "2001:db8:0:1::/64"),
    ("proxmox.network.gateway6", "fe80::1"),
    ("proxmox.network.gateway6", "::ffff:10.0.0.1"),
    ("proxmox.network.nameservers", ["10.0.0.1", "fd00::1"]),
    ("proxmox.network.ipRanges.controlPlane", "10.0.0.51-10.0.0.59"),
    ("proxmox.network.ipRanges.controlPlane", "10.0.0.51 - 10.0.0.59"),
    ("proxmox.network.ipRanges.controlPlane", "10.0.0.51"),
    ("proxmox.endpoint", "https://10.0.0.2:8006"),
    ("proxmox.endpoint", "https://[fd00::2]:8006/"),
    ("cluster.kubernetes.version", "1.34.2"),
    ("cluster.kubernetes.podSubnets", ["10.244.0.0/16", "fd00:10:244::/56"]),
    ("cluster.talos.patches", [{"machine": {}}, "machine: {}", "@patches/a.yaml"]),
    ("cluster.talos.schematic.overlay", {"image": "a/b", "name": "c", "options": {"any": [1]}}),
    ("cluster.topology.nodes.small-cp1.macAddress", "bc:24:11:00:08:03"),
    ("cluster.topology.controlPlane.taints", ["gpu=true:NoSchedule", "example.com/a:NoExecute"]),
    ("backups.etcd.schedule", ""),
]


@pytest.mark.parametrize(("path", "value"), RIGHT)
def test_the_schema_accepts_what_the_program_accepts(path: str, value: object) -> None:
    data = minimal(path, value)
    assert allowed(data)
    assert complaints(data) == []


WRONG = [
    ("apiVersion", "v2"),
    ("metadata.colour", "red"),
    ("metadata.name", "Homelab"),
    ("metadata.name", 7),
    ("metadata.labels", {"no spaces": "x"}),
    ("metadata.labels.a", "no spaces"),
    ("metadata.labels", ["a"]),
    ("cluster", "large"),
    ("cluster.talos.version", 1.13),
    ("cluster.talos.version", "1.13.0"),
    ("cluster.talos.factorySchematic", "ce4c98"),
    ("cluster.talos.installDisk", "sda"),
    ("cluster.talos.platform", "aws"),
    ("cluster.talos.schematic.customization.systemExtensions.officialExtensions", ["qemu-guest-agent"]),
    ("cluster.talos.schematic.customization.meta", [{"key": 256, "value": ""}]),
    ("cluster.talos.patches", ["", "@a.yaml"]),
    ("cluster.talos.patches", [{}]),
    ("cluster.talos.patches", [7]),
    ("cluster.kubernetes.version", "v1.34"),
    ("cluster.kubernetes.vip", "10.0.0.256"),
    ("cluster.kubernetes.podSubnets", []),
    ("cluster.kubernetes.podSubnets", ["10.244.0.0/16", "fd00::/56", "fd01::/56"]),
    ("cluster.kubernetes.podSubnets", ["10.244.0.0/33"]),
    ("cluster.kubernetes.endpoint", "k8s.example:6443"),
    ("cluster.topology.controlPlane.count", 2),
    ("cluster.topology.controlPlane.count", "3"),
    ("cluster.topology.controlPlane.control_plane", 1),
    ("cluster.topology.controlPlane.resources.memory", 1024),
    ("cluster.topology.workers.resources.memory", "8GB"),
    ("cluster.topology.workers.resources.sockets", 5),
    ("cluster.topology.workers.taints", ["gpu=true"]),
    ("cluster.topology.nodePools", [{"name": "gpu1", "count": 1, "idBase": 600}]),
    ("cluster.topology.nodePools", [{"name": "gpu", "count": 1}]),
    ("cluster.topology.nodes.small-cp1.macAddress", "01:00:5e:00:00:01"),
    ("cluster.topology.nodes.small-cp1.ipv6Address", "10.0.0.1"),
    ("cluster.topology.nodes.small-cp1.disks", [{"size": 10, "colour": "red"}]),
    ("proxmox.endpoint", "http://pve.example:8006/"),
    ("proxmox.endpoint", "https://:8006/"),
    ("proxmox.endpoint", "https://pve.example:80x6/"),
    ("proxmox.nodes", ["pve 1"]),
    ("proxmox.nodes", [{"cores": 4}]),
    ("proxmox.nodes", [{"name": "pve1", "ram": 4}]),
    ("proxmox.nodes", [4]),
    ("proxmox.insecure", "false"),
    ("proxmox.storage.isoPath", "talos.iso"),
    ("proxmox.network.vlan", 4095),
    ("proxmox.network.mtu", 100),
    ("proxmox.network.cidr", "10.0.0/24"),
    ("proxmox.network.cidr6", "10.0.0.0/24"),
    ("proxmox.network.nameservers", ["dns.example"]),
    ("proxmox.network.ipRanges.controlPlane", "10.0.0.51-59"),
    ("proxmox.network.ipRanges.controlPlane", {"from": "10.0.0.51", "to": "10.0.0.59"}),
    ("proxmox.vm.idBase", 99),
    ("proxmox.vm.onBoot", 1),
    ("proxmox.vm.tags", ["Talos"]),
    ("volumes", [{"name": "data", "diskSelector": "true", "minSize": "10"}]),
    ("registries.mirrors.local", {"endpoints": []}),
    ("lifecycle.healthTimeout", "15 minutes"),
    ("lifecycle.upgradeStrategy.rolling.maxParallelism", 0),
    ("backups.etcd.schedule", "daily"),
    ("gitops.flux.version", "2.9.4"),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_an_editor_and_the_program_refuse_the_same_mistakes(path: str, value: object) -> None:
    data = minimal(path, value)
    assert not allowed(data)
    at_the_key_or_above = {path, path.rpartition(".")[0]}
    assert [place for place in complaints(data) if place in at_the_key_or_above or place.startswith(f"{path}.")]


@pytest.mark.parametrize("key", ["metadata", "cluster", "proxmox"])
def test_a_section_that_must_be_there_is_missed(key: str) -> None:
    data = read(MINIMAL)
    assert complaints(data) == []
    del data[key]
    assert not allowed(data)
    assert complaints(data) == [""]


def test_a_mistake_is_explained_by_what_to_write() -> None:
    assert at(SCHEMA, ("proxmox", "network", "cidr"))["patternErrorMessage"] == (
        "Write its first address, `/` and its length: 10.0.0.0/24."
    )
    assert at(SCHEMA, ("proxmox", "vm", "balloon"))["errorMessage"] == (
        "Write the number of MB, without a unit or quotes."
    )
    silent = [
        dotted(key.path)
        for key in keys()
        for node in (at(SCHEMA, key.path), at(SCHEMA, key.path).get("items", {}))
        if "pattern" in node and "patternErrorMessage" not in node
    ]
    assert silent == []

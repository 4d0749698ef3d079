"""What the pods in an object ask for: images, and keys of ConfigMaps and Secrets. In any object that holds a pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cluster_stack.config.document import Path

_CONTAINERS = ("containers", "initContainers")
_KINDS = (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName"))
"""Kind, how keys of a pod begin that name one, and the key of a volume that holds the name."""


class Wanted(NamedTuple):
    """A ConfigMap or a Secret without which the pod does not start."""

    path: Path
    kind: str
    name: str
    key: str
    """Empty where the pod takes all keys."""


def images(manifest: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for path, pod in _pods(manifest, ()):
        for place, container in _containers(pod):
            if "image" in container:
                yield (*path, *place, "image"), str(container["image"])


def wanted(manifest: Mapping[str, Any]) -> Iterator[Wanted]:
    for path, pod in _pods(manifest, ()):
        for place, container in _containers(pod):
            yield from _variables((*path, *place), container)
        yield from _volumes((*path, "volumes"), _mappings(pod.get("volumes")))


def _pods(value: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield path, value
        for key, below in value.items():
            yield from _pods(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _pods(below, (*path, index))


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for key in _CONTAINERS:
        for index, container in _mappings(pod.get(key)):
            yield (key, index), container


def _variables(path: Path, container: Mapping[str, Any]) -> Iterator[Wanted]:
    for index, variable in _mappings(container.get("env")):
        source = variable.get("valueFrom") or {}
        for kind, beginning, _ in _KINDS:
            if reference := source.get(f"{beginning}KeyRef"):
                place = (*path, "env", index, "valueFrom", f"{beginning}KeyRef")
                yield from _reference(place, kind, reference, "name", [reference.get("key", "")])
    for index, source in _mappings(container.get("envFrom")):
        for kind, beginning, _ in _KINDS:
            if reference := source.get(f"{beginning}Ref"):
                yield from _reference((*path, "envFrom", index, f"{beginning}Ref"), kind, reference, "name", [""])


def _volumes(path: Path, volumes: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[Wanted]:
    for index, volume in volumes:
        for kind, beginning, name in _KINDS:
            if reference := volume.get(beginning):
                yield from _reference((*path, index, beginning), kind, reference, name, _items(reference))
        for part, source in _mappings((volume.get("projected") or {}).get("sources")):
            for kind, beginning, _ in _KINDS:
                if reference := source.get(beginning):
                    place = (*path, index, "projected", "sources", part, beginning)
                    yield from _reference(place, kind, reference, "name", _items(reference))


def _items(volume: Mapping[str, Any]) -> list[str]:
    return [str(item.get("key", "")) for _, item in _mappings(volume.get("items"))] or [""]


def _reference(path: Path, kind: str, reference: Mapping[str, Any], name_key: str, keys: list[str]) -> Iterator[Wanted]:
    if reference.get("optional") or not reference.get(name_key):
        return
    for key in keys:
        yield Wanted(path, kind, str(reference[name_key]), key)


def _mappings(found: object) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, value in enumerate(found if isinstance(found, list) else ()):
        if isinstance(value, dict):
            yield index, value

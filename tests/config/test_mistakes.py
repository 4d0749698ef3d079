"""How mistakes in cluster.yaml are told. The sentence for each kind of mistake: tests/sites/invalid."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster_stack.config import ConfigError, load, load_text

ROOT = Path(__file__).parents[2]
FILE = "clusters/homelab/cluster.yaml"
HOMELAB = (ROOT / FILE).read_text()


def messages(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        load_text(raw, FILE)
    return str(caught.value).splitlines()


def edited(*edits: tuple[str, str]) -> str:
    text = HOMELAB
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = edited(
        ("memory: 8192", "memory: 8GB"), ("node: ms01", "nodes: ms01"), ("environment: dev", "environment: 7")
    )
    keys = [message.split(": ")[1] for message in messages(text)]
    assert keys == [
        "metadata.environment",
        "cluster.topology.controlPlane.resources.memory",
        "proxmox.nodes",
    ]


def test_the_error_travels_between_processes() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(b"metadata: 1", FILE)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


def test_an_unknown_stack_lists_the_clusters() -> None:
    with pytest.raises(ConfigError) as caught:
        load(ROOT, "homelap")
    assert str(caught.value) == (
        "clusters/homelap/cluster.yaml: there is no cluster 'homelap'. Did you mean homelab? "
        "Clusters here: dev, homelab, prod. A stack has the name of its folder in clusters/."
    )


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "homelab")
    assert str(caught.value) == (
        f"{FILE}: the file cannot be read: Is a directory. It must be a file that you may read."
    )


def test_a_pipe_in_the_files_place(tmp_path: Path) -> None:
    """Nobody would write to it, and the reader would wait for ever."""
    (tmp_path / FILE).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / FILE)
    with pytest.raises(
        ConfigError, match=r"the file cannot be read: Not a file\. It must be a file that you may read\."
    ):
        load(tmp_path, "homelab")


def test_of_a_huge_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(ConfigError, match="more than 1,000,000 bytes"):
        load(tmp_path, "homelab")


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_byte_order_mark_and_windows_line_ends_are_no_mistakes(change: Callable[[str], str]) -> None:
    assert load_text(change(HOMELAB).encode(), FILE).config == load_text(HOMELAB.encode(), FILE).config


def test_anchors_and_merge_keys_work() -> None:
    text = edited(
        ("resources: {cores: 4, memory: 8192, disk: 32}", "resources: &big {cores: 4, memory: 8192, disk: 32}"),
        ("resources: {cores: 8, memory: 16384, disk: 100}", "resources: {<<: *big, disk: 50}"),
    )
    workers = load_text(text.encode(), FILE).config.cluster.topology.workers.resources
    assert (workers.cores, workers.memory, workers.disk) == (4, 8192, 50)

"""The tools that `ensure` provided, run together; and the real Go, building something small."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import pytest

import toolchain
from tests.toolchain.fake_clone import FakeClone
from toolchain.builds import GoBuild, GoTests, Tool
from toolchain.errors import ToolchainError
from toolchain.installation import Installation
from toolchain.pins import KUBERNETES
from toolchain.tools import tools

pytestmark = pytest.mark.engine

Preview = Callable[[str], str]

EMPTY = ""
MACHINE = """
import pulumi, pulumi_proxmoxve as proxmoxve

proxmox = proxmoxve.Provider(
    "proxmox",
    endpoint="https://127.0.0.1:1/",
    api_token="root@pam!test=00000000-0000-0000-0000-000000000000",
)
proxmoxve.VmLegacy("machine", node_name="pve", vm_id=200, opts=pulumi.ResourceOptions(provider=proxmox))
proxmoxve.download.File(
    "image",
    content_type="iso",
    datastore_id="local",
    node_name="pve",
    url="https://127.0.0.1:1/image",
    opts=pulumi.ResourceOptions(provider=proxmox),
)
"""


@pytest.fixture
def preview(tmp_path: Path) -> Preview:
    """Preview a program on a new stack, and return all that was printed."""
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: probe\nruntime: python\n")
    environment = {
        **os.environ,
        **toolchain.environment(),
        "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "not a secret",
    }

    def run(program: str) -> str:
        (tmp_path / "__main__.py").write_text(program)
        printed = ""
        for arguments in (["stack", "init", "test"], ["preview", "--stack", "test", "--non-interactive", "--diff"]):
            done = subprocess.run(
                ["pulumi", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            printed += done.stdout + done.stderr
            assert done.returncode == 0, printed
        return printed

    return run


@pytest.mark.parametrize(("program", "resources"), [(EMPTY, 1), (MACHINE, 4)], ids=["empty", "machine"])
def test_the_cli_the_host_and_the_plugin_work_together(preview: Preview, program: str, resources: int) -> None:
    printed = preview(program)
    assert f"+ {resources} to create" in printed
    assert "warning" not in printed
    assert "$PATH" not in printed


def test_the_proxmox_plugin_serves_every_token_of_the_wheel() -> None:
    entry = Installation().installed()["proxmoxve"]
    answer = subprocess.run([entry.programs[0].path, "-get-provider-info"], capture_output=True, check=True)
    info = json.loads(answer.stdout)
    served = {item["tok"] for kind in ("resources", "dataSources") for item in info[kind].values()}
    wheel = [Path(str(file.locate())).read_text() for file in files("pulumi_proxmoxve") or [] if file.suffix == ".py"]
    wanted = {token for text in wheel for token in re.findall(r"'(proxmoxve:[\w/]+:\w+)'", text)}
    assert len(wanted) > 200
    assert wanted <= served


def test_the_programs_tell_the_versions_of_the_table() -> None:
    for tool in tools().values():
        if tool.version_arguments and (not tool.on_request or Installation().usable(tool)):
            program = Installation().program(tool.name)
            answer = subprocess.run([program, *tool.version_arguments], capture_output=True, text=True, check=True)
            assert Installation().installed()[tool.name].programs[0].version in answer.stdout


@pytest.mark.parametrize("name", ["kube-apiserver", "kube-controller-manager", "kube-scheduler"])
def test_kube_is_the_programs_of_a_control_plane(name: str) -> None:
    answer = subprocess.run(
        [Installation().program("kubernetes"), name, "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout == f"Kubernetes v{KUBERNETES}\n"


def test_kube_knows_kubectl_by_its_name() -> None:
    kubectl = Installation().bin / "kubectl"
    answer = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True, check=True)
    assert f"Client Version: v{KUBERNETES}\n" in answer.stdout


def test_kube_lists_the_programs_that_it_is() -> None:
    answer = subprocess.run(
        [Installation().program("kubernetes"), "kubelet"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "kube-apiserver, kube-controller-manager, kube-scheduler or kubectl" in answer.stderr


@pytest.fixture
def real_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClone:
    """A clone with one small Go program, built by the Go of this machine."""
    tool = Tool(
        name="pulumi",
        version="1.2.3",
        programs=("hello",),
        builds=(GoBuild("hello", ".", "hello", "1.2.3", stamp="main.version=1.2.3"),),
        minutes=0.1,
        source_version="1.2.3",
    )
    clone = FakeClone(tmp_path, tool)
    clone.lay()
    source = clone.installation.repository / "hello" / "main.go"
    source.write_text("package main\n\nvar version string\n\nfunc main() { println(version) }\n")
    monkeypatch.delenv("TOOLCHAIN_GO_CACHES", raising=False)
    for module in ("ensure", "installation"):
        monkeypatch.setattr(f"toolchain.{module}.tools", lambda: clone.tools)
    return clone


def test_go_builds_with_caches_that_can_be_removed(real_go: FakeClone) -> None:
    real_go.run(keep_caches=True).ensure([])
    assert real_go.leftovers() == [real_go.store.go_caches]
    (real_go.installation.repository / "hello" / "more.go").write_text("package main\n")
    real_go.run().ensure([])
    assert real_go.leftovers() == []
    answer = subprocess.run([real_go.installation.program("pulumi")], capture_output=True, text=True, check=True)
    assert answer.stderr == "1.2.3\n"


def test_go_does_not_change_what_is_committed(real_go: FakeClone) -> None:
    source = real_go.installation.repository / "hello" / "main.go"
    source.write_text('package main\n\nimport _ "golang.org/x/mod/semver"\n\nfunc main() {}\n')
    with pytest.raises(ToolchainError, match=r"disabled by -mod=readonly\nWhat to do: go.mod is not complete"):
        real_go.run().ensure([])


def test_go_makes_a_program_of_tests(real_go: FakeClone) -> None:
    source = real_go.installation.repository / "hello" / "hello_test.go"
    source.write_text('package main\n\nimport "testing"\n\nfunc TestHello(t *testing.T) {}\n')
    real_go.change("pulumi", builds=(GoTests("hello", ".", "hello", "1.2.3"),))
    real_go.run().ensure([])
    program = [str(real_go.installation.program("pulumi")), "-test.list=."]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout == "TestHello\n"

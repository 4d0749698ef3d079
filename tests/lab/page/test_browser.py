"""The page as people see it, in a real browser: while a cluster is made, and when something is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from lab.lifecycle import page as address_of
from tests.engine.site import Site
from tests.lab.page.conftest import MILLISECONDS, OpenPage, Serve
from tests.lab.page.documents import Shown, document, machine, served

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

expect.set_options(timeout=MILLISECONDS)

REMEMBER = """() => {
  window.seen = new Set();
  const look = () => document.querySelectorAll("#vm-800 .state").forEach((state) => window.seen.add(state.textContent));
  new MutationObserver(look).observe(document.getElementById("hosts"), {childList: true, subtree: true});
}"""
HOSTILE = "<img src=x onerror=alert(1)>"

REQUEST = {"time": 1.5, "method": "POST", "path": "/nodes/ms01/qemu", "status": 200, "seconds": 0.012, "user": "a@pve"}
MEMBERS = {
    "m1": {
        "id": "m1",
        "name": "cp1",
        "vm": 1,
        "learner": False,
        "state": "up",
        "leader": True,
        "errors": [],
        "database_bytes": 9,
    },
    "m2": {"id": "m2", "name": "cp2", "learner": False, "state": "down", "errors": []},
    "m3": {
        "id": "m3",
        "name": "cp3",
        "vm": 3,
        "learner": True,
        "state": "up",
        "errors": [],
        "database_bytes": 2_000_000,
    },
}
ETCD = {"c1": {"name": "homelab", "voters": 2, "up": 1, "quorum": False, "members": MEMBERS}}
NODES = {
    "cp1": {
        "node": "cp1",
        "ready": True,
        "unschedulable": False,
        "version": "v1.36.1",
        "vm": 1,
        "taints": [],
        "pods": 7,
    },
    "w1": {"node": "w1", "ready": False, "unschedulable": True, "vm": 2},
}
EVERYTHING = document(
    machine(1),
    machine(2, power="off"),
    machine(3, ready=False, unmet=[{"name": "services", "reason": "kubelet not running"}]),
    machine(4, stage="installing", task={"type": "qmstart", "words": "started", "since": 1}),
    machine(5, foreign=True),
    etcd=ETCD,
    kubernetes=NODES,
    faults=["DHCP is silent: dhcp-silent"],
    requests={"1": REQUEST, "2": {**REQUEST, "method": "GET"}, "3": {**REQUEST, "status": 403, "message": "Refused"}},
    tasks={"UPID:1": {"type": "qmcreate", "id": "1", "host": "ms01", "started": 1, "ended": 2, "status": "OK"}},
    events={"a": {"time": "2026-01-01T00:00:00Z", "vm": 1, "machine": "cp1", "text": "stage running, ready"}},
)  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    try:
        made.start()
        yield made
    finally:
        made.remove()


async def texts(page: Page, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in await page.locator(selector).all_inner_texts()]


async def test_a_cluster_is_made_before_ones_eyes(site: Site, open_page: OpenPage) -> None:
    for step in ("boot", "install"):
        site.control.set_fault("delay", step, seconds=1.5)  # so that every stage is seen
    page = await open_page(address_of(site.lab))
    await expect(page.locator("#sentence")).to_have_text("No machines yet: they appear here as `pulumi up` makes them.")
    await expect(page.locator("#headline")).to_have_attribute("data-mood", "well")
    await page.evaluate(REMEMBER)
    site.ensure_stack("homelab")
    up = site.begin("pulumi", "up", "--yes", "-s", "homelab")
    try:
        await expect(page.locator("#vm-800")).to_be_visible()
        await expect(page.locator("#headline")).to_have_attribute("data-mood", "busy")
        await expect(page.locator("#sentence")).to_have_text("All 2 machines are ready.")
    finally:
        printed, _ = up.communicate(timeout=600)
        site.control.clear_faults()
    assert up.returncode == 0, printed
    assert {"starts", "installs Talos", "ready"} <= set(await page.evaluate("[...window.seen]"))
    await expect(page.locator("#vm-800")).to_have_attribute("data-mood", "well")
    facts = (await texts(page, "#vm-800 dl"))[0]
    assert re.search(r"Talos v1\.11\.5 .*role controlplane .*address 10\.42\.0\.\d+ ", facts), facts
    await expect(page.locator("#etcd .quorum")).to_have_text("1 of 1 member is up: there is a quorum")
    assert (await texts(page, "#etcd tbody tr"))[0].startswith("homelab-cp1 leader")
    assert any("POST /nodes/ms01/qemu 200" in row for row in await texts(page, "#requests tr"))
    assert any(re.search(r"qmcreate 800 ms01 OK$", row) for row in await texts(page, "#tasks tr"))
    assert any(row.endswith("homelab-cp1 stage running, ready") for row in await texts(page, "#events tr"))


async def test_no_secret_of_the_cluster_is_on_the_page(site: Site, open_page: OpenPage) -> None:
    page = await open_page(address_of(site.lab))
    await page.locator("#reads").check()
    shown = await page.content() + json.dumps(
        await page.evaluate("() => fetch('/state.json').then((answer) => answer.json())")
    )
    outputs = site.outputs("homelab")
    assert outputs.control_plane_ips[0] in shown
    words = set(re.findall(r"[A-Za-z0-9+/=._-]{20,}", outputs.talosconfig + outputs.kubeconfig + disk_secrets(site)))
    words |= {site.lab.token_secret(), site.lab.root_password()}
    assert len(words) > 10
    assert [word for word in words if word in shown and word not in KNOWN_TO_ALL] == []


KNOWN_TO_ALL = {"ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"}  # the schematic


def disk_secrets(site: Site) -> str:
    """The machine configurations, as they are on the machines' disks."""
    found = [path.read_text() for path in site.lab.vms.rglob("config.yaml")]
    assert len(found) == 2
    return "\n".join(
        line for text in found for line in text.splitlines() if re.search(r"(key|crt|token|secret|id): ", line)
    )


async def test_what_is_broken_is_seen_at_once(site: Site, open_page: OpenPage) -> None:
    page = await open_page(address_of(site.lab))
    site.control.set_fault("network-cut", 810)
    await expect(page.locator("#headline")).to_have_attribute("data-mood", "trouble")
    await expect(page.locator("#faults li")).to_have_text("The network of a VM is cut: network-cut 810")
    await expect(page.locator("#vm-810 .state")).to_have_text("off the network, running")
    site.control.clear_faults()
    await expect(page.locator("#headline")).to_have_attribute("data-mood", "well")
    await expect(page.locator("#faults-section")).to_be_hidden()


async def test_a_stopped_lab_is_said(site: Site, open_page: OpenPage) -> None:
    page = await open_page(address_of(site.lab), may_complain=True)  # a browser complains when nobody answers
    site.stop()
    await expect(page.locator("#sentence")).to_have_text("The lab does not answer: it is stopped.")
    await expect(page.locator("#connection")).to_have_text("not connected")
    await expect(page.locator("#more")).to_contain_text("Below is what was last known")
    await expect(page.locator("#vm-800")).to_be_visible()


async def test_it_goes_on_when_the_lab_is_back(open_page: OpenPage) -> None:
    async with served(Shown(document(machine(1)))) as address:
        page = await open_page(address, may_complain=True)
    await expect(page.locator("#headline")).to_have_attribute("data-mood", "gone")
    port = urlsplit(address).port
    assert port
    async with served(Shown(document(machine(2))), port):
        await expect(page.locator("#vm-2")).to_be_visible()
        await expect(page.locator("#vm-1")).to_have_count(0)
        await expect(page.locator("#connection")).to_have_text("live")


async def test_kubernetes_is_shown_where_it_is(serve: Serve, open_page: OpenPage) -> None:
    shown = Shown(document(machine(1)))
    address = await serve(shown)
    page = await open_page(address)
    await expect(page.locator("#kubernetes")).to_have_text("No Kubernetes in this lab.")
    shown.change(kubernetes=NODES)
    await expect(page.locator("#kubernetes tbody tr")).to_have_count(2)
    assert await texts(page, "#kubernetes tbody tr") == [
        "cp1 Ready v1.36.1 none 7",
        "w1 NotReady cordoned not known not known not known",
    ]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7])
async def test_no_member_of_etcd_is_out_of_the_picture(serve: Serve, open_page: OpenPage, number: int) -> None:
    members = {f"m{one}": {**MEMBERS["m1"], "id": f"m{one}", "name": f"homelab-cp{one}"} for one in range(number)}
    etcd = {"c1": {"name": "homelab", "voters": number, "up": number, "quorum": True, "members": members}}
    address = await serve(Shown(document(machine(1), etcd=etcd)))
    page = await open_page(address)
    picture = await page.locator("svg.ring").bounding_box()
    assert picture
    for text in await page.locator("svg.ring text").all():
        box = await text.bounding_box()
        assert box
        assert picture["y"] <= box["y"]
        assert box["y"] + box["height"] <= picture["y"] + picture["height"]


async def test_a_machine_that_moves_changes_rooms_and_one_that_goes_leaves(serve: Serve, open_page: OpenPage) -> None:
    shown = Shown(document(machine(1), machine(2), hosts=("ms01", "ms02")))
    address = await serve(shown)
    page = await open_page(address)
    await expect(page.locator("[data-host=ms01] .card")).to_have_count(2)
    shown.change(vms={"2": machine(2, host="ms02")})
    await expect(page.locator("[data-host=ms02] #vm-2.changed")).to_be_visible()
    await expect(page.locator("[data-host=ms01]")).to_contain_text("No VMs.")
    await expect(page.locator("#vm-2.changed")).to_have_count(0)


async def test_calls_that_only_look_are_shown_on_request(serve: Serve, open_page: OpenPage) -> None:
    address = await serve(Shown(EVERYTHING))
    page = await open_page(address)
    await expect(page.locator("#requests tr")).to_have_count(2)
    await page.get_by_label("show those that only look, too").check()
    assert [row.split()[1] for row in await texts(page, "#requests tr")] == ["POST", "GET", "POST"]


async def test_text_of_the_lab_stays_text(serve: Serve, open_page: OpenPage) -> None:
    event = {"time": "2026-01-01T00:00:00Z", "vm": 1, "machine": HOSTILE, "text": HOSTILE}
    address = await serve(Shown(document(machine(1, name=HOSTILE), events={"a": event})))
    page = await open_page(address)
    assert await texts(page, "#vm-1 h4") == [HOSTILE]
    await expect(page.locator("img")).to_have_count(0)


async def test_three_hundred_machines_fit(serve: Serve, open_page: OpenPage) -> None:
    hosts = ("ms01", "ms02", "ms03")
    vms = [machine(number, hosts[number % 3]) for number in range(1, 301)]
    shown = Shown(document(*vms, hosts=hosts))
    address = await serve(shown)
    page = await open_page(address, viewport={"width": 1440, "height": 900})
    await expect(page.locator(".card")).to_have_count(300)
    assert await page.evaluate("document.getElementById('hosts').offsetHeight") < 2 * 900
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown.change(vms={str(vm["id"]): {**vm, "stage": "rebooting"} for vm in vms})
    await expect(page.locator(".card[data-mood=busy]")).to_have_count(300)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
async def test_everybody_can_read_it(serve: Serve, open_page: OpenPage, scheme: str, width: int) -> None:
    address = await serve(Shown(EVERYTHING))
    page = await open_page(address, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()

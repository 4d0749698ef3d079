"""`python -m tests.picture.page`: makes the picture of the lab's page that README shows, from a real run.

Owns which moment is shown: a cluster of three control planes on three hosts, whose last machines are on their way.
"""

from __future__ import annotations

import asyncio
import sys

from playwright.async_api import Page, ViewportSize, expect

from lab.lifecycle import page as address_of
from tests.engine.site import Site
from tests.lab.page import browser as browsers
from tests.project import REPOSITORY

CLUSTER = "homelab"
PICTURE = REPOSITORY / "docs" / "lab-page.png"
EDITS = (
    ("controlPlane:\n      count: 1", "controlPlane:\n      count: 3"),
    ("workers:\n      count: 1", "workers:\n      count: 3"),
    ("node: ms01", "nodes: [ms01, ms02, ms03]"),
)
SIZE: ViewportSize = {"width": 1360, "height": 1180}
MILLISECONDS = 120_000


def main() -> int:
    site = Site()
    try:
        site.start()
        site.edit(CLUSTER, *EDITS)
        site.ensure_stack(CLUSTER)
        asyncio.run(_make(site))
    except browsers.NoBrowserError as error:
        print(f"No picture: {error}.", file=sys.stderr)
        return 1
    finally:
        site.remove()
    print(f"{PICTURE.relative_to(REPOSITORY)}: {PICTURE.stat().st_size // 1024} KiB")
    return 0


async def _make(site: Site) -> None:
    async with browsers.started() as browser:
        page = await browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        await page.goto(address_of(site.lab))
        up = site.begin("pulumi", "up", "--yes", "-s", CLUSTER)
        try:
            await _wait_for_the_moment(page)
            await page.screenshot(path=PICTURE)
        finally:
            printed, _ = up.communicate(timeout=600)
        if up.returncode != 0:
            raise RuntimeError(printed)


async def _wait_for_the_moment(page: Page) -> None:
    """The cluster has a member of etcd, and machines that are still on their way."""
    under_way = page.locator("#headline[data-mood=busy]")
    await expect(page.locator("main", has=under_way).locator("#etcd .quorum")).to_be_visible(timeout=MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())

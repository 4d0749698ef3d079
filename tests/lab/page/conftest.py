"""A browser, and pages in it that have to stay without complaints."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.lab.page import browser as browsers
from tests.lab.page.documents import Shown, served

MILLISECONDS = 120_000
"""How long a test waits for what comes by itself: the machine may be busy with other things."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    try:
        browsers.program()
    except browsers.NoBrowserError as error:
        pytest.fail(str(error))  # not skipped: a page that no browser has seen is not tested
    async with browsers.started() as started:
        yield started


Serve = Callable[[Shown], Awaitable[str]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Shows a document, and tells at which address. It is shown until the pages are closed."""
    async with contextlib.AsyncExitStack() as stack:
        yield lambda shown: stack.enter_async_context(served(shown))


OpenPage = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser, serve: Serve) -> AsyncIterator[OpenPage]:
    """Opens the page at an address. What the browser complains of fails the test, unless `may_complain`."""
    complaints: list[str] = []
    pages: list[Page] = []

    async def opened(address: str, *, may_complain: bool = False, **options: Any) -> Page:
        page = await browser.new_page(**options)
        pages.append(page)
        page.set_default_timeout(MILLISECONDS)
        if not may_complain:
            page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(address)
        await page.locator("#connection[data-state=live]").wait_for()
        return page

    yield opened
    for page in pages:
        await page.close()
    assert complaints == []

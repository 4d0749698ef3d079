"""The browser in which the page is tested: Debian's Chromium.

`python -m tests.lab.page.browser` (`make browser`) installs it where it is missing. Owns where it is and how it is
started; nothing of it is downloaded but the distribution's package.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator

from playwright.async_api import Browser, async_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-inter")  # the font is the one of the picture in README
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoBrowserError(Exception):
    """There is none, with what to do about it."""


def program() -> str:
    """Where Chromium is. Raises NoBrowserError."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise NoBrowserError(
        "the lab's page is tested in Chromium, and this machine has none: `make browser` installs it where there are "
        "apt-get and root or sudo; elsewhere install your distribution's chromium"
    )


def install() -> None:
    """Install it with the distribution's package manager. Raises NoBrowserError."""
    become_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (become_root and not shutil.which("sudo")):
        program()  # says what to do
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        try:
            subprocess.run([*become_root, "apt-get", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError:
            raise NoBrowserError(
                f"Chromium is not installed: `apt-get {' '.join(command)}` failed, see above"
            ) from None


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """A browser with a profile of its own, which is gone afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


def main() -> int:
    try:
        try:
            program()
        except NoBrowserError:
            print("Chromium from the distribution's packages (about a minute, once)", flush=True)
            install()
            program()
    except NoBrowserError as error:
        print(f"No browser: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

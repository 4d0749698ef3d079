"""What the makers publish: whether they can be reached, and their releases.

A machine without a way to them must find out in seconds, so each host is asked once, all at the same time. Command line
programs are checked against the SHA-256 sums of their release; plugins are fetched by the Pulumi CLI, which knows how.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from toolchain.builds import Release, Tool
from toolchain.errors import ToolchainError
from toolchain.processes import run, say

PATIENCE = 3.0
STALLED = 30.0


def host_of(tool: Tool) -> str:
    """The host that must answer for a tool to be downloaded; empty if nobody publishes it."""
    if tool.release:
        return tool.release.host
    return urlsplit(tool.plugin_server).hostname or ""


def _why_unreachable(url: str, patience: float) -> str:
    """Ask for a page's head, by way of a proxy if one is set; what went wrong, or empty."""
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (https only: the caller wrote it)
        with urllib.request.urlopen(request, timeout=patience):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered {error.code}"
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError):
            return "no answer"
        return (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def unreachable(hosts: Iterable[str], patience: float = PATIENCE) -> dict[str, str]:
    """The hosts that cannot be reached, with the reason. Takes little longer than `patience`, whatever happens."""
    wanted = sorted(set(hosts))
    answers: dict[str, str] = {}

    def look(host: str) -> None:
        answers[host] = _why_unreachable(f"https://{host}/", patience)

    # Threads that the interpreter does not wait for: looking up a name knows no timeout.
    threads = [threading.Thread(target=look, args=(host,), daemon=True) for host in wanted]
    until = time.monotonic() + patience * 1.2  # so that those that notice it themselves can say so
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    found = {host: answers.get(host, "no answer") for host in wanted}
    for host, why in found.items():
        say(f"    {host}: " + (f"cannot be reached ({why})" if why else "answers"))
    return {host: why for host, why in found.items() if why}


def _fetch(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=STALLED) as answer, target.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise ToolchainError(f"{url} could not be downloaded: {error}") from None


def download_release(release: Release, programs: tuple[str, ...], files: Path, scratch: Path) -> None:
    """Fetch a release, check it against its maker's sums, and lay its programs into `files`."""
    asset, sums = scratch / release.asset, scratch / release.checksums
    _fetch(release.folder + release.checksums, sums)
    _fetch(release.folder + release.asset, asset)
    listed = {line.split()[1].lstrip("*"): line.split()[0] for line in sums.read_text().splitlines() if line.strip()}
    with asset.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if listed.get(release.asset) != digest.hexdigest():
        raise ToolchainError(
            f"{release.folder}{release.asset} is not what {release.checksums} beside it says: "
            f"expected SHA-256 {listed.get(release.asset, '(not listed)')}, got {digest.hexdigest()}"
        )
    if not release.asset.endswith(".tar.gz"):
        asset.replace(files / programs[0])
        return
    with tarfile.open(asset) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member) if name in programs and member.isfile() else None
            if content:
                with content, (files / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    missing = [program for program in programs if not (files / program).exists()]
    if missing:
        raise ToolchainError(f"{release.folder}{release.asset} does not contain {', '.join(missing)}")


def download_plugin(pulumi: Path, tool: Tool, files: Path, scratch: Path) -> None:
    """Let the CLI fetch a plugin into a home of its own, and take it from there."""
    home = scratch / f"home-{tool.name}"
    home.mkdir()
    run(
        [pulumi, "plugin", "install", "resource", tool.name, tool.version, "--server", tool.plugin_server],
        f"downloading the plugin {tool.name} {tool.version}",
        scratch / f"download-{tool.name}.log",
        {**os.environ, "PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "true"},
        scratch,
    )
    for file in (home / "plugins" / tool.plugin_folder).iterdir():
        if file.is_file():
            file.replace(files / file.name)

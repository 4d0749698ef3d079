"""The site's Git server, asked by the real git."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, encode_basic_auth, hdrs
from aiohttp.test_utils import TestServer

from lab.git_server import TOKEN_FILE, GitServer

TOKEN = "glpat-Q1w2E3r4T5"


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Of a server that has the repositories `public.git`, and `private.git`, which asks for the token."""
    for name in ("public.git", "private.git"):
        await git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / name))
    (tmp_path / "private.git" / TOKEN_FILE).write_text(f"{TOKEN}\n")
    async with TestServer(GitServer(tmp_path).application()) as server:
        yield f"{server.host}:{server.port}"


async def git(*words: str) -> tuple[int, str]:
    variables = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("git", *words, env=variables, stdout=pipe, stderr=pipe)
    answer, told = await process.communicate()
    return process.returncode or 0, (answer + told).decode()


async def test_everybody_reads_a_public_repository(address: str) -> None:
    assert await git("ls-remote", f"http://{address}/public.git") == (0, "")


@pytest.mark.parametrize("who", ["", "git:wrong@", f"{TOKEN}:@"])
async def test_a_private_one_asks_for_its_token(address: str, who: str) -> None:
    code, said = await git("ls-remote", f"http://{who}{address}/private.git")
    assert code == 128
    assert "could not read Username" in said or "Authentication failed" in said


async def test_who_has_the_token_reads_it_under_any_name(address: str) -> None:
    assert await git("ls-remote", f"http://anybody:{TOKEN}@{address}/private.git") == (0, "")


async def test_nobody_fetches_the_token_itself(address: str) -> None:
    headers = {hdrs.AUTHORIZATION: encode_basic_auth("git", TOKEN)}
    async with (
        ClientSession(headers=headers) as session,
        session.get(f"http://{address}/private.git/HEAD") as known,
        session.get(f"http://{address}/private.git/{TOKEN_FILE}") as response,
    ):
        assert (known.status, response.status) == (200, 404)

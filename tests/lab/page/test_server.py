"""The page over HTTP: who may read what, and that changes arrive."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from lab.page.server import application

Client = TestClient[Any, Any]


class Told:
    """A document that the test changes."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"vms": {"800": {"stage": "booting"}}}
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        return json.loads(json.dumps(self.document))  # type: ignore[no-any-return]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def client(told: Told) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(told))) as made:
        yield made


async def event(response: Any) -> tuple[str, Any]:
    line = (await response.content.readline()).decode()
    if line.startswith("retry: "):
        line = (await response.content.readline()).decode()
    name = line.strip().removeprefix("event: ")
    data = json.loads((await response.content.readline()).decode().removeprefix("data: "))
    await response.content.readline()
    return name, data


async def test_the_document_is_json(client: Client, told: Told) -> None:
    async with client.get("/state.json") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == told.document


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml")],
)
async def test_nothing_else_is_loaded_from_anywhere(client: Client, path: str, content_type: str) -> None:
    async with client.get(path) as answer:
        assert (answer.status, answer.content_type) == (200, content_type)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        text = await answer.text()
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:9000", "localhost", "localhost:1", "[::1]:80", "[::1]"])
async def test_it_answers_to_the_names_of_this_machine(client: Client, name: str) -> None:
    async with client.get("/state.json", headers={"Host": name}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8910", "127.0.0.1.evil.example", "localhost.evil:80", ""]
)
async def test_another_name_is_refused(client: Client, told: Told, name: str) -> None:
    for path in ("/", "/state.json", "/events", "/nothing"):
        async with client.get(path, headers={"Host": name}) as answer:
            assert answer.status == 403
    assert told.asked == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(client: Client, method: str) -> None:
    for path in ("/", "/state.json", "/events"):
        async with client.request(method, path) as answer:
            assert answer.status == 405
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_changes_arrive_at_everybody_who_watches(client: Client, told: Told) -> None:
    async with client.get("/events") as one, client.get("/events") as other:
        assert one.content_type == "text/event-stream"
        assert await event(one) == await event(other) == ("document", told.document)
        told.document["vms"]["800"]["stage"] = "running"
        assert await event(one) == await event(other) == ("patch", {"vms": {"800": {"stage": "running"}}})


async def test_while_nobody_watches_nothing_is_looked_at(client: Client, told: Told) -> None:
    async with client.get("/events") as watching:
        await event(watching)
        told.document["vms"] = {}
        await event(watching)
    told.document["vms"] = {"801": {}}
    async with client.get("/events") as watching:
        assert await event(watching) == ("document", told.document)

"""MCP servers by streamable HTTP: their key, broken ones, and one that forgot us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agentic.portal import run_sync
from agentic.types.content import Content
from agentic.types.errors import ToolError
from agentic_tools.mcp import MCP
from servers.base import Answer, HangUp, Request, Server, Status
from servers.mcp_events import greeting

INFO = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}}
RAN: Any = {"content": [{"type": "text", "text": "ran"}]}


class WebServer(Server):
    """Speaks just enough of the protocol of 2025, with sessions; its tool answers with `result`, None breaks off."""

    def __init__(self) -> None:
        super().__init__()
        self.result = RAN
        self.sessions = 0
        self.calls = 0
        self.forgetful = False

    async def answer(self, request: Request, answer: Answer) -> None:
        method = request.json.get("method") if request.method == "POST" else ""
        if request.headers.get("authorization") != "Bearer s3cret":
            await answer.json(401, {"error": "Bearer s3cret"})
        elif method == "initialize":
            self.sessions += 1
            self.forgetful = False
            await self.result_of(request, answer, INFO, {"mcp-session-id": f"s{self.sessions}"})
        elif self.forgetful:
            await answer.json(404, {"error": "no such session"})
        elif method == "tools/list":
            tools = [{"name": "run", "inputSchema": {"type": "object"}}]
            await self.result_of(request, answer, {"tools": tools})
        elif method == "tools/call":
            self.calls += 1
            if self.result is None:
                await answer.start("text/event-stream")
                await answer.send(b'data: {"json')
            else:
                await self.result_of(request, answer, self.result)
        elif request.method == "DELETE":
            await answer.json(200, {})
        elif method == "notifications/initialized":
            await answer.json(202, {})
        else:
            await answer.json(405 if request.method == "GET" else 400, {})

    async def result_of(
        self, request: Request, answer: Answer, result: Any, headers: dict[str, str] | None = None
    ) -> None:
        await answer.json(200, {"jsonrpc": "2.0", "id": request.json["id"], "result": result}, headers)


@contextmanager
def connected(url: str, **options: Any) -> Iterator[MCP]:
    server = MCP("web", url=f"{url}/mcp", **{"timeout": 10, "headers": {"Authorization": "Bearer s3cret"}, **options})
    try:
        yield server
    finally:
        run_sync(server.aclose())


def run(server: MCP) -> Content:
    return asyncio.run(server.call("run", {})).content


def test_a_session_from_beginning_to_end() -> None:
    with WebServer() as web:
        with connected(web.url) as server:
            assert [tool.definition.name for tool in server] == ["run"]
            assert run(server) == "ran"
            assert web.requests[-1].headers["mcp-session-id"] == "s1"
        assert web.requests[-1].method == "DELETE"


def test_a_session_that_the_server_forgot_is_begun_anew() -> None:
    with WebServer() as web, connected(web.url) as server:
        assert run(server) == "ran"
        web.forgetful = True
        assert run(server) == "ran"
        assert (web.sessions, web.calls) == (2, 2)


def test_a_key_that_is_refused_is_not_shown() -> None:
    wrong = {"Authorization": "Bearer s4cret"}
    with WebServer() as web, connected(web.url, headers=wrong) as server, pytest.raises(ToolError) as caught:
        list(server)
    assert "refused the request (HTTP 401 Unauthorized)" in str(caught.value)
    assert "s4cret" not in str(caught.value) + repr(server)


def test_an_address_that_is_none_is_refused_as_it_was_first() -> None:
    class Elsewhere(WebServer):
        async def answer(self, request: Request, answer: Answer) -> None:
            await answer.json(404 if request.method == "POST" else 405, {})

    with Elsewhere() as web, connected(web.url) as server:
        with pytest.raises(ToolError, match="HTTP 404 Not Found"):
            list(server)
        assert web.requests[-1].method == "GET", "the older form has been tried"


def test_a_server_of_the_older_form() -> None:
    with greeting("s3cret") as url:
        server = MCP("older", url=url, headers={"Authorization": "Bearer s3cret"}, timeout=10)
        try:
            assert [tool.definition.name for tool in server] == ["greet"]
            assert asyncio.run(server.call("greet", {"name": "Ann"})).content == "Hello, Ann."
        finally:
            run_sync(server.aclose())


def test_nobody_listens() -> None:
    with WebServer() as web:
        url = web.url
    with connected(url) as server, pytest.raises(ToolError, match="'web' cannot be reached"):
        list(server)


def test_an_answer_that_breaks_off_leaves_it_open_what_was_done() -> None:
    with WebServer() as web, connected(web.url) as server:
        web.result = None
        with pytest.raises(ToolError, match=r"broke the connection off.*whether it took effect is not known"):
            run(server)
        web.result = RAN
        assert run(server) == "ran"
        assert (web.sessions, web.calls) == (1, 2)


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (HangUp(), "broke the connection off.*whether it took effect is not known"),
        (Status(500), "HTTP 500"),
        (Status(200, "no JSON-RPC"), "answered with an error"),
        (Status(200, "x" * 17_000_000), "broke the connection off"),
        (Status(200, content_type="text/html"), "Unexpected content type"),
        (Status(202), "202 Accepted"),
    ],
    ids=["hang-up", "500", "no-json", "huge", "html", "202"],
)
def test_calls_that_go_wrong_once(fault: Any, match: str) -> None:
    with WebServer() as web, connected(web.url) as server:
        assert run(server) == "ran"
        web.faults.append(fault)
        with pytest.raises(ToolError, match=match):
            run(server)
        assert run(server) == "ran", "the next call works"

"""The protocol's own reference server, from npm, by stdio and by streamable HTTP.

It is installed into a temporary folder; where there is no Node, or no registry to install it from, these are skipped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from agentic.portal import run_sync
from agentic.types.content import Content, images_of, text_of
from agentic.types.errors import ToolError
from agentic.types.messages import UserMessage
from agentic_tools.mcp import MCP

PACKAGE = "@modelcontextprotocol/server-everything@2026.8.31"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("There is no Node.")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm took too long.")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr[-200:]}")
    return folder / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"


@contextmanager
def by_stdio(script: Path) -> Iterator[MCP]:
    server = MCP("all", command=["node", str(script), "stdio"], timeout=30)
    try:
        yield server
    finally:
        run_sync(server.aclose())


@contextmanager
def by_http(script: Path) -> Iterator[MCP]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", str(script), "streamableHttp"]
    environment = {**os.environ, "PORT": str(port)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            assert any(f"{port}" in line for line in program.stderr), "It says when it listens."
            server = MCP("all", url=f"http://127.0.0.1:{port}/mcp", timeout=30)
            try:
                yield server
            finally:
                run_sync(server.aclose())
        finally:
            program.kill()


@pytest.mark.parametrize("connected", [by_stdio, by_http])
def test_everything(everything: Path, connected: Callable[[Path], AbstractContextManager[MCP]]) -> None:
    heard: list[Content] = []

    async def main(server: MCP) -> None:
        assert (await server.call("echo", {"message": "hi"})).content == "Echo: hi"
        picture = (await server.call("get-tiny-image", {})).content
        assert images_of(picture)[0].media_type == "image/png"
        assert "image you requested" in text_of(picture)
        structured = await server.call("get-structured-content", {"location": "New York"})
        assert set(structured.metadata["structured"]) == {"temperature", "conditions", "humidity"}
        with pytest.raises(ToolError, match="expected number, received string"):
            await server.call("get-sum", {"a": "x", "b": 1})
        long = {"duration": 0.2, "steps": 2}
        assert "completed" in text_of((await server.call("trigger-long-running-operation", long, heard.append)).content)
        resources = await server.resources()
        document = next(item for item in resources if item.get("mime_type") == "text/markdown")
        assert len(text_of(await server.read_resource(document["uri"]))) > 100
        assert {"simple-prompt", "args-prompt"} <= {prompt["name"] for prompt in await server.prompts()}
        (message,) = await server.get_prompt("args-prompt", {"city": "Porto"})
        assert isinstance(message, UserMessage)
        assert "Porto" in message.text

    with connected(everything) as server:
        tools = {tool.definition.name: tool.definition for tool in server}
        assert tools["get-sum"].parameters["required"] == ["a", "b"]
        assert tools["get-structured-content"].parameters["properties"]["location"]["enum"][0] == "New York"
        assert "all_read_resource" in tools
        asyncio.run(main(server))
    assert heard == ["1/2", "2/2"]

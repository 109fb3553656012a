"""`agentic mcp`: this program as an MCP server, by stdio and HTTP; and the servers of the configuration."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from agentic.portal import run_sync
from agentic.types.content import File, Image, Text
from agentic.types.errors import ToolError
from agentic_tools.mcp import MCP
from cli.script import Agentic, Script, calls, text
from servers.mcp_commands import rogue

SERVE = [sys.executable, "-m", "agentic", "mcp", "serve"]
KIT = '''
from agentic import File, Image, ToolContext, tool


def add(a: int, b: int = 1) -> int:
    """Adds."""
    print("this must not reach the wire")
    return a + b


def draw() -> object:
    """Draws."""
    return ["a picture", Image(data=b"GIF89a....")]


def save() -> File:
    """Saves."""
    return File("a.csv", b"a,b")


def whose(context: ToolContext) -> str:
    """Says whose session this is."""
    return context.session_id


@tool(approve=True)
def launch() -> str:
    """Launches."""
    return "gone"


kit = [add, draw, save, whose, launch]
'''


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kit.py").write_text(KIT, encoding="utf-8")
    return "kit.py:kit"


@contextmanager
def connected(server: MCP) -> Iterator[MCP]:
    try:
        yield server
    finally:
        run_sync(server.aclose())


@pytest.mark.slow
def test_tools_by_stdio(kit: str) -> None:
    with connected(MCP("mine", command=[*SERVE, "-t", kit], timeout=30)) as server:
        tools = {tool.definition.name: tool.definition for tool in server}
        assert list(tools) == ["add", "draw", "save", "whose", "launch"]
        assert tools["add"].parameters["required"] == ["a"]

        async def main() -> None:
            assert (await server.call("add", {"a": 1})).content == "2"
            assert (await server.call("draw", {})).content == (Text("a picture"), Image(data=b"GIF89a...."))
            assert (await server.call("save", {})).content == (File("a.csv", b"a,b"),)
            with pytest.raises(ToolError, match=r"\$\.a: "):
                await server.call("add", {"a": "x"})
            with pytest.raises(ToolError, match="nobody can be asked"):
                await server.call("launch", {})
            with pytest.raises(ToolError, match="The tools are: add, draw, launch, save, whose"):
                await server.call("nothing", {})

        asyncio.run(main())


@pytest.mark.slow
def test_stdout_holds_messages_alone(kit: str) -> None:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    said: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1}}},
    ]
    with subprocess.Popen([*SERVE, "-t", kit], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.writelines(f"{json.dumps({'jsonrpc': '2.0', **message})}\n" for message in said)
        server.stdin.flush()
        heard = [json.loads(server.stdout.readline()) for _ in range(2)]
        server.stdin.close()
        rest = server.stdout.read()
    assert [message["id"] for message in heard] == [1, 2]
    assert heard[1]["result"]["content"][0]["text"] == "2"
    assert rest == ""


@pytest.mark.slow
def test_an_agent_by_stdio_continues_its_sessions(kit: str) -> None:
    said = [calls(("1", "add", '{"a": 2}'), ("2", "launch", "{}")), text("It is 3."), text("I said 3.")]
    with Script(said) as script:
        command = [*SERVE, "-t", kit, "--agent", "-m", "openai/test", "--endpoint", script.url, "--store", "none"]
        with connected(MCP("mine", command=command, allow=["ask"], timeout=30)) as server:

            async def main() -> None:
                first = await server.call("ask", {"message": "What is 2 + 1?"})
                answer = first.metadata["structured"]
                assert (first.content, answer["answer"]) == ("It is 3.", "It is 3.")
                again = await server.call("ask", {"message": "What?", "session": answer["session"]})
                assert again.metadata["structured"] == {"answer": "I said 3.", "session": answer["session"]}
                with pytest.raises(ToolError, match=r"\$\.message"):
                    await server.call("ask", {"message": ""})

            asyncio.run(main())
        last = json.dumps(script.requests[-1].json)
    assert "nobody can be asked" in last
    assert "It is 3." in last


@contextmanager
def serving(*options: str) -> Iterator[str]:
    command = [*SERVE, "--http", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            line = program.stderr.readline()
            match = re.fullmatch(r"Serving (http://127\.0\.0\.1:\d+/mcp)\n", line)
            assert match, line + program.stderr.read()
            yield match[1]
        finally:
            program.terminate()


@pytest.mark.slow
def test_tools_by_http(kit: str) -> None:
    with serving("-t", kit, "--approve", "all") as url, connected(MCP("mine", url=url, timeout=20)) as server:
        assert [tool.definition.name for tool in server] == ["add", "draw", "save", "whose", "launch"]

        async def main() -> None:
            assert (await server.call("add", {"a": 1})).content == "2"
            assert (await server.call("launch", {})).content == "gone"

        asyncio.run(main())


@pytest.mark.slow
def test_clients_with_sessions_do_not_share_theirs(kit: str) -> None:
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}

    def post(url: str, method: str, params: object, session: dict[str, str]) -> httpx.Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"accept": "application/json, text/event-stream", **session}
        return httpx.post(url, json=message, headers=headers, timeout=20).raise_for_status()

    with serving("-t", kit) as url:
        for _ in range(2):
            session = {"mcp-session-id": post(url, "initialize", about, {}).headers["mcp-session-id"]}
            assert (
                session["mcp-session-id"] in post(url, "tools/call", {"name": "whose", "arguments": {}}, session).text
            )


@pytest.mark.slow
def test_a_configuration_is_listed_and_served_on(agentic: Agentic, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    servers = {"good": {"command": rogue("good")}, "bad": {"command": rogue("exits")}}
    file.write_text(json.dumps({"mcp": servers}))
    done = agentic("mcp", "ls", "-c", str(file), "--json")
    assert done.exit_code == 0
    good, bad = json.loads(done.stdout)
    assert good == {"server": "good", "tool": "run", "description": "", "problem": ""}
    assert "No key was given." in bad["problem"]
    assert "good\trun" in agentic("mcp", "ls", "-c", str(file)).stdout
    del servers["bad"]
    file.write_text(json.dumps({"mcp": servers}))
    with connected(MCP("proxy", command=[*SERVE, "-c", str(file)], timeout=30)) as server:
        assert [tool.definition.name for tool in server] == ["run"]
        assert asyncio.run(server.call("run", {})).content == "ran"


def test_there_must_be_something_to_serve(agentic: Agentic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = agentic("mcp", "serve")
    assert (done.exit_code, "nothing to offer" in done.stderr) == (2, True)
    assert agentic("mcp", "ls").stdout == ""

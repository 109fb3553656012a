"""MCP servers as toolgroups, with a real server by stdio."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent
from agentic.config import read_config
from agentic.portal import run_sync
from agentic.protocols import ToolContext, ToolOutput
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types.content import Content, File, Image, Text
from agentic.types.errors import ConfigError, ToolError
from agentic.types.events import ToolProgress
from agentic.types.messages import UserMessage
from agentic.types.tools import ToolCall, ToolStatus
from agentic_tools.mcp import MCP
from servers.mcp_commands import GIF, TOOLS, ends, pids, rogue


@pytest.fixture(scope="module")
def server() -> Iterator[MCP]:
    server = MCP("tools", command=TOOLS, timeout=20)
    list(server)
    yield server
    run_sync(server.aclose())


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_tools.mcp.stdio.PATIENCE", 0.3)


def call(server: MCP, name: str, **arguments: Any) -> ToolOutput:
    return asyncio.run(server.call(name, arguments))


# -- definitions ------------------------------------------------------------------------------------------------------


def test_names_and_schemas(server: MCP) -> None:
    tools = {tool.definition.name: tool.definition for tool in server}
    assert set(tools) == {
        *("weather", "add", "fail", "draw", "slow", "steps", "die", "environment"),
        *("odd_name_1", "tools__brave_search", "tools_read_resource"),
    }
    schema = tools["weather"].parameters
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place"}
    assert schema["properties"]["unit"]["enum"] == ["c", "f"]
    assert schema["$defs"]["Place"]["properties"]["points"]["items"]["type"] == "array"
    assert schema["required"] == ["place"]
    assert tools["weather"].description == "The weather somewhere."
    assert tools["odd_name_1"].metadata == {"toolgroup": "mcp::tools", "name": "odd name/1"}
    about = tools["tools_read_resource"].description
    assert "notes://today - What is to be done" in about
    assert "notes://{day}/picture - picture" in about


@pytest.mark.parametrize(
    ("allow", "deny", "names"),
    [
        (["add", "odd*"], [], {"add", "odd_name_1"}),
        (["*"], ["[!a]*"], {"add"}),
        (["tools_read_resource"], [], {"tools_read_resource"}),
        ([], [], set()),
    ],
)
def test_allow_and_deny(server: MCP, allow: list[str], deny: list[str], names: set[str]) -> None:
    with MCPs("tools", command=TOOLS, allow=allow, deny=deny) as narrow:
        assert {tool.definition.name for tool in narrow} == names


class MCPs:
    """A server of a test's own, closed at its end."""

    def __init__(self, name: str = "rogue", **options: Any) -> None:
        self.server = MCP(name, **{"timeout": 20, **options})

    def __enter__(self) -> MCP:
        return self.server

    def __exit__(self, *_: object) -> None:
        run_sync(self.server.aclose())


# -- calls ------------------------------------------------------------------------------------------------------------


def test_structured_results(server: MCP) -> None:
    output = call(server, "weather", place={"city": "Lisbon", "points": [[1, 2]]}, unit="f")
    assert output.metadata == {"structured": {"degrees": 21.5, "sky": "clear"}}
    assert '"degrees": 21.5' in str(output.content)


def test_pictures(server: MCP) -> None:
    output = call(server, "draw")
    assert output.content == (
        Text("here:"),
        Image(data=GIF),
        Text("[a picture, image/png, that cannot be read]"),
    )
    assert output.metadata == {"structured": {"width": 1}}


def test_errors_are_what_the_model_reads(server: MCP) -> None:
    with pytest.raises(ToolError, match="2 validation errors for addArguments\na\n"):
        call(server, "add", a="x")
    with pytest.raises(ToolError, match="fail"):
        call(server, "fail", why="kaput")
    with pytest.raises(ToolError, match="Unknown tool: nothing"):
        call(server, "nothing")


def test_progress_arrives_on_the_callers_loop(server: MCP) -> None:
    async def main() -> tuple[list[Content], set[object]]:
        heard: list[Content] = []
        loops: set[object] = set()

        def report(content: Content) -> None:
            heard.append(content)
            loops.add(asyncio.get_running_loop())

        assert (await server.call("steps", {}, report)).content == "all"
        return heard, loops - {asyncio.get_running_loop()}

    assert asyncio.run(main()) == (["1/2 half", "2/2"], set())


def test_no_variable_is_inherited_but_harmless_ones(server: MCP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "secret")
    with MCPs("tools", command=TOOLS, env={"MINE": "1"}) as own:
        names = call(own, "environment").metadata["structured"]["result"]
    assert {"MINE", "PATH"} <= set(names)
    assert "TAVILY_API_KEY" not in names


def test_resources(server: MCP) -> None:
    async def main() -> None:
        first, second = await server.resources()
        assert (first["uri"], first["mime_type"]) == ("notes://today", "text/plain")
        assert second["uri_template"] == "notes://{day}/picture"
        assert await server.read_resource("notes://today") == "Feed the cat."
        assert await server.read_resource("notes://x/picture") == (Image(data=GIF),)
        with pytest.raises(ToolError, match="Unknown resource"):
            await server.read_resource("file:///etc/passwd")
        reader = next(tool for tool in server if tool.definition.name == "tools_read_resource")
        assert (await reader.invoke({"uri": "notes://today"}, ToolContext())).content == "Feed the cat."
        with pytest.raises(ToolError, match=r"\$\.uri"):
            await reader.invoke({}, ToolContext())

    asyncio.run(main())


def test_prompts(server: MCP) -> None:
    async def main() -> None:
        (prompt,) = await server.prompts()
        assert prompt["name"] == "poem"
        assert prompt["arguments"] == [{"name": "about", "required": True}]
        assert await server.get_prompt("poem", {"about": "rain"}) == [UserMessage("Write a poem about rain.")]
        with pytest.raises(ToolError, match="answered with an error"):
            await server.get_prompt("poem")

    asyncio.run(main())


def test_many_calls_at_once_and_from_several_loops(server: MCP) -> None:
    async def several() -> list[Content]:
        outputs = await asyncio.gather(*(server.call("add", {"a": n, "b": 1}) for n in range(20)))
        return [output.content for output in outputs]

    expected = [str(n + 1) for n in range(20)]
    assert asyncio.run(several()) == expected
    assert asyncio.run(several()) == expected
    assert run_sync(several()) == expected


def test_a_cancelled_call_leaves_the_connection_usable(server: MCP) -> None:
    async def main() -> Content:
        begun = asyncio.Event()
        slow = asyncio.create_task(server.call("slow", {}, lambda _: begun.set()))
        await begun.wait()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return (await server.call("add", {"a": 1, "b": 1})).content

    assert asyncio.run(main()) == "2"


# -- in an agent ------------------------------------------------------------------------------------------------------


def test_in_an_agent_with_progress_and_a_time_out() -> None:
    calls = [ToolCall("steps", {}, "1"), ToolCall("run", {}, "2")]
    group = MCP("tools", command=TOOLS, allow=["steps"], timeout=20)
    mute = MCP("rogue", command=rogue("mute"), timeout=1)
    model = ScriptedModel([calls, "done"])
    with Agent(model, tools=[group, mute], store=None) as agent:
        events = list(agent.stream("Go"))
    assert [event.content for event in events if isinstance(event, ToolProgress)] == ["1/2 half", "2/2"]
    responses = {m.call_id: m for m in model.requests[1].messages if m.role == "ipython"}
    assert responses["1"].text == "all"
    assert responses["2"].status is ToolStatus.TIMEOUT
    assert "longer than 1 s" in responses["2"].text


def test_names_that_collide_are_prefixed() -> None:
    def run() -> str:
        """Runs here."""
        return "here"

    one, two = MCP("one", command=rogue("good")), MCP("two", command=rogue("good"))
    model = ScriptedModel([[ToolCall("run", {}, "1"), ToolCall("two__run", {}, "2")], "done"])
    with Agent(model, tools=[one, run, two], store=None) as agent:
        assert [tool["name"] for tool in agent.describe()["tools"]] == ["one__run", "run", "two__run"]
        agent.run("Go")
    assert [m.text for m in model.requests[1].messages if m.role == "ipython"] == ["here", "ran"]


def test_the_same_server_twice_is_refused_and_closed() -> None:
    one = MCP("one", command=rogue("good"))
    with pytest.raises(ConfigError, match="Two tools are called 'one__run'"):
        Agent(ScriptedModel([]), tools=[one, one], store=None)


def test_servers_of_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "good")
    file = tmp_path / "run.yaml"
    program, flag, script, _ = rogue("good")
    file.write_text(
        f"models: {{default: {{model: openai/x, endpoint: 'http://127.0.0.1:9/v1'}}}}\nstore: null\nmcp:\n  mine:\n"
        f"    command: [{program}, {flag}, {script}, '${{env.WORD}}']\n    timeout: 5\n    approve: true\n"
    )
    with Stack.from_config(file).agent(tools=["mcp::mine"]) as agent:
        (tool,) = agent.describe()["tools"]
        assert (tool["name"], tool["timeout"], tool["approval"]) == ("run", 5, True)
    with pytest.raises(ConfigError, match="no MCP server called 'other'; it has: mine"):
        Stack.from_config(file).agent(tools=["mcp::other"])
    with pytest.raises(ConfigError, match="no MCP server called 'mine'; it has: none"):
        Agent(ScriptedModel([]), tools=["mcp::mine"])
    monkeypatch.chdir(tmp_path)
    with Agent(ScriptedModel([]), tools=["mcp::mine"], store=None) as agent:
        assert "run" in repr(agent)


def test_secrets_of_a_configuration_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mcp: {a: {url: 'https://x', headers: {A: s3cret}, env: {B: s3cret}}}\n")
    assert "s3cret" not in repr(read_config(file))
    file.write_text("mcp: {a: {urll: x}}\n")
    with pytest.raises(ConfigError, match=r"no key 'mcp\.a\.urll'; did you mean 'url'"):
        read_config(file)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("a b", {"url": "http://x"}, "cannot be a server's name"),
        ("a", {}, "needs either command"),
        ("a", {"command": ["x"], "url": "http://x"}, "needs either command"),
        ("a", {"command": "x y"}, "a list of texts"),
        ("a", {"url": "http://x", "args": ["y"]}, "needs either command"),
        ("a", {"url": "file:///x"}, "must begin with http"),
        ("a", {"url": "http://x", "timeout": 0}, "timeout is above 0"),
        ("a", {"url": "http://x", "allow": "x"}, "lists of names"),
    ],
)
def test_arguments_that_make_no_sense(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MCP(name, **options)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot be started: No such file or directory: 'no-such-program'"):
        list(MCP("a", command=["no-such-program"]))


# -- life and death ---------------------------------------------------------------------------------------------------


def test_a_server_that_died_is_started_again_and_no_call_is_sent_twice(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with MCPs("tools", command=TOOLS, env={"STARTS": str(starts)}) as server:
        with pytest.raises(ToolError, match=r"'tools' ended\. die had been sent: whether it took effect is not known"):
            call(server, "die")
        assert call(server, "add", a=1, b=2).content == "3"
        assert len(pids(starts)) == 2


def test_a_server_that_died_between_two_calls_is_started_again(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with MCPs(command=rogue("good"), env={"PIDS": str(file)}) as server:
        assert call(server, "run").content == "ran"
        os.kill(pids(file)[0], signal.SIGKILL)
        assert ends(pids(file)[0])
        assert call(server, "run").content == "ran"
        run_sync(server.aclose())
        assert call(server, "run").content == "ran", "closing is no end"
        assert len(pids(file)) == 3


@pytest.mark.parametrize("mode", ["good", "deaf"])
def test_the_server_is_gone_after_closing(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with MCPs(command=rogue(mode), env={"PIDS": str(file)}) as server:
        assert call(server, "run").content == "ran"
    assert ends(pids(file)[0], 0)


PROGRAM = """
import sys
from agentic_tools.mcp import MCP
server = MCP("rogue", command={command!r}, env={{"PIDS": {file!r}}})
print([tool.definition.name for tool in server], flush=True)
{rest}
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["good", "deaf"])
def test_the_server_is_gone_after_a_program_that_closes_nothing(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    code = PROGRAM.format(command=rogue(mode), file=str(file), rest="")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("['run']\n", "")
    assert ends(pids(file)[0])


@pytest.mark.slow
def test_the_server_is_gone_after_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    code = PROGRAM.format(command=rogue("good"), file=str(file), rest="sys.stdin.read()")
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "['run']\n"
        program.kill()
    assert ends(pids(file)[0])


# -- servers that misbehave -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        ("silent", "did not answer within 1 s of its start"),
        ("exits", "ended. The last it said: No key was given."),
        ("old", "Unsupported protocol version"),
        ("no_object", "not what MCP documents"),
        ("no_schema", "its tool 'run' by something that is no JSON schema of an object. Leave it out by deny."),
        ("fat", "schemas of more than 500,000 characters. Name those that are wanted by allow."),
        ("deep", "sent invalid JSON-RPC, so the connection was closed"),
        ("endless", "lists more than 1000 tools, or never ends to"),
    ],
)
def test_a_server_that_cannot_be_used(mode: str, match: str) -> None:
    with MCPs(command=rogue(mode), timeout=1 if mode == "silent" else 20) as server, pytest.raises(ToolError) as caught:
        list(server)
    assert match in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        ("huge", "sent more than 16,777,216 bytes at once, so the connection was closed. run had been sent"),
        ("broken", "sent invalid JSON-RPC, so the connection was closed"),
        ("odd_result", "not what MCP documents"),
        ("mute", "took too long to answer. run had been sent: whether it took effect is not known."),
    ],
)
def test_a_server_that_answers_badly(mode: str, match: str) -> None:
    with MCPs(command=rogue(mode), timeout=1 if mode == "mute" else 20) as server:
        with pytest.raises(ToolError) as caught:
            call(server, "run")
        assert match in str(caught.value)


def test_a_server_that_is_forgiven() -> None:
    with MCPs(command=rogue("prints")) as server:
        assert call(server, "run").content == "ran"
    with MCPs(command=rogue("pattern")) as server:
        assert call(server, "run").content == '{"a": "' + "a" * 60 + '!"}'
    with MCPs(command=rogue("duplicates")) as server:
        assert [tool.definition.name for tool in server] == ["run", "a_b", "rogue__a_b"]


def test_half_a_character_does_not_cost_the_connection() -> None:
    with MCPs(command=rogue("half")) as server:
        assert call(server, "run").content == "x? \ufffd"


def test_what_is_neither_text_nor_picture_is_a_file() -> None:
    with MCPs(command=rogue("blob")) as server:
        note = "[notes://3, application/octet-stream, that cannot be read]"
        assert call(server, "run").content == (File("a_20b.csv", b"a,b"), Text(note))


def test_a_server_that_reads_nothing_is_not_waited_for() -> None:
    with MCPs(command=rogue("numb")) as server:
        list(server)
        server.timeout = 0.1

        async def more() -> None:
            async with asyncio.timeout(4):  # the SDK would tell it for 5 s that the call was given up
                with pytest.raises(ToolError, match="took too long"):
                    await server.call("run", {"text": "x" * 1_000_000})

        asyncio.run(more())


def test_endless_progress_is_cut() -> None:
    heard: list[Content] = []
    with MCPs(command=rogue("flood")) as server:
        asyncio.run(server.call("run", {}, heard.append))
    assert len(heard) == 1000


def test_a_denied_tool_may_be_as_broken_as_it_likes() -> None:
    with MCPs(command=rogue("no_schema"), deny=["run"]) as server:
        assert list(server) == []

"""`agentic tools`: listing, showing and calling."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentic.cli import app
from servers.brave import BraveServer
from servers.mcp_commands import rogue

KIT = '''
import os
from agentic import Image, tool
from agentic_tools import WebSearch


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


def say(text: str, loud: bool = False) -> str:
    """Says."""
    return (text.upper() if loud else text) + "\\x1b[31m"


@tool(approve=True)
def fail() -> None:
    """Fails."""
    raise RuntimeError("kaput")


def draw() -> object:
    """Draws."""
    return ["a picture", Image(data=b"GIF89a....")]


both = [add, say]
'''


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kit.py").write_text(KIT, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "kit", raising=False)  # another test's
    return lambda *arguments: CliRunner().invoke(app, ["tools", *arguments])


def test_the_list_says_what_keeps_a_tool_from_being_used(
    tools: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "brave-secret")
    done = tools("ls", "--json")
    assert done.exit_code == 0
    rows = {row["toolgroup"]: row for row in json.loads(done.stdout)}
    assert rows["builtin::websearch"]["tool"] == "brave_search"
    assert "WOLFRAM_ALPHA_API_KEY" in rows["builtin::wolfram_alpha"]["problem"]
    plain = tools("ls")
    assert plain.exit_code == 0
    assert "builtin::websearch\tbrave_search\tSearches the web" in plain.stdout
    assert "brave-secret" not in done.output + plain.output


@pytest.mark.parametrize("name", ["brave_search", "builtin::websearch"])
def test_a_tool_is_shown_by_its_name_or_its_toolgroups(
    tools: Callable[..., Result], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "brave-secret")
    done = tools("show", name, "--json")
    assert done.exit_code == 0
    (shown,) = json.loads(done.stdout)
    assert (shown["name"], shown["parameters"]["required"]) == ("brave_search", ["query"])
    assert shown["policy"]["idempotent"] is True
    assert '"query"' in tools("show", name).stdout


def test_several_tools_are_shown(tools: Callable[..., Result]) -> None:
    assert [tool["name"] for tool in json.loads(tools("show", "kit.py:both", "--json").stdout)] == ["add", "say"]


@pytest.mark.parametrize(
    ("arguments", "code", "stdout", "stderr"),
    [
        (["kit.py:add", "a=1", "b=2"], 0, "3\n", ""),
        (["kit:add", "a=41"], 0, "42\n", ""),
        (["kit.py:say", "text=123", "loud=true"], 0, "123\n", ""),
        (["kit.py:say", "text=a=b"], 0, "a=b\n", ""),
        (["kit.py:draw"], 0, "a picture\n[Image(10 bytes, image/gif)]\n", ""),
        (["kit.py:fail"], 1, "", "RuntimeError: kaput\n"),
        (["kit.py:add"], 1, "", "The arguments do not fit. $.a: is required.\n"),
        (["kit.py:add", "a=x"], 1, "", "$.a"),
        (["kit.py:add", "a"], 2, "", "KEY=VALUE"),
        (["kit.py:add", "a=1", "a=2"], 2, "", "given twice"),
        (["kit.py:both", "a=1"], 2, "", "several tools: add, say"),
        (["nothing"], 2, "", "No installed toolgroup has a tool called 'nothing'"),
        (["builtin::nothing"], 2, "", "builtin::"),
        (["kit.py:nothing"], 2, "", "holds no"),
    ],
)
def test_a_tool_is_called(
    tools: Callable[..., Result], arguments: list[str], code: int, stdout: str, stderr: str
) -> None:
    done = tools("call", *arguments)
    assert (done.exit_code, done.stdout) == (code, stdout)
    assert stderr in done.stderr


def test_a_result_as_json_has_its_metadata(tools: Callable[..., Result], tmp_path: Path) -> None:
    with BraveServer() as server:
        (tmp_path / "web.py").write_text(
            f"from agentic_tools import WebSearch\nsearch = WebSearch('brave', endpoint={server.url!r})\n"
        )
        CliRunner().invoke(app, ["keys", "set", "BRAVE_SEARCH_API_KEY"], input=server.key)
        done = tools("call", "web.py:search", "query=Lisbon", "--json")
    assert done.exit_code == 0, done.output
    response = json.loads(done.stdout)
    assert (response["tool_name"], response["status"]) == ("brave_search", "ok")
    assert response["metadata"]["sources"][1]["title"] == "Lisbon"
    assert server.key not in done.output


def test_tools_of_configured_servers_are_listed_and_called(tools: Callable[..., Result], tmp_path: Path) -> None:
    command, *args = rogue("good")
    (tmp_path / "run.yaml").write_text(json.dumps({"mcp": {"shop": {"command": command, "args": args}}}))
    assert ("mcp::shop", "run") in {(row["toolgroup"], row["tool"]) for row in json.loads(tools("ls", "--json").stdout)}
    for name in ("run", "mcp::shop", "mcp::shop::run"):
        done = tools("call", name)
        assert (done.exit_code, done.stdout) == (0, "ran\n"), name
    done = tools("call", "mcp::shop::fly")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "mcp::shop has no tool called 'fly'." in done.stderr

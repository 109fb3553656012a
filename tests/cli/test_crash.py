"""`kill -9` in the middle of a tool: the next command goes on, and the tool's effect happened once (promise 3)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.script import Agentic, Script, Spawn, Start, calls, text

TOOLS = '''
import threading
from pathlib import Path

from agentic import tool


def append(line: str) -> str:
    """Appends a line to the diary."""
    with Path("diary.txt").open("a") as file:
        file.write(line + "\\n")
    with open("started", "w") as fifo:  # whoever reads it knows that the line is there
        fifo.write("started")
    threading.Event().wait()


@tool(idempotent=True, name="append")
def append_again(line: str) -> str:
    """Writes the diary anew."""
    if Path("diary.txt").exists():
        return "It is written."
    return append(line)
'''

COMMAND = ("run", "--session", "trip", "--tools")


@pytest.fixture
def killed(script: Start, spawn: Spawn, agentic: Agentic, tmp_path: Path) -> Callable[[str], Script]:
    """Plays one turn, begins a second one, and kills the process while its tool runs."""
    (tmp_path / "diary.py").write_text(TOOLS, encoding="utf-8")
    os.mkfifo(tmp_path / "started")

    def play(tool: str) -> Script:
        line = ("call_1", "append", '{"line": "Arrived."}')
        server = script([text("Hello."), calls(line), text("I do not know if it was written."), text("Bye.")])
        assert agentic(*COMMAND, tool, "Hello").exit_code == 0
        process = spawn(*COMMAND, tool, "Write that I arrived.")
        assert (tmp_path / "started").read_text() == "started"
        process.kill()
        process.wait()
        return server

    return play


def turns(agentic: Agentic) -> Any:
    return json.loads(agentic("session", "show", "trip", "--json").stdout)["turns"]


def responses(turn: Any) -> list[Any]:
    return [
        response
        for step in turn["steps"]
        if step["step_type"] == "tool_execution"
        for response in step["tool_responses"]
    ]


def told(server: Script) -> str:
    """What the last request says of the call."""
    results = [message for message in server.requests[2].json["messages"] if message["role"] == "tool"]
    assert len(results) == 1
    return str(results[0]["content"])


@pytest.mark.parametrize("question", [(), ("Are you there?",)], ids=["taken up", "another question"])
def test_the_model_is_told_that_the_outcome_is_unknown(
    question: tuple[str, ...], killed: Callable[[str], Script], agentic: Agentic, tmp_path: Path
) -> None:
    server = killed("diary:append")
    assert [turn["status"] for turn in turns(agentic)] == ["completed", "running"]
    assert "Not finished" in agentic("session", "show", "trip").stdout

    second = agentic(*COMMAND, "diary:append", *question)
    assert (second.exit_code, second.stdout) == (0, "I do not know if it was written.\n")
    third = agentic(*COMMAND, "diary:append", "Good bye.")
    assert (third.exit_code, third.stdout) == (0, "Bye.\n")

    assert (tmp_path / "diary.txt").read_text() == "Arrived.\n"
    assert "outcome_unknown" in [response["status"] for response in responses(turns(agentic)[1])]
    assert "unknown" in told(server)
    reasons = [turn["reason"] for turn in turns(agentic)]
    assert reasons == ["end_of_turn", *(["interrupted"] if question else []), "end_of_turn", "end_of_turn"]
    assert agentic("session", "verify", "trip").exit_code == 0


def test_an_idempotent_tool_is_run_again(killed: Callable[[str], Script], agentic: Agentic, tmp_path: Path) -> None:
    server = killed("diary:append_again")
    assert agentic(*COMMAND, "diary:append_again").exit_code == 0
    assert [response["status"] for response in responses(turns(agentic)[1])] == ["ok"]
    assert told(server) == "It is written."
    assert (tmp_path / "diary.txt").read_text() == "Arrived.\n"


def test_chat_takes_it_up_too(killed: Callable[[str], Script], agentic: Agentic) -> None:
    killed("diary:append")
    chat = agentic("chat", "--session", "trip", "--tools", "diary:append", stdin="/resume\nGood bye.\n/quit\n")
    assert "/resume takes it up" in chat.stderr
    assert chat.stdout == "I do not know if it was written.\nBye.\n"
    assert [turn["reason"] for turn in turns(agentic)] == ["end_of_turn"] * 3

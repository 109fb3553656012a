"""Three calls of one message, one after the other, in processes that are really killed: nothing that was reported is
lost, nothing that finished runs twice (promise 3). `crash/test_crash_matrix.py` has every boundary of a turn with
everything else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, EndReason, Tool, ToolCall
from agentic.testing import ScriptedModel
from agentic.types import ToolStatus

CHILD = """
import json, os, signal, sys
from agentic import Agent, Tool, ToolCall
from agentic.testing import ScriptedModel

folder, die_at = sys.argv[1], sys.argv[2]

def reached(where):
    if where == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

def append(line: str) -> str:
    "Appends a line to a file."
    reached(f"before {line}")
    with open(f"{folder}/effects", "a") as file:
        file.write(line + "\\n")
    reached(f"after {line}")
    return f"wrote {line}"

def reply(number, value):
    def say(_request):
        reached(f"inference {number}")
        return value
    return say

script = [
    reply(0, "Hello."),
    reply(1, [ToolCall("append", {"line": "a"}), ToolCall("append", {"line": "b"}), ToolCall("append", {"line": "c"})]),
    reply(2, "Written."),
]
agent = Agent(ScriptedModel(script), tools=[Tool(append, parallel=False)], store=f"{folder}/s.db")
session = agent.session("trip")
print(session.run("Hi").text, flush=True)
print(session.run("Write.").text, flush=True)
reached("end")
"""


def run_and_die(folder: Path, where: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), where], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


def append_to(folder: Path) -> Tool:
    def append(line: str) -> str:
        """Appends a line to a file."""
        with (folder / "effects").open("a") as file:
            file.write(line + "\n")
        return f"wrote {line}"

    return Tool(append, parallel=False)


def effects(folder: Path) -> list[str]:
    file = folder / "effects"
    return file.read_text().split() if file.exists() else []


PLACES = [
    "inference 1",
    *[f"{when} {line}" for line in "abc" for when in ("before", "after")],
    "inference 2",
]


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
def test_a_killed_turn_is_taken_up_and_no_effect_is_repeated_or_hidden(tmp_path: Path, where: str) -> None:
    run_and_die(tmp_path, where)
    done_before = effects(tmp_path)
    replies: list[Any] = ["Written."]
    if where == "inference 1":
        replies = [[ToolCall("append", {"line": line}) for line in "abc"], "Written."]
    with Agent(ScriptedModel(replies), tools=[append_to(tmp_path)], store=tmp_path / "s.db") as agent:
        session = agent.session("trip")
        assert session.turns[0].text == "Hello."
        assert session.interrupted
        turn = session.resume()
        assert turn.text == "Written."
        assert [call.call_id for call in turn.tool_calls] == [item.call_id for item in turn.tool_responses]
    unknown = [item for item in turn.tool_responses if item.status is ToolStatus.OUTCOME_UNKNOWN]
    cut_off = where.rsplit(maxsplit=1)[-1] if where.split(maxsplit=1)[0] in ("before", "after") else None
    assert len(unknown) == (1 if cut_off else 0)
    after = effects(tmp_path)
    assert len(after) == len(set(after)), "an effect happened twice"
    assert after[: len(done_before)] == done_before
    missing = {"a", "b", "c"} - set(after)
    assert missing <= ({cut_off} if where.startswith("before") else set())


@pytest.mark.slow
def test_a_new_message_after_a_kill_goes_on_with_the_truth(tmp_path: Path) -> None:
    run_and_die(tmp_path, "after b")
    model = ScriptedModel(["I see."])
    with Agent(model, tools=[append_to(tmp_path)], store=tmp_path / "s.db") as agent:
        session = agent.session("trip")
        assert session.run("continue").text == "I see."
        interrupted = session.turns[1]
    assert interrupted.reason is EndReason.INTERRUPTED
    statuses = [item.status for item in interrupted.tool_responses]
    assert statuses == [ToolStatus.OK, ToolStatus.OUTCOME_UNKNOWN, ToolStatus.NOT_RUN]
    assert effects(tmp_path) == ["a", "b"]
    roles = [message.role for message in model.requests[0].messages]
    assert roles == ["user", "assistant", "user", "assistant", "ipython", "ipython", "ipython", "user"]

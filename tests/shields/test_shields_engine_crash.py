"""A process that is killed while shields look: the session goes on from its log (promises 3 and 6)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, EndReason, ToolCall
from agentic.testing import ScriptedModel
from agentic.types import Hit, Message, ShieldCallStep, Touchpoint, Verdict

SENTENCE = "Ada is asked, and this is a sentence that is long enough to be a segment of its own. "


class Masks:
    """Masks a name everywhere, gives it back to `send`; counts, and may die."""

    shield_id = "masks"
    touchpoints = frozenset(Touchpoint)

    def __init__(self, die_at: int = 0) -> None:
        self.left = die_at

    async def check(self, messages: Sequence[Message]) -> Verdict:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGKILL)
        text = messages[-1].text
        masked = {"<NAME_1>": "Ada"} if "Ada" in text else {}
        return Verdict("masks", replacement=text.replace("Ada", "<NAME_1>") if masked else None, masked=masked)

    def reveal(self, call: ToolCall, masked: Mapping[str, str]) -> Mapping[str, Any]:
        return {key: masked.get(value, value) for key, value in call.arguments.items()}


class Bank:
    name = "docs"

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        return [Hit("Ada wrote this.", 1.0, "a.pdf")]


def open_agent(folder: Path, die_at: int, *replies: Any) -> tuple[Agent, ScriptedModel]:
    def send(to: str) -> str:
        """Sends a letter."""
        with (folder / "sent").open("a", encoding="utf-8") as file:
            file.write(f"{to}\n")
        return f"Sent to {to}."

    model = ScriptedModel(replies)
    masks = Masks(die_at)
    return Agent(model, tools=[send], memory=[Bank()], shields=[masks], store=folder / "s.db"), model


SCRIPT: list[Any] = [[SENTENCE, ToolCall("send", {"to": "<NAME_1>"}, "a")], "Done, Ada."]


def main(folder: str, die_at: str) -> None:
    """Streams one turn in the process that is to die."""
    agent, _ = open_agent(Path(folder), int(die_at), *SCRIPT)
    for _ in agent.session("s").stream("Write to Ada."):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [1, 2, 3, 4, 5, 6])
def test_a_turn_whose_shields_were_killed_goes_on(die_at: int, tmp_path: Path) -> None:
    """The looks: at the question, the passage, the text, the call, its result, the answer."""
    child = f"from shields.test_shields_engine_crash import main; main({str(tmp_path)!r}, '{die_at}')"
    tests = str(Path(__file__).parent.parent)
    died = subprocess.run([sys.executable, "-c", child], cwd=tests, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    rest = SCRIPT if die_at <= 2 else SCRIPT[1:] if die_at <= 5 else []
    agent, model = open_agent(tmp_path, 0, *rest, "Later.")
    with agent:
        session = agent.session("s")
        assert session.interrupted
        turn = session.resume()
        assert (turn.reason, turn.text) == (EndReason.END_OF_TURN, "Done, <NAME_1>.")
        assert [response.text for response in turn.tool_responses] == ["Sent to <NAME_1>."]
        session.run("And now?")
    model.assert_complete()
    assert "Ada" not in "".join(model.prompts)
    assert (tmp_path / "sent").read_text(encoding="utf-8") == "Ada\n"
    failed = [step for step in turn.steps if isinstance(step, ShieldCallStep) and step.failure]
    assert [step.failure.error for step in failed if step.failure] == ["Interrupted"]

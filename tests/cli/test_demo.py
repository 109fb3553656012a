"""`agentic demo`, its tools, and the embedded model behind the command. Skipped where the model was never fetched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from agentic import Agent
from agentic.cli.demo import program
from agentic.cli.demo_tools import TOOLS, convert_units, days_between, planet_facts
from agentic.models import EMBEDDING_MODEL, find, located
from agentic.testing import ScriptedModel
from agentic.types import ToolError
from cli.script import Agentic, Spawn

embedded = pytest.mark.skipif(
    not (located(find("default")) and located(find(EMBEDDING_MODEL))), reason="the embedded model is not in the cache"
)


def test_what_to_try_next_can_be_typed_as_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "agentic").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "agentic"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert program() == f"bin{os.sep}agentic"


def test_days_between() -> None:
    assert "319 days, which is 45 weeks and 4 days" in days_between("2024-02-10", "2024-12-25")
    assert days_between("2024-02-29", "2024-02-28") == "From 2024-02-29 to 2024-02-28 it is 1 day."
    with pytest.raises(ToolError, match="YYYY-MM-DD"):
        days_between("tomorrow", "2024-12-25")


def test_convert_units() -> None:
    assert convert_units("26.2 miles", "kilometers") == "26.2 miles are 42.1648 kilometers."
    assert convert_units("1,000 grams", "pounds") == "1,000 grams are 2.20462 pounds."
    for wrong in ("miles", "", "many miles", "3", "3 pounds", "nan"):
        with pytest.raises(ToolError):
            convert_units(wrong, "miles")


def test_planet_facts() -> None:
    assert planet_facts("Mars") == "Mars is 6,792 km across; its day takes 24.7 hours, its year 687 Earth days."


def test_the_tools_can_be_offered() -> None:
    with Agent(ScriptedModel(), tools=TOOLS, store=None) as agent:
        assert [tool["name"] for tool in agent.describe()["tools"]] == ["days_between", "convert_units", "planet_facts"]


@embedded
@pytest.mark.slow
def test_the_demo_answers_every_question_with_a_tool(agentic: Agentic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_OFFLINE", "1")
    result = agentic("demo")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 5
    for fact in ("42.16", "319 days", "687 Earth days", "81.64", "142,984 km"):
        assert fact in result.stdout
    assert "135 million parameters" in result.stderr
    assert "agentic models pull" in result.stderr
    name = agentic("session", "ls").stdout.split("\t")[0]
    turns = json.loads(agentic("session", "show", name, "--json").stdout)["turns"]
    assert [len(turn["steps"]) for turn in turns] == [3] * 5
    assert f"agentic session show {name}" in result.stderr


DIARY = '''
import threading
from pathlib import Path


def write_diary(note: str) -> str:
    """Writes a note into the diary.

    Args:
        note: What to write.
    """
    with Path("diary.txt").open("a") as file:
        file.write("a line\\n")
    with open("started", "w") as fifo:
        fifo.write("started")
    threading.Event().wait()
'''


@embedded
@pytest.mark.slow
def test_the_embedded_model_goes_on_after_kill_9(agentic: Agentic, spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "diary.py").write_text(DIARY, encoding="utf-8")
    os.mkfifo(tmp_path / "started")
    tools = ("--tools", "diary.py:write_diary", "--tools", "agentic.cli.demo_tools:TOOLS")
    command = ("run", "--session", "trip", *tools)
    assert "687" in agentic(*command, "How long is a year on Mars?").stdout
    process = spawn(*command, "Write into my diary: arrived in Lisbon.")
    assert (tmp_path / "started").read_text() == "started"
    process.kill()
    process.wait()
    second = agentic(*command)
    assert second.exit_code == 0
    assert "unknown" in second.stdout
    assert "42.16" in agentic(*command, "How many kilometers are 26.2 miles?").stdout
    assert (tmp_path / "diary.txt").read_text() == "a line\n"
    turns = json.loads(agentic("session", "show", "trip", "--json").stdout)["turns"]
    assert [turn["reason"] for turn in turns] == ["end_of_turn"] * 3
    statuses = [answer["status"] for step in turns[1]["steps"] for answer in step.get("tool_responses", ())]
    assert statuses == ["outcome_unknown"]

"""Tools that do not let themselves be stopped, and what else must not reach beyond its call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentic import Agent, Approve, EndReason, Limits, Text, Tool, ToolCall, ToolContext, keys
from agentic.testing import ScriptedModel
from agentic.types import InvalidInput, ToolDefinitionError, ToolProgress, ToolStatus, from_json, to_json


async def swallow() -> str:
    """Catches its cancellation."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "cleaned up"
    return "slept"


async def stubborn() -> str:
    """Takes no notice of its cancellation for a while."""
    ends = time.monotonic() + 0.6
    while time.monotonic() < ends:
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            continue
    stubborn_ended.set()
    return "late"


stubborn_ended = threading.Event()


def endless() -> Iterator[int]:
    """Counts slowly."""
    for number in range(5):
        yield number
        time.sleep(0.2)


def agent_of(*tools: Tool) -> Agent:
    calls = [ToolCall(tool.name) for tool in tools]
    return Agent(ScriptedModel([calls, "Done."]), tools=tools, store=None)


def test_a_tool_that_catches_its_cancellation_does_not_save_its_turn() -> None:
    turn = agent_of(Tool(swallow)).session().run("x", limits=Limits(seconds=0.1))
    assert turn.reason is EndReason.TIME_LIMIT
    assert turn.tool_responses[0].text == "cleaned up"


@pytest.mark.parametrize("function", [stubborn, endless])
def test_a_time_out_holds_for_what_cannot_be_stopped(function: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic.execution.PATIENCE", 0.1)
    begun = time.monotonic()
    turn = agent_of(Tool(function, timeout=0.1)).run("x")  # type: ignore[arg-type]
    assert turn.tool_responses[0].status is ToolStatus.TIMEOUT
    assert time.monotonic() - begun < 0.5
    assert function is endless or stubborn_ended.wait(5)


def test_progress_from_a_thread_wakes_the_reader_and_ends_with_the_call() -> None:
    kept: list[ToolContext] = []

    def work(context: ToolContext) -> str:
        """Works."""
        kept.append(context)
        time.sleep(0.05)  # the reader sleeps by then
        context.report("half")
        return "done"

    session = agent_of(Tool(work)).session()
    events = list(session.stream("x"))
    kept[0].report("late")
    assert [event.content for event in events if isinstance(event, ToolProgress)] == ["half"]
    assert list(session.follow()) == events


def test_an_approval_for_good_is_not_for_another_tool_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def one() -> str:
        """Deletes a draft."""
        return "one"

    def other() -> str:
        """Deletes everything."""
        return "other"

    session = agent_of(Tool(one, name="delete", approve=True)).session()
    session.run("x")
    session.resume({session.pending[0].call.call_id: Approve("always")})
    assert not agent_of(Tool(one, name="delete", approve=True)).run("x").pending
    assert agent_of(Tool(other, name="delete", approve=True)).run("x").pending


def test_approvals_that_make_no_sense_are_refused() -> None:
    session = agent_of(Tool(swallow, approve=True)).session()
    session.run("x")
    with pytest.raises(InvalidInput, match="scope is one of"):
        session.resume({session.pending[0].call.call_id: Approve("forever")})  # type: ignore[arg-type]

    async def approve(_: object) -> bool:
        return True

    with pytest.raises(ToolDefinitionError, match="async"):
        Tool(swallow, approve=approve)  # type: ignore[arg-type]


def test_a_file_and_a_secret(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("from a file", encoding="utf-8")

    def read() -> Path:
        """Reads."""
        return note

    def secret(context: ToolContext) -> str:
        """Uses a key."""
        return context.secrets["SHOP_API_KEY"].upper()

    with keys.given({"SHOP_API_KEY": "abc"}):
        turn = agent_of(Tool(read), Tool(secret)).run("x")
    assert [response.text for response in turn.tool_responses] == ["from a file", "ABC"]


def test_progress_may_be_whatever_a_result_may_be() -> None:
    def count(context: ToolContext) -> str:
        """Counts."""
        for progress in (50, {"done": 2}, "half \ud800", [Text("a"), "b"]):
            context.report(progress)
        return "counted"

    agent = Agent(ScriptedModel([ToolCall("count"), "Done."]), tools=[count], store=None)
    told = [event for event in agent.stream("Count.") if isinstance(event, ToolProgress)]
    assert [event.content for event in told] == ["50", '{"done":2}', "half ?", (Text("a"), Text("b"))]
    assert [from_json(ToolProgress, to_json(event)) for event in told] == told

"""What a hostile tool, server or caller must not be able to break."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, ToolCall, ToolDef
from agentic.config import read_config
from agentic.inference import connect
from agentic.protocols import ToolContext, ToolOutput, ToolPolicy
from agentic.testing import ScriptedModel
from agentic.types import (
    AssistantMessage,
    Image,
    Message,
    TextDelta,
    ToolResponse,
    ToolStatus,
    Usage,
    UserMessage,
    Verdict,
)
from agentic.types.errors import ConfigError, InvalidInput, InvalidResponse, SessionBusy
from servers.base import Insert
from servers.ollama import OllamaServer
from servers.openai import OpenAIServer


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


class Strange(BaseException):
    pass


class Odd:
    """A tool of somebody else's making, which returns whatever it likes."""

    definition = ToolDef("odd", "Odd.", {"type": "object", "properties": {}})
    policy = ToolPolicy()

    def __init__(self, value: Any) -> None:
        self._value = value

    async def invoke(self, arguments: Any, context: ToolContext) -> ToolOutput:
        if isinstance(self._value, BaseException):
            raise self._value
        output: ToolOutput = self._value
        return output


ODD = [
    Mute(),
    Strange("boo"),
    SystemExit(3),
    KeyboardInterrupt(),
    "text",
    ToolOutput(None),  # type: ignore[arg-type]
    ToolOutput("x", metadata=None),  # type: ignore[arg-type]
    ToolOutput("x", metadata={"many": 10**5000}),
]


@pytest.mark.parametrize("value", ODD)
def test_whatever_a_tool_does_its_call_has_one_result(value: Any) -> None:
    with Agent(ScriptedModel([[ToolCall("odd", {})], "Done."]), tools=[Odd(value)], store=None) as agent:
        turn = agent.run("Go.")
    assert turn.text == "Done."
    assert len(turn.tool_responses) == 1


def test_a_sync_tool_that_raises_keyboard_interrupt_stops_nothing() -> None:
    def stop() -> None:
        """Stops."""
        raise KeyboardInterrupt

    with Agent(ScriptedModel([[ToolCall("stop", {})], "Done.", "On."]), tools=[stop], store=None) as agent:
        assert agent.run("Go.").tool_responses[0].status is ToolStatus.ERROR
        assert agent.run("Go on.").text == "On."


def test_a_model_that_exits_does_not_stop_the_sync_face() -> None:
    async def leave(_request: object) -> str:
        raise SystemExit(3)

    with Agent(ScriptedModel([leave, "On."]), store=None) as agent:
        with pytest.raises(SystemExit):
            agent.run("Go.")
        assert agent.run("Go on.").text == "On."


PIECES = [
    {"id": 5, "function": {"name": "odd", "arguments": "{}"}},
    {"id": ["x"], "function": {"name": "odd", "arguments": "{}"}},
    {"id": "x", "function": {"name": 5, "arguments": "{}"}},
    {"id": "x", "function": {"name": ["odd"], "arguments": "{}"}},
]


@pytest.mark.parametrize("piece", PIECES, ids=json.dumps)
def test_names_and_ids_that_are_no_text_break_no_turn(piece: Any) -> None:
    event = {"choices": [{"delta": {"tool_calls": [{"index": 0, **piece}]}, "finish_reason": "tool_calls"}]}
    with (
        OpenAIServer() as server,
        Agent("openai/test", endpoint=server.url, tools=[Odd("sun")], store=None) as agent,
    ):
        server.faults.append(Insert(0, b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"))
        turn = agent.run("Go.")
    assert len(turn.tool_responses) == 1


@pytest.mark.parametrize("count", ["7", 1.5, -2, [1], {"a": 1}, True])
def test_counts_that_are_no_counts_are_none(count: Any) -> None:
    event = {
        "choices": [{"delta": {"content": "Hi."}, "finish_reason": ["stop"]}, {"delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": count, "completion_tokens": 3},
    }
    with OpenAIServer() as server, Agent("openai/test", endpoint=server.url, store=None) as agent:
        server.faults.append(Insert(0, b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"))
        turn = agent.run("Go.")
    assert (turn.text, turn.usage) == ("Hi.", Usage(0, 3))


def test_an_answer_that_is_no_text_is_an_invalid_response() -> None:
    with OllamaServer() as server, Agent("ollama/test", endpoint=server.url, store=None) as agent:
        server.faults.append(Insert(0, b'{"message": {"content": 5}, "done": true}\n'))
        with pytest.raises(InvalidResponse):
            agent.run("Go.")


def test_a_rejected_second_turn_leaves_the_first_to_be_followed_and_cancelled() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def never(_request: object) -> str:
            asked.set()
            await asyncio.Event().wait()
            return ""

        async with Agent(ScriptedModel([never]), store=None) as agent:
            session = agent.session()

            async def read() -> list[str]:
                return [type(event).__name__ async for event in session.astream("One.")]

            first = asyncio.create_task(read())
            await asked.wait()
            with pytest.raises(SessionBusy):
                await session.arun("Two.")
            with pytest.raises(SessionBusy):
                [event async for event in session.astream("Three.")]
            turn = await session.acancel()
            assert turn is not None
            assert turn.reason == "cancelled"
            seen = await first
            assert seen[-1] == "TurnCompleted"
            assert [type(event).__name__ async for event in session.afollow()] == seen

    asyncio.run(main())


async def _killed(*_: object) -> Verdict:
    raise Strange


@pytest.mark.parametrize("objects", [True, False])
def test_an_output_check_that_a_crash_cut_off_is_made_again_and_decides(
    objects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Agent(ScriptedModel(["Answer."]), output_shields=[lambda text: not objects], store=None) as agent:
        session = agent.session()
        with monkeypatch.context() as crash:
            crash.setattr("agentic.safeguard.ask", _killed)
            with pytest.raises(Strange):
                session.run("Q")
        events = list(session.resume_stream())
        shown = "".join(event.text for event in events if isinstance(event, TextDelta))
        turn = session.turns[-1]
    assert turn.reason == ("violation" if objects else "end_of_turn")
    assert shown == ("" if objects else "Answer.")


CALLS = AssistantMessage("", (ToolCall("f", {}, "a"), ToolCall("f", {}, "b")))
A, B = ToolResponse("a", "f", "1"), ToolResponse("b", "f", "2")


@pytest.mark.parametrize(
    "messages",
    [
        [CALLS],
        [A],
        [CALLS, A],
        [CALLS, B, A],
        [CALLS, A, UserMessage("x"), B],
        [CALLS, A, B, B],
        [AssistantMessage("", (ToolCall("f", {}, "a"), ToolCall("f", {}, "a"))), A, A],
    ],
)
def test_given_messages_whose_calls_lack_their_results_are_refused(messages: list[Message]) -> None:
    with Agent(ScriptedModel(["Fine."]), store=None) as agent:
        session = agent.session()
        with pytest.raises(InvalidInput):
            session.run([UserMessage("Q"), *messages])
        whole: list[Message] = [UserMessage("Q"), CALLS, A, B, UserMessage("And?")]
        assert session.run(whole).text == "Fine."


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (ToolResponse("other", "ask", "x"), False),
        (ToolResponse("c", "ask", 5), False),  # type: ignore[arg-type]
        (b"no image", False),
        ("half \ud800", True),
        (ToolOutput("x", metadata={"a": float("nan"), "b": object()}), True),
    ],
    ids=["another call's", "no content", "bytes", "half a pair", "metadata"],
)
def test_answers_of_the_caller_are_checked_or_made_fit(answer: Any, fits: bool) -> None:
    ask = ToolDef("ask", "Asks.", {"type": "object", "properties": {}})
    with Agent(ScriptedModel([[ToolCall("ask", {}, "c")], "Done."]), tools=[ask], store=None) as agent:
        session = agent.session()
        session.run("Go.")
        if not fits:
            with pytest.raises(InvalidInput):
                session.resume({"c": answer})
            answer = "fine"
        assert session.resume({"c": answer}).text == "Done."


@pytest.mark.parametrize("path", ["a\0b", "\ud800.png", "/dev/zero"])
def test_paths_that_are_no_files_are_no_images(path: str) -> None:
    with pytest.raises(InvalidInput):
        Image.of(path)


@pytest.mark.parametrize("text", ["store: 2024-13-45", "store: !!int abc", "models: &a {x: *a}"])
def test_yaml_that_cannot_be_built_is_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_config(file)


def test_a_broken_endpoint_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        connect("openai/x", endpoint="ftp://user:hidden@host?key=hidden")
    assert "hidden" not in str(caught.value)


def test_llama_stacks_client_does_not_switch_the_programs_logging_on() -> None:
    code = "import logging; from agentic.inference.llama_stack import _library; _library(); r = logging.getLogger(); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print(r.level, r.handlers)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(logging.WARNING), "[]"]

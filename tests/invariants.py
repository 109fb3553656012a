"""What must hold of a session whatever happened to it; tests of crashes, cancels and faults end with these."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentic import ToolCall, Turn
from agentic.inference import connect
from agentic.protocols import Inference
from agentic.types import AssistantMessage, InferenceRequest, Message, ToolDef, ToolResponse, ToolStatus, TurnStatus

_NOWHERE = "http://127.0.0.1:1"
_TOOLS = (ToolDef("again"), ToolDef("ask"), ToolDef("send"))
RAN_ONCE = {ToolStatus.OK}
NEVER_RAN = {ToolStatus.NOT_RUN, ToolStatus.DENIED, ToolStatus.UNKNOWN_TOOL}


def check_turns(turns: Sequence[Turn], ran: Mapping[int, int], *, idempotent: frozenset[str]) -> None:
    """Each call has its one result, in order, and the results tell the truth about what ran.

    Args:
        turns: A session's turns.
        ran: How often the effect `n` of a call's argument `n` happened.
        idempotent: The names of the tools that may have run more than once.
    """
    for turn in turns:
        assert len({step.step_id for step in turn.steps}) == len(turn.steps)
        for call, response in zip(turn.tool_calls, turn.tool_responses, strict=_ended(turn)):
            assert call.call_id == response.call_id
            _check_truth(call, response, ran, idempotent)
    assert all(_ended(turn) for turn in turns[:-1]), "a turn is open before the last one"


def _ended(turn: Turn) -> bool:
    return turn.status not in (TurnStatus.RUNNING, TurnStatus.AWAITING_INPUT)


def _check_truth(call: ToolCall, response: ToolResponse, ran: Mapping[int, int], idempotent: frozenset[str]) -> None:
    times = ran.get(call.arguments.get("n", -1), 0)
    said = f"{call.name} {call.arguments} ran {times} times, and is told as {response.status}: {response.text!r}"
    if call.name in idempotent:
        assert times >= (response.status in RAN_ONCE), said
    else:
        assert times <= 1, said
        assert times == 1 or response.status not in RAN_ONCE or call.name == "ask", said
    assert times == 0 or response.status not in NEVER_RAN, said


def check_messages(messages: Sequence[Message]) -> None:
    """No result without its call, no call without its results, and the results in call order right behind it."""
    waiting: list[str] = []
    for message in messages:
        if isinstance(message, ToolResponse):
            assert waiting, f"no call belongs to the result {message.call_id}"
            assert message.call_id == waiting.pop(0)
        else:
            assert not waiting, f"the calls {waiting} have no result"
            waiting = [call.call_id for call in message.tool_calls] if isinstance(message, AssistantMessage) else []
    assert not waiting, f"the calls {waiting} have no result"


async def check_providers(messages: Sequence[Message]) -> None:
    """Every provider can write the conversation down, with each call and its result in the places its wire wants."""
    check_messages(messages)
    request = InferenceRequest(messages=tuple(messages), tools=_TOOLS)
    for name, provider in _providers().items():
        prompt = (await provider.prepare(request)).prompt
        if name == "openai":
            _check_chat(json.loads(prompt)["messages"])
        results = sum(isinstance(message, ToolResponse) for message in messages)
        if name == "raw":
            assert prompt.count("<|start_header_id|>ipython<|end_header_id|>") == results


@functools.cache
def _providers() -> dict[str, Inference]:
    """One of each; they prepare, and never connect."""
    options: dict[str, dict[str, Any]] = {"openai": {}, "ollama": {}, "llama-stack": {}, "raw": {"family": "llama3.2"}}
    return {name: connect(f"{name}/test", endpoint=_NOWHERE, **some) for name, some in options.items()}


def _check_chat(messages: Sequence[Mapping[str, Any]]) -> None:
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
        else:
            assert not waiting
            waiting = [call["id"] for call in message.get("tool_calls", ())]
    assert not waiting

"""The decoder on collected edge cases and on real generations of Llama models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentic.llama import StreamParser, parse
from agentic.types import AssistantMessage, ToolCallDelta

DATA = Path(__file__).parents[1] / "data" / "llama"
OTHER_READING = {
    "v-noparams": "a known tool without parameters is called by its name alone",
    "x-json-lone-surrogate": "half a surrogate pair cannot be encoded later, so it becomes U+FFFD",
}
"""Ambiguous cases in which the sources' expectation is not ours, and why."""
CALL_AFTER_PROSE = ("The function call should be:\n[", "You can use the following function call to answer")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


CASES = rows("cases.jsonl")
SAMPLES = rows("native-samples.jsonl")


def calls_of(message: AssistantMessage) -> list[dict[str, Any]]:
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]


def streamed(row: dict[str, Any], pieces: list[str]) -> AssistantMessage:
    """The message read in pieces; its text deltas are its content and its call deltas name its calls."""
    parser = StreamParser(tools=row["tools"])
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    message = parser.finish()
    deltas += parser.rest
    assert "".join(delta for delta in deltas if isinstance(delta, str)) == message.content
    named = {delta.index: delta.name for delta in deltas if isinstance(delta, ToolCallDelta) and delta.name}
    for index, call in enumerate(message.tool_calls):
        assert named[index] == call.name
    return message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    message = parse(case["raw"], tools=case["tools"])
    expected = case["expected"]
    found = {"content": message.content, "tool_calls": calls_of(message), "stop_reason": str(message.stop_reason)}
    if case["id"] in OTHER_READING:
        assert case["ambiguous"]
        assert found != expected
    else:
        assert found == expected
    assert [call.call_id for call in message.tool_calls] == [f"call_{n}" for n in range(len(message.tool_calls))]


@pytest.mark.parametrize("row", CASES + SAMPLES, ids=lambda row: row["id"])
def test_chunking_never_changes_the_message(row: dict[str, Any]) -> None:
    text = row["raw"]
    whole = parse(text, tools=row["tools"])
    sizes = (1, 3, 4, 17) if len(text) < 400 else (1, 4)
    for size in sizes:
        assert streamed(row, [text[at : at + size] for at in range(0, len(text), size)]) == whole
    for at in range(0, len(text), max(1, len(text) // 100)):
        assert streamed(row, [text[:at], text[at:]]) == whole
    if row["chunks"]:
        assert streamed(row, row["chunks"]) == parse("".join(row["chunks"]), tools=row["tools"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_native_sample(sample: dict[str, Any]) -> None:
    message = parse(sample["raw"], tools=sample["tools"])
    if sample["raw"].startswith(CALL_AFTER_PROSE):
        assert len(message.tool_calls) == 1
        return
    assert [[call["name"], call["arguments"]] for call in calls_of(message)] == sample["gold_calls"]
    assert not any(call.repaired or call.error for call in message.tool_calls)
    if sample["gold_kind"] == "text":
        assert message.content == sample["raw"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_cut_off_replies_run_nothing(case: dict[str, Any]) -> None:
    text = case["raw"].split("<|eo", 1)[0]
    for end in range(1, len(text) + 1, 1 if len(text) < 200 else 7):
        message = parse(text[:end], tools=case["tools"], stop_reason="out_of_tokens")
        assert all(call.error for call in message.tool_calls)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_strict_mode_mends_nothing(case: dict[str, Any]) -> None:
    message = parse(case["raw"], tools=case["tools"], mode="strict")
    assert not any(call.repaired for call in message.tool_calls)
    lenient = parse(case["raw"], tools=case["tools"])
    if lenient.tool_calls and not any(call.repaired or call.error for call in lenient.tool_calls):
        assert calls_of(message) == calls_of(lenient)

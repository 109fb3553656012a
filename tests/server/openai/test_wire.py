"""The recorded OpenAI exchanges of the real server: whatever it says, this one says, and more."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentic.testing import ScriptedModel
from server.captures import read
from server.serving import MODEL

from .conftest import Serve

OTHERWISE = {"id", "created", "created_at", "usage", "parallel_tool_calls"}
"""What differs: ids, times, counts that a scripted model does not make, and calls beside each other, which run here."""


def told(recorded: Any, ours: Any, where: str = "") -> None:
    """Holds an answer against the recorded one; what is null there may be left out here."""
    if isinstance(recorded, dict):
        for name, value in recorded.items():
            if name not in OTHERWISE and value is not None:
                assert name in ours, f"{where}.{name}"
                told(value, ours[name], f"{where}.{name}")
            elif value is not None:
                assert type(ours[name]) is type(value), f"{where}.{name}"
    elif isinstance(recorded, list):
        assert len(ours) == len(recorded), where
        for number, value in enumerate(recorded):
            told(value, ours[number], f"{where}[{number}]")
    else:
        assert ours == recorded, where


@pytest.mark.parametrize("name", ["s30", "s37"])
def test_an_answer_says_what_was_recorded(serve: Serve, name: str) -> None:
    _, running = serve(models={MODEL: ScriptedModel([["Humans ", "live on Earth."]])})
    (recorded,) = read(name)
    answer = httpx.post(running.url + recorded.path, json=recorded.body)
    assert answer.status_code == recorded.status
    told(recorded.answer, answer.json())


def test_a_stream_says_what_was_recorded(serve: Serve) -> None:
    _, running = serve(models={MODEL: ScriptedModel([["Humans ", "live ", "on ", "Earth."]])})
    (recorded,) = read("s38")
    answer = httpx.post(running.url + recorded.path, json=recorded.body)
    frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    kinds = {frame["type"] for frame in recorded.frames}
    same = [frame for frame in frames if frame["type"] in kinds]
    assert [frame["type"] for frame in same] == [frame["type"] for frame in recorded.frames]
    for theirs, ours in zip(recorded.frames, same, strict=True):
        told({**theirs, "sequence_number": None, "item_id": None}, ours)

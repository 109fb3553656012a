"""The five scenarios through the whole engine, on every provider against its own kind of server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agentic import Agent, EndReason, TextDelta, ToolCallStarted, TurnCompleted
from agentic.types import from_json, to_json
from servers.providers import PROVIDERS, SEEING, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))


def get_weather(city: str) -> str:
    """Current weather in a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_plain_tool_parallel_tools_and_streaming(provider: str, tmp_path: Path) -> None:
    with (
        serving(provider) as (_, model),
        Agent(model, tools=[get_weather], instructions="Be brief.", store=tmp_path / "s.db") as agent,
    ):
        session = agent.session("s")
        assert session.run("Hi").text == "Hello there, é and 🦙 too."
        one = session.run("What is the weather in Lisbon?")
        assert one.text == "It is: sunny in Lisbon."
        two = session.run("What is the weather in Lisbon and Porto?")
        assert two.text == "It is: sunny in Lisbon, then sunny in Porto."
        assert [response.text for response in two.tool_responses] == ["sunny in Lisbon", "sunny in Porto"]
        events = list(session.stream("What is the weather in Rome?"))
        last = events[-1]
        assert isinstance(last, TurnCompleted)
        assert last.turn.reason is EndReason.END_OF_TURN
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.turn.text
        assert [event.call.arguments for event in events if isinstance(event, ToolCallStarted)] == [{"city": "Rome"}]
        for turn in session.turns:
            assert turn.usage.total > 0 or "careless" in provider
            for step in turn.steps:
                if step.step_type == "inference":
                    assert "Be brief." in session.prompt(step)
            assert from_json(type(turn), to_json(turn)) == turn


@pytest.mark.parametrize("provider", SEEING)
def test_an_image_arrives_unchanged(provider: str) -> None:
    with serving(provider) as (_, model), Agent(model, store=None) as agent:
        turn = agent.run("What is this?", images=[PNG])
        assert turn.text == f"I see {hashlib.sha256(PNG).hexdigest()[:12]}."

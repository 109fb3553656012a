"""A photo of a place: where is this, what is the weather there? The model is scripted in Llama's own words, all else is
real: the image, the prompt, the call as it was trained, the search over HTTP, the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentic import Agent, EndReason
from agentic.inference import connect
from agentic_tools import WebSearch
from servers.brain import Reply, Seen
from servers.brave import BraveServer
from servers.raw import LlamaCppServer

PHOTO = b"\x89PNG\r\n\x1a\n" + bytes(range(48))


def guide(seen: Seen) -> Reply:
    """Sees the photo, searches, and answers from what it found."""
    last = seen.messages[-1]
    if last.role == "tool":
        assert "21 °C & sunny" in last.text
        return Reply("That is Lisbon: 21 °C and sunny.")
    assert last.images == (PHOTO,)
    return Reply(raw='<|python_tag|>brave_search.call(query="weather in Lisbon")<|eom_id|>')


def test_a_photo_becomes_a_search_and_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BraveServer() as brave, LlamaCppServer(guide) as llama:
        monkeypatch.setenv("BRAVE_SEARCH_API_KEY", brave.key)
        model = connect("raw/test", endpoint=llama.url, family="llama3.2-vision")
        search = WebSearch(endpoint=brave.url)
        with Agent(model, tools=[search], store=tmp_path / "s.db") as agent:
            session = agent.session("trip")
            turn = session.run("Where is this, and what is the weather there?", images=[PHOTO])
            first, second = (session.prompt(step) for step in turn.steps if step.step_type == "inference")
    assert turn.text == "That is Lisbon: 21 °C and sunny."
    assert turn.reason is EndReason.END_OF_TURN
    assert [(call.name, call.arguments) for call in turn.tool_calls] == [
        ("brave_search", {"query": "weather in Lisbon"})
    ]
    assert brave.query() == {"q": "weather in Lisbon", "count": "5", "extra_snippets": "true"} | brave.query()
    assert turn.sources[0]["url"] == "https://weather.example.org/lisbon"
    assert "Environment: ipython\nTools: brave_search" in first
    assert "<|image|>Where is this" in first
    assert second.startswith(first)
    assert '<|python_tag|>brave_search.call(query="weather in Lisbon")<|eom_id|>' in second
    assert "<|start_header_id|>ipython<|end_header_id|>" in second

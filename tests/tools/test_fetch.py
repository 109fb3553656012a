"""`fetch`: a page as readable text."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from agentic import Agent
from agentic.net import Guard
from agentic.protocols import ToolOutput
from agentic.testing import ScriptedModel
from agentic.types.errors import AgenticError, ConfigError, InvalidInput
from agentic.types.tools import ToolCall
from agentic_tools import Fetch
from agentic_tools.fetch import PAGE_BYTES, TEXT_CHARS
from servers.pages import ARTICLE, Found, PageServer, redirect, zipped

pytest.importorskip("trafilatura")

HERE = Guard(allow=("127.0.0.1/32",))
STORKS = ARTICLE.format("The white stork builds its nest on chimneys and church towers. " * 5)


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer({"/storks": Found(STORKS.encode())}) as server:
        yield server


def read(url: str) -> ToolOutput:
    return asyncio.run(Fetch(guard=HERE)(url))


def body(url: str) -> str:
    content = read(url).content
    assert isinstance(content, str)
    return content.partition("\n\n")[2]


def test_a_page_becomes_readable_text(server: PageServer) -> None:
    output = read(f"{server.origin}/storks")
    assert isinstance(output.content, str)
    head, _, text = output.content.partition("\n\n")
    assert head == f"Storks & chimneys\n{server.origin}/storks"
    assert "builds its nest on chimneys" in text
    assert "They return each spring" in text
    assert "2025" in text
    for surroundings in ("About", "stork society", "tracking", "color: red", "<p>"):
        assert surroundings not in text
    source = output.metadata["sources"][0]
    assert (source["title"], source["url"]) == ("Storks & chimneys", f"{server.origin}/storks")
    assert (output.metadata["truncated"], output.metadata["media_type"]) == (False, "text/html")


def test_the_address_after_redirects_is_the_source(server: PageServer) -> None:
    server.pages["/old"] = redirect("/storks")
    assert read(f" {server.origin}/old\n").metadata["sources"][0]["url"] == f"{server.origin}/storks"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Found(b'{"a": [1, 2]}', "application/json"), '{"a": [1, 2]}'),
        (Found(b"one\r\n\r\n\r\n\r\ntwo\x00\x1b[31m\xe2\x80\xae", "text/plain"), "one\n\ntwo"),
        (Found(b"<b>not html</b>", "text/plain"), "<b>not html</b>"),
        (zipped(b"packed"), "packed"),
        (
            Found(b"<html><body><p>Gr\xfc\xdfe aus K\xf6ln</p></body></html>", "text/html; charset=latin-1"),
            "Grüße aus Köln",
        ),
        (
            Found(b"<html><head><meta charset=latin-1></head><body><p>Gr\xfc\xdfe aus K\xf6ln</p></body>", "text/html"),
            "Grüße aus Köln",
        ),
        (Found(b"<html><body><p>No type &lt;|eot_id|&gt;</p></body></html>", ""), "No type <|eot_id|>"),
        (Found(b"just words", "text/html"), "just words"),
        (Found(b"", "text/html"), "The page holds no text."),
        (Found(b"<html><body></body></html>", "text/html"), "The page holds no text."),
        (Found(b"\xff\xfe\x00<<<>>>&&&", "text/html"), None),
        (Found(b"<div>" * 20_000, "text/html"), None),
        (Found(b"<html><body>" + b"<p>x" * 60_000, "text/html"), None),
    ],
)
def test_any_page_becomes_text(server: PageServer, found: Found, text: str | None) -> None:
    server.pages["/x"] = found
    if text is None:
        assert body(f"{server.origin}/x").isprintable() or "\n" in body(f"{server.origin}/x")
    else:
        assert body(f"{server.origin}/x") == text


def test_long_text_is_cut(server: PageServer) -> None:
    server.pages["/x"] = Found(b"word " * 10_000, "text/plain")
    output = read(f"{server.origin}/x")
    assert output.metadata["truncated"]
    assert TEXT_CHARS < len(str(output.content)) < TEXT_CHARS + 100
    server.pages["/x"] = Found(b"x" * (PAGE_BYTES + 1), "text/plain")
    with pytest.raises(AgenticError, match="more than 2,097,152 bytes"):
        read(f"{server.origin}/x")


@pytest.mark.parametrize("path", ["/nowhere", "/picture"])
def test_what_cannot_be_read_is_said(server: PageServer, path: str) -> None:
    server.pages["/picture"] = Found(b"\x89PNG", "image/png")
    with pytest.raises(AgenticError, match=r"answered 404|of the type image/png"):
        read(f"{server.origin}{path}")


def test_nothing_inside_is_reached_unless_it_is_allowed(server: PageServer) -> None:
    with pytest.raises(InvalidInput):
        asyncio.run(Fetch()(f"{server.origin}/storks"))
    model = ScriptedModel([ToolCall("fetch", {"url": f"{server.origin}/storks"}), "I may not."])
    with Agent(model, tools=["builtin::fetch"], store=None) as agent:
        turn = agent.run("Read it.")
    assert turn.tool_responses[0].status == "error"
    assert "only public web servers may" in turn.tool_responses[0].text
    assert not server.requests


def test_an_agent_fetches(server: PageServer) -> None:
    model = ScriptedModel([ToolCall("fetch", {"url": f"{server.origin}/storks"}), "Storks."])
    with Agent(model, tools=[Fetch(guard=HERE)], store=None) as agent:
        turn = agent.run("Read it.")
    assert [source["title"] for source in turn.sources] == ["Storks & chimneys"]


@pytest.mark.parametrize("missing", ["trafilatura", "lxml_html_clean"])
def test_a_missing_extractor_is_found_when_the_agent_is_built(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else real(name, *rest))
    with pytest.raises(ConfigError, match=rf"needs {missing}\. Run: pip install 'agentic\[web\]'"):
        Agent(ScriptedModel(), tools=["builtin::fetch"], store=None)


@pytest.mark.parametrize("arguments", [{}, {"url": ""}, {"url": None}, {"url": "https://x/" + "y" * 3000}])
def test_arguments_are_checked(arguments: Any) -> None:
    model = ScriptedModel([ToolCall("fetch", arguments), "Oh."])
    with Agent(model, tools=[Fetch()], store=None) as agent:
        assert "do not fit" in agent.run("Read.").tool_responses[0].text

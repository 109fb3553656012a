"""Memory as a tool: `knowledge_search`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, ToolCall, Turn
from agentic.testing import ScriptedModel
from agentic.types import ConfigError, Hit, ToolStatus
from agentic_memory import GraphBank, KeyValueBank, KeywordBank, KnowledgeSearch


class Bank:
    """Finds what it was given, whatever is asked."""

    def __init__(self, name: str, *hits: Hit, error: Exception | None = None) -> None:
        self.name = name
        self.hits = hits
        self.error = error

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        if self.error:
            raise self.error
        return self.hits[:k]


def hit(text: str, **more: Any) -> Hit:
    return Hit(text, 0.5, "manual.pdf", **more)


def search(query: str) -> ToolCall:
    return ToolCall("knowledge_search", {"query": query})


def run(tool: KnowledgeSearch, *replies: Any, **options: Any) -> Turn:
    return Agent(ScriptedModel(replies), tools=[tool], store=None, **options).run("How?")


def test_alone_it_finds_numbers_and_quotes() -> None:
    bank = Bank("docs", hit("Hold the button.", title="Manual", source="https://e.org/m", position={"page": 3}))
    output = asyncio.run(KnowledgeSearch(bank)("reset"))
    assert "[1] Manual (https://e.org/m, page 3)\n> Hold the button." in str(output.content)
    assert output.metadata["sources"] == [
        {
            "number": 1,
            "text": "Hold the button.",
            "score": 0.5,
            "document_id": "manual.pdf",
            "bank": "docs",
            "title": "Manual",
            "source": "https://e.org/m",
            "position": {"page": 3},
            "metadata": {},
            "url": "https://e.org/m",
        }
    ]


def test_in_a_turn_its_finds_are_sources_and_citations() -> None:
    first, second = hit("one", source="https://e.org/m"), hit("two")
    turn = run(KnowledgeSearch(Bank("docs", first, second)), search("a"), search("b"), "See [2] and [3].")
    assert [(one.number, one.hit.text, one.hit.bank) for one in turn.citations] == [
        (2, "two", "docs"),
        (3, "one", "docs"),
    ]
    assert [source["url"] for source in turn.sources] == ["https://e.org/m"]


def test_searches_of_one_message_and_memory_number_on() -> None:
    bank = Bank("docs", hit("one"), hit("two"))
    turn = run(KnowledgeSearch(bank), [search("a"), search("b")], "See [6].", memory=[bank])
    numbers = [[one["number"] for one in response.metadata["sources"]] for response in turn.tool_responses]
    assert numbers == [[3, 4], [5, 6]]
    assert [one.hit.text for one in turn.citations] == ["two"]


def test_banks_are_searched_together_and_one_may_fail() -> None:
    tool = KnowledgeSearch(Bank("gone", error=OSError("no disk")), Bank("a", hit("one")), Bank("b", hit("two")))
    output = asyncio.run(tool("x"))
    assert [source["text"] for source in output.metadata["sources"]] == ["one", "two"]
    assert output.metadata["failures"] == {"gone": "OSError: no disk"}
    assert "gone, a, b" in tool.definition.description


def test_nothing_found_and_nothing_working_are_told() -> None:
    output = asyncio.run(KnowledgeSearch(Bank("empty"))("x"))
    assert output.content == "Nothing was found for 'x'."
    turn = run(KnowledgeSearch(Bank("gone", error=OSError("no disk"))), search("a"), "Sorry.")
    (response,) = turn.tool_responses
    assert response.status is ToolStatus.ERROR
    assert "no disk" in response.text


def test_bounds() -> None:
    many = Bank("docs", *(hit(f"{number} " + "word " * 100) for number in range(20)))
    output = asyncio.run(KnowledgeSearch(many, max_chunks=9, max_tokens_in_context=600)("x"))
    assert len(output.metadata["sources"]) == 3
    for wrong in ({"max_chunks": 0}, {"max_tokens_in_context": 0}):
        with pytest.raises(ConfigError):
            KnowledgeSearch(many, **wrong)
    with pytest.raises(ConfigError):
        KnowledgeSearch()


@pytest.mark.parametrize("arguments", [{}, {"query": ""}, {"query": "x" * 2001}, {"query": 7}, {"query": "x", "k": 99}])
def test_arguments_are_checked(arguments: Any) -> None:
    call = ToolCall("knowledge_search", arguments)
    turn = run(KnowledgeSearch(Bank("docs", hit("one"))), call, "Sorry.")
    (response,) = turn.tool_responses
    assert response.status is ToolStatus.ERROR


# -- banks of run.yaml ------------------------------------------------------------------------------------------------

BANKS = """
banks:
  glossary: {kind: keyword, store: memory.db}
  settings: {kind: keyvalue, store: memory.db}
  people: {kind: graph, store: memory.db}
"""


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.yaml").write_text(BANKS)
    monkeypatch.chdir(tmp_path)
    with KeywordBank("glossary", store="memory.db") as words:
        words.add_text("A widget is a small thing.", id="widget")
    with KeyValueBank("settings", store="memory.db") as values:
        values.put("widget limit", 3)
    with GraphBank("people", store="memory.db") as graph:
        graph.add_relations([("Ada", "invented", "the widget")], id="ada")


def sources(turn: Turn) -> list[str]:
    return [source["bank"] for response in turn.tool_responses for source in response.metadata["sources"]]


@pytest.mark.parametrize(
    ("tools", "banks"), [("builtin::rag", ["glossary", "settings", "people"]), ("rag::settings", ["settings"])]
)
def test_the_models_tools_search_banks_by_name(configured: None, tools: str, banks: list[str]) -> None:
    with Agent(ScriptedModel([search("widget limit"), "It is [1]."]), tools=[tools], store=None) as mine:
        turn = mine.run("How many?")
    assert sorted(sources(turn)) == sorted(banks)
    assert len(turn.citations) == 1


def test_two_groups_of_an_agent_have_tools_of_their_own(configured: None) -> None:
    model = ScriptedModel([ToolCall("settings__knowledge_search", {"query": "widget limit"}), "3 [1]."])
    with Agent(model, tools=["rag::glossary", "rag::settings"], store=None) as mine:
        assert mine.run("How many?").citations[0].hit.bank == "settings"


def test_memory_by_name(configured: None) -> None:
    with Agent(ScriptedModel(["3 [1]."]), memory=["bank::settings"], store=None) as mine:
        assert mine.run("What is the widget limit?").citations[0].hit.text == "widget limit: 3"


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("", "builtin::rag", "no memory banks"),
        ("", "rag::docs", "no memory bank 'docs'"),
        ("banks: {docs: {kind: magic}}", "rag::docs", "vector, keyword"),
        ("banks: {docs: {kind: graph, embedding: default}}", "rag::docs", "takes no embedding"),
        ("banks: {docs: {model: local/default}}", "rag::docs", "takes no model"),
        ("banks: {docs: {kin: graph}}", "rag::docs", "did you mean 'kind'"),
    ],
)
def test_a_wrong_configuration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, told: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    for options in ({"tools": [name]}, {"memory": [name.replace("rag", "bank")]}):
        if name != "builtin::rag" or "tools" in options:
            with pytest.raises(ConfigError, match=told):
                Agent(ScriptedModel(), store=None, **options)  # type: ignore[arg-type]

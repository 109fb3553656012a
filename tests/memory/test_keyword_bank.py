"""The keyword bank."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic.protocols import MemoryBank
from agentic.types import InvalidInput
from agentic_memory import Document, KeywordBank


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[KeywordBank]:
    with KeywordBank("docs", store=tmp_path / "memory.db") as opened:
        yield opened


def test_words_find_chunks_best_first(bank: KeywordBank) -> None:
    assert isinstance(bank, MemoryBank)
    content = "Hold the red button for ten seconds."
    bank.add(Document(content=content, id="reset", title="Reset", source="manual.txt"))
    bank.add_text("The red lamp is on.", id="lamp")
    bank.add_text("Call us.", id="help")
    first, second = bank.query("Where is the red button?")
    assert (first.document_id, first.title, first.source, first.bank) == ("reset", "Reset", "manual.txt", "docs")
    assert first.text == "Hold the red button for ten seconds."
    assert first.position["start"] == 0
    assert second.document_id == "lamp"
    assert first.score > second.score > 0
    assert bank.query("") == bank.query("?!") == ()
    assert [hit.document_id for hit in bank.query("buttons")] == ["reset"]


def test_adding_again_changes_nothing_and_changes_replace(bank: KeywordBank) -> None:
    assert bank.add_text("One thing.", id="a").added == ("a",)
    assert bank.add_text("One thing.", id="a").unchanged == ("a",)
    assert bank.add_text("Another thing.", id="a").changed == ("a",)
    assert bank.query("one") == ()
    assert bank.query("another")[0].text == "Another thing."
    assert bank.stats()["vectors"] == 0
    assert bank.verify().problems == ()


def test_deleted_documents_are_gone_from_the_next_question(bank: KeywordBank) -> None:
    bank.add_text("One thing.", id="a", metadata={"lang": "en", "year": 2020})
    bank.add_text("One more.", id="b", metadata={"lang": "en", "year": 2024})
    bank.add_text("One last.", id="c", metadata={"lang": "de"})
    assert [hit.document_id for hit in bank.query("one", filter={"year": {"$gte": 2024}})] == ["b"]
    assert bank.delete("a") == 1
    assert {hit.document_id for hit in bank.query("one")} == {"b", "c"}
    assert bank.delete(filter={"lang": "en"}) == 1
    assert {hit.document_id for hit in bank.query("one")} == {"c"}
    assert bank.clear() == 1
    assert bank.query("one") == ()


def test_a_filter_gives_as_many_as_there_are(bank: KeywordBank) -> None:
    numbers = [str(number) for number in range(120)]
    about = [{"rare": int(number) % 40 == 0} for number in numbers]
    bank.add_texts([f"word {number}" for number in numbers], ids=numbers, metadata=about)
    assert len(bank.query("word", k=3, filter={"rare": True})) == 3


@pytest.mark.parametrize("query", ["istanbul", "İSTANBUL", "ete", "ÉTÉ", "été", "größe", "GRÖßE"])
def test_words_are_found_in_any_case(bank: KeywordBank, query: str) -> None:
    bank.add_text("İstanbul, l'été, Größe.")
    assert bank.query(query)


@pytest.mark.parametrize("condition", [None, {"odd": True}])
def test_in_a_large_bank_common_words_find_what_rare_ones_do_not(
    bank: KeywordBank, monkeypatch: pytest.MonkeyPatch, condition: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(sys.modules["agentic_memory.rows.lexical"], "_MANY", 20)
    texts = [f"common {'rare' if number == 0 else number}" for number in range(100)]
    bank.add_texts(texts, metadata=[{"odd": number % 2 == 1} for number in range(100)])
    hits = bank.query("common rare", k=7, filter=condition)
    assert len(hits) == 7
    assert (hits[0].text == "common rare") == (condition is None)


def test_files_folders_and_documents_are_added(bank: KeywordBank, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("# Reset\n\nHold the button.\n")
    (tmp_path / "notes" / "two.txt").write_text("Call us.\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    report = bank.add(
        tmp_path / "notes",
        tmp_path / "broken.pdf",
        tmp_path / "missing.txt",
        Document(content="A letter.", id="letter"),
    )
    assert [Path(source).name for source in report.failed] == ["broken.pdf", "missing.txt"]
    assert (len(report.added), report.chunks) == (3, 3)
    assert len(bank.documents()) == 3
    (hit,) = bank.query("button")
    assert hit.source.endswith("one.md")
    again = bank.add(tmp_path / "notes")
    assert (len(again.unchanged), again.added, again.chunks) == (2, (), 0)
    assert len(bank.documents()) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80) | st.sampled_from(['"', "a*", "x AND", "NEAR/2", "-", "x" * 100_000, "\0", "\ud800", "{}"]))
def test_any_text_is_a_question_and_can_be_added(bank: KeywordBank, text: str) -> None:
    asyncio.run(bank.aquery(text))
    if text.strip():
        asyncio.run(bank.aadd_text(text, id="x"))
        asyncio.run(bank.aquery(text))


def test_what_is_no_text_is_refused(bank: KeywordBank) -> None:
    wrong: Any
    for wrong in (7, b"bytes", None):
        with pytest.raises(InvalidInput):
            bank.add_text(wrong)
        with pytest.raises(InvalidInput):
            bank.query(wrong)
    with pytest.raises(InvalidInput):
        bank.add_text("x", id=" ")
    with pytest.raises(InvalidInput):
        bank.add_text("x", metadata={"no": object()})

"""The same bank on a real PostgreSQL server with pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentic.types.errors import ConfigError
from agentic_memory import MemoryBank, pgvector
from agentic_memory.types import Document
from memory.test_bank import FILTERS, TEXTS, ids
from memory.vectors import Words, clustered
from postgres import PostgreSQL


@pytest.fixture(scope="module")
def url(postgresql: PostgreSQL) -> Iterator[str]:
    with postgresql.database() as url:
        yield url


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def bank(url: str, words: Words) -> Iterator[MemoryBank]:
    with MemoryBank("docs", store=url, embedding=words) as opened:
        opened.clear()
        said = [{"lang": "en" if number % 2 else "de", "year": 2020 + number} for number in range(len(TEXTS))]
        opened.add_texts(TEXTS, ids=[f"d{number}" for number in range(len(TEXTS))], metadata=said)
        yield opened


@pytest.mark.parametrize("mode", ["vector", "keyword", "hybrid"])
def test_found_replaced_and_deleted(bank: MemoryBank, url: str, words: Words, mode: Any) -> None:
    with MemoryBank("docs", store=url, embedding=words) as reader:
        assert ids(reader.query("reset button flap", mode=mode, k=1)) == ["d0"]
        asked = len(words.asked)
        assert bank.add_texts(TEXTS[:1], ids=["d0"], metadata=[{"lang": "de", "year": 2020}]).unchanged == ("d0",)
        assert len(words.asked) == asked
        bank.delete("d0")
        assert "d0" not in ids(reader.query("reset button flap", mode=mode))
        bank.add(Document(content="A lamp, 100 % bright: what's \\ this?", id="d1", mime_type="text/plain"))
        assert ids(reader.query("100 % bright lamp?", k=1, mode=mode)) == ["d1"]
    assert bank.verify().ok


@pytest.mark.parametrize(("condition", "expected"), FILTERS)
def test_filters(bank: MemoryBank, condition: dict[str, Any], expected: list[int]) -> None:
    extra = {"tags": ["a", "b"], "deep": {"x": 1}, "none": None, "flag": True, "we're \\ odd%": "o'k?"}
    bank.update("d0", metadata={"lang": "de", "year": 2020, **extra})
    for mode in ("vector", "hybrid"):
        found = bank.query("pump", k=10, filter=condition, mode=mode)
        assert sorted(ids(found)) == [f"d{number}" for number in expected]


@pytest.mark.parametrize("query", ["", "'", '"', "%s ? :x", "a & | ! <-> b:*", "\0", "\udc80", "x" * 100_000, "the of"])
def test_any_text_is_a_question(bank: MemoryBank, query: str) -> None:
    for hit in (*bank.query(query), *bank.query(query, mode="keyword")):
        assert np.isfinite(hit.score)


def test_vectors_by_hnsw(bank: MemoryBank, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector, "LEAST", 500)
    vectors = clustered(1_000)
    with MemoryBank("near", store=url, embedding=None) as near:
        said = [{"tenth": number % 10} for number in range(1_000)]
        near.add_texts([f"text {number}" for number in range(1_000)], vectors=vectors, metadata=said)
        near.optimise()
        found = 0
        for query in vectors[::50]:
            true = {f"text {number}" for number in np.argsort(-(vectors @ query))[:10]}
            found += len(true & {hit.text for hit in near.query("", vector=query, k=10, mode="vector")})
        assert found >= 0.98 * 200
        hits = near.query("", vector=vectors[0], k=100, mode="vector", filter={"tenth": 3})
        assert len(hits) == 100
        near.clear()
        near.add_texts(["narrow"], vectors=[[1.0, 2.0]])
        assert near.query("", vector=[1.0, 2.0], mode="vector")[0].text == "narrow"
        near.drop()


def test_another_embedding_is_refused_until_vectors_are_computed_anew(bank: MemoryBank, url: str) -> None:
    with MemoryBank("docs", store=url, embedding=Words("other", 16)) as other:
        with pytest.raises(ConfigError, match="reembed"):
            other.query("oil")
        assert other.reembed() == len(TEXTS)
        assert ids(other.query("warranty lasts two years", mode="vector", k=1)) == ["d4"]
        assert other.verify().ok


def test_export_and_restore_to_sqlite(bank: MemoryBank, tmp_path: Path, words: Words) -> None:
    assert bank.export(tmp_path / "bank.jsonl") == len(TEXTS)
    asked = len(words.asked)
    with MemoryBank("copy", store=tmp_path / "copy.db", embedding=words) as copy:
        assert len(copy.restore(tmp_path / "bank.jsonl").added) == len(TEXTS)
        assert len(words.asked) == asked
        assert copy.verify().ok

"""Documents beside the sessions: written, replaced, found, removed, in memory and in a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentic.portal import run_sync
from agentic.store import KeepsDocuments, MemoryStore, Store, open_store
from agentic.store.sql import SqlStore
from agentic.types.errors import InvalidInput, StoreCorrupt


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | SqlStore]:
    opened: Store = open_store(None if request.param == "memory" else tmp_path / "s.db")
    assert isinstance(opened, MemoryStore | SqlStore)
    assert isinstance(opened, KeepsDocuments)
    yield opened
    run_sync(opened.aclose())


def test_a_document_is_replaced_and_keeps_its_time(store: MemoryStore | SqlStore) -> None:
    first = run_sync(store.documents.put("agent", "a", {"x": 1}))
    again = run_sync(store.documents.put("agent", "a", {"x": [2, {"é": None}]}))
    assert again.created_at == first.created_at
    assert run_sync(store.documents.get("agent", "a")) == again
    assert again.body == {"x": [2, {"é": None}]}


def test_kinds_are_kept_apart_and_listed_in_order(store: MemoryStore | SqlStore) -> None:
    for name in ("b", "a", "c"):
        run_sync(store.documents.put("agent", name, {}))
    run_sync(store.documents.put("other", "a", {"y": 1}))
    assert [one.name for one in run_sync(store.documents.all("agent"))] == ["b", "a", "c"]
    assert run_sync(store.documents.remove("agent", "a")) is True
    assert run_sync(store.documents.remove("agent", "a")) is False
    assert run_sync(store.documents.get("agent", "a")) is None
    assert [one.body for one in run_sync(store.documents.all("other"))] == [{"y": 1}]


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\nb", "\ud800"])
def test_a_name_must_be_one(store: MemoryStore | SqlStore, name: str) -> None:
    with pytest.raises(InvalidInput):
        run_sync(store.documents.put("agent", name, {}))


def test_odd_values_are_made_storable(store: MemoryStore | SqlStore) -> None:
    kept = run_sync(store.documents.put("agent", "a", {"x": float("nan"), "\ud800": object}))
    assert kept.body["x"] == "nan"
    assert set(kept.body) == {"x", "?"}


def test_documents_survive_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    store = SqlStore(file)
    run_sync(store.documents.put("agent", "a", {"x": 1}))
    run_sync(store.aclose())
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE agentic_documents SET body = '{'")
    store = SqlStore(file)
    with pytest.raises(StoreCorrupt, match="agent 'a' is damaged"):
        run_sync(store.documents.get("agent", "a"))
    run_sync(store.aclose())

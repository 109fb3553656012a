"""The bank of values by key."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic.protocols import MemoryBank
from agentic.types import ConfigError, InvalidInput, NotFound, StoreError
from agentic_memory import GraphBank, KeyValueBank


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[KeyValueBank]:
    with KeyValueBank("notes", store=tmp_path / "memory.db") as opened:
        yield opened


def test_values_are_put_got_and_replaced(bank: KeyValueBank) -> None:
    assert isinstance(bank, MemoryBank)
    assert bank.put("limit", {"n": 3, "of": [1.5, None, True]}) == "added"
    assert bank.put("limit", {"n": 3, "of": [1.5, None, True]}) == "unchanged"
    assert bank.get("limit") == {"n": 3, "of": [1.5, None, True]}
    assert bank.put("limit", "none") == "changed"
    assert bank.get("limit") == "none"
    assert bank.get("nothing") is None
    assert bank.get("nothing", 7) == 7
    assert bank.add_text("tortoise", id="wifi password") == "added"
    assert bank.keys() == ["limit", "wifi password"]
    assert bank.keys("w") == ["wifi password"]


@pytest.mark.parametrize(
    "question",
    ["wifi password", "What is the wifi password?", "WiFi Password!", "the wifi_password, please", "wifi-password"],
)
def test_a_question_that_names_a_key_finds_its_value_first(bank: KeyValueBank, question: str) -> None:
    for spelled in ("wifi password", "wifi_password", "wifi-password"):
        bank.put(spelled, "tortoise")
    bank.put("about", "a password for the wifi is a word that lets you in")
    first, *_ = bank.query(question)
    assert (first.text.rpartition(": ")[2], first.score, first.bank) == ("tortoise", 1.0, "notes")


def test_what_is_said_of_a_value_is_changed(bank: KeyValueBank) -> None:
    bank.put("limit", 3, metadata={"lang": "en"})
    bank.update("limit", title="The limit", metadata={"lang": "de"})
    (hit,) = bank.query("limit", filter={"lang": "de"})
    assert (hit.title, bank.get("limit"), bank.verify().ok) == ("The limit", 3, True)
    with pytest.raises(NotFound, match="no document 'none'"):
        bank.update("none", title="x")
    with pytest.raises(InvalidInput):
        bank.update("limit", title=3)  # type: ignore[arg-type]


def test_what_scores_less_is_left_out(bank: KeyValueBank) -> None:
    bank.put("wifi", "tortoise")
    bank.put("about", "what wifi is")
    assert len(bank.query("wifi")) == 2
    assert [hit.document_id for hit in bank.query("wifi", min_score=1.0)] == ["wifi"]
    with pytest.raises(InvalidInput, match="min_score"):
        bank.query("wifi", min_score="much")  # type: ignore[arg-type]


def test_then_come_values_that_share_words(bank: KeyValueBank) -> None:
    bank.put("fruit", "apples and pears")
    bank.put("tree", {"kind": "apple"})
    hits = bank.query("Is an apple a fruit?")
    assert [hit.document_id for hit in hits] == ["fruit", "tree"]
    assert hits[0].score == 1.0 > hits[1].score > 0
    assert bank.query("apples", k=1)[0].document_id in {"fruit", "tree"}
    assert bank.query("nothing like that") == []


def test_filters_hold_for_keys_and_words(bank: KeyValueBank) -> None:
    bank.put("colour", "red", metadata={"lang": "en"})
    bank.put("farbe", "colour rot", metadata={"lang": "de"})
    assert [hit.document_id for hit in bank.query("colour", filter={"lang": "de"})] == ["farbe"]
    assert [one.id for one in bank.documents(filter={"lang": "en"})] == ["colour"]
    assert bank.delete(filter={"lang": "de"}) == 1
    assert bank.keys() == ["colour"]


def test_deleting_clearing_and_telling(bank: KeyValueBank, tmp_path: Path) -> None:
    bank.put("a", 1)
    bank.put("b", 2)
    assert bank.delete("a") == 1
    assert bank.delete("a") == 0
    assert bank.query("a") == []
    stats = bank.stats()
    assert (stats["kind"], stats["documents"], stats["store"]) == ("keyvalue", 1, str(tmp_path / "memory.db"))
    assert bank.export(tmp_path / "bank.jsonl") == 1
    assert bank.clear() == 1
    assert bank.documents() == ()
    assert bank.restore(tmp_path / "bank.jsonl").added == ("b",)
    assert bank.get("b") == 2
    with pytest.raises(InvalidInput):
        bank.delete()


def test_it_is_there_again_in_another_object_and_a_bank_keeps_its_kind(tmp_path: Path) -> None:
    store = tmp_path / "memory.db"
    with KeyValueBank("notes", store=store) as one:
        one.put("a", 1)
    with KeyValueBank("notes", store=store) as again, KeyValueBank("others", store=store) as other:
        assert again.get("a") == 1
        assert other.get("a") is None
    with GraphBank("notes", store=store) as graph, pytest.raises(ConfigError, match="keyvalue"):
        graph.entities()
    with pytest.raises(StoreError):
        again.get("a")


@pytest.mark.parametrize(
    ("key", "value"),
    [("", 1), ("  ", 1), ("k" * 1001, 1), (7, 1), ("k", object()), ("k", float("nan")), ("k", {1: 2, "x": {1, 2}})],
)
def test_what_cannot_be_stored_is_refused(bank: KeyValueBank, key: Any, value: Any) -> None:
    with pytest.raises(InvalidInput):
        bank.put(key, value)
    assert bank.documents() == ()


def test_writers_beside_each_other_lose_nothing(bank: KeyValueBank) -> None:
    def write(number: int) -> None:
        for place in range(10):
            bank.put(f"{number}-{place}", place)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bank.keys()) == 40


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.sampled_from(['"', "*", "a AND", "NEAR(", "x" * 100_000, "(" * 999, "\0", "\ud800"]))
def test_any_text_is_a_question_and_any_key_is_found(bank: KeyValueBank, text: str) -> None:
    async def run() -> None:
        assert all(0 < hit.score <= 1 for hit in await bank.aquery(text))
        key = text.strip()
        if 0 < len(key) <= 1000:
            await bank.aput(key, text)
            await bank.aget(key)
            assert (await bank.aquery(key, k=1))[0].score == 1.0

    asyncio.run(run())


def test_questions_are_checked(bank: KeyValueBank) -> None:
    for query, k in ((7, 1), ("x", 0), ("x", "1"), ("x", 1.5)):
        with pytest.raises(InvalidInput):
            bank.query(query, k=k)  # type: ignore[arg-type]
    bank.put("a", 1)
    assert len(bank.query("a", k=np.int64(1))) == 1  # type: ignore[arg-type]


def test_what_was_altered_is_seen_and_a_dropped_bank_is_gone(bank: KeyValueBank, tmp_path: Path) -> None:
    bank.put("a", 1)
    assert (bank.verify().ok, bank.verify().documents) == (True, 1)
    with closing(sqlite3.connect(tmp_path / "memory.db")) as raw, raw:
        raw.execute("UPDATE agentic_bank_chunks SET text = 'x'")
    assert "does not match its hash" in " ".join(bank.verify().problems)
    bank.drop()
    with KeyValueBank("notes", store=tmp_path / "memory.db") as anew:
        assert anew.get("a") is None

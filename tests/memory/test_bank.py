"""The vector bank: adding, finding, filtering, changing and removing."""

from __future__ import annotations

import asyncio
import inspect
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic.protocols import MemoryBank as Searchable
from agentic.store import open_store
from agentic.types.errors import ConfigError, InvalidInput, NotFound, StoreCorrupt, StoreError
from agentic_memory import KeyValueBank, KeywordBank, MemoryBank
from agentic_memory.embedding.checked import Checked
from agentic_memory.types import Document
from memory.vectors import DIMENSION, Words, clustered

TEXTS = [
    "the reset button is under the flap",
    "press the red lever to stop the pump",
    "the pump needs oil every month",
    "oil and water do not mix",
    "warranty lasts two years",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def bank(file: Path, words: Words) -> Iterator[MemoryBank]:
    with MemoryBank("docs", store=file, embedding=words) as opened:
        yield opened


@pytest.fixture
def filled(bank: MemoryBank) -> MemoryBank:
    said = [{"lang": "en" if number % 2 else "de", "year": 2020 + number} for number in range(len(TEXTS))]
    bank.add_texts(TEXTS, ids=[f"d{number}" for number in range(len(TEXTS))], metadata=said)
    return bank


def ids(hits: Sequence[Any]) -> list[str]:
    return [hit.document_id for hit in hits]


@pytest.mark.parametrize("mode", ["vector", "keyword", "hybrid"])
def test_what_was_added_is_found(filled: MemoryBank, mode: Any) -> None:
    hits = filled.query("reset button flap", mode=mode, k=2)
    assert hits[0].document_id == "d0"
    assert hits[0].text == TEXTS[0]
    assert (hits[0].bank, hits[0].position["chunk"]) == ("docs", 0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert 0 < hits[0].score <= 1 + 1e-6 or mode == "keyword"


def test_the_bank_is_what_agents_search(bank: MemoryBank) -> None:
    assert isinstance(bank, Searchable)


def test_every_async_method_has_its_sync_form() -> None:
    for name, method in vars(MemoryBank).items():
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            sync = getattr(MemoryBank, name.removeprefix("a"))
            assert inspect.signature(sync) == inspect.signature(method)
            assert sync.__name__ == name.removeprefix("a")


def test_the_sync_form_works_in_a_running_loop(filled: MemoryBank) -> None:
    async def main() -> tuple[list[str], list[str]]:
        return ids(filled.query("oil", k=2)), ids(await filled.aquery("oil", k=2))

    one, other = asyncio.run(main())
    assert one == other


def test_adding_again_computes_nothing_and_changes_nothing(filled: MemoryBank, words: Words) -> None:
    before, asked = filled.stats(), len(words.asked)
    said = [{"year": 2020 + number, "lang": "en" if number % 2 else "de"} for number in range(len(TEXTS))]
    report = filled.add_texts(TEXTS, ids=[f"d{number}" for number in range(len(TEXTS))], metadata=said)
    assert len(report.unchanged) == len(TEXTS)
    assert len(words.asked) == asked
    assert filled.stats() == before


def test_documents_are_cut_and_a_changed_one_replaces_only_itself(bank: MemoryBank, words: Words) -> None:
    sections = [f"# Part {number}\n\n" + f"Sentence about subject{number}. " * 60 for number in range(4)]
    first = bank.add(Document(content="\n\n".join(sections), id="book", mime_type="text/markdown"))
    assert first.added == ("book",)
    assert first.chunks > 3
    bank.add_text("another thing", id="other")
    again = bank.add(Document(content="\n\n".join(sections), id="book", mime_type="text/markdown"))
    assert again.unchanged == ("book",)
    asked = len(words.asked)
    sections[3] = sections[3].replace("subject3", "topic")
    changed = bank.add(Document(content="\n\n".join(sections), id="book", mime_type="text/markdown"))
    assert changed.changed == ("book",)
    assert len(words.asked) - asked < changed.chunks
    assert not bank.query("subject3", mode="keyword")
    assert bank.query("topic", mode="keyword")[0].document_id == "book"
    assert bank.verify().ok


def test_a_source_that_cannot_be_read_is_told_and_the_others_go_on(bank: MemoryBank, tmp_path: Path) -> None:
    good = tmp_path / "good.md"
    good.write_text("# Title\n\nBody of the note.", encoding="utf-8")
    seen: list[tuple[str, int, int]] = []
    report = bank.add(tmp_path / "none.txt", good, progress=lambda *told: seen.append(told), metadata={"by": "me"})
    assert len(report.added) == 1
    assert len(report.failed) == 1
    assert seen
    assert bank.query("body of the note", k=1)[0].metadata["by"] == "me"


@pytest.mark.parametrize("mode", ["vector", "keyword", "hybrid"])
def test_deleted_is_gone_from_the_next_query(filled: MemoryBank, file: Path, words: Words, mode: Any) -> None:
    with MemoryBank("docs", store=file, embedding=words) as reader:
        assert "d2" in ids(reader.query("pump oil month", mode=mode))
        assert filled.delete("d2", "unknown") == 1
        assert "d2" not in ids(filled.query("pump oil month", mode=mode))
        assert "d2" not in ids(reader.query("pump oil month", mode=mode))
        assert filled.delete(filter={"lang": "de"}) == 2
        assert {hit.metadata["lang"] for hit in reader.query("the", k=9, mode="vector")} == {"en"}
    assert filled.verify().ok


def test_delete_wants_to_know_what(filled: MemoryBank) -> None:
    empty: list[dict[str, Any] | None] = [{}, None]
    for wrong in empty:
        with pytest.raises(InvalidInput, match="clear"):
            filled.delete(filter=wrong)


def test_clear_empties_the_bank_for_every_reader(filled: MemoryBank, file: Path, words: Words) -> None:
    with MemoryBank("docs", store=file, embedding=words) as reader:
        assert reader.query("oil")
        assert filled.clear() == len(TEXTS)
        assert reader.query("oil") == ()
        filled.add_text("oil again", id="new")
        assert ids(reader.query("oil", mode="vector")) == ["new"]
        assert reader.verify().ok


def test_update_changes_what_is_said_without_computing(filled: MemoryBank, words: Words) -> None:
    asked = len(words.asked)
    filled.update("d1", metadata={"lang": "fr"}, title="Pump")
    assert len(words.asked) == asked
    (hit,) = filled.query("pump", filter={"lang": "fr"}, mode="keyword")
    assert (hit.document_id, hit.title) == ("d1", "Pump")
    filled.update("d1", text="a boat")
    assert ids(filled.query("boat", k=1)) == ["d1"]
    assert filled.query("boat", k=1)[0].metadata == {"lang": "fr"}
    with pytest.raises(NotFound):
        filled.update("nobody", title="x")
    with pytest.raises(InvalidInput):
        filled.update("d1", title=3)  # type: ignore[arg-type]
    filled.update("d1", title="half \ud800")
    assert filled.verify().ok


def test_a_document_that_is_removed_while_its_new_text_is_computed_stays_removed(file: Path) -> None:
    class Removing(Words):
        async def embed(self, texts: Sequence[str]) -> Any:
            if texts == ["new"]:
                assert await docs.adelete("d1") == 1
            return await super().embed(texts)

    with MemoryBank("docs", store=file, embedding=Removing()) as docs:
        docs.add_text("old", id="d1")
        with pytest.raises(NotFound, match="'d1'"):
            docs.update("d1", text="new")
        assert docs.documents() == ()


def test_a_new_text_is_still_from_where_the_old_one_was(bank: MemoryBank) -> None:
    bank.add_text("an old text", source="https://example.org/manual.pdf", metadata={"lang": "en"})
    bank.update("https://example.org/manual.pdf", text="a new text")
    (hit,) = bank.query("text")
    assert (hit.text, hit.source, hit.title) == ("a new text", "https://example.org/manual.pdf", "manual.pdf")
    assert hit.metadata == {"lang": "en"}


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"lang": "en"}, [1, 3]),
    ({"year": 2021}, [1]),
    ({"year": "2021"}, []),
    ({"year": {"$gte": 2021, "$lt": 2023}}, [1, 2]),
    ({"year": {"$gt": "2"}}, []),
    ({"lang": {"$in": ["en", "fr"]}}, [1, 3]),
    ({"lang": {"$nin": ["en"]}}, [0, 2, 4]),
    ({"lang": {"$ne": "en"}, "year": {"$ne": 2020}}, [2, 4]),
    ({"$or": [{"year": 2020}, {"$and": [{"lang": "en"}, {"year": 2023}]}]}, [0, 3]),
    ({"$not": {"lang": "en"}}, [0, 2, 4]),
    ({"year": {"$not": {"$gt": 2021}}}, [0, 1]),
    ({"tags": "b"}, [0]),
    ({"deep.x": 1}, [0]),
    ({"deep": 1}, []),
    ({"none": None}, [0, 1, 2, 3, 4]),
    ({"none": {"$exists": True}}, [0]),
    ({"flag": True}, [0]),
    ({"flag": 1}, []),
    ({"absent": {"$exists": False}}, [0, 1, 2, 3, 4]),
    ({"lang": {"$in": list(range(3000))}}, []),
    ({"we're \\ odd%": "o'k?"}, [0]),
    ({}, [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize(("condition", "expected"), FILTERS)
def test_filters(filled: MemoryBank, condition: dict[str, Any], expected: list[int]) -> None:
    extra = {"tags": ["a", "b"], "deep": {"x": 1}, "none": None, "flag": True, "we're \\ odd%": "o'k?"}
    filled.update("d0", metadata={"lang": "de", "year": 2020, **extra})
    for mode in ("vector", "hybrid"):
        found = filled.query("pump", k=10, filter=condition, mode=mode)
        assert sorted(ids(found)) == [f"d{number}" for number in expected]
    assert len(filled.documents(filter=condition)) == len(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"year": {"$near": 1}}, {"$nor": []}, {"$or": {}}, {"year": {"$gt": None}}, {"year": {"$gt": True}}],
        *[{"a": float("nan")}, {"a": [1]}, {"": 1}, {'a"b': 1}, {"a..b": 1}, {"a": {"$in": "text"}}, {1: 2}, "text"],
    ],
)
def test_a_wrong_filter_is_refused(filled: MemoryBank, wrong: Any) -> None:
    with pytest.raises(InvalidInput):
        filled.query("pump", filter=wrong)


def test_an_unknown_operator_names_the_known_ones(filled: MemoryBank) -> None:
    with pytest.raises(InvalidInput, match=r"\$gte"):
        filled.query("pump", filter={"year": {"$near": 1}})


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"k": 0}, {"k": True}, {"k": 10**6}, {"mode": "fuzzy"}, {"diversity": 2.0}, {"neighbours": -1}],
        *[{"vector": [1.0]}, {"vector": [float("nan")] * DIMENSION}, {"vector": [1e300] * DIMENSION}],
        *[{"vector": "text"}, {"vector": object()}, {"vector": [[1.0], [1.0, 2.0]]}, {"max_tokens": "9"}],
    ],
)
def test_a_wrong_query_is_refused(filled: MemoryBank, wrong: Any) -> None:
    with pytest.raises(InvalidInput):
        filled.query("pump", **wrong)


def test_numpys_numbers_serve(filled: MemoryBank) -> None:
    options: dict[str, Any] = {"neighbours": np.int64(0), "min_score": np.float32(0.01), "diversity": np.float32(0.1)}
    assert len(filled.query("pump", k=np.int64(2), max_tokens=np.int32(1000), **options)) == 2  # type: ignore[arg-type]
    assert ids(filled.query("pump", filter={"year": np.int64(2021)})) == ["d1"]
    assert ids(filled.query("pump", filter={"year": {"$gte": np.float32(2024)}})) == ["d4"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryBank]:
    with MemoryBank("docs", store=tmp_path_factory.mktemp("bank") / "any.db", embedding=Words()) as opened:
        opened.add_texts(TEXTS)
        yield opened


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text()
    | st.text(alphabet='"*()^:-+{}[]\\\x00\x01 NEAROAND\udc80é%_?;')
    | st.sampled_from(["x" * 100_000, "AND" * 9])
)
def test_any_text_is_a_question(searched: MemoryBank, query: str) -> None:
    for mode in ("keyword", "hybrid"):
        for hit in searched.query(query, mode=mode):
            assert np.isfinite(hit.score)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(min_size=1), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4)
)
def test_any_text_and_metadata_can_be_stored(searched: MemoryBank, text: str, said: dict[str, Any]) -> None:
    searched.add_texts([text], ids=["any"], metadata=[said])
    assert searched.delete("any") == 1


def test_odd_metadata_is_refused(bank: MemoryBank) -> None:
    deep = json.loads("[" * 600 + "]" * 600)
    odd: list[Any] = [{"a": float("nan")}, {"a": object()}, {1: 2}, {"a": deep}]
    for said in odd:
        with pytest.raises(InvalidInput):
            bank.add_texts(["x"], metadata=[said])
    wrong: list[Any] = ["text", [1], ["a", 2]]
    for texts in wrong:
        with pytest.raises(InvalidInput):
            bank.add_texts(texts)
    mapping: Any = {"a": 1}
    with pytest.raises(InvalidInput):
        bank.add_texts(["x"], metadata=mapping)
    with pytest.raises(InvalidInput):
        bank.add_text("  ")
    pages: list[dict[str, Any]] = [{"limit": -1}, {"limit": "9"}, {"limit": 2**70}, {"offset": -1}]
    for page in pages:
        with pytest.raises(InvalidInput):
            bank.documents(**page)
    assert bank.stats()["documents"] == 0


def test_given_vectors_are_taken_and_checked(file: Path) -> None:
    vectors = clustered(30)
    with MemoryBank("given", store=file, embedding=None) as bank:
        bank.add_texts([f"text {number}" for number in range(30)], vectors=3 * vectors)
        (hit,) = bank.query("", vector=vectors[7], k=1, mode="vector")
        assert hit.text == "text 7"
        assert hit.score == pytest.approx(1.0, abs=1e-5)
        assert bank.query("text 7", k=1)[0].text == "text 7"  # by words: no embedding
        for wrong in (vectors[:3], vectors[:, :4], np.full((30, DIMENSION), np.nan), "abc"):
            with pytest.raises((InvalidInput, ConfigError)):
                bank.add_texts([f"more {number}" for number in range(30)], vectors=wrong)
        with pytest.raises(ConfigError, match="embedding=None"):
            bank.query("text", mode="vector")
        assert bank.stats()["chunks"] == 30


def test_another_embedding_is_refused_until_vectors_are_computed_anew(filled: MemoryBank, file: Path) -> None:
    other = Words("other", 16)
    with MemoryBank("docs", store=file, embedding=other) as bank:
        for attempt in (lambda: bank.query("oil"), lambda: bank.add_text("new")):
            with pytest.raises(ConfigError, match=r"reembed\(\)"):
                attempt()
        assert bank.query("oil", mode="keyword")
        assert bank.reembed() == len(TEXTS)
        assert bank.query("warranty lasts two years", mode="vector", k=1)[0].document_id == "d4"
        assert bank.verify().ok
    with pytest.raises(ConfigError, match="reembed"):
        filled.query("oil")


def test_export_and_restore(filled: MemoryBank, tmp_path: Path, words: Words) -> None:
    out = tmp_path / "bank.jsonl"
    assert filled.export(out) == len(TEXTS)
    asked = len(words.asked)
    with MemoryBank("copy", store=tmp_path / "copy.db", embedding=words) as copy:
        assert len(copy.restore(out).added) == len(TEXTS)
        assert len(copy.restore(out).unchanged) == len(TEXTS)
        assert len(words.asked) == asked
        assert ids(copy.query("reset button", k=5)) == ids(filled.query("reset button", k=5))
        assert copy.documents()[1].metadata == filled.documents()[1].metadata
        assert copy.verify().ok
        out.write_text("hello\n")
        with pytest.raises(InvalidInput, match="no exported"):
            copy.restore(out)


def test_a_keyword_bank_takes_the_documents_of_a_vector_bank(filled: MemoryBank, tmp_path: Path) -> None:
    out = tmp_path / "bank.jsonl"
    filled.export(out)
    with KeywordBank("words", store=tmp_path / "copy.db") as copy:
        assert len(copy.restore(out).added) == len(TEXTS)
        assert (copy.stats()["vectors"], copy.verify().ok) == (0, True)
        assert ids(copy.query("warranty")) == ["d4"]
        copy.export(out)
    with pytest.raises(InvalidInput, match="of a keyword bank"):
        filled.restore(out)
    with KeyValueBank("values", store=tmp_path / "copy.db") as values, pytest.raises(InvalidInput, match="keyvalue"):
        values.restore(out)


def test_diversity_distinct_neighbours_and_budget(bank: MemoryBank) -> None:
    bank.add_texts(["red fish", "red fish ", "red fish\n", "blue fish", "green tree"], ids=list("abcde"))
    assert len(bank.query("red fish", k=3, distinct=True)) == 3
    kept = ids(bank.query("red fish", k=3, distinct=True, mode="vector"))
    assert len(set(kept) & set("abc")) == 1
    assert not {"b", "c"} & set(ids(bank.query("red fish", k=2, diversity=0.7, mode="vector")))
    assert len(bank.query("fish", k=5, max_tokens=4)) < 4
    bank.add_text(" ".join(f"Sentence number{number} is here." for number in range(300)), id="long")
    (hit,) = bank.query("number150", k=1, mode="keyword")
    around = bank.neighbours(hit, count=1)
    assert [each.position["chunk"] for each in around] == [hit.position["chunk"] + step for step in (-1, 0, 1)]
    (wide,) = bank.query("number150", k=1, mode="keyword", neighbours=1)
    assert len(wide.text) > 2 * len(hit.text)
    bank.delete("long")
    assert bank.neighbours(hit) == ()


def test_a_reranker_has_the_last_word(file: Path, words: Words) -> None:
    class Longest:
        async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
            return [float(len(text)) for text in texts]

    with MemoryBank("docs", store=file, embedding=words, reranker=Longest()) as bank:
        bank.add_texts(TEXTS)
        assert bank.query("oil", k=1)[0].text == max(TEXTS, key=len)


def test_sessions_and_banks_share_a_file(file: Path, words: Words) -> None:
    async def sessions() -> None:
        store = open_store(file)
        await store.create("s")
        await store.aclose()

    with MemoryBank("first", store=file, embedding=words) as bank:
        bank.add_text("before the sessions")
        asyncio.run(sessions())
        with MemoryBank("second", store=file, embedding=words) as other:
            other.add_text("a second bank")
            assert ids(other.query("before")) == ids(other.query("second"))
            assert len(bank.query("second", mode="vector")) == 1
            assert bank.verify().ok
            assert other.verify().ok


def test_another_programs_database_is_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    bank = MemoryBank("docs", store=file, embedding=None)
    with pytest.raises(StoreCorrupt, match="another program"):
        bank.stats()
    bank.close()


def test_a_dropped_bank_is_gone_and_its_name_is_free(filled: MemoryBank, file: Path, words: Words) -> None:
    with MemoryBank("docs", store=file, embedding=words) as reader:
        assert reader.query("oil")
        filled.drop()
        with pytest.raises(NotFound):
            reader.query("oil")
    with MemoryBank("docs", store=file, embedding=words) as anew:
        assert anew.query("oil") == ()
    with pytest.raises(StoreError, match="closed"):
        filled.query("oil")


def test_a_bank_in_memory_leaves_nothing(words: Words) -> None:
    bank = MemoryBank("docs", store=None, embedding=words)
    bank.add_text("hello")
    where = Path(bank.stats()["store"])
    assert where.exists()
    bank.close()
    assert not where.parent.exists()


@pytest.mark.parametrize("table", ["chunks SET text = 'x'", "vectors SET vector = zeroblob(128)"])
def test_verify_sees_an_altered_row(filled: MemoryBank, file: Path, table: str) -> None:
    assert filled.verify().ok
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(f"UPDATE agentic_bank_{table}")
    found = filled.verify()
    assert any("does not match its hash" in problem for problem in found.problems)


@pytest.mark.parametrize(
    "damage",
    ["chunks SET position = '{'", "documents SET metadata = '['", "vectors SET vector = x'00' WHERE rowid % 2"],
)
def test_a_damaged_row_is_told(filled: MemoryBank, file: Path, words: Words, damage: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(f"UPDATE agentic_bank_{damage}")
    with MemoryBank("docs", store=file, embedding=words) as bank:
        with pytest.raises(StoreCorrupt, match="damaged"):
            bank.query("oil", k=5, mode="vector")
        with suppress(StoreCorrupt):
            bank.export(tmp_path / "out.jsonl")
        assert not bank.verify().ok


@pytest.mark.parametrize(
    "condition", [{"lang": "\ud800"}, {"\ud800": 1}, {"$or": [{"n": n} for n in range(3000)]}, {"$and": [{}] * 3000}]
)
def test_no_filter_breaks_the_store(filled: MemoryBank, condition: dict[str, Any]) -> None:
    assert isinstance(filled.query("pump", filter=condition), tuple)


def test_arguments_of_the_wrong_type_are_refused(filled: MemoryBank) -> None:
    wrong: list[Any] = ["0.5", float("nan"), [1]]
    for value in wrong:
        with pytest.raises(InvalidInput):
            filled.query("pump", min_score=value)
        with pytest.raises(InvalidInput):
            filled.query("pump", diversity=value)
    listed: Any = ["d1"]
    with pytest.raises(InvalidInput, match="delete"):
        filled.delete(listed)
    for said in (5, None, ["x"]):
        with pytest.raises(InvalidInput, match="content"):
            Document(said)  # type: ignore[arg-type]
    metadata: Any = ["x"]
    with pytest.raises(InvalidInput):
        filled.add("x.txt", metadata=metadata)


def test_many_short_documents_are_read_together(bank: MemoryBank) -> None:
    documents = [Document(f"note {number} on subject{number}", id=f"n{number}") for number in range(700)]
    report = bank.add(*documents, Document(" ", id="blank"))
    assert (len(report.added), list(report.failed)) == (700, ["blank"])
    assert len(bank.add(*documents).unchanged) == 700
    assert bank.query("subject633", mode="keyword")[0].document_id == "n633"


def test_chunks_fit_the_embeddings_window(file: Path) -> None:
    async def embed(texts: list[str]) -> Any:
        return np.ones((len(texts), 4))

    embedding = Checked("letters", embed, window=(40, len))
    with MemoryBank("letters", store=file, embedding=embedding) as bank:
        bank.add_text("one two three four five. " * 30, id="x")
        assert all(len(hit.text) <= 40 for hit in bank.query("three", k=100))


def test_a_damaged_export_is_refused(bank: MemoryBank, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    for content in (b"\xff", b"[]\n", b'{"agentic_bank": 1, "fingerprint": {"x": 1}}\n'):
        broken.write_bytes(content)
        with pytest.raises(InvalidInput):
            bank.restore(broken)
    with pytest.raises(InvalidInput):
        bank.restore(tmp_path / "none")
    with pytest.raises(InvalidInput):
        bank.export(tmp_path / "none" / "file")


def test_the_bar_tells_what_is_left(bank: MemoryBank, capsys: pytest.CaptureFixture[str]) -> None:
    bank.add(*(Document(f"note {number}") for number in range(3)), progress=True)
    assert "3/3" in capsys.readouterr().out


def test_an_embedding_is_asked_for_the_given_texts_only(file: Path) -> None:
    table = {"one": [1.0, 0.0], "two": [0.0, 1.0], "first?": [0.9, 0.1]}
    asked: list[str] = []

    def look_up(texts: list[str]) -> list[list[float]]:
        asked.extend(texts)
        return [table[text] for text in texts]

    with MemoryBank("table", store=file, embedding=look_up) as bank:
        bank.add_texts(["one", "two"])
        bank.add_texts(["one", "two"])
        assert bank.query("first?", mode="vector")[0].text == "one"
    assert asked == ["one", "two", "first?"]

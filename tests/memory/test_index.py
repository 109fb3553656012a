"""The index: exact when it can be, measured when it cannot, and never more than a cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agentic_memory import MemoryBank, index
from memory.vectors import clustered

COUNT = 3000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "FLAT", 1000)
    monkeypatch.setattr(index, "_GATHER", 50)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


def fill(bank: MemoryBank, first: int, count: int, seed: int = 0) -> None:
    names = [f"d{number}" for number in range(first, first + count)]
    said = [{"even": number % 2 == 0, "tenth": number % 10} for number in range(first, first + count)]
    bank.add_texts([f"text {name}" for name in names], ids=names, metadata=said, vectors=clustered(count, seed=seed))


@pytest.fixture
def bank(file: Path) -> Iterator[MemoryBank]:
    with MemoryBank("docs", store=file, embedding=None) as opened:
        fill(opened, 0, COUNT)
        yield opened


def recall(bank: MemoryBank, stored: np.ndarray, filter: dict[str, object] | None = None, step: int = 1) -> float:
    found = 0
    queries = stored[::97]
    for query in queries:
        hits = bank.query("", vector=query, k=10, mode="vector", filter=filter)
        assert len(hits) == 10
        true = {f"d{number * step}" for number in np.argsort(-(stored[::step] @ query))[:10]}
        found += len(true & {hit.document_id for hit in hits})
    return found / 10 / len(queries)


def test_recall_before_and_after_the_index_is_inverted(bank: MemoryBank) -> None:
    vectors = clustered(COUNT)
    assert recall(bank, vectors) == 1.0
    bank.optimise()
    stats = bank.stats()
    assert (stats["index"], stats["indexed"], stats["tail"]) == ("ivf-sq8", COUNT, 0)
    assert recall(bank, vectors) >= 0.98
    assert recall(bank, vectors, {"even": True}, step=2) >= 0.98
    assert recall(bank, vectors, {"tenth": 0}, step=10) >= 0.98
    assert bank.verify().ok


def test_filters_never_give_fewer_than_there_are(bank: MemoryBank) -> None:
    bank.optimise()
    for condition, count in (({"tenth": 3}, 300), ({"tenth": 3, "even": True}, 0), ({"even": True}, 1500)):
        hits = bank.query("text", vector=clustered(1)[0], k=1000, mode="vector", filter=condition)
        assert len(hits) == min(1000, count)


def test_the_file_is_used_brought_up_to_date_and_made_anew(bank: MemoryBank, file: Path) -> None:
    bank.optimise()
    bank.delete(filter={"tenth": 5})
    fill(bank, COUNT, 20, seed=1)
    with MemoryBank("docs", store=file, embedding=None) as reader:
        (hit,) = reader.query("", vector=clustered(20, seed=1)[3], k=1, mode="vector")
        assert hit.document_id == f"d{COUNT + 3}"
        assert not any(
            hit.metadata["tenth"] == 5 for hit in reader.query("", vector=clustered(1)[0], k=900, mode="vector")
        )
        assert reader.stats()["index"] == "ivf-sq8"
        assert reader.verify().ok
    (cache,) = file.parent.glob("*.index")
    for damage in (b"", b"{}\n", cache.read_bytes()[:-100], cache.read_bytes()[:-1] + b"?"):
        cache.write_bytes(damage)
        with MemoryBank("docs", store=file, embedding=None) as reader:
            assert len(reader.query("", vector=clustered(1)[0], k=5, mode="vector")) == 5
            assert reader.verify().ok


def test_a_dropped_bank_leaves_no_index(bank: MemoryBank, file: Path) -> None:
    bank.optimise()
    (made,) = file.parent.glob("*.index")
    made.with_name(f"{made.name}.abcd.part").touch()
    bank.drop()
    assert {left.name for left in file.parent.iterdir()} <= {file.name, f"{file.name}-wal", f"{file.name}-shm"}


def test_what_a_killed_process_had_begun_is_swept_away(bank: MemoryBank, file: Path) -> None:
    bank.optimise()
    (made,) = file.parent.glob("*.index")
    old, new = (made.with_name(f"{made.name}.{name}.part") for name in ("old", "new"))
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    fill(bank, COUNT, 1000)
    bank.optimise()
    assert (old.exists(), new.exists()) == (False, True)


def test_an_inverted_index_shrinks_and_grows(bank: MemoryBank) -> None:
    bank.optimise()
    fill(bank, COUNT, 1000, seed=2)
    bank.optimise()
    assert bank.stats()["tail"] == 0
    assert bank.stats()["indexed"] == COUNT + 1000
    bank.clear()
    assert bank.query("", vector=clustered(1)[0]) == ()
    fill(bank, 0, 10)
    assert len(bank.query("", vector=clustered(1)[0], k=20, mode="vector")) == 10


def test_searching_adding_and_removing_at_once(bank: MemoryBank, file: Path) -> None:
    """Several threads, two banks open on one file: nothing stale, nothing crashes."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def search(searched: MemoryBank) -> None:
        try:
            while not stop.is_set():
                stamp = gone[-1] if gone else None
                hits = searched.query("text", vector=clustered(1)[0], k=20)
                assert len(hits) == 20
                assert stamp is None or stamp not in {hit.document_id for hit in hits}
        except BaseException as error:
            failures.append(error)

    gone: list[str] = []
    with MemoryBank("docs", store=file, embedding=None) as reader:
        threads = [threading.Thread(target=search, args=(each,)) for each in (bank, reader, bank)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(12):
                fill(bank, COUNT + 50 * turn, 50, seed=turn)
                (nearest,) = bank.query("", vector=clustered(1)[0], k=1, mode="vector")
                bank.delete(nearest.document_id)
                gone.append(nearest.document_id)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures
        assert bank.verify().ok
        assert reader.verify().ok


@pytest.mark.parametrize("damage", [b"", b"[]\n", b'{"format": 1}\n', b"\xff\x00", None])
def test_a_damaged_or_missing_file_is_made_anew(bank: MemoryBank, file: Path, damage: bytes | None) -> None:
    bank.optimise()
    (kept,) = file.parent.glob("*.index")
    kept.unlink() if damage is None else kept.write_bytes(damage)
    with MemoryBank("docs", store=file, embedding=None) as opened:
        assert len(opened.query("", vector=clustered(1)[0], k=5, mode="vector")) == 5
        assert opened.stats()["index"] == "flat-fp16"  # one question does not pay for an index


def test_the_second_question_begins_the_index(bank: MemoryBank) -> None:
    for _ in range(2):
        bank.query("", vector=clustered(1)[0], k=5, mode="vector")
    bank.optimise()
    assert bank.stats()["index"] == "ivf-sq8"

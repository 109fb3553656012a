"""`kill -9`, other processes, and interruptions: nothing acknowledged is lost, nothing is torn, no work is repeated."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentic.types.errors import StoreLocked
from agentic_memory import MemoryBank, computing
from agentic_memory.types import Document
from memory.vectors import Words

if TYPE_CHECKING:
    from agentic_memory.types import Vectors

WRITER = Path(__file__).with_name("bank_writer.py")


def writer(file: Path, first: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(WRITER.parent.parent)}
    command = [sys.executable, str(WRITER), str(file), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_after(file: Path, first: int, lines: int, delay: float) -> dict[str, int]:
    """Runs a writer, kills it a moment after some documents; returns what it had acknowledged."""
    process = writer(file, first)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines + 1)][1:]
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return {line.split()[0]: int(line.split()[1]) for line in told if line.endswith("\n")}


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    file, kept = tmp_path / "agent.db", dict[str, int]()
    chance = random.Random(0)
    for round_ in range(int(os.environ.get("AGENTIC_TEST_KILLS", "4"))):
        kept |= kill_after(file, 1000 * round_, chance.randrange(3), chance.random() / 10)
        with MemoryBank("docs", store=file, embedding=Words()) as bank:
            found = bank.verify()
            assert found.ok, found.problems
            there = {document.id: document.chunks for document in bank.documents()}
            assert kept.keys() <= there.keys()
            assert all(there[name] >= chunks for name, chunks in kept.items())
            for name in list(kept)[-3:]:
                assert bank.query(f"word{name[1:]}", mode="keyword", k=1)[0].document_id == name


def test_a_reader_follows_another_process(tmp_path: Path) -> None:
    file = tmp_path / "agent.db"
    process = writer(file, 0)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with MemoryBank("docs", store=file, embedding=Words()) as reader:
        for number in range(3):
            assert process.stdout.readline().startswith(f"d{number} ")
            assert reader.query(f"word{number}", k=1, mode="vector")[0].document_id == f"d{number}"
        process.kill()
        process.wait()
        process.stdout.close()
        assert reader.verify().ok


def test_a_second_writer_waits_or_is_told(tmp_path: Path) -> None:
    file = tmp_path / "agent.db"

    async def main() -> None:
        with MemoryBank("docs", store=file, embedding=None) as bank:
            await asyncio.gather(*(bank.aadd_texts([f"text {n}"], vectors=[[1.0, n]]) for n in range(20)))
            assert (await bank.astats())["chunks"] == 20
            with MemoryBank("docs", store=file, embedding=None, timeout=0.1) as other:
                await other.astats()

                def holding(_: object) -> None:
                    with pytest.raises(StoreLocked):
                        other.add_texts(["x"], vectors=[[1.0, 2.0]])

                await bank.rows.write(holding)

    asyncio.run(main())


class Breaking(Words):
    """An embedding that breaks after some texts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if len(self.asked) + len(texts) > self._after:
            raise KeyboardInterrupt
        return await super().embed(texts)


@pytest.mark.parametrize(("seconds", "sizes"), [(0.0, [32] * 10), (1e9, [32, 64, 128, 96])])
def test_a_slow_embedding_gets_few_texts_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, sizes: list[int]
) -> None:
    asked: list[int] = []

    class Counting(Words):
        async def embed(self, texts: Sequence[str]) -> Vectors:
            asked.append(len(texts))
            return await super().embed(texts)

    monkeypatch.setattr(computing, "PUT_ASIDE", seconds)
    with MemoryBank("docs", store=tmp_path / "agent.db", embedding=Counting()) as bank:
        bank.add_texts([f"text {number}" for number in range(320)])
    assert asked == sizes


def test_an_interrupted_ingest_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "agent.db"
    monkeypatch.setattr(computing, "_ASKED", 10)
    monkeypatch.setattr(computing, "PUT_ASIDE", 0.0)
    text = "\n\n".join(f"# Part {part}\n\n" + f"subject{part} is told. " * 50 for part in range(60))
    document = Document(content=text, id="book", mime_type="text/markdown")
    breaking = Breaking(45)
    with MemoryBank("docs", store=file, embedding=breaking) as bank:
        with pytest.raises(KeyboardInterrupt):
            bank.add(document)
        assert bank.documents() == ()
        assert bank.stats()["vectors_put_aside"] == 40
    words = Words()
    with MemoryBank("docs", store=file, embedding=words) as bank:
        report = bank.add(document)
        assert len(words.asked) == report.chunks - 40
        assert bank.stats()["vectors_put_aside"] == 0
        assert bank.verify().ok

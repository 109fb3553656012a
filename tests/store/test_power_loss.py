"""What a power cut can leave of an SQLite store: it is refused or recovered, and nothing in it is made up."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agentic import Agent
from agentic.store.sql import SqlStore
from agentic.testing import ScriptedModel
from agentic.types.errors import StoreError
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]
PAGE, FRAME, HEAD = 4096, 4096 + 24, 32
"""Bytes: of a page, of a page in the log, and of the log's own head."""


@pytest.fixture
def left(tmp_path: Path, turn: MakeTurn) -> tuple[Path, list[Record]]:
    """A store with a log beside it, as a process that was cut off leaves them, and all that it had been told."""
    file, whole = tmp_path / "left" / "s.db", [record for number in range(12) for record in turn(f"t{number}")]

    async def write() -> None:
        store = SqlStore(tmp_path / "s.db")
        await store.create("s")
        lease = await store.acquire("s")
        for start in range(0, len(whole), 4):
            await store.append(lease, whole[start : start + 4])
            if start == 16:
                store._database.checkpoint()
        file.parent.mkdir()
        shutil.copy(tmp_path / "s.db", file)
        shutil.copy(tmp_path / "s.db-wal", f"{file}-wal")
        await store.aclose()

    asyncio.run(write())
    return file, whole


def log_of(file: Path) -> Path:
    return Path(f"{file}-wal")


def open_copy(left: Path, name: str, *, file: bytes | None = None, log: bytes | None = None) -> list[Record] | None:
    """Opens a copy with another file or log, checks that it takes more, and returns its records; None if refused."""
    copy = left.parent / name / "s.db"
    copy.parent.mkdir()
    copy.write_bytes(left.read_bytes() if file is None else file)
    log_of(copy).write_bytes(log_of(left).read_bytes() if log is None else log)

    async def look() -> list[Record]:
        store = SqlStore(copy, timeout=0.5)
        try:
            records = await store.read("s")
            assert await store.verify("s") == len(records)
            lease = await store.acquire("s")
            assert lease.seq == len(records)
            await store.append(lease, records[:2])
            assert await store.verify("s") == len(records) + 2
        finally:
            await store.aclose()
        return records

    try:
        return asyncio.run(look())
    except StoreError:
        return None
    finally:
        shutil.rmtree(copy.parent)


@pytest.mark.slow
def test_a_log_that_ends_at_any_byte(left: tuple[Path, list[Record]]) -> None:
    file, whole = left
    log = log_of(file).read_bytes()
    frames = range(HEAD, len(log) + 1, FRAME)
    places = {place + by for place in frames for by in (-1, 0, 1, 24, PAGE // 2) if place + by <= len(log)}
    places |= {0, 1, HEAD - 1, *random.Random(0).sample(range(len(log)), 30)}
    counts = []
    for place in sorted(places):
        found = open_copy(file, f"cut-{place}", log=log[:place])
        assert found is not None, f"a log of {place} bytes was refused"
        assert found == whole[: len(found)]
        assert len(found) % 4 == 0, "half of an append is there"
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[0] >= 20, "what had been moved into the file is lost"
    assert counts[-1] == len(whole)


def test_a_log_with_damage_anywhere(left: tuple[Path, list[Record]]) -> None:
    file, whole = left
    log = log_of(file).read_bytes()
    for place in random.Random(1).sample(range(len(log)), 40):
        damaged = bytearray(log)
        damaged[place] ^= 0x40
        found = open_copy(file, f"bit-{place}", log=bytes(damaged))
        assert found is None or found == whole[: len(found)], f"byte {place} changed what is read"


@pytest.mark.parametrize("with_log", [True, False])
def test_a_torn_last_page(left: tuple[Path, list[Record]], with_log: bool) -> None:
    file, whole = left
    content = file.read_bytes()
    log = None if with_log else b""
    for cut in (1, 100, PAGE // 2, PAGE - 1, PAGE):
        found = open_copy(file, f"short-{cut}", file=content[:-cut], log=log)
        assert found is None or found == whole[: len(found)]
        torn = content[:-cut] + bytes(cut)
        found = open_copy(file, f"zeros-{cut}", file=torn, log=log)
        assert found is None or found == whole[: len(found)]


def test_a_clock_that_goes_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is the log's, not the clock's: turns stay in the order in which they were run."""
    hours = iter(range(10_000, 0, -1))
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    for module in ("journal", "orchestrator"):
        monkeypatch.setattr(f"agentic.{module}.now", lambda: begin + timedelta(hours=next(hours)))
    monkeypatch.setattr("agentic.store.queries.time.time", lambda: float(next(hours)) * 3600)
    with Agent(ScriptedModel(["one", "two", "three"]), store=tmp_path / "s.db") as agent:
        texts = [agent.session("s").run("Go on.").text for _ in range(3)]
    with Agent(ScriptedModel(["four"]), store=tmp_path / "s.db") as agent:
        session = agent.session("s")
        assert [turn.text for turn in session.turns] == texts == ["one", "two", "three"]
        assert session.run("Go on.").text == "four"
        assert asyncio.run(agent._store.verify("s")) > 12

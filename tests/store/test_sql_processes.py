"""Several processes and threads on one database, and processes that die in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentic.store import open_store
from agentic.store.sql import SqlStore
from agentic.types.errors import SessionBusy
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]
WRITER = Path(__file__).parent / "process_writer.py"
MANY = 1_000_000


@contextmanager
def writer(where: Path, session_id: str, appends: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to write, and does when it is sent a line."""
    command = [sys.executable, str(WRITER), str(where), session_id, str(appends)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def acknowledged(process: subprocess.Popen[str], enough: int) -> int:
    """Reads what the writer says until it has said `enough`, kills it, and returns the last thing it said."""
    assert process.stdout is not None
    last = 0
    while last < enough:
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, though nobody has asked for its status yet
    said = [line for line in process.stdout.read().split("\n")[:-1] if line]
    return int(said[-1]) if said else last


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("enough", [2, 60, 900])
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path, turn: MakeTurn, enough: int) -> None:
    file = tmp_path / "sessions.db"

    async def carry_on(acked: int) -> None:
        store = open_store(file)
        lease = await store.acquire("s")  # at once: the owner is known to be dead
        count = await store.verify("s")
        assert count == lease.seq >= acked
        assert count % 2 == 0
        await store.append(lease, turn("next"))
        assert await store.verify("s") == count + 4
        await store.aclose()

    with writer(file, "s", MANY) as process:
        go(process)
        acked = acknowledged(process, enough)
        assert acked >= enough
        asyncio.run(carry_on(acked))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGSTOP")
def test_another_processs_session_is_busy_while_it_lives(tmp_path: Path, turn: MakeTurn) -> None:
    file = tmp_path / "sessions.db"

    async def look() -> None:
        store = open_store(file)
        with pytest.raises(SessionBusy):
            await store.acquire("s")
        with pytest.raises(SessionBusy):
            await store.delete("s")
        await store.create("mine")
        lease = await store.acquire("mine")
        for number in range(20):
            await store.append(lease, turn(f"t{number}"))
        assert await store.verify("mine") == 80
        assert await store.verify("s") > 0
        await store.aclose()

    with writer(file, "s", MANY) as process:
        go(process)
        assert process.stdout is not None
        process.stdout.readline()
        drain = threading.Thread(target=process.stdout.read)  # else it stops at a full pipe
        drain.start()
        asyncio.run(look())
        process.kill()
        drain.join()


@pytest.mark.slow
def test_processes_open_a_new_file_together(tmp_path: Path) -> None:
    file = tmp_path / "new" / "sessions.db"

    async def check() -> None:
        store = open_store(file)
        assert [await store.verify(name) for name in ("a", "b", "c")] == [20, 20, 20]
        await store.aclose()

    with writer(file, "a", 10) as a, writer(file, "b", 10) as b, writer(file, "c", 10) as c:
        for process in (a, b, c):
            go(process)
        for process in (a, b, c):
            process.communicate(timeout=60)
            assert process.returncode == 0
    asyncio.run(check())


def test_threads_open_a_new_file_together(tmp_path: Path, turn: MakeTurn) -> None:
    file, together = tmp_path / "sessions.db", threading.Barrier(6)

    async def work(name: str) -> int:
        store = SqlStore(file)
        together.wait(10)
        await store.create(name)
        lease = await store.acquire(name)
        for number in range(5):
            await store.append(lease, turn(f"{name}-{number}"))
        count = await store.verify(name)
        await store.aclose()
        return count

    async def everyone() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(f"s{number}")) for number in range(6)))

    assert asyncio.run(everyone()) == [20] * 6


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc")
def test_closing_leaves_no_file_and_no_thread(tmp_path: Path, turn: MakeTurn) -> None:
    file = tmp_path / "sessions.db"

    def files() -> set[str]:
        return {name for name in map(str, map(_target, Path("/proc/self/fd").iterdir())) if str(tmp_path) in name}

    async def use(forget_lease: bool) -> None:
        store = SqlStore(file)
        await store.create("s")
        lease = await store.acquire("s")
        await asyncio.gather(*(store.append(lease, turn(f"t{number}")) for number in range(5)))
        await asyncio.gather(*(store.read("s") for _ in range(10)))
        if not forget_lease:
            await store.release(lease)
        assert files()
        await store.aclose()

    before = threading.active_count()
    for forget_lease in (False, True):
        asyncio.run(use(forget_lease))
        assert not files()
        assert threading.active_count() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sessions.db"]  # the log was moved into the file


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None

"""Faults at random for many minutes; then every invariant over every session, and nothing has grown.

It works in epochs. Each opens agents anew, on SQLite and on PostgreSQL, lets users work on old and new sessions, and
closes them; then tasks, threads, child processes and open files must be exactly those of before.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import sqlite3
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent
from agentic.store.sql import SqlStore
from agentic.testing import ScriptedModel
from invariants import check_messages, check_providers, check_turns
from postgres import PostgreSQL
from soak.users import Users
from soak.world import IDEMPOTENT, Chaos, FaultyServer, FaultyStore, Ledger, agent_of

MINUTES = float(os.environ.get("AGENTIC_SOAK_MINUTES", "20"))
SEED = int(os.environ.get("AGENTIC_SOAK_SEED", "1"))
EPOCH_SECONDS = 10.0
USERS = 6
SESSIONS = 8
"""How many new sessions each epoch has for each database; it uses those of the last two epochs, too."""
GROWTH = 16.0
"""Megabytes by which the process may have grown between the second and the last third: an allocator's noise."""


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_nothing_is_lost_and_nothing_grows(tmp_path: Path, postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        asyncio.run(Soak(tmp_path, postgresql, url).run())


class Facts:
    """What the ledger says: how often each effect happened, and what was told of some sessions, or of all.

    All of it is read when all is checked, at the end: the more is read, the more the process keeps for the next time.
    """

    def __init__(self, ledger: Ledger, sessions: Collection[str] | None = None) -> None:
        self.ran: Counter[int] = Counter()
        self.told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for fact in ledger.facts():
            if "effect" in fact:
                self.ran[fact["effect"]] += 1
            elif sessions is None or fact["session"] in sessions:
                self.told[fact["session"]].append(fact)


class Soak:
    """The whole of it."""

    def __init__(self, folder: Path, server: PostgreSQL, url: str) -> None:
        self.ledger = Ledger(folder / "ledger")
        self.postgresql = server
        self.where: dict[str, str | Path] = {"sqlite": folder / "sessions.db", "postgresql": url}
        self.names: dict[str, list[list[str]]] = {kind: [] for kind in self.where}
        self.dice = random.Random(SEED)
        self.done: Counter[str] = Counter()
        self.memory: list[float] = []

    async def run(self) -> None:
        end = time.monotonic() + MINUTES * 60
        resources = None
        while time.monotonic() < end or len(self.memory) < 2:
            await self._epoch(min(EPOCH_SECONDS, MINUTES * 20))
            self.memory.append(await _settled(resources))
            resources = resources or _resources()
            now = _resources()
            assert now == resources, f"epoch {len(self.memory)} left something behind: {resources} became {now}"
        checked = await self._check_all()
        third = max(1, len(self.memory) // 3)
        before, after = (statistics.median(part) for part in (self.memory[third : 2 * third + 1], self.memory[-third:]))
        print(f"\nsoak: {MINUTES:g} minutes, seed {SEED}, {len(self.memory)} epochs; {checked}")
        print(f"soak: {dict(self.done.most_common())}")
        print(f"soak: memory {before:.1f} MB in the middle, {after:.1f} MB at the end; {resources}")
        assert after - before < GROWTH

    async def _epoch(self, seconds: float) -> None:
        number, ended = len(self.memory), asyncio.Event()
        async with AsyncExitStack() as stack:
            users = [await self._open(kind, number, stack) for kind in self.where]
            work = [asyncio.create_task(one.work(ended, USERS)) for one in users]
            troubles = [self._lock_sqlite, self._cut_connections, *([self._restart] if number % 3 == 1 else [])]
            work += [asyncio.create_task(self._trouble(ended, trouble)) for trouble in troubles]
            asyncio.get_running_loop().call_later(seconds, ended.set)
            await asyncio.gather(*work)
        for one in users:
            self.done += one.done
            assert not one.surprises, "\n".join(one.surprises[:3])
        facts = Facts(self.ledger, {name for kind in self.where for name in self.names[kind][-1]})
        for kind in self.where:
            await self._check(kind, self.names[kind][-1], facts)

    async def _open(self, kind: str, number: int, stack: AsyncExitStack) -> Users:
        chaos = Chaos(hash((SEED, number, len(kind))), self.ledger)
        server = stack.enter_context(FaultyServer(chaos))
        agent = await stack.enter_async_context(agent_of(chaos, server, FaultyStore(self.where[kind], chaos)))
        fresh = [f"{kind}-{number}-{place}" for place in range(SESSIONS)]
        self.names[kind].append(fresh)
        old = [name for names in self.names[kind][-3:-1] for name in names]
        users = Users(agent, [*old, *fresh], self.ledger, f"{SEED} {kind} {number}")
        stack.callback(lambda: fresh.extend(set(users.names) - set(old) - set(fresh)))  # the forks
        return users

    # -- trouble ------------------------------------------------------------------------------------------------------

    async def _trouble(self, ended: asyncio.Event, trouble: Callable[[], Awaitable[None]]) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self.dice.random() * 4)
                return
            await trouble()

    async def _lock_sqlite(self) -> None:
        other = sqlite3.connect(self.where["sqlite"], isolation_level=None, timeout=0)
        with closing(other) as connection, suppress(sqlite3.OperationalError):  # a user has it
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(self.dice.random() * 0.3)
            connection.execute("ROLLBACK")
        self.done["SQLite was locked"] += 1

    async def _cut_connections(self) -> None:
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%'"
        with suppress(Exception):  # the server may be starting
            await asyncio.to_thread(self.postgresql.execute, statement)
            self.done["PostgreSQL's connections were cut"] += 1

    async def _restart(self) -> None:
        await asyncio.to_thread(self.postgresql.stop)
        await asyncio.to_thread(self.postgresql.start)
        self.done["PostgreSQL was killed and restarted"] += 1

    # -- what must hold -----------------------------------------------------------------------------------------------

    async def _check_all(self) -> str:
        facts, turns, records, sessions = Facts(self.ledger), 0, 0, 0
        for kind, epochs in self.names.items():
            for names in epochs:
                some = await self._check(kind, names, facts)
                sessions, turns, records = sessions + some[0], turns + some[1], records + some[2]
        return f"{sessions} sessions, {turns} turns, {records} records, {facts.ran.total()} effects checked"

    async def _check(self, kind: str, names: list[str], facts: Facts) -> tuple[int, int, int]:
        """Opens sessions in a store of their own, as a new process would, and holds them against the ledger."""
        store, turns, records, sessions = SqlStore(self.where[kind]), 0, 0, 0
        async with Agent(ScriptedModel(), store=store) as agent:
            existing = {one.session_id for one in await store.sessions()}
            for name in sorted(existing.intersection(names)):
                session = await agent.session(name).aload()
                check_turns(session.turns, facts.ran, idempotent=IDEMPOTENT)
                closed = [turn for turn in session.turns if turn.reason]
                if len(closed) == len(session.turns):
                    check_messages(session.messages)
                    if session.messages:
                        await check_providers(session.messages)
                known = {turn.turn_id: turn for turn in session.turns}
                steps = {step.step_id for turn in session.turns for step in turn.steps}
                for fact in facts.told[name]:
                    assert fact.get("step", "") in {"", *steps}, f"{fact} was told and is lost"
                    assert "turn" not in fact or fact["turn"] in known, f"{fact} was returned and is lost"
                    if fact.get("reason"):
                        turn = known[fact["turn"]]
                        assert (turn.reason, turn.text) == (fact["reason"], fact["text"])
                records += await store.verify(name)
                turns, sessions = turns + len(session.turns), sessions + 1
        return sessions, turns, records


def _resources() -> dict[str, int]:
    return {
        "tasks": len(asyncio.all_tasks()),
        # asyncio's own pool grows to its size and stays.
        "threads": sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
        "files": len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0,
    }


async def _settled(resources: dict[str, int] | None) -> float:
    """Waits until abandoned tools have ended, and returns the memory in use, in megabytes."""
    for _ in range(100):
        if resources is None or _resources() == resources:
            break
        await asyncio.sleep(0.05)
    gc.collect()
    return _megabytes()


def _megabytes() -> float:
    if sys.platform != "linux":
        return 0.0
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

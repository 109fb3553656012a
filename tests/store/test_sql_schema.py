"""The schema: migrations build what the code expects, and a current database costs next to nothing to open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from agentic.store import migrate
from agentic.store.schema import metadata
from agentic.store.sql import SqlStore
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]


def test_migrations_build_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'sessions.db'}")
    migrate.migrate(engine, "here")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == migrate.HEAD
    engine.dispose()


def test_the_newest_revision_is_the_one_the_code_knows() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == migrate.HEAD


def test_a_current_store_is_opened_without_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        store = SqlStore(tmp_path / "sessions.db")
        await store.create("s")
        await store.aclose()

    asyncio.run(use())
    monkeypatch.setattr(migrate, "_upgrade", None)
    asyncio.run(use())


def test_importing_the_store_loads_no_database() -> None:
    code = "import agentic.store, sys; sys.exit(any(name in sys.modules for name in ('sqlalchemy', 'alembic')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.anyio
async def test_an_append_costs_the_same_at_any_length(tmp_path: Path, turn: MakeTurn) -> None:
    store = SqlStore(tmp_path / "sessions.db")
    await store.create("s")
    lease = await store.acquire("s")
    quick = store._database._quick
    assert quick is not None

    async def cost() -> tuple[list[str], int]:
        statements: list[str] = []
        quick.set_trace_callback(statements.append)
        before = quick.total_changes
        await store.append(lease, turn("t"))
        quick.set_trace_callback(None)
        return [statement.split()[0] for statement in statements], quick.total_changes - before

    first = await cost()
    for number in range(200):
        await store.append(lease, turn(f"t{number}"))
    assert await cost() == first == (["BEGIN", "UPDATE", "INSERT", "INSERT", "INSERT", "INSERT", "COMMIT"], 5)
    await store.aclose()


@pytest.mark.anyio
async def test_the_log_file_does_not_grow_without_end(tmp_path: Path, turn: MakeTurn) -> None:
    store = SqlStore(tmp_path / "sessions.db")
    await store.create("s")
    lease = await store.acquire("s")
    largest = 0
    for number in range(1_000):
        await store.append(lease, turn(f"t{number}"))
        largest = max(largest, (tmp_path / "sessions.db-wal").stat().st_size)
    assert 1_000_000 < largest < 16_000_000
    assert await store.verify("s") == 4_000
    await store.aclose()

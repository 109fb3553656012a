"""Where prompts are kept: beside the sessions, in the same database or in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..types.errors import InvalidInput, NotFound, StoreCorrupt
from ..types.prompts import Prompt

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

    from .schema import Sql


class Prompts(Protocol):
    """What a store does for prompts; every method may raise `StoreError` in any of its kinds."""

    async def add(self, draft: Prompt) -> Prompt:
        """Adds a version, numbered by the store; it becomes the default if `draft.default`, or if it is the first."""
        ...

    async def versions(self, name: str) -> list[Prompt]:
        """All versions of a prompt, in order; none where there is no such prompt."""
        ...

    async def all(self) -> list[Prompt]:
        """The default version of every prompt, by name."""
        ...

    async def choose(self, name: str, version: int) -> None:
        """Makes a version the default.

        Raises:
            NotFound: There is no such version.
        """
        ...

    async def remove(self, name: str) -> None:
        """Removes a prompt with all its versions.

        Raises:
            NotFound: There is no such prompt.
        """
        ...


@runtime_checkable
class KeepsPrompts(Protocol):
    """A store that keeps prompts, too."""

    @property
    def prompts(self) -> Prompts:
        """The prompts."""
        ...


def no_prompt(name: str, version: int | None = None) -> NotFound:
    """The error for a prompt or a version that does not exist."""
    return NotFound(f"There is no prompt {name!r}." if version is None else f"There is no prompt {name}@{version}.")


class MemoryPrompts:
    """Prompts that live as long as this object."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Prompt]] = {}
        self._latest: dict[str, int] = {}
        self._chosen: dict[str, int] = {}
        self._lock = threading.Lock()

    async def add(self, draft: Prompt) -> Prompt:
        """See `Prompts`."""
        with self._lock:
            version = self._latest[draft.name] = self._latest.get(draft.name, 0) + 1
            if draft.default or draft.name not in self._chosen:
                self._chosen[draft.name] = version
            added = replace(draft, version=version, created_at=datetime.now(UTC))
            self._versions.setdefault(draft.name, []).append(added)
            return self._shown(added)

    async def versions(self, name: str) -> list[Prompt]:
        """See `Prompts`."""
        with self._lock:
            return [self._shown(one) for one in self._versions.get(name, ())]

    async def all(self) -> list[Prompt]:
        """See `Prompts`."""
        with self._lock:
            shown = [self._shown(one) for name in sorted(self._versions) for one in self._versions[name]]
            return [one for one in shown if one.default]

    async def choose(self, name: str, version: int) -> None:
        """See `Prompts`."""
        with self._lock:
            if not any(one.version == version for one in self._versions.get(name, ())):
                raise no_prompt(name, version)
            self._chosen[name] = version

    async def remove(self, name: str) -> None:
        """See `Prompts`."""
        with self._lock:
            if self._versions.pop(name, None) is None:
                raise no_prompt(name)
            del self._chosen[name]

    def _shown(self, prompt: Prompt) -> Prompt:
        return replace(prompt, default=self._chosen.get(prompt.name) == prompt.version)


Transact = Callable[..., Awaitable[Any]]


class SqlPrompts:
    """Prompts in an SQL store's database.

    Args:
        sql: The statements.
        transact: Runs a function of a cursor in one transaction.
    """

    def __init__(self, sql: Sql, transact: Transact) -> None:
        self._sql = sql
        self._transact = transact

    async def add(self, draft: Prompt) -> Prompt:
        """See `Prompts`."""
        added: Prompt = await self._transact(partial(self._add, draft))
        return added

    async def versions(self, name: str) -> list[Prompt]:
        """See `Prompts`."""
        rows = await self._transact(partial(_rows, self._sql.versions, {"prompt": name}), write=False)
        return [_prompt(row) for row in rows]

    async def all(self) -> list[Prompt]:
        """See `Prompts`."""
        rows = await self._transact(partial(_rows, self._sql.prompts, {}), write=False, quick=False)
        return [_prompt(row) for row in rows]

    async def choose(self, name: str, version: int) -> None:
        """See `Prompts`."""
        await self._transact(partial(self._choose, name, version))

    async def remove(self, name: str) -> None:
        """See `Prompts`."""
        await self._transact(partial(self._remove, name))

    def _add(self, draft: Prompt, cursor: DBAPICursor) -> Prompt:
        named = {"prompt": draft.name}
        cursor.execute(self._sql.add_prompt, {"name": draft.name, "latest": 0, "chosen": 0})
        cursor.execute(self._sql.next_version, named)  # the row is ours from here on: two writers get two numbers
        cursor.execute(self._sql.prompt, named)
        ((_, version, chosen),) = cursor.fetchall()
        created = time.time()
        row = {
            "name": draft.name,
            "version": version,
            "template": draft.template,
            "variables": json.dumps(draft.variables),
            "note": draft.note,
            "created": created,
        }
        cursor.execute(self._sql.add_version, row)
        default = draft.default or not chosen
        if default:
            cursor.execute(self._sql.choose, {**named, "version": version})
        return replace(draft, version=version, default=default, created_at=datetime.fromtimestamp(created, UTC))

    def _choose(self, name: str, version: int, cursor: DBAPICursor) -> None:
        if not any(row[1] == version for row in _rows(self._sql.versions, {"prompt": name}, cursor)):
            raise no_prompt(name, version)
        cursor.execute(self._sql.choose, {"prompt": name, "version": version})

    def _remove(self, name: str, cursor: DBAPICursor) -> None:
        cursor.execute(self._sql.choose, {"prompt": name, "version": 0})
        cursor.execute(self._sql.drop_versions, {"prompt": name})
        if cursor.rowcount < 1:
            raise no_prompt(name)


def _rows(statement: str, values: dict[str, Any], cursor: DBAPICursor) -> Sequence[Any]:
    cursor.execute(statement, values)
    rows: Sequence[Any] = cursor.fetchall()
    return rows


def _prompt(row: Sequence[Any]) -> Prompt:
    name, version, template, variables, note, created, chosen = row
    try:
        return Prompt(
            name=name,
            version=version,
            template=template,
            variables=tuple(json.loads(variables)),
            note=note,
            default=version == chosen,
            created_at=datetime.fromtimestamp(created, UTC),
        )
    except (
        InvalidInput,
        TypeError,
        ValueError,
        OverflowError,
        OSError,
    ) as error:  # SQLite keeps whatever type an altered row has
        raise StoreCorrupt(f"The row of prompt {name}@{version} is damaged.") from error

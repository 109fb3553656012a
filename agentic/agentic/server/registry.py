"""What a server offers of one kind: what its configuration names, and what clients have registered beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..store.documents import Documents
from ..types.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

E = TypeVar("E", bound="DataclassInstance")
T = TypeVar("T")


class Registry(ABC, Generic[E, T]):
    """Entries by the ids that clients use, and what is behind them, each opened once.

    Args:
        documents: Where registrations are kept.
        entry: Makes an entry of what is kept.
        kind: The kind of the documents.
        called: What messages call an entry.
    """

    def __init__(self, documents: Documents, entry: type[E], *, kind: str, called: str) -> None:
        self._documents = documents
        self._entry = entry
        self._kind = kind
        self._called = called
        self._open: dict[str, T] = {}

    async def list(self) -> list[E]:
        """All entries, the configuration's first."""
        return list((await self._entries()).values())

    async def get(self, name: str) -> E:
        """One entry.

        Raises:
            NotFound: There is none of that id.
        """
        entries = await self._entries()
        if (entry := entries.get(name)) is None:
            raise NotFound(f"{self._called} {name!r} not found.", hint=f"There are: {', '.join(entries) or 'none'}.")
        return entry

    async def aclose(self) -> None:
        """Closes what was opened."""
        for name in list(self._open):
            await self._forget(name)

    @abstractmethod
    def _configured(self) -> Mapping[str, E]:
        """What the configuration names."""

    async def _entries(self) -> dict[str, E]:
        configured = self._configured()
        registered = await self._documents.all(self._kind)
        added = {one.name: self._entry(**one.body) for one in registered if one.name not in configured}
        return {**configured, **added}

    async def _add(self, name: str, entry: E) -> None:
        """Keeps an entry, in the place of an older one.

        Raises:
            InvalidInput: The configuration has one of that id.
        """
        if name in self._configured():
            raise InvalidInput(f"{self._called} {name!r} stands in the server's configuration already.")
        await self._documents.put(self._kind, name, asdict(entry))
        await self._forget(name)

    async def _remove(self, name: str) -> None:
        """Removes an entry that was added.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It is one of the configuration's.
        """
        await self.get(name)
        if name in self._configured():
            raise InvalidInput(f"{self._called} {name!r} stands in the server's configuration: remove it there.")
        await self._documents.remove(self._kind, name)
        await self._forget(name)

    async def _forget(self, name: str) -> None:
        """Closes what is open behind an id."""
        opened: Any = self._open.pop(name, None)
        if (aclose := getattr(opened, "aclose", None)) is not None:
            await aclose()

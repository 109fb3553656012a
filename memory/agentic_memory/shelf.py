"""All banks of one store: for the command line, and for whoever wants to list them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from agentic.types.errors import ConfigError, NotFound

from . import upkeep
from .bank import MemoryBank
from .banks import GraphBank, KeyValueBank, KeywordBank
from .rows import Bank, Tx, banks

AnyBank: TypeAlias = MemoryBank | KeyValueBank | GraphBank
_OTHERS = (KeywordBank, KeyValueBank, GraphBank)
_GIVEN = "given"
"""The model of a bank whose vectors came with its texts."""


class Shelf:
    """The banks of a store.

    Args:
        store: A path or URL as for sessions; `"default"` is the sessions' own file.

    Raises:
        ConfigError: The store cannot be used.
    """

    def __init__(self, store: str | Path = "default") -> None:
        self._store = store

    async def banks(self) -> list[dict[str, Any]]:
        """Name, kind and embedding of each bank, by name."""
        found = await banks(self._store)
        return [{"name": bank.name, "kind": bank.kind, "embedding": _embedding(bank)} for bank in found]

    async def create(self, name: str, embedding: str | None = None, kind: str = MemoryBank.kind) -> AnyBank:
        """Makes a bank, and notes the embedding of a vector bank; None: that of the first vectors that it gets.

        Raises:
            ConfigError: There is one of that name, or no such embedding, or the kind takes none.
        """
        if any(bank["name"] == name for bank in await self.banks()):
            raise ConfigError(f"There is a bank {name!r} already.", hint=f"Add to it: agentic memory add {name} …")
        if embedding is not None and kind != MemoryBank.kind:
            raise ConfigError(f"A {kind} bank has no embedding; a {MemoryBank.kind} bank does.")
        bank = self._opened(name, kind, embedding)

        def note(tx: Tx) -> None:
            if embedding is not None:
                tx.bank.settings["embedding"] = embedding
                tx.changed = True

        await bank.rows.write(note)
        return bank

    async def bank(self, name: str, *, embeds: bool = True) -> AnyBank:
        """Opens a bank; a vector bank with the embedding that it was made with.

        Args:
            name: Its name.
            embeds: Whether vectors will be computed; if not, its embedding need not be there.

        Raises:
            NotFound: There is none of that name.
            ConfigError: Its embedding is not there.
        """
        there = {bank["name"]: bank for bank in await self.banks()}
        if name not in there:
            raise NotFound(f"There is no bank {name!r}.", hint=f"Make it: agentic memory create {name}")
        embedding = there[name]["embedding"] if embeds else _GIVEN
        return self._opened(name, there[name]["kind"], None if embedding == _GIVEN else embedding)

    def _opened(self, name: str, kind: str, embedding: str | None) -> AnyBank:
        for other in _OTHERS:
            if other.kind == kind:
                return other(name, store=self._store)
        return MemoryBank(name, store=self._store, embedding=embedding)

    @staticmethod
    async def shown(bank: AnyBank, document: str) -> dict[str, Any]:
        """What a bank knows of a document, and the passages that it was cut into, in order.

        Raises:
            NotFound: It has none of that id.
        """

        def work(tx: Tx) -> dict[str, Any]:
            passages = [{"text": row.text, "position": row.position} for row in upkeep.passages(tx, document)]
            return {**asdict(upkeep.one(tx, document)), "passages": passages}

        return await bank.rows.read(work)

    @staticmethod
    def kind_of(file: str | Path) -> str:
        """The kind of the bank that was exported to a file.

        Raises:
            InvalidInput: It is no exported bank.
        """
        return upkeep.kind_of(Path(file))

    @staticmethod
    def count(sources: Iterable[str]) -> int:
        """How many files and pages sources lead to, without reading them."""
        from .documents.sources import count

        return count(sources)


def _embedding(bank: Bank) -> str:
    """The embedding as it was named; of a bank that was made elsewhere, its model."""
    if bank.kind != MemoryBank.kind:
        return ""
    return str(bank.settings.get("embedding") or bank.settings.get("fingerprint", {}).get("model") or "default")

"""All banks of one store: for the command line, and for whoever wants to list them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentic.types.errors import ConfigError, NotFound

from .bank import MemoryBank
from .rows import Bank, Tx, banks


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

    async def create(self, name: str, embedding: str = "default") -> MemoryBank:
        """Makes a vector bank and notes its embedding.

        Raises:
            ConfigError: There is one of that name, or no such embedding.
        """
        if any(bank["name"] == name for bank in await self.banks()):
            raise ConfigError(f"There is a bank {name!r} already.", hint=f"Add to it: agentic memory add {name} …")
        bank = MemoryBank(name, store=self._store, embedding=embedding)

        def note(tx: Tx) -> None:
            tx.bank.settings["embedding"] = embedding
            tx.changed = True

        await bank.rows.write(note)
        return bank

    async def bank(self, name: str) -> MemoryBank:
        """Opens a vector bank with the embedding that it was made with.

        Raises:
            NotFound: There is none of that name.
            ConfigError: It is of another kind.
        """
        there = {bank["name"]: bank for bank in await self.banks()}
        if name not in there:
            raise NotFound(f"There is no bank {name!r}.", hint=f"Make it: agentic memory create {name}")
        if there[name]["kind"] != MemoryBank.kind:
            raise ConfigError(f"{name!r} is a {there[name]['kind']} bank; only vector banks hold documents.")
        return MemoryBank(name, store=self._store, embedding=there[name]["embedding"])

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

"""Memory banks by the ids that clients use: `vector_db_id`, or `bank_id` of old."""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from .. import plugins
from ..config import BankConfig, using
from ..protocols import MemoryBank
from ..stack import Stack
from ..store.documents import Documents
from ..threads import run_in_thread
from ..types.errors import InvalidInput
from ..types.steps import Hit
from .registry import Registry
from .tenants import owned

KIND = "bank"


@dataclass(frozen=True, slots=True)
class Entry:
    """One bank.

    Attributes:
        bank_id: As clients name it.
        kind: `vector`, `keyword`, `keyvalue` or `graph`.
        embedding_model: What makes its vectors, as clients name it; empty where there are none.
        embedding: The same as a model string.
        embedding_dimension: How long they are.
        provider_id: What keeps it.
    """

    bank_id: str
    kind: str = "vector"
    embedding_model: str = ""
    embedding: str = ""
    embedding_dimension: int = 0
    provider_id: str = "faiss"


@runtime_checkable
class Writable(Protocol):
    """A memory bank that takes text."""

    async def aadd_text(self, text: str, *, id: str, metadata: Mapping[str, Any] | None = None) -> Any:
        """Adds a document, in the place of an older one of its id."""
        ...


@runtime_checkable
class TakesChunks(Protocol):
    """A memory bank that takes texts which are chunks already."""

    async def aadd_texts(
        self, texts: Sequence[str], *, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]
    ) -> Any:
        """Adds each text as it is."""
        ...


async def find(bank: MemoryBank, query: str, k: int, mode: str | None = None) -> Sequence[Hit]:
    """Searches a bank.

    Args:
        bank: The bank.
        query: What to search for.
        k: The most hits.
        mode: `vector`, `keyword` or `hybrid`; None, and a bank that knows one way only, take the bank's own.

    Raises:
        InvalidInput: There is no such mode.
    """
    if mode not in (None, "vector", "keyword", "hybrid"):
        raise InvalidInput(f"mode is vector, keyword or hybrid, not {mode!r:.40}.")
    if mode is None or "mode" not in inspect.signature(bank.aquery).parameters:
        return await bank.aquery(query, k=k)
    found: Sequence[Hit] = await bank.aquery(query, k=k, mode=mode)  # type: ignore[call-arg] # looked up above
    return found


class Banks(Registry[Entry, MemoryBank]):
    """The banks of a stack, and those that clients have registered; each is opened once.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
        tenant: Whose they are; empty for the operator's own.
        shared: The operator's own, for a tenant: the configuration's banks are opened once for all.
    """

    def __init__(self, stack: Stack, documents: Documents, tenant: str = "", shared: Banks | None = None) -> None:
        super().__init__(documents, Entry, kind=KIND, called="Vector DB")
        self._stack = stack
        self._tenant = tenant
        self._shared = shared
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def bank(self, bank_id: str) -> MemoryBank:
        """The bank behind an id.

        Raises:
            NotFound: There is none of that id.
            ConfigError: It cannot be opened.
        """
        entry = await self.get(bank_id)
        if self._shared is not None and bank_id in self._configured():
            return await self._shared.bank(bank_id)
        async with self._opening[bank_id]:
            if bank_id not in self._open:
                opened = self._stack.banks.get(bank_id)
                if opened is None:
                    opened = await run_in_thread(lambda: self._open_now(entry), "agentic-bank")
                self._open[bank_id] = opened
            return self._open[bank_id]

    async def register(self, entry: Entry) -> Entry:
        """Adds a bank.

        Raises:
            InvalidInput: There is another bank of that id.
            ConfigError: There is no such kind of bank, or it cannot be opened.
        """
        async with self._opening[entry.bank_id]:
            there = (await self._entries()).get(entry.bank_id)
            if there is not None and there != entry:
                raise InvalidInput(f"There is already a bank {entry.bank_id!r}, which is made otherwise.")
            if there is None:
                self._open[entry.bank_id] = await run_in_thread(lambda: self._open_now(entry), "agentic-bank")
                try:
                    await self._documents.put(KIND, entry.bank_id, asdict(entry))
                except BaseException:
                    await self._forget(entry.bank_id)
                    raise
        return entry

    async def unregister(self, bank_id: str) -> None:
        """Removes a bank that was added, with everything in it.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It is one of the configuration's.
        """
        if bank_id not in self._configured():
            bank = await self.bank(bank_id)
            emptied = getattr(bank, "adrop", None) or getattr(bank, "aclear", None)
            if emptied is not None:
                await emptied()
        await self._remove(bank_id)

    async def writable(self, bank_id: str) -> Writable:
        """A bank that takes text.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It can only be searched; a tenant only searches the configuration's banks.
        """
        bank = await self.bank(bank_id)
        if self._tenant and bank_id in self._configured():
            raise InvalidInput(f"Vector DB {bank_id!r} is shared with other tenants: it can be searched only.")
        if not isinstance(bank, Writable):
            raise InvalidInput(f"Vector DB {bank_id!r} can be searched, but takes no text.")
        return bank

    def _open_now(self, entry: Entry) -> MemoryBank:
        config = self._stack.config
        own = entry.bank_id
        if own not in config.banks:
            own = owned(self._tenant, own)
            given = BankConfig(kind=entry.kind, embedding=entry.embedding or None)
            embedder = self._stack.settings(entry.embedding, type="embedding") if "/" in entry.embedding else None
            models = {entry.embedding: embedder, **config.models} if embedder else config.models
            added = {"banks": {**config.banks, own: given}, "models": models}
            config = config.model_copy(update=added)
        name = f"bank::{own}"
        with using(config):
            opened: MemoryBank = plugins.load("memory", name)(name)
        return opened

    @property
    def configured(self) -> tuple[str, ...]:
        """The ids of the configuration's own banks."""
        return tuple(self._configured())

    def _configured(self) -> dict[str, Entry]:
        found = {name: Entry(name) for name in self._stack.banks}
        for name, bank in self._stack.config.banks.items():
            made_by = bank.embedding or ""
            found[name] = Entry(name, bank.kind, made_by, made_by)
        return found

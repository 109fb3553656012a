"""Tenants: several parties on one server, none of whom can see what another one has.

Each has services of its own: its own agents, sessions, banks, files, responses, prompts, registrations and running
turns. Their rows lie in one store, under names that no other tenant can form. What the configuration offers is there
for all; only the tenant without a name, which is the operator's own, may write to the configuration's banks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..store import KeepsDocuments, KeepsPrompts, Store
from ..store.base import Lease
from ..store.documents import Document, Documents
from ..store.prompts import Prompts
from ..types.errors import ConfigError, InvalidInput
from ..types.prompts import Prompt
from ..types.records import Record
from ..types.turns import Session

RESERVED = "tenant."
"""What names in a shared space begin with when they are a tenant's; the operator's own may not."""


def owned(tenant: str, name: str) -> str:
    """A name in a shared space, as only this tenant can form it.

    Raises:
        InvalidInput: It is the operator's, and looks like a tenant's.
    """
    if tenant:
        return f"{RESERVED}{tenant}.{name}"
    if name.startswith(RESERVED):
        raise InvalidInput(f"A name must not begin with {RESERVED!r}.")
    return name


class TenantDocuments:
    """One tenant's documents; see `Documents`.

    Args:
        documents: Everybody's.
        tenant: The tenant; it has no slash, and neither have kinds before their first colon or space.
    """

    def __init__(self, documents: Documents, tenant: str) -> None:
        self._documents = documents
        self._before = f"{tenant}/"

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """See `Documents`."""
        return self._shown(await self._documents.put(self._before + kind, name, body))

    async def get(self, kind: str, name: str) -> Document | None:
        """See `Documents`."""
        found = await self._documents.get(self._before + kind, name)
        return found and self._shown(found)

    async def all(self, kind: str) -> list[Document]:
        """See `Documents`."""
        return [self._shown(found) for found in await self._documents.all(self._before + kind)]

    async def remove(self, kind: str, name: str) -> bool:
        """See `Documents`."""
        return await self._documents.remove(self._before + kind, name)

    def _shown(self, document: Document) -> Document:
        return replace(document, kind=document.kind.removeprefix(self._before))


class TenantPrompts:
    """One tenant's prompts, or the operator's own; see `Prompts`.

    Args:
        prompts: Everybody's.
        tenant: The tenant, or an empty text.
    """

    def __init__(self, prompts: Prompts, tenant: str) -> None:
        self._prompts = prompts
        self._tenant = tenant
        self._before = f"{RESERVED}{tenant}." if tenant else ""

    async def add(self, draft: Prompt) -> Prompt:
        """See `Prompts`."""
        return self._shown(await self._prompts.add(replace(draft, name=owned(self._tenant, draft.name))))

    async def versions(self, name: str) -> list[Prompt]:
        """See `Prompts`."""
        if not self._tenant and name.startswith(RESERVED):
            return []
        return [self._shown(found) for found in await self._prompts.versions(self._before + name)]

    async def all(self) -> list[Prompt]:
        """See `Prompts`."""
        found = await self._prompts.all()
        if self._tenant:
            return [self._shown(one) for one in found if one.name.startswith(self._before)]
        return [one for one in found if not one.name.startswith(RESERVED)]

    async def choose(self, name: str, version: int) -> None:
        """See `Prompts`."""
        await self._prompts.choose(owned(self._tenant, name), version)

    async def remove(self, name: str) -> None:
        """See `Prompts`."""
        await self._prompts.remove(owned(self._tenant, name))

    def _shown(self, prompt: Prompt) -> Prompt:
        return replace(prompt, name=prompt.name.removeprefix(self._before))


class TenantStore:
    """The store as one tenant sees it.

    Sessions need no names of their own: their ids are made by the server, and only a tenant's documents lead to them.

    Args:
        store: Everybody's; it stays open when this one is closed.
        tenant: The tenant, or an empty text for the operator's own.

    Raises:
        ConfigError: The store keeps no documents or no prompts.
    """

    def __init__(self, store: Store, tenant: str) -> None:
        if not isinstance(store, KeepsDocuments) or not isinstance(store, KeepsPrompts):
            raise ConfigError("A server needs a store that keeps documents, too: a path, a URL or None.")
        self._store = store
        self.documents: Documents = TenantDocuments(store.documents, tenant) if tenant else store.documents
        self.prompts: Prompts = TenantPrompts(store.prompts, tenant)

    async def create(self, session_id: str, *, agent: str = "", model: str = "") -> Session:
        """See `Store`."""
        return await self._store.create(session_id, agent=agent, model=model)

    async def get(self, session_id: str) -> Session:
        """See `Store`."""
        return await self._store.get(session_id)

    async def sessions(self) -> list[Session]:
        """See `Store`."""
        return await self._store.sessions()

    async def acquire(self, session_id: str) -> Lease:
        """See `Store`."""
        return await self._store.acquire(session_id)

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        """See `Store`."""
        await self._store.append(lease, records, release=release)

    async def release(self, lease: Lease) -> None:
        """See `Store`."""
        await self._store.release(lease)

    async def read(self, session_id: str, *, after: int = 0) -> list[Record]:
        """See `Store`."""
        return await self._store.read(session_id, after=after)

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """See `Store`."""
        return await self._store.fork(session_id, new_id, at=at)

    async def delete(self, session_id: str) -> None:
        """See `Store`."""
        await self._store.delete(session_id)

    async def verify(self, session_id: str) -> int:
        """See `Store`."""
        return await self._store.verify(session_id)

    async def aclose(self) -> None:
        """Leaves it open: others use it, too."""
        await asyncio.sleep(0)

"""Who may ask: keys, what they may do, and whose they are.

A key is `ak_`, its id and a secret; the store keeps the secret's SHA-256 only (it is 256 random bits: nobody guesses
it, and a slow hash would only slow the server). Every worker process reads the keys again after `FRESH` seconds, so a
key that is removed is refused then.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config import ServerConfig
from ..store.documents import Document, Documents
from ..types.errors import InvalidInput, NotFound

KIND = "server key"
FRESH = 2.0
SCOPES = ("inference", "agents", "admin", "metrics")
"""What a key may do: ask models; work with agents, banks, files and prompts; register models and the like; /metrics."""

ADMINISTERED = ("models", "shields", "toolgroups", "providers", "scoring-functions")
INFERENCE = ("inference", "chat", "completions", "embeddings", "safety", "moderations")
OPEN = ("models", "shields", "toolgroups", "providers", "tools", "inspect", "version", "health", "openapi.json")
"""What every key may read."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its secret.

    Attributes:
        key_id: Its name in lists and logs.
        digest: SHA-256 of the secret, in hex.
        tenant: Whose it is; empty for the operator.
        scopes: What it may do.
        rate: Requests a minute; None takes the server's.
        concurrency: Requests at a time; None takes the server's.
        label: What it is for.
    """

    key_id: str
    digest: str
    tenant: str = ""
    scopes: tuple[str, ...] = SCOPES
    rate: int | None = None
    concurrency: int | None = None
    label: str = ""

    def lacks(self, method: str, path: str) -> str | None:
        """The scope that a request needs and this key lacks, or None."""
        needed = scope_of(method, path)
        return None if needed is None or needed in self.scopes else needed


ANYONE = Key("", "")
"""Who asks a server that demands no key."""


class Keys:
    """The keys of a server.

    Args:
        documents: Where they are kept; the operator's.
        token: One more key, which may do everything and stands in no store, or None.
        demanded: Whether a key is demanded though there is none.
    """

    def __init__(self, documents: Documents, token: str | None = None, *, demanded: bool = False) -> None:
        self._documents = documents
        self._token = Key("token", _digest(token)) if token else None
        self._known: dict[str, Key] = {}
        self._read = float("-inf")
        self._demanded = demanded or token is not None

    async def add(
        self,
        label: str = "",
        *,
        tenant: str = "",
        scopes: Sequence[str] = ("inference", "agents"),
        rate: int | None = None,
        concurrency: int | None = None,
    ) -> tuple[Key, str]:
        """Makes a key.

        Args:
            label: What it is for.
            tenant: Whose it is: lower-case letters, digits and `-`, at most 32; empty for the operator.
            scopes: What it may do; see `SCOPES`.
            rate: Requests a minute; default: the server's.
            concurrency: Requests at a time; default: the server's.

        Returns:
            The key, and the text that a client sends. It is shown nowhere again.

        Raises:
            InvalidInput: The tenant's name, a scope or a limit cannot be.
        """
        if tenant and not _TENANT.fullmatch(tenant):
            raise InvalidInput("A tenant's name is lower-case letters, digits and '-', at most 32.")
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise InvalidInput(f"There is no scope {unknown[0]!r}.", hint=f"There are: {', '.join(SCOPES)}.")
        if not scopes or any(limit is not None and limit < 1 for limit in (rate, concurrency)):
            raise InvalidInput("A key needs a scope, and its limits are at least 1.")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        text = f"ak_{key_id}_{secret}"
        key = Key(key_id, _digest(text), tenant, tuple(dict.fromkeys(scopes)), rate, concurrency, label[:200])
        body = {name: getattr(key, name) for name in Key.__slots__ if name != "key_id"}
        await self._documents.put(KIND, key_id, {**body, "scopes": list(key.scopes)})
        self._read = float("-inf")
        return key, text

    async def all(self) -> list[tuple[Key, Document]]:
        """All keys and their documents, the oldest first."""
        return [(_key(found), found) for found in await self._documents.all(KIND)]

    async def remove(self, key_id: str) -> None:
        """Removes a key.

        Raises:
            NotFound: There is none of that id.
        """
        if not await self._documents.remove(KIND, key_id):
            raise NotFound(f"There is no key {key_id!r}.", hint="`agentic server-keys ls` lists them.")
        self._read = float("-inf")

    async def demanded(self) -> bool:
        """Whether a key is demanded: the address is open to others, or there is a key, or there was one just before."""
        await self._refresh()
        return self._demanded

    async def any(self) -> bool:
        """Whether there is a key."""
        return self._token is not None or bool(await self.all())

    async def holder(self, authorization: str) -> Key | None:
        """The key in an `Authorization` header, or None. How long that takes says nothing of any secret."""
        await self._refresh()
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        key = self._known.get(text.removeprefix("ak_").partition("_")[0], self._token) or ANYONE
        right = hmac.compare_digest(_digest(text), key.digest or _digest(""))
        return key if right and key is not ANYONE and scheme.lower() == "bearer" else None

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._read < FRESH:
            return
        self._known = {key.key_id: key for key, _ in await self.all()}
        self._read = now
        self._demanded = self._demanded or bool(self._known)


def scope_of(method: str, path: str) -> str | None:
    """The scope that a request needs; None where any key will do."""
    parts = [part for part in path.split("/") if part]
    while parts[:1] and parts[0] in ("v1", "alpha", "openai"):
        parts = parts[1:]
    subject = parts[0] if parts else ""
    if subject == "metrics":
        return "metrics"
    if subject in ADMINISTERED and method not in ("GET", "HEAD"):
        return "admin"
    if subject in INFERENCE:
        return "inference"
    return None if subject in OPEN else "agents"


def token_of(settings: ServerConfig) -> str | None:
    """The token of the configuration or the environment, or None."""
    return settings.token or os.environ.get("AGENTIC_SERVER_TOKEN") or None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _key(document: Document) -> Key:
    body: dict[str, Any] = dict(document.body)
    return Key(**{**body, "key_id": document.name, "scopes": tuple(body["scopes"])})

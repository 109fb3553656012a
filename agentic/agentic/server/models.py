"""Model ids, as clients name them, and the models behind them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from .. import plugins
from ..agent import DEFAULT_MODEL
from ..config import Config, ModelConfig
from ..inference import connect
from ..protocols import Embedder, Inference
from ..stack import Stack
from ..store.documents import Documents
from ..types.errors import ConfigError, InvalidInput, NotFound

Kind: TypeAlias = Literal["llm", "embedding"]

KIND = "model"
EMBEDDER = "all-MiniLM-L6-v2"
"""The embedding model that is offered where a configuration names none, as Llama Stack calls it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model.

    Attributes:
        model_id: As clients name it.
        provider_id: The provider.
        provider_model_id: What the provider calls it.
        kind: What it does.
        metadata: Anything; embedding models have `embedding_dimension`.
    """

    model_id: str
    provider_id: str
    provider_model_id: str
    kind: Kind = "llm"
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model string, `provider/model`."""
        return f"{self.provider_id}/{self.provider_model_id}"


class Models:
    """The models of a stack, and those that clients have registered.

    A server without a configuration's models offers the default one, and any `provider/model` that it is asked for.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
    """

    def __init__(self, stack: Stack, documents: Documents) -> None:
        self._stack = stack
        self._documents = documents
        self._connected: dict[str, Inference] = {}
        self._embedders: dict[str, Embedder] = {}

    async def list(self) -> list[Entry]:
        """All models, the configuration's first."""
        return list((await self._entries()).values())

    async def get(self, model_id: str) -> Entry:
        """One model.

        Raises:
            NotFound: There is none of that id.
        """
        entries = await self._entries()
        if (entry := entries.get(model_id)) is not None:
            return entry
        provider, _, name = model_id.partition("/")
        if not self._stack.config.models and not self._stack.models and name and provider in plugins.names("inference"):
            return Entry(model_id, provider, name)
        known = ", ".join(entries) or "none"
        raise NotFound(f"Model {model_id!r} not found.", hint=f"There are: {known}.")

    async def inference(self, model_id: str) -> Inference:
        """The model behind an id, connected once.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It makes embeddings.
            ConfigError: It cannot be connected to.
        """
        entry = await self.get(model_id)
        if entry.kind != "llm":
            raise InvalidInput(f"Model {model_id!r} makes embeddings; it does not chat.")
        if model_id not in self._connected:
            self._connected[model_id] = self._connect(entry)
        return self._connected[model_id]

    async def embedder(self, model_id: str) -> Embedder:
        """The embedding model behind an id.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It makes no embeddings.
        """
        entry = await self.get(model_id)
        if model_id not in self._embedders:
            self._embedders[model_id] = self._embedder(entry)
        return self._embedders[model_id]

    async def config(self) -> Config:
        """The stack's configuration, with the models that clients have registered."""
        known = {name: ModelConfig(model=entry.model) for name, entry in (await self._entries()).items()}
        return self._stack.config.model_copy(update={"models": {**known, **self._stack.config.models}})

    def embedding(self, entry: Entry) -> str:
        """What a bank calls an embedding model: its name in the configuration, which knows more, or its string."""
        named = entry.kind == "embedding" and entry.model_id in self._stack.config.models
        return entry.model_id if named else entry.model

    async def register(self, entry: Entry) -> Entry:
        """Adds a model, or changes one that was added.

        Raises:
            InvalidInput: The configuration has a model of that id, or it cannot be stored.
            ConfigError: There is no such provider.
        """
        if entry.model_id in self._configured():
            raise InvalidInput(f"The configuration has a model {entry.model_id!r} already.")
        if entry.provider_id not in (known := plugins.names("inference")):
            raise ConfigError(f"There is no provider {entry.provider_id!r}.", hint=f"There are: {', '.join(known)}.")
        await self._documents.put(KIND, entry.model_id, asdict(entry))
        await self._forget(entry.model_id)
        return entry

    async def unregister(self, model_id: str) -> None:
        """Removes a model that was registered.

        Raises:
            NotFound: None was registered under that id.
        """
        if not await self._documents.remove(KIND, model_id):
            await self.get(model_id)
            raise InvalidInput(f"Model {model_id!r} stands in the server's configuration; it is removed there.")
        await self._forget(model_id)

    async def aclose(self) -> None:
        """Closes the models' connections."""
        for model_id in list(self._connected):
            await self._forget(model_id)

    async def _forget(self, model_id: str) -> None:
        self._embedders.pop(model_id, None)
        if (inference := self._connected.pop(model_id, None)) is not None:
            await inference.aclose()

    async def _entries(self) -> dict[str, Entry]:
        registered = await self._documents.all(KIND)
        return {**{document.name: Entry(**document.body) for document in registered}, **self._configured()}

    def _configured(self) -> dict[str, Entry]:
        found = {name: _entry(name, config) for name, config in self._stack.config.models.items()}
        found |= {name: Entry(name, *_split(model.model)) for name, model in self._stack.models.items()}
        if not found:
            model = os.environ.get("AGENTIC_MODEL") or DEFAULT_MODEL
            found[model] = Entry(model, *_split(model))
        if not any(entry.kind == "embedding" for entry in found.values()):
            local = Entry(EMBEDDER, "local", "minilm-l6-v2", "embedding", {"embedding_dimension": 384})
            found.setdefault(EMBEDDER, local)
        return found

    def _embedder(self, entry: Entry) -> Embedder:
        if entry.kind == "embedding" and entry.provider_id == "local":
            from ..inference.local_embedding import LocalEmbedder

            return LocalEmbedder()
        connected = self._connected.setdefault(entry.model_id, self._connect(entry))
        if not isinstance(connected, Embedder):
            raise InvalidInput(f"Model {entry.model_id!r} makes no embeddings.")
        return connected

    def _connect(self, entry: Entry) -> Inference:
        if entry.model_id in self._stack.models or entry.model_id in self._stack.config.models:
            return self._stack.model(entry.model_id)
        return connect(entry.model)


def _entry(name: str, config: ModelConfig) -> Entry:
    return Entry(name, *_split(config.model), config.type, dict(config.metadata))


def _split(model: str) -> tuple[str, str]:
    provider, _, name = model.partition("/")
    return provider, name

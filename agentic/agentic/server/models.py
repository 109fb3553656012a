"""Model ids, as clients name them, and the models behind them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .. import plugins
from ..agent import DEFAULT_MODEL
from ..config import Config, ModelConfig
from ..inference import connect
from ..protocols import Embedder, Inference
from ..stack import Stack
from ..store.documents import Documents
from ..types.errors import ConfigError, InvalidInput, NotFound
from .registry import Registry

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


class Models(Registry[Entry, Inference]):
    """The models of a stack, and those that clients have registered.

    A server without a configuration's models offers the default one, and any `provider/model` that it is asked for.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
    """

    def __init__(self, stack: Stack, documents: Documents) -> None:
        super().__init__(documents, Entry, kind=KIND, called="Model")
        self._stack = stack
        self._embedders: dict[str, Embedder] = {}

    async def get(self, model_id: str) -> Entry:
        """One model.

        Raises:
            NotFound: There is none of that id.
        """
        try:
            return await super().get(model_id)
        except NotFound:
            provider, name = _split(model_id)
            configured = self._stack.config.models or self._stack.models
            if configured or not name or provider not in plugins.names("inference"):
                raise
            return Entry(model_id, provider, name)

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
        if model_id not in self._open:
            self._open[model_id] = self._connect(entry)
        return self._open[model_id]

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

    def context_tokens(self, model_id: str) -> int | None:
        """How many tokens a model's context holds, where the configuration says so."""
        return self._stack.context_tokens(model_id)

    async def config(self) -> Config:
        """The stack's configuration, with the models that clients have registered."""
        known = {name: self._stack.settings(entry.model) for name, entry in (await self._entries()).items()}
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
        if entry.provider_id not in (known := plugins.names("inference")):
            raise ConfigError(f"There is no provider {entry.provider_id!r}.", hint=f"There are: {', '.join(known)}.")
        await self._add(entry.model_id, entry)
        return entry

    async def unregister(self, model_id: str) -> None:
        """Removes a model that was registered.

        Raises:
            NotFound: None was registered under that id.
        """
        await self._remove(model_id)

    async def _forget(self, name: str) -> None:
        self._embedders.pop(name, None)
        await super()._forget(name)

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
        connected = self._open.setdefault(entry.model_id, self._connect(entry))
        if not isinstance(connected, Embedder):
            raise InvalidInput(f"Model {entry.model_id!r} makes no embeddings.")
        return connected

    def _connect(self, entry: Entry) -> Inference:
        if entry.model_id in self._stack.models or entry.model_id in self._stack.config.models:
            return self._stack.model(entry.model_id)
        settings = self._stack.settings(entry.model)
        return connect(entry.model, endpoint=settings.endpoint, api_key=settings.api_key)


def _entry(name: str, config: ModelConfig) -> Entry:
    return Entry(name, *_split(config.model), config.type, dict(config.metadata))


def _split(model: str) -> tuple[str, str]:
    provider, _, name = model.partition("/")
    return provider, name

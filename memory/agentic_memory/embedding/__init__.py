"""Models that turn texts into vectors, each chosen by a string, or given as an object or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from agentic import inference, plugins
from agentic.config import current_config
from agentic.protocols import Embedder
from agentic.types.errors import ConfigError

from ..types import Embedding
from .checked import Checked, Declared

__all__ = ["EmbeddingLike", "connect"]


class Embeds(Protocol):
    """The least that an object must have to serve as an embedding; the method may be async."""

    def embed(self, texts: list[str], /) -> Any:
        """A vector for each text."""
        ...


EmbeddingLike: TypeAlias = str | Embedding | Embedder | Embeds | Callable[[list[str]], Any]

_BUILT_IN = ("default", "minilm", "local", "wordllama")

_REQUESTS = 4
"""Requests that a server gets at the same time."""


def connect(spec: EmbeddingLike, *, endpoint: str | None = None, api_key: str | None = None) -> Embedding:
    """Makes an embedding whose output is checked. Nothing is fetched or loaded before it is first used.

    Args:
        spec: One of

            - `default`: MiniLM-L6-v2 in this process, 384 numbers a text of at most 256 tokens;
            - `wordllama`: 256 numbers a text, about a hundred times as fast and a little less good (extra `wordllama`);
            - a model string: `openai/…`, `ollama/…`, `llama-stack/…`, `raw/…`;
            - the name that the configuration gives a model of the type `embedding`;
            - `sentence-transformers/…`: any model of that library, which must be installed;
            - an object with the methods of `Embedding` or of `agentic.protocols.Embedder`;
            - a function, sync or async, of a list of texts, that returns a vector for each, or an object with such a
              method `embed`, `encode` or `embed_documents`; its attribute `model`, if it has one, is its name.
        endpoint: For a model string: the server's base URL, instead of the provider's environment variable.
        api_key: Its key, likewise.

    Raises:
        ConfigError: The string names nothing that makes embeddings, or what it names is not installed.
    """
    if isinstance(spec, str):
        chosen = None if spec in _BUILT_IN or endpoint else current_config().models.get(spec)
        if chosen is not None and chosen.type == "embedding":
            return _named(chosen.model, chosen.endpoint, api_key or chosen.api_key, chosen.options)
        return _named(spec, endpoint, api_key)
    if endpoint or api_key:
        raise ConfigError("endpoint and api_key belong to a model string; this embedding is an object already.")
    if isinstance(spec, Checked | Declared):
        return spec
    if isinstance(spec, Embedding):
        return Declared(spec)
    from .functions import of_function, of_object

    if not isinstance(spec, type) and (found := of_object(spec, _REQUESTS)) is not None:
        return found
    if callable(spec) and not isinstance(spec, type):
        return of_function(spec)
    raise ConfigError(f"An embedding is a string, an object or a function, not {type(spec).__name__}.")


def _named(spec: str, endpoint: str | None, api_key: str | None, options: Mapping[str, Any] | None = None) -> Embedding:
    provider, _, name = spec.partition("/")
    here = {"default", "minilm", "local"} if not endpoint else set()
    if provider in here:
        from .embedded import minilm

        return minilm(name)
    if provider == "wordllama":
        from .embedded import wordllama

        return wordllama(name)
    if provider == "sentence-transformers":
        from .embedded import sentence_transformers

        return sentence_transformers(spec)
    # Text-completion servers are told apart by the Llama family whose prompts they want; here none is written.
    family = {"family": "llama3.1"} if provider == "raw" else {}
    model = inference.connect(spec, endpoint=endpoint, api_key=api_key, **{**family, **(options or {})})
    if not isinstance(model, Embedder):
        known: Sequence[str] = ["default", "wordllama", "sentence-transformers/…", *plugins.names("inference")]
        raise ConfigError(f"{provider}/… makes no embeddings.", hint=f"There are: {', '.join(known)}.")
    return Checked(model.model, model.embed, requests=_REQUESTS, close=getattr(model, "aclose", None))

"""Models behind servers and libraries, each chosen by a string `provider/model`."""

from __future__ import annotations

from typing import Any, cast

from .. import plugins
from ..protocols import Inference
from ..types.errors import ConfigError
from .retry import Retries, complete, generate

__all__ = ["Retries", "complete", "connect", "generate"]


def connect(model: str, *, endpoint: str | None = None, api_key: str | None = None, **options: Any) -> Inference:
    """Connects to a model.

    Args:
        model: `provider/model`, such as `ollama/llama3.2:3b` or `openai/meta-llama/Llama-3.3-70B-Instruct`. Providers
            are the entry points of the group `agentic.inference`. With an endpoint, a string that begins with no
            provider's name is the name of a model on an OpenAI-compatible server.
        endpoint: The server's base URL; each provider has an environment variable for it.
        api_key: The server's key.
        options: What else the provider takes; its `connect` documents it.

    Raises:
        ConfigError: There is no such provider, it is told too little, or it does not take an option.
    """
    provider, slash, name = model.partition("/")
    known = plugins.names("inference")
    if provider not in known and endpoint is not None:
        provider, slash, name = "openai", "/", model
    if not slash or not name:
        raise ConfigError(
            f"A model is named provider/model, not {model!r}.", hint=f"There are the providers {', '.join(known)}."
        )
    connector = plugins.load("inference", provider)
    try:
        return cast(Inference, connector(name, endpoint=endpoint, api_key=api_key, **options))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"The provider {provider!r} cannot use these options: {error}.") from error

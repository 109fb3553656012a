"""Every provider with a server behind it, for tests that must hold on all of them.

::

    @pytest.mark.parametrize("provider", PROVIDERS)
    def test_it(provider: str) -> None:
        with serving(provider) as (server, model): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agentic.inference import connect
from agentic.protocols import Inference

from .base import Server
from .brain import Brain, weather_brain
from .llama_stack import LlamaStackServer
from .ollama import OllamaServer
from .openai import Manner, OpenAIServer
from .raw import LlamaCppServer, VLLMServer

_NAMED: dict[str, tuple[Callable[[Brain], Server], str, dict[str, Any]]] = {
    "openai": (OpenAIServer, "openai/test", {}),
    "openai, not streaming": (lambda brain: OpenAIServer(brain, Manner(streams=False)), "openai/test", {}),
    "openai, whole calls": (
        lambda brain: OpenAIServer(brain, Manner(whole_calls=True, index="none")),
        "openai/test",
        {},
    ),
    "openai, careless": (
        lambda brain: OpenAIServer(
            brain,
            Manner(
                index="zero",
                whole_calls=True,
                object_arguments=True,
                usage=False,
                done=False,
                line=b"\r\n",
                comments=True,
            ),
        ),
        "openai/test",
        {},
    ),
    "ollama": (OllamaServer, "ollama/test", {}),
    "ollama, with ids": (lambda brain: OllamaServer(brain, ids=True), "ollama/test", {}),
    "raw, vllm": (VLLMServer, "raw/test", {"family": "llama3.2"}),
    "raw, llama.cpp": (LlamaCppServer, "raw/test", {"family": "llama3.2-vision"}),
    "raw, ollama": (OllamaServer, "raw/test", {"family": "llama3.2-vision"}),
    "llama-stack": (LlamaStackServer, "llama-stack/test", {}),
    "llama-stack, streamed calls": (
        lambda brain: LlamaStackServer(brain, streamed_calls=True),
        "llama-stack/test",
        {},
    ),
}

PROVIDERS = tuple(_NAMED)
SEEING = tuple(name for name in PROVIDERS if name != "raw, vllm")
"""The providers that take images."""


@contextmanager
def serving(provider: str, brain: Brain = weather_brain) -> Iterator[tuple[Server, Inference]]:
    """A running server and a model connected to it. The caller closes the model, on its own event loop."""
    make, model, options = _NAMED[provider]
    with make(brain) as server:
        endpoint = f"{server.url}/api/generate" if provider == "raw, ollama" else server.url
        yield server, connect(model, endpoint=endpoint, **options)
        assert not server.problems

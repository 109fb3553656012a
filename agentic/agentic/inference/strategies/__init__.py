"""How a small model is helped to call tools; each strategy wraps an `Inference` and is one itself.

- `native`: the model's own format, unchanged.
- `constrained`: a schema forces each reply to be a call of one of the tools, or an answer.
- `routed`: an embedding model picks one tool, a schema forces its arguments, and a template makes the answer.
"""

from __future__ import annotations

from ...protocols import Embedder, Inference
from ...types.errors import ConfigError
from ...types.tools import ToolStrategy
from .constrained import Constrained
from .routed import Routed


def with_strategy(inference: Inference, strategy: ToolStrategy, embedder: Embedder | None = None) -> Inference:
    """Helps a model to call tools.

    Args:
        inference: The model; a strategy that it has already is taken off.
        strategy: `native`, `constrained` or `routed`.
        embedder: For `routed`; None is the local MiniLM, fetched when first used.

    Raises:
        ConfigError: No such strategy.
    """
    while isinstance(inference, Constrained | Routed):
        inference = inference.inner
    match strategy:
        case "native":
            return inference
        case "constrained":
            return Constrained(inference)
        case "routed":
            return Routed(inference, embedder)
    raise ConfigError(f"No tool strategy is named {strategy!r}.", hint="Choose native, constrained or routed.")


__all__ = ["Constrained", "Routed", "with_strategy"]

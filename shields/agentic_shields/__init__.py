"""Shields. Each is imported when it is first used: some bring models or libraries."""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from agentic.shield import FunctionShield, shield

    from .code import CodeShield
    from .custom import RubricShield, WordShield
    from .injection import InjectionShield, PromptGuard
    from .llama_guard import Category, LlamaGuard
    from .pii import PIIShield, unmask

__all__ = [
    "Category",
    "CodeShield",
    "FunctionShield",
    "InjectionShield",
    "LlamaGuard",
    "PIIShield",
    "PromptGuard",
    "RubricShield",
    "WordShield",
    "shield",
    "unmask",
]

_MODULES = {
    "Category": ".llama_guard",
    "CodeShield": ".code",
    "FunctionShield": "agentic.shield",
    "InjectionShield": ".injection",
    "LlamaGuard": ".llama_guard",
    "PIIShield": ".pii",
    "PromptGuard": ".injection",
    "RubricShield": ".custom",
    "WordShield": ".custom",
    "shield": "agentic.shield",
    "unmask": ".pii",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)

"""Memory banks."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bank import MemoryBank
    from .banks import GraphBank, KeyValueBank, KeywordBank, Relation
    from .rag import KnowledgeSearch
    from .report import DocumentInfo, Report
    from .session_memory import Fact, SessionMemory
    from .types import Chunk, Document

# Each is imported when it is first asked for: SQLAlchemy comes with the banks.
_HOMES = {
    "Chunk": "types",
    "Document": "types",
    "DocumentInfo": "report",
    "Fact": "session_memory",
    "GraphBank": "banks",
    "KeyValueBank": "banks",
    "KeywordBank": "banks",
    "KnowledgeSearch": "rag",
    "MemoryBank": "bank",
    "Relation": "banks",
    "Report": "report",
    "SessionMemory": "session_memory",
}

__all__ = [
    "Chunk",
    "Document",
    "DocumentInfo",
    "Fact",
    "GraphBank",
    "KeyValueBank",
    "KeywordBank",
    "KnowledgeSearch",
    "MemoryBank",
    "Relation",
    "Report",
    "SessionMemory",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)

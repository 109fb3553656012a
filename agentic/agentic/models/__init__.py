"""Models are data: known by name, fetched from wherever they are, verified by hash, kept in a shared cache."""

from .cache import added, find, listed, located, model_path, offline, pull, remove
from .registry import (
    DEFAULT_MODEL,
    EMBEDDING_MODEL,
    INJECTION_MODEL,
    MODELS,
    Hub,
    LocalFile,
    Model,
    ModelFile,
    Source,
    Url,
    Wheels,
)

__all__ = [
    "DEFAULT_MODEL",
    "EMBEDDING_MODEL",
    "INJECTION_MODEL",
    "MODELS",
    "Hub",
    "LocalFile",
    "Model",
    "ModelFile",
    "Source",
    "Url",
    "Wheels",
    "added",
    "find",
    "listed",
    "located",
    "model_path",
    "offline",
    "pull",
    "remove",
]

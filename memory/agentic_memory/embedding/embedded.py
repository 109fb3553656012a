"""Embeddings computed in this process."""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentic.models import EMBEDDING_MODEL, find
from agentic.threads import run_in_thread
from agentic.types.errors import ConfigError

from .checked import Checked

_WORDLLAMA = "l2_supercat"
_WORDLLAMA_DIMENSION = 256


def minilm(name: str = "") -> Checked:
    """MiniLM-L6-v2, quantised to int8: one copy for the whole process.

    Raises:
        ConfigError: Another model is named.
    """
    if name not in ("", EMBEDDING_MODEL, "minilm"):
        raise ConfigError(f"local/{name} makes no embeddings here.", hint=f"local/{EMBEDDING_MODEL} does.")
    embedder = _minilm()
    hashes = "".join(file.sha256 or "" for file in find(EMBEDDING_MODEL).files)
    weights = hashlib.sha256(hashes.encode()).hexdigest()
    # Texts of like length are embedded together, so it helps to hand over many.
    window = (embedder.window, embedder.count)
    return Checked(embedder.model, embedder.embed, weights=weights, batch=512, window=window)


@functools.cache
def _minilm() -> Any:
    from agentic.inference.local_embedding import LocalEmbedder

    return LocalEmbedder()


def wordllama(name: str = "") -> Checked:
    """WordLlama: token vectors averaged, from the weights in its wheel; nothing is fetched.

    Raises:
        ConfigError: It is not installed, or another of its models is named.
    """
    model = f"{_WORDLLAMA}_{_WORDLLAMA_DIMENSION}"
    if name not in ("", model):
        raise ConfigError(f"wordllama/{name} is not known here.", hint=f"wordllama/{model} is.")
    folder = Path(_library("wordllama", "wordllama").__file__ or "").parent

    def load() -> Any:
        library = _library("wordllama", "wordllama")
        return library.WordLlama.load(
            config=_WORDLLAMA, dim=_WORDLLAMA_DIMENSION, cache_dir=folder, disable_download=True
        )

    def hashed() -> str:
        weights = folder / "weights" / f"{model}.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest()

    async def weights() -> str:
        return await run_in_thread(hashed, "agentic-embed")

    loaded = _once(load)
    return Checked(f"wordllama/{model}", _in_thread(lambda texts: loaded().embed(texts)), weights=weights, batch=1024)


def sentence_transformers(spec: str) -> Checked:
    """A model of the library `sentence-transformers`, such as `sentence-transformers/all-MiniLM-L6-v2`.

    Raises:
        ConfigError: The library is not installed.
    """
    library = _library("sentence_transformers", "sentence-transformers")
    loaded = _once(lambda: library.SentenceTransformer(spec))
    return Checked(spec, _in_thread(lambda texts: loaded().encode(texts, show_progress_bar=False)), batch=64)


def _library(module: str, package: str) -> Any:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"This embedding needs {package}: {error}.", hint=f"pip install {package}") from error
    finally:  # wordllama would have every library log to the terminal
        root.handlers[:], root.level = handlers, level


def _once(load: Callable[[], Any]) -> Callable[[], Any]:
    """Loads when first called, in whichever thread that is."""
    lock, loaded = threading.Lock(), list[Any]()

    def get() -> Any:
        with lock:
            if not loaded:
                loaded.append(load())
            return loaded[0]

    return get


def _in_thread(compute: Callable[[list[str]], Any]) -> Any:
    async def run(texts: list[str]) -> Any:
        return await run_in_thread(lambda: compute(texts), "agentic-embed")

    return run

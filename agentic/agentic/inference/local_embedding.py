"""Embeddings on this machine: MiniLM-L6-v2, quantised to int8, on onnxruntime.

Source of the recipe (mean of the token vectors where the mask is set, then length 1): the model's card on the Hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..models import EMBEDDING_MODEL, find, pull
from ..threads import carried_through, run_in_thread
from ..types.errors import ConfigError, InvalidInput

DIMENSION = 384
MAX_TOKENS = 256
"""What stands behind this many tokens of a text (about 200 words) is not seen: the model was trained on that much."""

BATCH = 16
"""Texts embedded at once. Texts of like length go together, so that little is spent on padding."""

_MARKS = 2
"""Tokens that stand before and behind every text."""

_MAX_CHARACTERS = MAX_TOKENS * 100
"""No 256 tokens of real text are longer; a text is cut here before it is tokenised."""


class LocalEmbedder:
    """MiniLM-L6-v2: 384 numbers a text, of length 1, so that a dot product is the cosine.

    The model is fetched when it is first used, and computes in a thread beside the event loop.
    """

    def __init__(self) -> None:
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.Lock()

    @property
    def model(self) -> str:
        """`local/minilm-l6-v2`."""
        return f"local/{EMBEDDING_MODEL}"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of 384 numbers for each text, in order; a text is cut behind 256 tokens.

        Raises:
            InvalidInput: It is one string, or something in it is no string.
            InferenceError: The model cannot be fetched.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidInput("embed takes a list of strings.")
        vectors: list[list[float]] = [[] for _ in texts]
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            found = await self._in_thread([texts[index][:_MAX_CHARACTERS] for index in chosen])
            for index, vector in zip(chosen, found, strict=True):
                vectors[index] = vector
        return vectors

    @property
    def window(self) -> int:
        """How many tokens of a text it sees."""
        return MAX_TOKENS - _MARKS

    def count(self, text: str) -> int:
        """A text's tokens, or some number above the window where there are more; the model is fetched if need be."""
        tokenizer, _ = self._loaded_once(threading.Event())
        return len(tokenizer.encode(text[:_MAX_CHARACTERS], add_special_tokens=False).ids)

    async def aclose(self) -> None:
        """Frees the model."""
        self._loaded = None

    async def _in_thread(self, texts: list[str]) -> list[list[float]]:
        cancel = threading.Event()
        work = asyncio.ensure_future(run_in_thread(lambda: self._embed(texts, cancel), "agentic-embed"))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            with contextlib.suppress(Exception):  # onnxruntime aborts a process that ends while it computes
                await carried_through(work)
            raise

    def _embed(self, texts: list[str], cancel: threading.Event) -> list[list[float]]:
        import numpy as np

        tokenizer, session = self._loaded_once(cancel)
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([item.ids for item in encoded], dtype=np.int64)
        mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {item.name for item in session.get_inputs()}
        states = session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0]
        if states.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            states = (states * weights).sum(axis=1) / weights.sum(axis=1)
        lengths = np.linalg.norm(states, axis=1, keepdims=True)
        vectors: list[list[float]] = (states / np.maximum(lengths, 1e-12)).astype(float).tolist()
        return vectors

    def _loaded_once(self, cancel: threading.Event) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(pull(find(EMBEDDING_MODEL), cancel=cancel).parent)
            return self._loaded


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        import onnxruntime
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            f"Local embeddings need onnxruntime and tokenizers: {error}.",
            hint="Install them: pip install 'agentic[local]'.",
        ) from error
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return tokenizer, session

"""One llama.cpp model in this process, shared by everyone who asks for the same file.

llama.cpp's bindings bring its HTTP server along. It listens on a Unix socket in a private folder that is deleted as
soon as the model is loaded (elsewhere: on a loopback port), behind a random key; requests are made in-process.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..llama.neutral import neutralise
from ..llama.prompt import Control, Segment
from ..models.gguf import GgufInfo, read_gguf
from ..types.errors import ConfigError, InvalidInput

BATCH = 256
"""Tokens of a prompt read at a time: between two batches a request can be cancelled."""

LARGEST_CONTEXT = 8192
"""Tokens of context taken unasked: memory grows with them."""

UNLOAD_WAIT = 30.0
"""Seconds that reading one batch of a prompt may take on a slow machine; a request ends between two."""

OnChunk = Callable[[dict[str, Any]], bool]
"""Gets each piece as it is generated; returns True to stop."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a loaded model depends on; equal settings share one model.

    Attributes:
        path: The GGUF file.
        context: Tokens of context; 0 is what the model was trained on, `LARGEST_CONTEXT` at the most.
        threads: Threads that compute.
    """

    path: Path
    context: int = 0
    threads: int = 1


def default_threads() -> int:
    """One on machines with one or two cores, where a second would only spin; else all but one, at most 8."""
    cores = os.cpu_count() or 1
    return 1 if cores <= 2 else min(cores - 1, 8)


class Engine:
    """A loaded model. It serves one request at a time; the others wait.

    llama.cpp's bindings hold the interpreter's lock while they load: about a third of a second for the default model.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.info: GgufInfo = read_gguf(settings.path)
        self._control = re.compile("|".join(f"(?={re.escape(name)})" for name in self.info.control) or r"(?!)")
        self.context = settings.context or min(self.info.context or 4096, LARGEST_CONTEXT)
        self._server: Any = None
        self._busy = threading.Lock()
        self._ending = threading.Event()

    def tokens(self, segments: Sequence[Segment]) -> tuple[str, list[int | str]]:
        """Writes segments down for the model.

        Returns:
            The prompt as text, and the same as control tokens' ids with runs of text between them. In a run no
            control token's name stands whole, so the model's tokenizer can find none.

        Raises:
            ConfigError: The model has no such control token.
        """
        spelled: list[str] = []
        parts: list[int | str] = []
        for segment in _joined(segments):
            if isinstance(segment, Control):
                if segment.name not in self.info.control:
                    raise ConfigError(
                        f"{self.settings.path.name} has no token {segment.name}: it speaks another chat format."
                    )
                spelled.append(segment.name)
                parts.append(self.info.control[segment.name])
            elif text := neutralise(segment):
                spelled.append(text)
                parts += self._split(text)
        return "".join(spelled), parts

    def _split(self, text: str) -> list[str]:
        """The text in pieces, cut behind the first letter of each control token's name."""
        cuts = [match.start() + 1 for match in self._control.finditer(text)]
        edges = [0, *cuts, len(text)]
        return [text[start:end] for start, end in pairwise(edges) if start < end]

    def complete(self, body: Mapping[str, Any], on_chunk: OnChunk, stopped: threading.Event) -> None:
        """Generates, blocking; loads the model first if need be.

        Args:
            body: A completion request in llama.cpp's words.
            on_chunk: Called in this thread for each piece, and for an error.
            stopped: Ends the wait for one's turn.

        Raises:
            InvalidInput: The model cannot be loaded.
        """
        while not self._busy.acquire(timeout=0.05):
            if stopped.is_set():
                return
        try:
            if self._server is None:
                self._server = _load(self.settings, self.context)
            if not stopped.is_set():
                request = {**body, "stream": True, "return_progress": True}
                self._server.handle_completions(request, lambda chunk: on_chunk(chunk) or self._ending.is_set())
        finally:
            self._busy.release()

    def unload(self) -> None:
        """Ends a request that is running, and frees the model."""
        self._ending.set()
        if self._busy.acquire(timeout=UNLOAD_WAIT):
            self._server = None
            self._ending.clear()
            self._busy.release()


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """Neighbouring texts made one: together they may spell what neither spells alone."""
    joined: list[Segment] = []
    for segment in segments:
        if isinstance(segment, str) and joined and isinstance(joined[-1], str):
            joined[-1] += segment
        else:
            joined.append(segment)
    return joined


def _load(settings: EngineSettings, context: int) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(
            f"In-process models need xllamacpp: {error}.", hint="Install it: pip install 'agentic[local]'."
        ) from error
    folder = tempfile.mkdtemp(prefix="agentic-")
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, settings, context, Path(folder)))
    except (RuntimeError, OSError, ValueError) as error:
        raise InvalidInput(f"llama.cpp cannot load {settings.path}: {error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return server


def _parameters(xllamacpp: Any, settings: EngineSettings, context: int, folder: Path) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(settings.path)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = settings.threads
    parameters.special = True  # the reader is to see control tokens
    parameters.ctx_shift = False  # an overflow is said, never hidden by forgetting
    parameters.warmup = False
    parameters.cache_ram_mib = 0
    parameters.verbosity = -1
    parameters.ui = False
    parameters.n_threads_http = 1
    parameters.api_keys = [secrets.token_urlsafe(32)]
    if sys.platform != "win32":
        parameters.hostnames = [str(folder / "closed.sock")]
    return parameters


_LOADED: dict[EngineSettings, tuple[Engine, int]] = {}
_LOCK = threading.Lock()


def borrow(settings: EngineSettings) -> Engine:
    """The engine for these settings; give it back with `give_back`."""
    with _LOCK:
        engine, users = _LOADED.get(settings) or (Engine(settings), 0)
        _LOADED[settings] = engine, users + 1
        return engine


def give_back(engine: Engine) -> None:
    """Says that one user needs the engine no more; the last one frees it."""
    with _LOCK:
        _engine, users = _LOADED[engine.settings]
        if users > 1:
            _LOADED[engine.settings] = engine, users - 1
            return
        del _LOADED[engine.settings]
    engine.unload()


@atexit.register
def _unload_all() -> None:
    """Frees native memory and threads while the interpreter still stands."""
    with _LOCK:
        engines = [engine for engine, _users in _LOADED.values()]
        _LOADED.clear()
    for engine in engines:
        engine.unload()

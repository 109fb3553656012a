"""`local/…`: GGUF models run in this process by llama.cpp, on nothing but the CPU that is there.

`local/NAME` is a model of the registry (`local/default` the embedded one), fetched when it is first used;
`local/PATH.gguf` any file. The prompt is rendered here, so the logged one is exact, and what users, documents and tools
say cannot become a control token.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from ..llama.prompt import Segment
from ..models import EMBEDDING_MODEL, Model, find, pull
from ..protocols import Delta, Embedder, Inference, Prepared
from ..threads import run_in_thread
from ..types.errors import ConfigError, ContextOverflow, InferenceTimeout, InvalidResponse, NotFound, RequestRejected
from ..types.messages import AssistantMessage, StopReason
from ..types.sampling import Completion, InferenceRequest, SamplingParams, ToolCallDelta, Usage
from ..types.tools import ToolStrategy
from .local_chat import ChatmlReader, chatml_segments, plain
from .local_engine import Engine, EngineSettings, borrow, default_threads, give_back

MAX_TOKENS = 1024
"""The longest answer when the caller names no limit: a small model may never stop by itself."""

COMPACT = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""JSON on one line: a small model that may write white space can go on writing it."""


class Reader(Protocol):
    """Turns generated text into a message, piece by piece."""

    def feed(self, piece: str) -> Sequence[str | ToolCallDelta]:
        """Takes a piece and returns what became certain."""
        ...

    def finish(self, stop: StopReason) -> tuple[Sequence[str | ToolCallDelta], AssistantMessage]:
        """Returns the rest, and the message."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    body: dict[str, Any]
    reader: Callable[[], Reader]


def connect(
    model: str,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    context: int = 0,
    threads: int = 0,
    timeout: float = 600.0,
    tool_strategy: ToolStrategy | None = None,
    embedder: Embedder | None = None,
) -> Inference:
    """Makes a provider; nothing is fetched or loaded before it is first used.

    Args:
        model: `NAME` or `PATH.gguf`, with or without `local/` in front; nothing is the embedded default. An embedding
            model's name makes an `Embedder`, which takes none of the settings below.
        endpoint: There is none: the model runs in this process.
        api_key: There is none.
        context: Tokens of context; 0 takes what the model was trained on, 8192 at the most: memory grows with it.
        threads: Threads that compute; 0 is one on small machines, else all cores but one.
        timeout: Seconds without a sign of life from the model after which an answer is given up.
        tool_strategy: How the model is helped to call tools; None takes the registry's word.
        embedder: For the `routed` strategy; None is the local MiniLM.

    Raises:
        NotFound: No model has that name, no file is at that path.
        ConfigError: An endpoint or a key was given, or the model does not chat.
    """
    from .strategies import with_strategy

    if endpoint or api_key:
        raise ConfigError("local/… runs in this process: it takes no endpoint and no key.")
    name = "" if model == "local" else model.removeprefix("local/")
    if name == EMBEDDING_MODEL:
        from .local_embedding import LocalEmbedder

        return cast(Inference, LocalEmbedder())  # as servers do it: what a name stands for is known when it is used
    described = resolve(name)
    inference = LocalInference(described, context=context, threads=threads, timeout=timeout)
    strategy = tool_strategy or (described.tool_strategy if isinstance(described, Model) else "native")
    return with_strategy(inference, strategy, embedder)


def resolve(name: str) -> Model | Path:
    """What a name stands for: a file's path, or a model known by name.

    Raises:
        NotFound: Neither.
    """
    if name.lower().endswith(".gguf"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise NotFound(f"There is no model file {path}.")
        return path.resolve()
    model = find(name)
    if model.kind != "chat":
        raise ConfigError(f"{model.name} is no chat model: its kind is {model.kind}.")
    return model


class LocalInference:
    """A GGUF model in this process; see `connect`."""

    def __init__(self, described: Model | Path, *, context: int = 0, threads: int = 0, timeout: float = 600.0) -> None:
        self._described = described
        self._context = context
        self._threads = threads or default_threads()
        self._timeout = timeout
        self._engine: Engine | None = None
        self._loading = asyncio.Lock()

    @property
    def model(self) -> str:
        """`local/` and the model's name or path."""
        described = self._described
        return f"local/{described.name if isinstance(described, Model) else described}"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Renders the exact prompt; fetches the model if it is not here yet.

        Raises:
            RequestRejected: It holds an image or a forced tool choice.
            InferenceError: The model cannot be fetched.
        """
        engine = await self._borrowed()
        segments, reader = _chat_format(self._described, engine, request)
        prompt, parts = engine.tokens(segments)
        body = {"prompt": parts, **_sampling(request.sampling)}
        if request.response_format is not None:
            body["json_schema"] = plain(request.response_format) | COMPACT
        return Prepared(prompt, request, _Job(body, reader), engine.context)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Generates in a worker thread; closing the iterator stops it at the next token.

        Raises:
            ContextOverflow: The prompt does not fit.
            InferenceTimeout: The model gave no sign of life for too long.
            InvalidResponse: The answer does not follow the schema asked for.
        """
        job: _Job = prepared.payload
        reader = job.reader()
        raw: list[str] = []
        chunk: dict[str, Any] = {}
        engine = await self._borrowed()
        async with aclosing(self._chunks(engine, job.body)) as chunks:
            async for chunk in chunks:
                piece = chunk["choices"][0]["text"]
                raw.append(piece)
                for delta in reader.feed(piece):
                    yield delta
        finished = chunk.get("choices", [{}])[0].get("finish_reason")
        rest, message = reader.finish(StopReason.END_OF_TURN if finished == "stop" else StopReason.OUT_OF_TOKENS)
        for delta in rest:
            yield delta
        if prepared.request.response_format is not None and finished == "stop":
            _check_json(message.content)
        usage = chunk.get("usage") or {}
        yield Completion(message, Usage(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)), "".join(raw))

    async def _chunks(self, engine: Engine, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What the model sends. The queue is bounded by the context: an answer has no more pieces than that."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        stopped = threading.Event()

        def put(item: dict[str, Any] | None) -> bool:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(queue.put_nowait, item)
                return stopped.is_set()
            return True

        def work() -> None:
            try:
                engine.complete(body, put, stopped)
            finally:
                put(None)

        worker = asyncio.ensure_future(run_in_thread(work, "agentic-local"))
        try:
            while (chunk := await self._next(queue)) is not None:
                if "error" in chunk:
                    raise _failure(chunk["error"])
                if "prompt_progress" not in chunk:
                    yield chunk
            await worker
        finally:
            stopped.set()
            with suppress(Exception):  # its error was raised above, or nobody wants it
                await asyncio.shield(worker)

    async def _next(self, queue: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await queue.get()
        except TimeoutError:
            raise InferenceTimeout(f"{self.model} gave no sign of life for {self._timeout:g} s.") from None

    async def _borrowed(self) -> Engine:
        async with self._loading:
            if self._engine is None:
                path = self._described
                if isinstance(path, Model):
                    path = await _pulled(path)
                settings = EngineSettings(path, self._context, self._threads)
                self._engine = await run_in_thread(lambda: borrow(settings), "agentic-local")
            return self._engine

    async def aclose(self) -> None:
        """Frees the model, if nobody else in this process uses it."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await run_in_thread(lambda: give_back(engine), "agentic-local")


async def _pulled(model: Model) -> Path:
    """Fetches a model; a cancel stops it, and what can be resumed is kept."""
    cancel = threading.Event()
    job = asyncio.ensure_future(run_in_thread(lambda: pull(model, cancel=cancel), "agentic-pull"))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        cancel.set()
        with suppress(Exception):  # it ends with the news that it was cancelled
            await job
        raise


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    """Sampling parameters in llama.cpp's words; its own habits (min_p, top_k 40) are switched off."""
    body: dict[str, Any] = {
        "max_tokens": sampling.max_tokens or MAX_TOKENS,
        "stop": list(sampling.stop),
        "repeat_penalty": sampling.repetition_penalty,
        "min_p": 0.0,
        "cache_prompt": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    match sampling.strategy:
        case "greedy":
            return body | {"temperature": 0.0}
        case "top_p":
            return body | {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        case "top_k":
            return body | {"temperature": sampling.temperature, "top_p": 1.0, "top_k": sampling.top_k}


def _chat_format(
    described: Model | Path, engine: Engine, request: InferenceRequest
) -> tuple[list[Segment], Callable[[], Reader]]:
    """The conversation as the model was trained to read it, and what reads the answer."""
    wanted = described.chat_format if isinstance(described, Model) else "auto"
    control = engine.info.control
    tools = () if request.tool_choice == "none" else request.tools
    if wanted == "llama3" or (wanted == "auto" and "<|start_header_id|>" in control):
        from .local_llama import LlamaReader, llama_segments

        names = [described.name if isinstance(described, Model) else described.stem, engine.info.name]
        return llama_segments(request, names), lambda: LlamaReader(tools)
    if wanted == "chatml" or "<|im_start|>" in control:
        return chatml_segments(request, control), lambda: ChatmlReader(tools, control)
    raise ConfigError(
        f"{engine.settings.path.name} speaks a chat format that is not known here; ChatML and Llama 3 are.",
        hint="Serve it with llama.cpp's server and use openai/… instead.",
    )


def _failure(error: dict[str, Any]) -> Exception:
    said = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return ContextOverflow(
            f"The prompt has {error.get('n_prompt_tokens')} tokens; the context holds {error.get('n_ctx')}.",
            hint="Shorten the conversation, or connect with a larger context.",
        )
    return RequestRejected(f"llama.cpp refused the request: {said}.")


def _check_json(text: str) -> None:
    """llama.cpp ignores a schema that it cannot compile; then nothing was enforced."""
    try:
        json.loads(text)
    except ValueError:
        raise InvalidResponse(
            "The answer is no JSON: llama.cpp could not enforce this JSON schema.", hint="Make the schema simpler."
        ) from None

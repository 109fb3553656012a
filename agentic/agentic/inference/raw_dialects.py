"""The text-completion APIs that `raw` speaks: what each is asked, and how its chunks are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..protocols import Delta
from ..types.errors import InvalidResponse, RequestRejected
from ..types.messages import StopReason
from ..types.sampling import Completion, InferenceRequest, Usage
from .events import Events, JsonLines
from .failures import Server
from .http import Http
from .images import base64_of
from .ollama import model_options
from .openai import drawing

if TYPE_CHECKING:
    from ..llama import Prompt

_BEGIN, _IMAGE = "<|begin_of_text|>", "<|image|>"
_SHOWN = ("<|python_tag|>", "<|eom_id|>", "<|eot_id|>", "<|end_of_text|>")
_BY_ID = {128_001: "<|end_of_text|>", 128_008: "<|eom_id|>", 128_009: "<|eot_id|>"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a generation.

    Attributes:
        text: What was generated.
        stop: Why it ended: `length`, anything else for a proper end, or None while it goes on.
        stop_text: The stop string that the server left out of the text.
        usage: The tokens taken, where it says so.
        last: Nothing follows.
        logprobs: Of its tokens, as in `Completion`.
    """

    text: str = ""
    stop: str | None = None
    stop_text: str = ""
    usage: Usage | None = None
    last: bool = False
    logprobs: tuple[Mapping[str, float], ...] = ()


class Dialect(Protocol):
    """One server's API."""

    def events(self, server: Server) -> Events | JsonLines:
        """What cuts the answer's bytes into events."""
        ...

    async def fields(self, prompt: Prompt, request: InferenceRequest) -> dict[str, Any]:
        """The request's fields.

        Raises:
            InferenceError: The server does not take images, or cannot be asked how it does.
            InvalidInput: An image cannot be used.
        """
        ...

    def read(self, event: Any) -> Chunk:
        """Reads one event of the answer."""
        ...


class Completions:
    """`/v1/completions` of vLLM, and of llama.cpp's server; each ignores the fields that only the other knows."""

    def __init__(self, name: str, http: Http) -> None:
        self._name = name
        self._http = http

    def events(self, server: Server) -> Events:
        """Server-sent events."""
        return Events(server)

    async def fields(self, prompt: Prompt, request: InferenceRequest) -> dict[str, Any]:
        """The request's fields; images are refused."""
        if prompt.images:
            raise RequestRejected(
                f"The {self._http.server.name} takes text only.",
                hint="For images use llama.cpp's /completion or Ollama's /api/generate as the endpoint.",
            )
        sampling = request.sampling
        schema = {"name": "answer", "schema": dict(request.response_format or {})}
        fields = {
            "model": self._name,
            "stream": True,
            "stream_options": {"include_usage": True},
            **drawing(sampling),
            "seed": sampling.seed,
            "stop": [*prompt.stop, *sampling.stop],
            "logprobs": request.logprobs or None,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "include_stop_str_in_output": not sampling.stop,  # shows which token ended it; but not the caller's strings
            "preserved_tokens": _SHOWN,
            "response_format": {"type": "json_schema", "json_schema": schema} if request.response_format else None,
            "json_schema": request.response_format and dict(request.response_format),  # llama.cpp's name for it
        }
        # Left out, vLLM would end the answer after 16 tokens; null is as many as the context holds.
        return {**_given(fields), "max_tokens": sampling.max_tokens, "prompt": prompt.text.removeprefix(_BEGIN)}

    def read(self, event: Any) -> Chunk:
        """Reads one event of the answer."""
        counts = event.get("usage") or {}
        usage = Usage(counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0) if counts else None
        choices = event.get("choices")
        if not choices:
            return Chunk(usage=usage)
        choice = choices[0]
        stopped_at = choice.get("stop_reason")
        stop_text = stopped_at if isinstance(stopped_at, str) else _BY_ID.get(stopped_at, "")
        logprobs = tuple((choice.get("logprobs") or {}).get("top_logprobs") or ())
        return Chunk(choice.get("text") or "", choice.get("finish_reason"), stop_text, usage, logprobs=logprobs)


class LlamaCpp:
    """`/completion` of llama.cpp's server."""

    def __init__(self, name: str, http: Http) -> None:
        self._name = name
        self._http = http
        self._marker = ""

    def events(self, server: Server) -> Events:
        """Server-sent events."""
        return Events(server)

    async def fields(self, prompt: Prompt, request: InferenceRequest) -> dict[str, Any]:
        """The request's fields; images stand where the server's media marker does."""
        sampling = request.sampling
        drawn = drawing(sampling)
        fields = {
            "model": self._name,
            "stream": True,
            **drawn,
            "repetition_penalty": None,
            "repeat_penalty": drawn.get("repetition_penalty"),
            "n_predict": sampling.max_tokens,
            "seed": sampling.seed,
            "stop": [*prompt.stop, *sampling.stop],
            "preserved_tokens": _SHOWN,
            "json_schema": request.response_format and dict(request.response_format),
        }
        text: Any = prompt.text.removeprefix(_BEGIN)
        if prompt.images:
            marker = await self._media_marker()
            text = {
                "prompt_string": _placed(text, marker, [marker] * len(prompt.images)),
                "multimodal_data": [await base64_of(image) for image in prompt.images],
            }
        return {**_given(fields), "prompt": text}

    def read(self, event: Any) -> Chunk:
        """Reads one event of the answer."""
        if not event.get("stop"):
            return Chunk(event["content"])
        limited = event.get("stop_type") == "limit" or event.get("stopped_limit")
        usage = Usage(event.get("tokens_evaluated") or 0, event.get("tokens_predicted") or 0)
        stop_text = event.get("stopping_word") or ""
        return Chunk(event["content"], "length" if limited else "stop", stop_text, usage, last=True)

    async def _media_marker(self) -> str:
        """The string that stands for an image in a prompt: newer servers make up one of their own when they start."""
        if not self._marker:
            props = json.loads(await self._http.fetch("/props"))
            self._marker = props.get("media_marker") or "<__media__>"
        return self._marker


class OllamaRaw:
    """`/api/generate` of Ollama, in raw mode."""

    def __init__(self, name: str, _http: Http) -> None:
        self._name = name

    def events(self, server: Server) -> JsonLines:
        """JSON lines."""
        return JsonLines(server)

    async def fields(self, prompt: Prompt, request: InferenceRequest) -> dict[str, Any]:
        """The request's fields; images stand where `[img-0]` and so on do."""
        options = model_options(request.sampling)
        fields = {
            "model": self._name,
            "stream": True,
            "raw": True,
            "truncate": False,  # otherwise Ollama silently drops what does not fit
            "shift": False,
            "format": request.response_format and dict(request.response_format),
            "options": {**options, "stop": [*prompt.stop, *request.sampling.stop]},
            "images": [await base64_of(image) for image in prompt.images] or None,
        }
        marks = [f"[img-{number}]" for number in range(len(prompt.images))]
        return {**_given(fields), "prompt": _placed(prompt.text.removeprefix(_BEGIN), "[img-", marks)}

    def read(self, event: Any) -> Chunk:
        """Reads one event of the answer."""
        if not event.get("done"):
            return Chunk(event["response"])
        usage = Usage(event.get("prompt_eval_count") or 0, event.get("eval_count") or 0)
        return Chunk(event.get("response") or "", event.get("done_reason") or "stop", usage=usage, last=True)


def _placed(text: str, mark: str, marks: Sequence[str]) -> str:
    """Puts the server's marks where images belong, and breaks what only looks like one: text never becomes control."""
    first, *rest = (part.replace(mark, f"{mark[0]}\u200b{mark[1:]}") for part in text.split(_IMAGE))
    return first + "".join(f"{mark}{part}" for mark, part in zip(marks, rest, strict=True))


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


class RawDecoder:
    """Decodes one generation; see `agentic.inference.http.Decoder`."""

    def __init__(self, request: InferenceRequest, server: Server, dialect: Dialect) -> None:
        from ..llama import StreamParser

        self.complete = False
        self.shown = False
        self._parser = StreamParser(tools=request.tools)
        self._server = server
        self._dialect = dialect
        self._events = dialect.events(server)
        self._raw: list[str] = []
        self._end = Chunk()
        self._usage = Usage()
        self._logprobs: list[Mapping[str, float]] = []

    def feed(self, chunk: bytes) -> list[Delta]:
        """Takes the next bytes."""
        deltas: list[Delta] = []
        for data in self._events.feed(chunk):
            self._event(data, deltas)
        return deltas

    def finish(self) -> list[Delta]:
        """Ends the answer with its `Completion`."""
        deltas: list[Delta] = []
        if not self.complete:
            for data in self._events.flush():
                try:
                    self._event(data, deltas)
                except InvalidResponse:  # half an event, where a stream was cut
                    if self._events.plain:
                        raise
        if self._end.stop is None:
            raise self._server.ended_early(shown=self.shown)
        self.complete = True
        raw = "".join(self._raw)
        if self._end.stop_text in _SHOWN and not raw.endswith(_SHOWN):
            raw += self._end.stop_text
            deltas.extend(self._parser.feed(self._end.stop_text))
        cut_off = self._end.stop == "length"
        message = self._parser.finish(StopReason.OUT_OF_TOKENS if cut_off else StopReason.END_OF_TURN)
        return [*deltas, *self._parser.rest, Completion(message, self._usage, raw, tuple(self._logprobs))]

    def _event(self, data: str, deltas: list[Delta]) -> None:
        if data.strip() == "[DONE]":
            self.complete = True
            return
        try:
            event = json.loads(data)
            if error := event.get("error"):
                raise self._server.reported(error)
            chunk = self._dialect.read(event)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
            raise self._server.not_as_documented("something that is no completion", data) from None
        if not isinstance(chunk.text, str):
            raise self._server.not_as_documented("something that is no completion", data)
        if chunk.text:
            self._raw.append(chunk.text)
            new = self._parser.feed(chunk.text)
            self.shown = self.shown or bool(new)
            deltas.extend(new or [""])  # what may become a call is held back: nothing to show, but a sign of life
        if chunk.usage:
            self._usage = chunk.usage
        self._logprobs += chunk.logprobs
        if chunk.stop is not None:
            self._end = chunk
        self.complete = self.complete or chunk.last

"""`ollama/…`: Ollama by its own API, which takes what its OpenAI routes do not: the context size, and no truncation."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .. import keys
from ..protocols import Delta, Prepared
from ..types.content import Content, images_of, text_of
from ..types.errors import InvalidResponse
from ..types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ..types.sampling import Completion, InferenceRequest, SamplingParams, ToolCallDelta, Usage
from ..types.tools import ToolResponse
from .calls import read_call, text_or_none, whole_message
from .chat_messages import user_content, write_messages, write_tools
from .embeddings import OLLAMA, embed
from .events import JsonLines
from .failures import Server
from .http import Http, bearer, shown_url
from .images import base64_of
from .rendered import Rendered, body

_PORTS = {"http": 80, "https": 443}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to listen on; a client wants a real one


def connect(
    name: str,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Ollama:
    """Connects to Ollama.

    Args:
        name: The model's name, such as `llama3.2:3b`.
        endpoint: Where Ollama listens, or `OLLAMA_HOST`, read as Ollama itself reads it; by default this machine.
        api_key: The key, or `OLLAMA_API_KEY`; only Ollama's cloud needs one.
        headers: More headers.
        options: More of Ollama's model options, such as `{"num_ctx": 16384}`.
        extra: More fields of the request, such as `{"keep_alive": "1h"}`, put over ours; None takes a field out.

    Raises:
        ConfigError: The endpoint is no address.
    """
    url = host_url(endpoint or os.environ.get("OLLAMA_HOST") or "")
    key = api_key or keys.find("OLLAMA_API_KEY") or ""
    return Ollama(name, url, key, headers=headers or {}, options=options or {}, extra=extra or {})


def host_url(host: str) -> str:
    """The base URL that an `OLLAMA_HOST` means: scheme, host and port may each be left out."""
    host = host.strip().strip("\"'")
    scheme, found, rest = host.partition("://")
    if not found:
        scheme, rest = "http", host
    address, _, path = rest.partition("/")
    try:
        parts = urlsplit(f"//{address}")
        name, port = parts.hostname or "", parts.port
    except ValueError:  # a bare IPv6 address, or a port that is none
        name, port = address if _is_ipv6(address) else address.partition(":")[0], None
    name = _EVERYWHERE.get(name, name) or "127.0.0.1"
    if _is_ipv6(name):
        name = f"[{name}]"
    port = port or (_PORTS.get(scheme, 11434) if found else 11434)
    path = f"/{path}".rstrip("/").removesuffix("/v1").removesuffix("/api")
    return f"{scheme}://{name}:{port}{path}"


def _is_ipv6(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).version == 6
    except ValueError:
        return False


def model_options(sampling: SamplingParams) -> dict[str, Any]:
    """How tokens are drawn, in Ollama's words."""
    options: dict[str, Any] = {"temperature": 0.0 if sampling.strategy == "greedy" else sampling.temperature}
    if sampling.strategy == "top_p":
        options["top_p"] = sampling.top_p
    elif sampling.strategy == "top_k":
        options["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1.0:
        options["repeat_penalty"] = sampling.repetition_penalty
    if sampling.max_tokens is not None:
        options["num_predict"] = sampling.max_tokens
    if sampling.seed is not None:
        options["seed"] = sampling.seed
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


class Ollama:
    """A model in Ollama; make one with `connect`."""

    def __init__(
        self,
        name: str,
        endpoint: str,
        key: str,
        *,
        headers: Mapping[str, str],
        options: Mapping[str, Any],
        extra: Mapping[str, Any],
    ) -> None:
        self.model = f"ollama/{name}"
        self._name = name
        hint = f"Get it with: ollama pull {name}"
        self._server = Server(f"Ollama at {shown_url(endpoint)}", name, key, hint)
        self._http = Http(endpoint, server=self._server, headers={**bearer(key), **headers})
        self._options = dict(options)
        self._extra = dict(extra)
        self._rendered = Rendered()

    def __repr__(self) -> str:
        return f"Ollama({self._name!r}, {shown_url(self._http.endpoint)!r})"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Writes the request's JSON body, messages last, so that the next turn's body begins with the same text.

        Raises:
            InvalidInput: There are no messages, or an image cannot be used.
        """
        choice = request.tool_choice
        tools = [tool for tool in request.tools if choice in ("auto", "required", tool.name)]
        fields = {
            "model": self._name,
            "stream": True,
            "truncate": False,  # otherwise Ollama silently drops what does not fit
            "shift": False,
            "format": request.response_format and dict(request.response_format),
            "options": {**model_options(request.sampling), **self._options},
            **self._extra,
        }
        text = body(
            fields,
            tools=write_tools(tools, self._rendered) if tools else "",
            messages=await write_messages(request.messages, self._rendered, _message),
        )
        context = self._options.get("num_ctx")
        return Prepared(text, request, context=context if type(context) is int else None)

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Sends exactly the prepared body and streams the answer.

        Raises:
            InferenceError: In any of its kinds.
        """
        return self._http.stream("/api/chat", prepared.prompt.encode(), _Decoder(prepared.request, self._server))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text.

        Raises:
            InferenceError: In any of its kinds.
        """
        return await embed(self._http, OLLAMA, self._name, texts)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()


async def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(content=content):
            return {"role": "system", **await _content(content)}
        case UserMessage():
            return {"role": "user", **await _content(user_content(message))}
        case ToolResponse(call_id=call_id, tool_name=name):
            return {"role": "tool", "tool_call_id": call_id, "tool_name": name, "content": message.text}
        case AssistantMessage(content=text, tool_calls=calls) if calls:
            written = [
                {"id": call.call_id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in calls
            ]
            return {"role": "assistant", "content": text, "tool_calls": written}
        case AssistantMessage(content=text):
            return {"role": "assistant", "content": text}


async def _content(content: Content) -> dict[str, Any]:
    if images := images_of(content):
        return {"content": text_of(content), "images": [await base64_of(image) for image in images]}
    return {"content": text_of(content)}


class _Decoder:
    """Reads the JSON lines of `/api/chat`; see `agentic.inference.http.Decoder`."""

    def __init__(self, request: InferenceRequest, server: Server) -> None:
        self.complete = False
        self._request = request
        self._server = server
        self._lines = JsonLines(server)
        self._texts: list[str] = []
        self._calls: list[dict[str, str]] = []
        self._last: dict[str, Any] = {}

    @property
    def shown(self) -> bool:
        """Whether it gave out any part of an answer."""
        return bool(self._texts or self._calls)

    def feed(self, chunk: bytes) -> list[Delta]:
        """Takes the next bytes."""
        deltas: list[Delta] = []
        for line in self._lines.feed(chunk):
            self._line(line, deltas)
        return deltas

    def finish(self) -> list[Delta]:
        """Ends the answer with its `Completion`."""
        deltas: list[Delta] = []
        for line in self._lines.flush():
            try:
                self._line(line, deltas)
            except InvalidResponse:  # half a line, where a stream was cut
                if self._lines.plain:
                    raise
        if not self.complete:
            raise self._server.ended_early(shown=self.shown)
        cut_off = self._last.get("done_reason") == "length"
        offered = {tool.name for tool in self._request.tools}
        calls = [read_call(**call, offered=offered, cut_off=cut_off) for call in self._calls]
        notes = []
        if calls == [] and self._request.tools and self._request.tool_choice not in ("auto", "none"):
            notes.append("Ollama cannot force a tool call; the choice was left to the model.")
        stop = StopReason.OUT_OF_TOKENS if cut_off else StopReason.END_OF_TURN
        message = whole_message("".join(self._texts), calls, stop, *notes)
        usage = Usage(self._last.get("prompt_eval_count") or 0, self._last.get("eval_count") or 0)
        return [*deltas, Completion(message, usage)]

    def _line(self, line: str, deltas: list[Delta]) -> None:
        try:
            event = json.loads(line)
            if error := event.get("error"):
                raise self._server.reported(error)
            message = event["message"]
            if text := message.get("content"):
                self._texts.append("" + text)  # a TypeError unless it is text
                deltas.append(text)
            deltas.extend(self._call(call) for call in message.get("tool_calls") or ())
            if not deltas:
                deltas.append("")  # some thinking: no part of the answer, but a sign of life
            if event.get("done"):
                self.complete, self._last = True, event
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise self._server.not_as_documented("a line that is no chat answer", line) from None

    def _call(self, call: Any) -> ToolCallDelta:
        function = call["function"]
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        name = text_or_none(function["name"])
        self._calls.append({"name": name, "text": text, "call_id": text_or_none(call.get("id"))})
        return ToolCallDelta(len(self._calls) - 1, name, text)

"""`llama-stack/…`: a Llama Stack 0.2 server, through `llama-stack-client`.

The client is handed as little as possible: it rewrites every message of the history that it is given as a typed
argument (135 µs each) and builds a pydantic object for every chunk that comes back. So the messages go in as extra
body fields, ready, and the answer comes out as bytes.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx

from .. import keys
from ..protocols import Delta, Prepared
from ..types.content import Content, Image, Part
from ..types.errors import ConfigError, InferenceError, InvalidInput
from ..types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ..types.sampling import Completion, InferenceRequest, SamplingParams, ToolCallDelta, Usage
from ..types.tools import ToolCall, ToolDef, ToolResponse
from .calls import read_call, text_or_none, whole_message
from .chat_messages import without_tool_urls
from .embeddings import LLAMA_STACK, embed
from .events import Events
from .failures import Server
from .http import Http, base_url, bearer, decoded, shown_url
from .images import WEB_FORMATS, fitting
from .rendered import dumps

if TYPE_CHECKING:
    from llama_stack_client import AsyncLlamaStackClient

_STATUS = re.compile(r"\s*(\d{3}): ")


def connect(
    name: str,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> LlamaStack:
    """Connects to a Llama Stack server.

    Args:
        name: The model's id on that server, such as `meta-llama/Llama-3.3-70B-Instruct`.
        endpoint: The base URL, or `LLAMA_STACK_BASE_URL`.
        api_key: The key, or `LLAMA_STACK_CLIENT_API_KEY` (the client's own variable).
        headers: More headers.
        extra: More fields of the request, put over ours; None takes a field out.

    Raises:
        ConfigError: There is no endpoint.
    """
    url = endpoint or os.environ.get("LLAMA_STACK_BASE_URL") or ""
    if not url:
        raise ConfigError(f"No endpoint for llama-stack/{name}.", hint="Pass endpoint=…, or set LLAMA_STACK_BASE_URL.")
    key = api_key or keys.find("LLAMA_STACK_CLIENT_API_KEY") or ""
    return LlamaStack(name, base_url(url).removesuffix("/v1"), key, headers=headers or {}, extra=extra or {})


class LlamaStack:
    """A model behind a Llama Stack server; make one with `connect`."""

    def __init__(
        self, name: str, endpoint: str, key: str, *, headers: Mapping[str, str], extra: Mapping[str, Any]
    ) -> None:
        self.model = f"llama-stack/{name}"
        self._name = name
        self._key = key
        self._server = Server(f"Llama Stack at {shown_url(endpoint)}", name, key)
        self._http = Http(endpoint, server=self._server, headers={**bearer(key), **headers})
        self._extra = dict(extra)
        self._clients: WeakKeyDictionary[httpx.AsyncClient, AsyncLlamaStackClient] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"LlamaStack({self._name!r}, {shown_url(self._http.endpoint)!r})"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Writes the request's JSON body, messages last, so that the next turn's body begins with the same text.

        Raises:
            InvalidInput: There are no messages, or an image cannot be used.
        """
        if not request.messages:
            raise InvalidInput("There are no messages to answer.")
        fields = {**self._fields(request), **self._extra}
        fields["messages"] = [await _message(without_tool_urls(message)) for message in request.messages]
        fields = {key: value for key, value in fields.items() if value is not None}
        return Prepared(dumps({"model_id": self._name, "stream": True, **fields}), request)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Sends the prepared body and streams the answer.

        Raises:
            InferenceError: In any of its kinds.
        """
        library = _library()
        decoder = _Decoder(prepared.request, self._server)
        async with self._http.client() as http:
            try:
                async with (
                    self._client(http).inference.with_streaming_response.chat_completion(
                        model_id=self._name,
                        messages=library.NOT_GIVEN,  # they are in the extra body
                        stream=True,
                        extra_body=json.loads(prepared.prompt),
                    ) as response,
                    aclosing(decoded(response.http_response, decoder)) as deltas,
                ):
                    async for delta in deltas:
                        yield delta
            except library.APIStatusError as error:
                # Not `from error`: its text is the server's, which may repeat the key.
                raise self._server.refused(error.status_code, error.response.content, error.response.headers) from None
            except library.APIConnectionError as error:
                raise self._unreachable(error.__cause__) from error
            except httpx.HTTPError as error:
                raise self._server.unreachable(error, shown=decoder.shown) from error

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text.

        Raises:
            InferenceError: In any of its kinds.
        """
        return await embed(self._http, LLAMA_STACK, self._name, texts)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def _client(self, http: httpx.AsyncClient) -> AsyncLlamaStackClient:
        client = self._clients.get(http)
        if client is None:
            client = self._clients[http] = _library().AsyncLlamaStackClient(
                base_url=self._http.endpoint, api_key=self._key or None, http_client=http, max_retries=0
            )
        return client

    def _unreachable(self, cause: BaseException | None) -> InferenceError:
        if not isinstance(cause, httpx.HTTPError):
            cause = httpx.ConnectError(str(cause))
        return self._server.unreachable(cause, shown=False)

    def _fields(self, request: InferenceRequest) -> dict[str, Any]:
        return {
            "sampling_params": _sampling(request.sampling),
            "tools": [_tool(tool) for tool in request.tools] or None,
            "tool_config": {"tool_choice": request.tool_choice} if request.tools else None,
            "response_format": request.response_format
            and {"type": "json_schema", "json_schema": dict(request.response_format)},
        }


@functools.cache
def _library() -> ModuleType:
    """Imports `llama_stack_client`, and takes back what that does to the program's logging: INFO on stderr for all."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        return importlib.import_module("llama_stack_client")
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    strategy: dict[str, Any] = {"type": sampling.strategy}
    if sampling.strategy == "top_p":
        strategy |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
    elif sampling.strategy == "top_k":
        strategy |= {"top_k": sampling.top_k}
    fields: dict[str, Any] = {"strategy": strategy}
    if sampling.max_tokens is not None:
        fields["max_tokens"] = sampling.max_tokens
    if sampling.repetition_penalty != 1.0:
        fields["repetition_penalty"] = sampling.repetition_penalty
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return fields


def _tool(tool: ToolDef) -> dict[str, Any]:
    """Llama Stack's tool definition is flat; what it has no field for goes into a parameter's description."""
    required = tool.parameters.get("required") or ()
    definitions = tool.parameters.get("$defs") or {}
    parameters = {}
    for name, schema in (tool.parameters.get("properties") or {}).items():
        parameter = {"param_type": schema.get("type") or "object", "description": schema.get("description") or ""}
        rest = {key: value for key, value in schema.items() if key not in ("type", "title", "description", "default")}
        if rest:
            if "$ref" in json.dumps(rest):
                rest["$defs"] = definitions
            parameter["description"] = f"{parameter['description']} JSON schema: {dumps(rest)}".strip()
        parameter["required"] = name in required
        if "default" in schema:
            parameter["default"] = schema["default"]
        parameters[name] = parameter
    return {"tool_name": tool.name, "description": tool.description, "parameters": parameters}


async def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(content=content):
            return {"role": "system", "content": await _content(content)}
        case UserMessage(content=content, context=context):
            said = {"role": "user", "content": await _content(content)}
            return {**said, "context": context} if context else said
        case ToolResponse(call_id=call_id, content=content):
            return {"role": "tool", "call_id": call_id, "content": await _content(content)}
        case AssistantMessage(content=text, tool_calls=calls, stop_reason=stop):
            said = {"role": "assistant", "content": text, "stop_reason": stop.value}
            return {**said, "tool_calls": [_call(call) for call in calls]} if calls else said


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = dict(call.arguments)
    return {
        "call_id": call.call_id,
        "tool_name": call.name,
        "arguments": arguments,
        "arguments_json": dumps(arguments),
    }


async def _content(content: Content) -> Any:
    return content if isinstance(content, str) else [await _item(part) for part in content]


async def _item(part: Part) -> dict[str, Any]:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    image = await fitting(part, WEB_FORMATS, urls=True)
    return {"type": "image", "image": {"url": {"uri": image.data_url}}}


class _Decoder:
    """Reads `/inference/chat-completion`, streamed or whole; see `agentic.inference.http.Decoder`."""

    def __init__(self, request: InferenceRequest, server: Server) -> None:
        self.complete = False
        self._offered = {tool.name for tool in request.tools}
        self._server = server
        self._events = Events(server)
        self._texts: list[str] = []
        self._calls: list[dict[str, str]] = []
        self._pieces: list[str] = []
        self._stop: str | None = None
        self._usage = Usage()

    @property
    def shown(self) -> bool:
        """Whether it gave out any part of an answer."""
        return bool(self._texts or self._calls or self._pieces)

    def feed(self, chunk: bytes) -> list[Delta]:
        """Takes the next bytes."""
        deltas: list[Delta] = []
        for data in self._events.feed(chunk):
            self._event(data, deltas)
        return deltas

    def finish(self) -> list[Delta]:
        """Ends the answer with its `Completion`."""
        deltas: list[Delta] = []
        if self._events.plain:
            for data in self._events.flush():
                self._event(data, deltas)
        if not self.complete:
            raise self._server.ended_early(shown=self.shown)
        stop = StopReason(self._stop) if self._stop in tuple(StopReason) else StopReason.END_OF_TURN
        cut_off = stop is StopReason.OUT_OF_TOKENS
        calls = [read_call(**call, offered=self._offered, cut_off=cut_off) for call in self._calls]
        return [*deltas, Completion(whole_message("".join(self._texts), calls, stop), self._usage)]

    def _event(self, data: str, deltas: list[Delta]) -> None:
        try:
            answer = json.loads(data)
            if error := answer.get("error") or answer.get("detail"):
                raise self._failure(error)
            if metrics := answer.get("metrics"):
                counts = {metric["metric"]: int(metric["value"]) for metric in metrics}
                self._usage = Usage(counts.get("prompt_tokens", 0), counts.get("completion_tokens", 0))
            if "completion_message" in answer:
                self._whole(answer["completion_message"], deltas)
            else:
                self._progress(answer["event"], deltas)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, OverflowError):
            raise self._server.not_as_documented("something that is no chat completion", data) from None

    def _failure(self, error: Any) -> InferenceError:
        """A failure within a stream; its text begins with the status that the server could no longer send."""
        words = str(error.get("message", error) if isinstance(error, dict) else error)
        if found := _STATUS.match(words):
            return self._server.refused(int(found[1]), words[found.end() :].encode())
        return self._server.reported({"message": words})

    def _whole(self, message: Any, deltas: list[Delta]) -> None:
        self._text(message["content"], deltas)
        deltas.extend(self._call(call) for call in message.get("tool_calls") or ())
        self._stop, self.complete = message["stop_reason"], True

    def _progress(self, event: Any, deltas: list[Delta]) -> None:
        delta = event["delta"]
        self._stop = event.get("stop_reason") or self._stop
        if delta["type"] == "text":
            self._text(delta["text"], deltas)
        elif delta["type"] == "tool_call":
            self._tool_call(delta, deltas)
        if event["event_type"] == "complete":
            self.complete = True

    def _text(self, text: Any, deltas: list[Delta]) -> None:
        if not isinstance(text, str):
            parts = text if isinstance(text, list) else [text]
            text = "".join(part["text"] for part in parts if part["type"] == "text")
        if text:
            self._texts.append(text)
        deltas.append(text)

    def _tool_call(self, delta: Any, deltas: list[Delta]) -> None:
        call = delta["tool_call"]
        if not isinstance(call, str):
            deltas.append(self._call(call))
            self._pieces = []
            return
        self._pieces.append(call)
        deltas.append(ToolCallDelta(len(self._calls), arguments=call))
        if delta["parse_status"] == "failed":
            self._calls.append({"name": "", "text": "".join(self._pieces), "call_id": ""})
            self._pieces = []

    def _call(self, call: Any) -> ToolCallDelta:
        text = call.get("arguments_json") or call["arguments"]
        text = text if isinstance(text, str) else dumps(text)
        name = text_or_none(call["tool_name"])
        self._calls.append({"name": name, "text": text, "call_id": text_or_none(call["call_id"])})
        # The server sends a call's text while the model writes it, and the whole call once more at its end.
        return ToolCallDelta(len(self._calls) - 1, name, "" if self._pieces else text)

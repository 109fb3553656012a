"""Reads answers of `/chat/completions`: chunks of a stream, or one whole body.

Servers differ. Some leave out `index` or `id`, give every parallel call index 0, send whole calls in one chunk,
arguments as an object, no usage, no `[DONE]` or no `finish_reason`; all of these are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..protocols import Delta
from ..types.errors import InvalidResponse
from ..types.messages import StopReason
from ..types.sampling import Completion, InferenceRequest, ToolCallDelta, Usage
from .calls import read_call, text_or_none, whole_message
from .events import Events
from .failures import Server

STOPS = {"length": StopReason.OUT_OF_TOKENS, "tool_calls": StopReason.END_OF_MESSAGE}


@dataclass(slots=True)
class _Call:
    name: str = ""
    call_id: str = ""
    arguments: list[str] = field(default_factory=list)


class ChatDecoder:
    """Decodes one answer; see `agentic.inference.http.Decoder`."""

    def __init__(self, request: InferenceRequest, server: Server, notes: tuple[str, ...] = ()) -> None:
        self.complete = False
        self._offered = {tool.name for tool in request.tools}
        self._server = server
        self._notes = notes
        self._events = Events(server)
        self._texts: list[str] = []
        self._calls: list[_Call] = []
        self._by_index: dict[Any, int] = {}
        self._usage = Usage()
        self._reason: str | None = None
        self._logprobs: list[dict[str, float]] = []

    @property
    def shown(self) -> bool:
        """Whether it gave out any part of an answer."""
        return bool(self._texts or self._calls)

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
            self._end(deltas)
        stop = STOPS.get(self._reason or "", StopReason.END_OF_TURN)
        notes = self._notes
        if self._reason == "content_filter":
            stop, notes = StopReason.OUT_OF_TOKENS, (*notes, "The server's content filter cut the answer off.")
        cut_off = stop is StopReason.OUT_OF_TOKENS
        calls = [
            read_call(call.name, "".join(call.arguments), call_id=call.call_id, offered=self._offered, cut_off=cut_off)
            for call in self._calls
        ]
        message = whole_message("".join(self._texts), calls, stop, *notes)
        deltas.append(Completion(message, self._usage, logprobs=tuple(self._logprobs)))
        return deltas

    def _end(self, deltas: list[Delta]) -> None:
        for data in self._events.flush():
            try:
                self._event(data, deltas)
            except InvalidResponse:  # half an event, where a stream was cut
                if self._events.plain:
                    raise
        if self._events.plain:
            self._reason = self._reason or "stop"
        if self._reason is None and not self.complete:
            raise self._server.ended_early(shown=self.shown)
        self.complete = True

    def _event(self, data: str, deltas: list[Delta]) -> None:
        if data.strip() == "[DONE]":
            self.complete = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise self._server.not_as_documented("something that is not JSON", data) from None
        try:
            self._read(event, deltas)
        except (AttributeError, KeyError, TypeError):
            raise self._server.not_as_documented("JSON that is no chat completion", data) from None

    def _read(self, event: Any, deltas: list[Delta]) -> None:
        if error := event.get("error"):
            raise self._server.reported(error)
        if usage := event.get("usage"):
            self._usage = Usage(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        for choice in event["choices"] if self._events.plain else event.get("choices") or ():
            if choice.get("index"):
                continue
            delta = choice.get("delta") or choice.get("message") or {}
            text = delta.get("content") or delta.get("refusal")
            calls = delta.get("tool_calls")
            if text:
                if not isinstance(text, str):
                    text = "".join(part["text"] for part in text if part["type"] == "text")
                self._texts.append(text)
                deltas.append(text)
            if calls:
                deltas.extend(self._call(part) for part in calls)
            elif not text:
                deltas.append("")  # the role or some reasoning: no part of the answer, but a sign of life
            self._reason = text_or_none(choice.get("finish_reason")) or self._reason
            for token in (choice.get("logprobs") or {}).get("content") or ():
                likeliest = token.get("top_logprobs") or [token]
                self._logprobs.append({one["token"]: float(one["logprob"]) for one in likeliest})

    def _call(self, part: Any) -> ToolCallDelta:
        function = part.get("function") or {}
        name, call_id = text_or_none(function.get("name")), text_or_none(part.get("id"))
        position = self._position(part.get("index"), call_id, name)
        call = self._calls[position]
        if call.name:
            name = ""
        else:
            call.name = name
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call.arguments.append(arguments)
        return ToolCallDelta(position, name, arguments)

    def _position(self, index: Any, call_id: str, name: str) -> int:
        """Which call a piece belongs to: by its index, by its id, or because it does not begin a new one."""
        found = self._by_index.get(index)
        if index is None:
            found = next((at for at, call in enumerate(self._calls) if call_id and call.call_id == call_id), None)
            if found is None and self._calls and not (name or call_id):
                found = len(self._calls) - 1
        elif found is not None and call_id and self._calls[found].call_id not in ("", call_id):
            found = None
        if found is None:
            found = len(self._calls)
            self._calls.append(_Call(call_id=call_id))
        self._by_index[index] = found
        return found

"""OpenAI-compatible chat servers, in the several manners in which they differ."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from .base import Answer, Request, Server
from .brain import Brain, Call, Reply, Said, Seen, weather_brain


@dataclass(frozen=True)
class Manner:
    """How a server differs from the documented API.

    Attributes:
        streams: Otherwise it answers `stream: true` with a plain JSON body.
        index: `right`, `none` (left out) or `zero` (always 0).
        ids: It gives calls ids.
        whole_calls: Each call comes in one chunk, with its name.
        object_arguments: Arguments come as an object instead of text.
        usage: It answers `stream_options`; otherwise it refuses them.
        done: It ends the stream with `[DONE]`.
        line: What ends a line.
        comments: It sends comments and events without a choice in between.
        reasoning: It sends its reasoning first, as vLLM's and others' reasoning models do.
    """

    streams: bool = True
    index: str = "right"
    ids: bool = True
    whole_calls: bool = False
    object_arguments: bool = False
    usage: bool = True
    done: bool = True
    line: bytes = b"\n"
    comments: bool = False
    reasoning: bool = False


class OpenAIServer(Server):
    """`/v1/chat/completions` and `/v1/embeddings`."""

    def __init__(
        self, brain: Brain = weather_brain, manner: Manner | None = None, *, model: str = "test", key: str = ""
    ) -> None:
        super().__init__()
        self.brain = brain
        self.manner = manner or Manner()
        self.model = model
        self.key = key

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def answer(self, request: Request, answer: Answer) -> None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            sent = request.headers.get("authorization", "")
            await answer.json(
                401, error(f"Incorrect API key provided: {sent}.", "invalid_request_error", "invalid_api_key")
            )
        elif request.path == "/v1/embeddings":
            await answer.json(200, embeddings(request.json))
        elif request.path != "/v1/chat/completions":
            await answer.json(404, {"detail": "Not Found"})
        elif (problem := self._problem(request.json)) is not None:
            await answer.json(*problem)
        else:
            await self._chat(request.json, answer)

    def _problem(self, body: Any) -> tuple[int, Any] | None:
        if body["model"] != self.model:
            return 404, error(f"The model `{body['model']}` does not exist.", "NotFoundError", "model_not_found")
        if "stream_options" in body and not self.manner.usage:
            return 400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
        open_calls: list[str] = []
        for message in body["messages"]:
            if message["role"] == "tool":
                if message["tool_call_id"] not in open_calls:
                    return 400, error(
                        "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
                    )
                open_calls.remove(message["tool_call_id"])
            elif open_calls:
                return 400, error(f"No tool output found for {open_calls}.")
            else:
                open_calls = [call["id"] for call in message.get("tool_calls", ())]
        return None

    async def _chat(self, body: Any, answer: Answer) -> None:
        reply = self.brain(seen(body))
        if not (body.get("stream") and self.manner.streams):
            await answer.json(200, self._whole(reply))
            return
        await answer.start("text/event-stream; charset=utf-8")
        for choice in self._choices(reply):
            if self.manner.comments:
                await self._line(answer, b": still here")
            await self._event(answer, {"choices": [{"index": 0, "finish_reason": None, **choice}]})
        if body.get("stream_options", {}).get("include_usage"):
            await self._event(answer, {"choices": [], "usage": usage(reply)})
        if self.manner.done:
            await self._line(answer, b"data: [DONE]")
        await answer.end()

    async def _event(self, answer: Answer, event: dict[str, Any]) -> None:
        event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": self.model, **event}
        await self._line(answer, b"data: " + json.dumps(event, ensure_ascii=False).encode())

    async def _line(self, answer: Answer, line: bytes) -> None:
        await answer.send(line + self.manner.line * 2)

    def _choices(self, reply: Reply) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if self.manner.reasoning:
            deltas += [{"reasoning_content": "Let me think."}]
        deltas += [{"content": piece} for piece in reply.pieces()]
        for number, call in enumerate(reply.calls):
            deltas += [{"tool_calls": [part]} for part in self._parts(number, call, reply.cut_off)]
        return [*({"delta": delta} for delta in deltas), {"delta": {}, "finish_reason": finish(reply)}]

    def _parts(self, number: int, call: Call, cut_off: bool) -> list[dict[str, Any]]:
        place = {"right": {"index": number}, "none": {}, "zero": {"index": 0}}[self.manner.index]
        name_only = {"id": f"call_{number}"} if self.manner.ids else {}
        if self.manner.object_arguments:
            return [{**place, **name_only, "function": {"name": call.name, "arguments": call.arguments}}]
        text = json.dumps(call.arguments, ensure_ascii=False)
        text = text[: len(text) // 2] if cut_off else text
        if self.manner.whole_calls:
            return [{**place, **name_only, "type": "function", "function": {"name": call.name, "arguments": text}}]
        cut = len(text) // 3
        head = {**place, **name_only, "type": "function", "function": {"name": call.name, "arguments": ""}}
        return [head, *({**place, "function": {"arguments": part}} for part in (text[:cut], text[cut:]))]

    def _whole(self, reply: Reply) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = [
                part for number, call in enumerate(reply.calls) for part in self._whole_parts(number, call)
            ]
        choice = {"index": 0, "message": message, "finish_reason": finish(reply)}
        return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage(reply)}

    def _whole_parts(self, number: int, call: Call) -> list[dict[str, Any]]:
        function = {"name": call.name, "arguments": json.dumps(call.arguments)}
        return [{"id": f"call_{number}", "type": "function", "function": function}]


def error(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def finish(reply: Reply) -> str:
    return "length" if reply.cut_off else "tool_calls" if reply.calls else "stop"


def usage(reply: Reply) -> dict[str, int]:
    asked, said = reply.usage
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def embeddings(body: Any) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": number, "embedding": [float(len(text)), 1.0]}
        for number, text in enumerate(body["input"])
    ]
    return {"object": "list", "data": rows[::-1], "model": body["model"]}


def seen(body: Any) -> Seen:
    """What a chat completion request says."""
    tools = [] if body.get("tool_choice") == "none" else body.get("tools", [])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    return Seen(
        tuple(_said(message) for message in body["messages"]),
        tuple(tool["function"]["name"] for tool in tools),
        schema,
    )


def _said(message: Any) -> Said:
    content = message.get("content") or ""
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return Said(
        message["role"],
        "".join(part["text"] for part in parts if part["type"] == "text"),
        tuple(_image(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"),
        tuple(
            Call(call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ),
    )


def _image(url: str) -> bytes:
    head, _, data = url.partition(",")
    if url.startswith("http"):
        return url.encode()
    assert head.startswith("data:image/")
    assert head.endswith(";base64")
    return base64.b64decode(data, validate=True)

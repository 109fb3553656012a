"""Llama Stack 0.2.12's `/v1/inference/chat-completion`, after recorded exchanges of the real server."""

from __future__ import annotations

import base64
import json
from typing import Any

from .base import Answer, Request, Server
from .brain import Brain, Call, Reply, Said, Seen, weather_brain


class LlamaStackServer(Server):
    """Serves one model.

    Args:
        brain: What it says.
        model: Its id.
        streamed_calls: Sends a call's text while it is written, as the server's own inference does; remote providers
            behind it send each call whole.
    """

    def __init__(self, brain: Brain = weather_brain, *, model: str = "test", streamed_calls: bool = False) -> None:
        super().__init__()
        self.brain = brain
        self.model = model
        self.streamed_calls = streamed_calls

    async def answer(self, request: Request, answer: Answer) -> None:
        body = request.json
        if request.path == "/v1/inference/embeddings":
            await answer.json(200, {"embeddings": [[float(len(text)), 1.0] for text in body["contents"]]})
        elif request.path != "/v1/inference/chat-completion":
            await answer.json(404, {"detail": "Not Found"})
        elif body["model_id"] != self.model:
            await answer.json(400, {"detail": f"Invalid value: Model '{body['model_id']}' not found"})
        else:
            assert request.headers["x-llamastack-client-version"].startswith("0.2.")
            assert [*body][-1] == "messages"
            reply = self.brain(_seen(body))
            await answer.start("text/event-stream; charset=utf-8")
            for event in self._events(reply):
                await answer.send(b"data: " + json.dumps(event).encode() + b"\n\n")
            await answer.end()

    def _events(self, reply: Reply) -> list[dict[str, Any]]:
        deltas = [{"type": "text", "text": ""}, *({"type": "text", "text": piece} for piece in reply.pieces())]
        events = [_event("start" if number == 0 else "progress", delta) for number, delta in enumerate(deltas)]
        for number, call in enumerate(reply.calls):
            events += [_event("progress", delta) for delta in self._call(number, call)]
        stop = "out_of_tokens" if reply.cut_off else "end_of_message" if reply.calls else "end_of_turn"
        counts = zip(
            ("prompt_tokens", "completion_tokens", "total_tokens"), (*reply.usage, sum(reply.usage)), strict=True
        )
        metrics = [{"metric": name, "value": value, "unit": None} for name, value in counts]
        return [*events, _event("complete", {"type": "text", "text": ""}, stop, metrics)]

    def _call(self, number: int, call: Call) -> list[dict[str, Any]]:
        text = json.dumps(call.arguments)
        whole = {
            "call_id": f"call_{number}",
            "tool_name": call.name,
            "arguments": call.arguments,
            "arguments_json": text,
        }
        last = {"type": "tool_call", "tool_call": whole, "parse_status": "succeeded"}
        if not self.streamed_calls:
            return [last]
        first = {"type": "tool_call", "tool_call": "", "parse_status": "started"}
        parts = [
            {"type": "tool_call", "tool_call": part, "parse_status": "in_progress"} for part in (text[:5], text[5:])
        ]
        return [first, *parts, last]


def _event(kind: str, delta: dict[str, Any], stop: str | None = None, metrics: Any = None) -> dict[str, Any]:
    event = {"event_type": kind, "delta": delta, "logprobs": None, "stop_reason": stop}
    return {"metrics": metrics, "event": event}


def _seen(body: Any) -> Seen:
    assert set(body["sampling_params"]["strategy"]) >= {"type"}
    tools = []
    for tool in body.get("tools", []):
        assert all({"param_type", "required"} <= set(parameter) for parameter in tool["parameters"].values())
        tools.append(tool["tool_name"])
    schema = body.get("response_format", {}).get("json_schema")
    return Seen(tuple(_said(message) for message in body["messages"]), tuple(tools), schema)


def _said(message: Any) -> Said:
    content = message["content"]
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if message["role"] == "assistant":
        assert message["stop_reason"] in ("end_of_turn", "end_of_message", "out_of_tokens")
    return Said(
        message["role"],
        "".join(part["text"] for part in parts if part["type"] == "text"),
        tuple(_image(part["image"]["url"]["uri"]) for part in parts if part["type"] == "image"),
        tuple(Call(call["tool_name"], call["arguments"]) for call in message.get("tool_calls", ())),
    )


def _image(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2], validate=True) if url.startswith("data:") else url.encode()

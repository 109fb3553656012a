"""Ollama: `/api/chat`, `/api/generate` in raw mode, `/api/embed`."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from .base import Answer, Request, Server
from .brain import Brain, Call, Reply, Said, Seen, weather_brain
from .prompts import generated, read_prompt


class OllamaServer(Server):
    """Serves one model.

    Args:
        brain: What it says.
        model: Its name.
        ids: Whether calls have ids, as in newer versions.
    """

    def __init__(self, brain: Brain = weather_brain, *, model: str = "test", ids: bool = False) -> None:
        super().__init__()
        self.brain = brain
        self.model = model
        self.ids = ids

    async def answer(self, request: Request, answer: Answer) -> None:
        body = request.json
        if body["model"] != self.model:
            await answer.json(404, {"error": f"model '{body['model']}' not found"})
        elif request.path == "/api/chat":
            assert [*body][-1] == "messages"
            await self._lines(answer, self.brain(_seen(body)), self._chat_lines)
        elif request.path == "/api/generate":
            assert body["raw"] is True
            assert not body["prompt"].startswith("<|begin_of_text|>"), "the tokenizer adds it: it would be there twice"
            images = [base64.b64decode(data, validate=True) for data in body.get("images", [])]
            prompt = re.sub(r"\[img-(\d+)\]", "<|image|>", body["prompt"])
            reply = self.brain(read_prompt(prompt, images, body.get("format")))
            await self._lines(answer, reply, self._raw_lines)
        elif request.path == "/api/embed":
            await answer.json(
                200, {"model": self.model, "embeddings": [[float(len(text)), 1.0] for text in body["input"]]}
            )
        else:
            await answer.whole(404, b"404 page not found", "text/plain")

    async def _lines(self, answer: Answer, reply: Reply, lines: Any) -> None:
        await answer.start("application/x-ndjson")
        for fields in lines(reply):
            line = {"model": self.model, "created_at": "2025-01-01T00:00:00Z", "done": False, **fields}
            await answer.send(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        await answer.end()

    def _chat_lines(self, reply: Reply) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = [{"role": "assistant", "content": "", "thinking": "Hm."}]
        messages += [{"role": "assistant", "content": piece} for piece in reply.pieces()]
        for number, call in enumerate(reply.calls):
            function = {"index": number, "name": call.name, "arguments": call.arguments}
            ids = {"id": f"call_{number}"} if self.ids else {}
            messages.append({"role": "assistant", "content": "", "tool_calls": [{**ids, "function": function}]})
        last = {"message": {"role": "assistant", "content": ""}, **_end(reply)}
        return [*({"message": message} for message in messages), last]

    def _raw_lines(self, reply: Reply) -> list[dict[str, Any]]:
        text = re.sub(r"<\|(eot_id|eom_id)\|>$", "", generated(reply))  # Ollama never shows the token that ends
        pieces = re.findall(r"<\|\w+\|>|\s*[^\s<]+|\s+|<", text)
        return [*({"response": piece} for piece in pieces), {"response": "", **_end(reply)}]


def _end(reply: Reply) -> dict[str, Any]:
    asked, said = reply.usage
    reason = "length" if reply.cut_off else "stop"
    return {"done": True, "done_reason": reason, "prompt_eval_count": asked, "eval_count": said}


def _seen(body: Any) -> Seen:
    assert body["truncate"] is False
    tools = tuple(tool["function"]["name"] for tool in body.get("tools", []))
    return Seen(tuple(_said(message) for message in body["messages"]), tools, body.get("format"))


def _said(message: Any) -> Said:
    assert isinstance(message["content"], str)
    return Said(
        message["role"],
        message["content"],
        tuple(base64.b64decode(data, validate=True) for data in message.get("images", ())),
        tuple(
            Call(call["function"]["name"], dict(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ),
    )

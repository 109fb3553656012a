"""Text completion: vLLM's `/v1/completions`, and llama.cpp's server with its own `/completion`."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from .base import Answer, Request, Server
from .brain import Brain, Reply, weather_brain
from .openai import embeddings, error
from .prompts import generated, read_prompt

SPECIAL = re.compile(r"<\|\w+\|>")
TOKENS = re.compile(r"<\|\w+\|>|\s*[^\s<]+|\s+|<")
BEGIN = "<|begin_of_text|>"


class VLLMServer(Server):
    """`/v1/completions` as vLLM serves a Llama model: special tokens are shown only to those who ask for them."""

    def __init__(self, brain: Brain = weather_brain, *, model: str = "test") -> None:
        super().__init__()
        self.brain = brain
        self.model = model

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def answer(self, request: Request, answer: Answer) -> None:
        body = request.json
        if request.path == "/v1/embeddings":
            await answer.json(200, embeddings(body))
            return
        if request.path != "/v1/completions":
            await answer.json(404, {"detail": "Not Found"})
            return
        if body["model"] != self.model:
            message = f"The model `{body['model']}` does not exist."
            await answer.json(404, {"object": "error", "message": message, "type": "NotFoundError", "code": 404})
            return
        assert [*body][-1] == "prompt"
        assert not body["prompt"].startswith(BEGIN), "the tokenizer adds it: it would be there twice"
        reply = self.brain(read_prompt(body["prompt"], [], body.get("response_format")))
        await answer.start("text/event-stream")
        for event in self._events(reply, body):
            await answer.send(b"data: " + json.dumps({"object": "text_completion", **event}).encode() + b"\n\n")
        await answer.send(b"data: [DONE]\n\n")
        await answer.end()

    def _events(self, reply: Reply, body: Any) -> list[dict[str, Any]]:
        text = generated(reply)
        stop = next((word for word in body["stop"] if text.endswith(word)), None)
        if stop and not body["include_stop_str_in_output"]:
            text = text.removesuffix(stop)
        if body["skip_special_tokens"]:
            text = SPECIAL.sub("", text)
        choices = [{"index": 0, "text": token, "finish_reason": None} for token in TOKENS.findall(text)]
        reason = "length" if reply.cut_off else "stop"
        choices.append({"index": 0, "text": "", "finish_reason": reason, "stop_reason": stop})
        asked, said = reply.usage
        usage = {"prompt_tokens": asked, "completion_tokens": said}
        return [*({"choices": [choice]} for choice in choices), {"choices": [], "usage": usage}]


class LlamaCppServer(Server):
    """llama.cpp's server: `/completion`, and `/props`, which names the marker that stands for an image."""

    MARKER = "<__media_4xVTgtPZu0uBIHnr__>"

    def __init__(self, brain: Brain = weather_brain, *, vision: bool = True) -> None:
        super().__init__()
        self.brain = brain
        self.vision = vision

    @property
    def url(self) -> str:
        return f"{self.origin}/completion"

    async def answer(self, request: Request, answer: Answer) -> None:
        if request.path == "/props":
            await answer.json(200, {"modalities": {"vision": self.vision}, "media_marker": self.MARKER})
        elif request.path == "/completion":
            await self._complete(request.json, answer)
        elif request.path == "/v1/embeddings":
            await answer.json(200, embeddings(request.json))
        else:
            await answer.json(404, error("File Not Found", "not_found_error"))

    async def _complete(self, body: Any, answer: Answer) -> None:
        prompt, images = body["prompt"], []
        if not isinstance(prompt, str):
            if not self.vision:
                message = "Multimodal data provided, but model does not support multimodal requests."
                await answer.json(400, {"error": {"code": 400, "message": message, "type": "invalid_request_error"}})
                return
            images = [base64.b64decode(data, validate=True) for data in prompt["multimodal_data"]]
            prompt = prompt["prompt_string"].replace(self.MARKER, "<|image|>")
        assert not prompt.startswith(BEGIN), "the tokenizer adds it: it would be there twice"
        reply = self.brain(read_prompt(prompt, images, body.get("json_schema")))
        text = generated(reply)
        hidden = set(SPECIAL.findall(text)) - set(body.get("preserved_tokens", ()))
        text = SPECIAL.sub(lambda token: "" if token[0] in hidden else token[0], text)
        stop = next((word for word in body["stop"] if text.endswith(word)), "")
        await answer.start("text/event-stream")
        for token in TOKENS.findall(text.removesuffix(stop)):
            await self._event(answer, {"content": token, "stop": False})
        kind = "limit" if reply.cut_off else "word" if stop else "eos"
        asked, said = reply.usage
        counts = {"tokens_evaluated": asked, "tokens_predicted": said}
        await self._event(answer, {"content": "", "stop": True, "stop_type": kind, "stopping_word": stop, **counts})
        await answer.end()

    async def _event(self, answer: Answer, event: dict[str, Any]) -> None:
        await answer.send(b"data: " + json.dumps({"index": 0, **event}).encode() + b"\n\n")

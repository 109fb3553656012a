"""`openai/…`: any server with OpenAI's chat completions (vLLM, llama.cpp, LM Studio, Together, Groq, OpenRouter …)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from .. import keys
from ..protocols import Delta, Prepared
from ..types.content import Content, Image, Part
from ..types.errors import ConfigError, RequestRejected
from ..types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from ..types.sampling import InferenceRequest, SamplingParams
from ..types.tools import ToolChoice, ToolResponse
from .chat_decoder import ChatDecoder
from .chat_messages import user_content, write_messages, write_tools
from .embeddings import OPENAI, embed
from .failures import Server
from .http import Http, bearer, shown_url, with_version
from .images import WEB_FORMATS, fitting
from .rendered import Rendered, body, dumps

_ROUTE = "/chat/completions"
_ASK_USAGE = '"stream_options":{"include_usage":true},'
_WITHOUT_USAGE = "The server refused stream_options; the request was sent without it."
_OFFICIAL = "https://api.openai.com/v1"


def connect(
    name: str,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> OpenAI:
    """Connects to an OpenAI-compatible server.

    Args:
        name: The model's name on that server.
        endpoint: The base URL, or `OPENAI_BASE_URL`; where it has no path, `/v1` is meant. With a key and no
            endpoint it is OpenAI itself.
        api_key: The key, or `OPENAI_API_KEY`; many local servers need none.
        headers: More headers.
        extra: More fields of the request, put over ours; None takes a field out.

    Raises:
        ConfigError: There is no endpoint.
    """
    key = api_key or keys.find("OPENAI_API_KEY") or ""
    url = endpoint or os.environ.get("OPENAI_BASE_URL") or (_OFFICIAL if key else "")
    if not url:
        raise ConfigError(
            f"No endpoint for openai/{name}.", hint="Pass endpoint=…, or set OPENAI_BASE_URL or OPENAI_API_KEY."
        )
    return OpenAI(name, with_version(url), key, headers=headers or {}, extra=extra or {})


class OpenAI:
    """A model behind an OpenAI-compatible server; make one with `connect`."""

    def __init__(
        self, name: str, endpoint: str, key: str, *, headers: Mapping[str, str], extra: Mapping[str, Any]
    ) -> None:
        self.model = f"openai/{name}"
        self._name = name
        self._server = Server(f"OpenAI-compatible server at {shown_url(endpoint)}", name, key)
        self._http = Http(endpoint, server=self._server, headers={**bearer(key), **headers})
        self._extra = dict(extra)
        self._longest_answer = "max_completion_tokens" if endpoint == _OFFICIAL else "max_tokens"
        self._asks_usage = True
        self._rendered = Rendered()

    def __repr__(self) -> str:
        return f"OpenAI({self._name!r}, {shown_url(self._http.endpoint)!r})"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Writes the request's JSON body, messages last, so that the next turn's body begins with the same text.

        Raises:
            InvalidInput: There are no messages, or an image cannot be used.
        """
        return Prepared(
            body(
                {**self._fields(request), **self._extra},
                tools=write_tools(request.tools, self._rendered) if request.tools else "",
                messages=await write_messages(request.messages, self._rendered, _message),
            ),
            request,
        )

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Sends exactly the prepared body and streams the answer.

        A server that refuses the question for usage is asked once more without it; the message's notes say so.

        Raises:
            InferenceError: In any of its kinds.
        """
        sent, notes = prepared.prompt, tuple[str, ...]()
        while True:
            decoder = ChatDecoder(prepared.request, self._server, notes)
            try:
                async with aclosing(self._http.stream(_ROUTE, sent.encode(), decoder)) as deltas:
                    async for delta in deltas:
                        yield delta
            except RequestRejected as error:
                if _ASK_USAGE not in sent or "stream_options" not in error.message:
                    raise
            else:
                return
            self._asks_usage = False
            sent, notes = sent.replace(_ASK_USAGE, "", 1), (_WITHOUT_USAGE,)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, by the server's `/embeddings`.

        Raises:
            InferenceError: In any of its kinds.
        """
        return await embed(self._http, OPENAI, self._name, texts)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def _fields(self, request: InferenceRequest) -> dict[str, Any]:
        sampling = request.sampling
        fields: dict[str, Any] = {
            "model": self._name,
            "stream": True,
            "stream_options": {"include_usage": True} if self._asks_usage else None,
            **drawing(sampling),
            self._longest_answer: sampling.max_tokens,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed,
        }
        if request.tools and request.tool_choice != "auto":
            fields["tool_choice"] = _choice(request.tool_choice)
        if request.response_format is not None:
            schema = {"name": "answer", "schema": dict(request.response_format)}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.logprobs:
            fields |= {"logprobs": True, "top_logprobs": request.logprobs}
        return fields


def drawing(sampling: SamplingParams) -> dict[str, Any]:
    """How tokens are drawn, in the words that OpenAI's API and vLLM's additions to it use."""
    fields: dict[str, Any] = {"temperature": 0.0 if sampling.strategy == "greedy" else sampling.temperature}
    if sampling.strategy == "top_p":
        fields["top_p"] = sampling.top_p
    elif sampling.strategy == "top_k":
        fields["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1.0:
        fields["repetition_penalty"] = sampling.repetition_penalty
    return fields


def _choice(choice: ToolChoice) -> Any:
    return choice if choice in ("required", "none") else {"type": "function", "function": {"name": choice}}


async def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(content=content):
            return {"role": "system", "content": await _content(content)}
        case UserMessage():
            return {"role": "user", "content": await _content(user_content(message))}
        case ToolResponse(call_id=call_id):
            return {"role": "tool", "tool_call_id": call_id, "content": message.text}
        case AssistantMessage(content=text, tool_calls=calls) if calls:
            written = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": dumps(dict(call.arguments))},
                }
                for call in calls
            ]
            return {"role": "assistant", "content": text or None, "tool_calls": written}
        case AssistantMessage(content=text):
            return {"role": "assistant", "content": text}


async def _content(content: Content) -> Any:
    return content if isinstance(content, str) else [await _part(part) for part in content]


async def _part(part: Part) -> dict[str, Any]:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    image = await fitting(part, WEB_FORMATS, urls=True)
    return {"type": "image_url", "image_url": {"url": image.data_url}}

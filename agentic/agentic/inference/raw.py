"""`raw/…`: a text-completion endpoint. We write the Llama prompt and read the generation ourselves.

The endpoint's path says which server it is:

- `…/v1` (or no path): `/v1/completions`, as vLLM and llama.cpp's server have it;
- `…/completion`: llama.cpp's own route, which takes images too;
- `…/api/generate`: Ollama's raw mode, which takes images too.

Every one of them puts `<|begin_of_text|>` before a prompt itself, so it is left out of what is sent; and each is asked
to show special tokens, without which no call of a built-in tool could be told from text.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import httpx

from .. import keys
from ..protocols import Delta, Prepared
from ..types.errors import ConfigError, InvalidInput
from ..types.sampling import InferenceRequest
from .chat_messages import without_tool_urls
from .embeddings import LLAMA_CPP, OLLAMA, OPENAI, EmbeddingApi, embed
from .failures import Server
from .http import Http, base_url, bearer, shown_url, with_version
from .raw_dialects import Completions, Dialect, LlamaCpp, OllamaRaw, RawDecoder
from .rendered import dumps

if TYPE_CHECKING:
    from ..llama import Prompt

_EMBEDDINGS: dict[type[Dialect], EmbeddingApi] = {Completions: OPENAI, LlamaCpp: LLAMA_CPP, OllamaRaw: OLLAMA}

_ROUTES: dict[str, type[Completions | LlamaCpp | OllamaRaw]] = {
    "/api/generate": OllamaRaw,
    "/completion": LlamaCpp,
    "/completions": Completions,
}


def connect(
    name: str,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    family: str | None = None,
    tool_format: str | None = None,
    today: date | str | None = None,
    date_lines: bool | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Raw:
    """Connects to a text-completion endpoint.

    Args:
        name: The model's name on that server.
        endpoint: The URL, or `RAW_BASE_URL`; see the module for what its path says.
        api_key: The key, or `RAW_API_KEY`.
        family: The Llama family, such as `llama3.1`; None reads it from the model's name.
        tool_format: How the model is told to write calls; None is the family's default.
        today: For the families whose prompts say a date; None is the day on which this was called, so that the prompts
            of a session keep their beginning.
        date_lines: Whether prompts say dates; None is the family's habit.
        headers: More headers.
        extra: More fields of the request, put over ours; None takes a field out.

    Raises:
        ConfigError: There is no endpoint, or no family that the codec knows.
    """
    url = endpoint or os.environ.get("RAW_BASE_URL") or ""
    if not url:
        raise ConfigError(f"No endpoint for raw/{name}.", hint="Pass endpoint=…, or set RAW_BASE_URL.")
    key = api_key or keys.find("RAW_API_KEY") or ""
    style = {
        "family": _family(name, family),
        "tool_format": tool_format,
        "today": today or date.today(),
        "date_lines": date_lines,
    }
    return Raw(name, base_url(url), key, style=style, headers=headers or {}, extra=extra or {})


class Raw:
    """A model behind a text-completion endpoint; make one with `connect`."""

    def __init__(
        self,
        name: str,
        endpoint: str,
        key: str,
        *,
        style: Mapping[str, Any],
        headers: Mapping[str, str],
        extra: Mapping[str, Any],
    ) -> None:
        self.model = f"raw/{name}"
        self._name = name
        self._style = dict(style)
        self._extra = dict(extra)
        dialect, base, self._route = _dialect(endpoint)
        hint = f"Get it with: ollama pull {name}" if dialect is OllamaRaw else "Check the model's name."
        self._server = Server(f"text-completion server at {shown_url(endpoint)}", name, key, hint)
        self._http = Http(base, server=self._server, headers={**bearer(key), **headers})
        self._dialect: Dialect = dialect(name, self._http)
        self._embeddings = _EMBEDDINGS[dialect]

    def __repr__(self) -> str:
        return f"Raw({self._name!r}, {shown_url(self._http.endpoint)!r})"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Writes the prompt in the family's format.

        Raises:
            InvalidInput: There are no messages, or an image cannot be used.
            CodecError: The conversation cannot be written in this format.
        """
        from ..llama import encode

        if not request.messages:
            raise InvalidInput("There are no messages to answer.")
        messages = [without_tool_urls(message) for message in request.messages]
        prompt = encode(messages, tools=request.tools, tool_choice=request.tool_choice, **self._style)
        fields = await self._dialect.fields(prompt, request)
        for key, value in self._extra.items():
            fields.pop(key, None) if value is None else fields.update({key: value})
        return Prepared(prompt.text, request, dumps(fields).encode(), count=_counter(prompt))

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Sends the prompt and decodes what is generated.

        Raises:
            InferenceError: In any of its kinds.
        """
        decoder = RawDecoder(prepared.request, self._server, self._dialect)
        return self._http.stream(self._route, prepared.payload, decoder)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, by the server's route for embeddings.

        Raises:
            InferenceError: In any of its kinds.
        """
        return await embed(self._http, self._embeddings, self._name, texts)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()


def _counter(prompt: Prompt) -> Callable[[], int] | None:
    """Counts a prompt with Meta's tokenizer, where it is installed; images take a token each in it."""
    from ..llama import Tokenizer

    if not Tokenizer.installed():
        return None
    return lambda: prompt.count(Tokenizer.load()).tokens


def _family(name: str, family: str | None) -> str:
    from ..llama import Family

    try:
        return Family.of(family or name)
    except ConfigError as error:
        if family:
            raise
        raise ConfigError(
            f"raw/{name} does not tell its Llama family.",
            hint="Pass family='llama3.2', or another, to agentic.inference.connect, or under options: in run.yaml.",
        ) from error


def _dialect(endpoint: str) -> tuple[type[Completions | LlamaCpp | OllamaRaw], str, str]:
    """The dialect that an endpoint's path means, the base URL, and the route after it."""
    path = httpx.URL(endpoint).path
    for ending, dialect in _ROUTES.items():
        if path.endswith(ending):
            return dialect, endpoint.removesuffix(ending), ending
    return Completions, with_version(endpoint), "/completions"

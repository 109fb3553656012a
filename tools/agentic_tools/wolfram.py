"""Wolfram Alpha, `builtin::wolfram_alpha`: the `wolfram_alpha` that Llama models were trained on.

The package `wolframalpha` reads the answers of the Full Results API. Its client does not ask for them here: it wants
one exact spelling of the content type, which the service has changed before, lets httpx log the key with the address,
and knows neither a limit of size nor an HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from agentic import Tool, keys, net
from agentic.inference.http import base_url
from agentic.protocols import ToolContext, ToolOutput
from agentic.types.content import Image, Part, Text
from agentic.types.errors import AgenticError, ConfigError, ToolError

from .service import Service
from .text import clean, clip, plain

NAME = "Wolfram Alpha"
VARIABLES = ("WOLFRAM_ALPHA_API_KEY", "WOLFRAM_ALPHA_APPID")
ENDPOINT = "https://api.wolframalpha.com"

TEXT_CHARS = 6000
"""The most text that one answer gives to the model, in characters."""
PICTURE_BYTES = 1024 * 1024
"""The largest picture taken, in bytes."""

_POD_CHARS = 1500


class WolframAlpha:
    """Asks Wolfram Alpha for calculations, units, dates, facts and plots.

    Alone: `await WolframAlpha()("integrate x^2")`. In an agent: `Agent(tools=["builtin::wolfram_alpha"])`.

    Args:
        pictures: The most plots that are fetched and shown to the model; 0 for text only.
        endpoint: The service's base URL, for a server of one's own.
        timeout: Seconds for one question, and again for its pictures.
        guard: Where pictures may come from; by default the public web only.

    Raises:
        ConfigError: An option makes no sense, or there is no key.
    """

    def __init__(
        self,
        *,
        pictures: int = 2,
        endpoint: str | None = None,
        timeout: float = 30.0,
        guard: net.Guard | None = None,
    ) -> None:
        if pictures < 0:
            raise ConfigError(f"pictures is 0 or more, not {pictures}.")
        if not 0 < timeout <= 120:
            raise ConfigError(f"timeout is above 0 and at most 120 seconds, not {timeout}.")
        keys.expect(NAME, *VARIABLES)
        self._pictures = pictures
        self._endpoint = base_url(endpoint or ENDPOINT)
        self._seconds = timeout
        self._limits = net.FetchLimits(size=PICTURE_BYTES, seconds=timeout / max(pictures, 1), types=("image/",))
        self._guard = guard
        self._tool = Tool(self._ask, name="wolfram", timeout=2 * timeout + 10, idempotent=True)
        # A function cannot be given a name that Llama models know from training; this tool is the one they know.
        self.definition = replace(self._tool.definition, name="wolfram_alpha")
        self.policy = self._tool.policy

    async def __call__(self, query: str) -> ToolOutput:
        """Asks. The text has a section for each part of the answer; plots follow as images.

        Raises:
            ToolError: The service refuses or fails; the message says what to do.
        """
        return await self.invoke({"query": query}, ToolContext())

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Asks with a model's arguments; see `__call__`."""
        return await self._tool.invoke(arguments, context)

    async def _ask(
        self, query: Annotated[str, Field(min_length=1, max_length=1000, description="In English or as a formula.")]
    ) -> ToolOutput:
        """Asks Wolfram Alpha: calculations, equations, units, dates, facts and plots."""
        query = " ".join(clean(query).split())
        service = self._service()
        parameters = {"input": query, "format": "plaintext,image", "totaltimeout": f"{max(1.0, self._seconds - 2):g}"}
        async with service.client() as client:
            response = await client.get(f"{self._endpoint}/v2/query", params=parameters)
        result = _parsed(response.content)
        metadata = {"query": query}
        if not result.get("@success"):
            return ToolOutput(_no_answer(query, result), metadata)
        sections, pictures = [], []
        for title, text, picture in _pods(result):
            sections.append(f"{title}:\n{text}" if text else f"{title}: (a picture)")
            pictures += [picture] if picture else []
        answer = Text(clip("\n\n".join(sections), TEXT_CHARS) or "Wolfram Alpha answered without any text.")
        images = [await self._picture(url) for url in pictures[: self._pictures]]
        parts: tuple[Part, ...] = (answer, *filter(None, images))
        return ToolOutput(parts if len(parts) > 1 else answer.text, metadata)

    def _service(self) -> Service:
        key = keys.need(NAME, *VARIABLES)
        return Service(NAME, key, VARIABLES[0], self._seconds, parameters={"appid": key})

    async def _picture(self, url: str) -> Image | None:
        """A picture of the answer, or None: the text is worth having without it."""
        try:
            return Image(data=(await net.fetch(url, self._limits, self._guard)).data)
        except AgenticError:
            return None


def toolgroup(_: str) -> list[WolframAlpha]:
    """The entry point of `builtin::wolfram_alpha`."""
    return [WolframAlpha()]


def _parsed(data: bytes) -> Any:
    import wolframalpha
    import xmltodict

    try:
        document = xmltodict.parse(data, postprocessor=wolframalpha.Document.make)
        result = document["queryresult"]
    except Exception as error:  # the parser's errors, and whatever the package does with elements it did not expect
        raise _refused(str(error)) from None
    if not isinstance(result, wolframalpha.Result):
        raise _refused("")
    return result


def _refused(says: str) -> ToolError:
    """What the package raised: `Error 1: Invalid appid` is what the service said, anything else its own trouble."""
    if not says.startswith("Error "):
        return ToolError(f"{NAME} answered with something that is not its XML, or cut off.")
    if "appid" not in says.lower():
        return ToolError(f"{NAME} could not answer: {plain(says, 300)}.")
    hint = f"The user must set a valid {VARIABLES[0]}, or run: agentic keys set {VARIABLES[0]}"
    return ToolError(f"{NAME} does not accept the key: {plain(says, 300)}.", hint=hint)


def _pods(result: Any) -> Iterator[tuple[str, str, str | None]]:
    """The title, the text and the picture of each part; a picture only where there is no text that says the same."""
    for pod in _listed(result, "pod"):
        title = plain(pod.get("@title"), 200) or "Result"
        subpods = _listed(pod, "subpod")
        texts = [clean(text) for subpod in subpods if isinstance(text := subpod.get("plaintext"), str)]
        if text := "\n".join(filter(None, texts)):
            yield title, clip(text, _POD_CHARS), None
            continue
        for image in (subpod.get("img") for subpod in subpods):
            if isinstance(image, dict) and isinstance(url := image.get("@src"), str):
                yield title, "", url


def _no_answer(query: str, result: Any) -> str:
    lines = [f"Wolfram Alpha has no answer to {query!r}."]
    if result.get("@timedout") or result.get("@parsetimedout") == "true":
        lines = [f"Wolfram Alpha ran out of time on {query!r}; a simpler question may work."]
    suggested = [
        plain(item.get("#text") if isinstance(item, dict) else item, 200)
        for item in _items(result.get("didyoumeans"), "didyoumean")
    ]
    if suggested:
        lines.append(f"Did you mean: {'; '.join(suggested[:5])}?")
    tips = [plain(item.get("@text"), 200) for item in _items(result.get("tips"), "tip") if isinstance(item, dict)]
    return "\n".join(filter(None, [*lines, *tips[:3]]))


def _items(container: Any, name: str) -> list[Any]:
    found = container.get(name) if isinstance(container, dict) else None
    return found if isinstance(found, list) else [] if found is None else [found]


def _listed(container: Any, name: str) -> list[dict[str, Any]]:
    return [item for item in _items(container, name) if isinstance(item, dict)]

"""Pages as text, `builtin::fetch`: the web by address, and nothing of the network behind this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from agentic import Tool, net
from agentic.protocols import ToolContext, ToolOutput
from agentic.threads import run_in_thread
from agentic.types.errors import ConfigError

from ..text import clip
from .extract import readable

TEXT_CHARS = 20_000
"""The most text of one page that is given to the model, in characters."""
PAGE_BYTES = 2 * 1024 * 1024
"""The largest page that is read, in bytes, after decompression."""

_SNIPPET_CHARS = 300


class Fetch:
    """Fetches a page and gives it as readable text.

    Alone: `await Fetch()("https://example.org")`. In an agent: `Agent(tools=[Fetch()])`.

    Args:
        timeout: Seconds for one page.
        guard: What may be reached; by default the public web only.

    Raises:
        ConfigError: The extractor is not installed.
    """

    def __init__(self, *, timeout: float = 20.0, guard: net.Guard | None = None) -> None:
        if missing := [name for name in ("trafilatura", "lxml_html_clean") if importlib.util.find_spec(name) is None]:
            raise ConfigError(f"builtin::fetch needs {' and '.join(missing)}.", hint="Run: pip install 'agentic[web]'")
        self._limits = net.FetchLimits(size=PAGE_BYTES, seconds=timeout)
        self._guard = guard
        self._tool = Tool(self._fetch, name="fetch", timeout=timeout + 20, idempotent=True)
        self.definition = self._tool.definition
        self.policy = self._tool.policy

    async def __call__(self, url: str) -> ToolOutput:
        """Fetches a page. `metadata["sources"]` names it; `metadata["truncated"]` says whether its text was cut.

        Raises:
            InvalidInput: The address may not be fetched.
            ToolError: It cannot be.
        """
        return await self.invoke({"url": url}, ToolContext())

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Fetches with a model's arguments; see `__call__`."""
        return await self._tool.invoke(arguments, context)

    async def _fetch(
        self, url: Annotated[str, Field(min_length=1, max_length=2000, description="http:// or https://")]
    ) -> ToolOutput:
        """Fetches a web page and returns its text."""
        page = await net.fetch(url.strip(), self._limits, self._guard)
        found = await run_in_thread(lambda: readable(page), "fetch-extract")
        head = "\n".join(filter(None, [found.title, page.url]))
        source = {"title": found.title or page.url, "url": page.url, "snippet": clip(found.text, _SNIPPET_CHARS)}
        metadata = {"sources": [source], "media_type": page.media_type, "truncated": len(found.text) > TEXT_CHARS}
        return ToolOutput(f"{head}\n\n{clip(found.text, TEXT_CHARS) or 'The page holds no text.'}", metadata)


def toolgroup(_: str) -> list[Fetch]:
    """The entry point of `builtin::fetch`."""
    return [Fetch()]

"""Web search, `builtin::websearch`: the `brave_search` that Llama models were trained on, by Brave or Tavily."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field

from agentic import Tool, keys
from agentic.inference.http import base_url
from agentic.protocols import ToolContext, ToolOutput
from agentic.types.errors import ConfigError

from ..service import Service
from ..text import clean, clip
from . import brave, tavily
from .options import Freshness, Options, Provider, Row

TEXT_CHARS = 6000
"""The most text that one search gives to the model, in characters."""

ProviderName: TypeAlias = Literal["tavily", "brave"]

_PROVIDERS: dict[str, Provider] = {"tavily": tavily.PROVIDER, "brave": brave.PROVIDER}
_VARIABLES = [known.variable for known in _PROVIDERS.values()]


class WebSearch:
    """Searches the web. A model calls it as `brave_search`, whichever service is behind it.

    Alone: `await WebSearch()("query")`. In an agent: `Agent(tools=[WebSearch(max_results=3)])`.

    Args:
        provider: `tavily` or `brave`; default: whose key is set, `TAVILY_API_KEY` or `BRAVE_SEARCH_API_KEY`.
        max_results: 1 to 20.
        freshness: Only pages of the last `day`, `week`, `month` or `year`.
        include_domains: Only pages of these sites, such as `python.org`.
        exclude_domains: No pages of these.
        endpoint: The service's base URL, for a server of one's own.
        timeout: Seconds for one search.

    Raises:
        ConfigError: An option makes no sense, or there is no key.
    """

    def __init__(
        self,
        provider: ProviderName | None = None,
        *,
        max_results: int = 5,
        freshness: Freshness | None = None,
        include_domains: Sequence[str] = (),
        exclude_domains: Sequence[str] = (),
        endpoint: str | None = None,
        timeout: float = 20.0,
    ) -> None:
        if not 1 <= max_results <= 20:
            raise ConfigError(f"max_results is 1 to 20, not {max_results}.")
        if freshness not in (None, *get_args(Freshness)):
            raise ConfigError(f"freshness is one of {', '.join(get_args(Freshness))}, not {freshness!r}.")
        if not 0 < timeout <= 120:
            raise ConfigError(f"timeout is above 0 and at most 120 seconds, not {timeout}.")
        self.provider = _chosen(provider)
        self._endpoint = base_url(endpoint) if endpoint else None
        self._seconds = timeout
        self._options = Options(max_results, freshness, _domains(include_domains), _domains(exclude_domains))
        self._tool = Tool(self._search, name="web_search", timeout=timeout + 10, idempotent=True)
        # A function cannot be given a name that Llama models know from training; this tool is the one they know.
        self.definition = replace(self._tool.definition, name="brave_search")
        self.policy = self._tool.policy

    def __repr__(self) -> str:
        return f"WebSearch({self.provider!r})"

    async def __call__(self, query: str) -> ToolOutput:
        """Searches. `metadata["sources"]` has a dict for each page: title, url, snippet, published.

        Raises:
            ToolError: The service refuses or fails; the message says what to do.
        """
        return await self.invoke({"query": query}, ToolContext())

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Searches with a model's arguments; see `__call__`."""
        return await self._tool.invoke(arguments, context)

    async def _search(
        self, query: Annotated[str, Field(min_length=1, max_length=400, description="What to search for.")]
    ) -> ToolOutput:
        """Searches the web and returns the titles, addresses and snippets of the best pages."""
        query = " ".join(clean(query).split())
        name = self.provider or _with_key()
        provider = _PROVIDERS[name]
        service = Service(provider.name, keys.need(provider.name, provider.variable), provider.variable, self._seconds)
        found = await provider.search(service, self._endpoint or base_url(provider.endpoint), query, self._options)
        metadata = {"sources": [asdict(row) for row in found], "provider": name, "query": query}
        if not found:
            return ToolOutput(f"No results for {query!r}.", metadata)
        return ToolOutput(_text(found), metadata)


def toolgroup(_: str) -> list[WebSearch]:
    """The entry point of `builtin::websearch`."""
    return [WebSearch()]


def _chosen(provider: str | None) -> str | None:
    """The provider; None where that is known only when a request brings a key."""
    if provider is None:
        keys.expect("Web search", *_VARIABLES)
        return _with_key() if any(map(keys.find, _VARIABLES)) else None
    if provider not in _PROVIDERS:
        raise ConfigError(f"Web search has the providers {', '.join(_PROVIDERS)}, not {provider!r}.")
    keys.expect(_PROVIDERS[provider].name, _PROVIDERS[provider].variable)
    return provider


def _with_key() -> str:
    """The first provider that there is a key for."""
    keys.need("Web search", *_VARIABLES)
    return next(name for name, known in _PROVIDERS.items() if keys.find(known.variable))


def _domains(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigError("Domains are a list, such as ['python.org'].")
    domains = tuple(domain.strip().lower().removeprefix("*.").strip(".") for domain in given)
    for domain in domains:
        if not domain or not domain.isascii() or set(domain) & set(" /:?#@\"'()"):
            raise ConfigError(f"A domain looks like python.org, not {domain!r}.")
    return domains


def _text(found: list[Row]) -> str:
    blocks = []
    for number, row in enumerate(found, 1):
        date = f" ({row.published})" if row.published else ""
        blocks.append("\n".join(filter(None, [f"[{number}] {row.title}{date}", row.url, row.snippet])))
    return clip("\n\n".join(blocks), TEXT_CHARS)

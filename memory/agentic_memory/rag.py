"""Memory as a tool, `knowledge_search`: the model decides when to search, and for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

from agentic import Tool
from agentic.protocols import MemoryBank, ToolContext, ToolOutput
from agentic.recall import as_context, search
from agentic.types.errors import ConfigError
from agentic.types.steps import Hit

from .configured import bank, close, configured


class KnowledgeSearch:
    """Searches memory banks when the model calls it: `Agent(tools=[KnowledgeSearch(bank)])`.

    What it finds is numbered from where the turn's sources end, so that `turn.citations` knows what the answer cites;
    `metadata["sources"]` of its result has a dict for each.

    Args:
        banks: Searched together; their hits are taken in turns, each bank's best first.
        max_chunks: The most hits of one search, of all banks together.
        max_tokens_in_context: About how many tokens one search may give to the model.
        timeout: Seconds for one search.

    Raises:
        ConfigError: There is no bank, or a number makes no sense.
    """

    def __init__(
        self, *banks: MemoryBank, max_chunks: int = 5, max_tokens_in_context: int = 4096, timeout: float = 60.0
    ) -> None:
        if not banks:
            raise ConfigError("KnowledgeSearch needs a memory bank to search.")
        if max_chunks < 1 or max_tokens_in_context < 1:
            raise ConfigError("max_chunks and max_tokens_in_context must be at least 1.")
        self._banks = banks
        self._chunks = max_chunks
        self._tokens = max_tokens_in_context
        names = ", ".join(bank.name for bank in banks)
        description = f"Searches {names} and returns the passages that fit best, numbered for citing."
        # Not beside its neighbours: each search numbers on from where the one before it ended.
        self._tool = Tool(
            self._search,
            name="knowledge_search",
            description=description,
            timeout=timeout,
            idempotent=True,
            parallel=False,
        )
        self.definition = self._tool.definition
        self.policy = self._tool.policy

    def __repr__(self) -> str:
        return f"KnowledgeSearch({', '.join(bank.name for bank in self._banks)})"

    async def __call__(self, query: str) -> ToolOutput:
        """Searches. Errors are those of the banks, when all of them fail."""
        return await self.invoke({"query": query}, ToolContext())

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Searches with a model's arguments; see `__call__`."""
        return await self._tool.invoke(arguments, context)

    async def _search(
        self,
        query: Annotated[
            str, Field(min_length=1, max_length=2000, description="What to search for: words or a question.")
        ],
        context: ToolContext,
    ) -> ToolOutput:
        hits, failures = await search(self._banks, query, self._chunks)
        text, shown = as_context(hits, after=context.sources, tokens=self._tokens)
        sources = [_source(number, hit) for number, hit in enumerate(hits[:shown], context.sources + 1)]
        failed = {name: failure.message for name, failure in failures.items()}
        metadata = {"query": query, "sources": sources, **({"failures": failed} if failed else {})}
        return ToolOutput(text or f"Nothing was found for {query!r}.", metadata)


@dataclass(frozen=True, slots=True)
class Rag:
    """`knowledge_search` as a toolgroup that closes the banks it opened."""

    name: str
    banks: tuple[MemoryBank, ...]

    def __iter__(self) -> Iterator[KnowledgeSearch]:
        return iter([KnowledgeSearch(*self.banks)])

    async def aclose(self) -> None:
        """Closes the banks."""
        async with AsyncExitStack() as stack:
            for one in self.banks:
                stack.push_async_callback(close, one)


def toolgroup(name: str) -> Rag:
    """The entry point of `builtin::rag`, which searches all banks of the configuration, and of `rag::docs`, just one.

    Raises:
        ConfigError: The configuration has no bank, or none of that name.
    """
    group, _, chosen = name.partition("::")
    names = [chosen] if group == "rag" else configured()
    return Rag("rag" if group == "builtin" else chosen, tuple(bank(f"bank::{one}") for one in names))


def _source(number: int, hit: Hit) -> dict[str, Any]:
    url = {"url": hit.source} if hit.source.startswith(("http://", "https://")) else {}
    return {"number": number, **asdict(hit), **url}

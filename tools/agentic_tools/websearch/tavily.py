"""Tavily, by its own client."""

from __future__ import annotations

from agentic.types.errors import ToolError

from ..service import Service
from .options import Options, Provider, Row, rows


async def search(service: Service, endpoint: str, query: str, options: Options) -> list[Row]:
    """Searches the web.

    Raises:
        ToolError: The service cannot be reached, refuses or fails.
    """
    from tavily import AsyncTavilyClient

    async with service.client() as client:
        client.base_url = endpoint
        tavily = AsyncTavilyClient(api_key=service.key, client=client)
        try:
            found = await tavily.search(
                query,
                max_results=options.max_results,
                time_range=options.freshness,
                include_domains=list(options.include_domains) or None,
                exclude_domains=list(options.exclude_domains) or None,
                timeout=service.seconds,
            )
        except (ValueError, AttributeError, TypeError, RecursionError):  # how the client meets another form of answer
            raise ToolError(f"{service.name} answered with something that is not JSON, or cut off.") from None
    return list(rows(found.get("results"), options, {"snippet": "content", "published": "published_date"}))


PROVIDER = Provider("Tavily", "TAVILY_API_KEY", "https://api.tavily.com", search)

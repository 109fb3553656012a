"""Brave Search, by its documented API."""

from __future__ import annotations

from ..service import Service
from .options import Options, Provider, Row, rows

_MOST_CHARACTERS, _MOST_WORDS = 400, 50  # the API refuses longer queries
_FRESHNESS = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}


async def search(service: Service, endpoint: str, query: str, options: Options) -> list[Row]:
    """Searches the web.

    Raises:
        ToolError: The service cannot be reached, refuses or fails.
    """
    parameters = {
        "q": _with_domains(" ".join(query.split()[:_MOST_WORDS]), options),
        "count": str(options.max_results),
        "result_filter": "web",
        "text_decorations": "false",
        "extra_snippets": "true",
    }
    if options.freshness:
        parameters["freshness"] = _FRESHNESS[options.freshness]
    headers = {"accept": "application/json", "x-subscription-token": service.key}
    async with service.client() as client:
        response = await client.get(f"{endpoint}/res/v1/web/search", params=parameters, headers=headers)
    found = service.parse(response.content)
    web = found.get("web") if isinstance(found, dict) else None
    listed = web.get("results") if isinstance(web, dict) else None
    return list(rows(listed, options, {"snippet": "description", "published": "age"}))


def _with_domains(query: str, options: Options) -> str:
    """The API has no parameter for domains but understands operators, as far as the query's length allows."""
    for operator in (
        " OR ".join(f"site:{domain}" for domain in options.include_domains),
        " ".join(f"-site:{domain}" for domain in options.exclude_domains),
    ):
        longer = f"{query} {operator}"
        if operator and len(longer) <= _MOST_CHARACTERS and len(longer.split()) <= _MOST_WORDS:
            query = longer
    return query


PROVIDER = Provider("Brave Search", "BRAVE_SEARCH_API_KEY", "https://api.search.brave.com", search)

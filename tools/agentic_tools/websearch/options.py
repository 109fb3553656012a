"""What is searched for, and what is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from ..service import Service
from ..text import clip, plain

Freshness: TypeAlias = Literal["day", "week", "month", "year"]

TITLE_CHARS = 200
SNIPPET_CHARS = 600
_URL_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Options:
    """How to search.

    Attributes:
        max_results: 1 to 20.
        freshness: How old pages may be, or None for any age.
        include_domains: Only these sites and those below them.
        exclude_domains: None of these.
    """

    max_results: int
    freshness: Freshness | None
    include_domains: tuple[str, ...]
    exclude_domains: tuple[str, ...]

    def takes(self, url: str) -> bool:
        """Whether a page's site is one of those asked for."""
        host = (urlsplit(url).hostname or "").lower()

        def under(domain: str) -> bool:
            return host == domain or host.endswith(f".{domain}")

        wanted = not self.include_domains or any(map(under, self.include_domains))
        return wanted and not any(map(under, self.exclude_domains))


@dataclass(frozen=True, slots=True)
class Row:
    """One page that was found, in plain text.

    Attributes:
        title: Its title; its address when it has none.
        url: An http(s) address.
        snippet: What it says about the query.
        published: A date as the service wrote it, or empty.
    """

    title: str
    url: str
    snippet: str
    published: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """A search service.

    Attributes:
        name: Its name for people.
        variable: Its key's name.
        endpoint: Its base URL.
        search: Asks a service at a base URL for a query.
    """

    name: str
    variable: str
    endpoint: str
    search: Callable[[Service, str, str, Options], Awaitable[list[Row]]]


def rows(found: Any, options: Options, read: dict[str, str]) -> Iterator[Row]:
    """The rows of a service's list, those left out that are no pages or not asked for.

    Args:
        found: The list as the service sent it; anything else holds no rows.
        options: What was asked for.
        read: The service's names of `title`, `snippet` and `published`.
    """
    count = 0
    for item in found if isinstance(found, list) else []:
        url = item.get("url") if isinstance(item, dict) else None
        if not isinstance(url, str) or not _is_page(url) or not options.takes(url) or count == options.max_results:
            continue
        parts = [item.get(read["snippet"])]
        if isinstance(more := item.get("extra_snippets"), list):
            parts += more
        snippet = " … ".join(filter(None, (plain(part, SNIPPET_CHARS) for part in parts[:4])))
        yield Row(
            title=plain(item.get("title"), TITLE_CHARS) or url,
            url=url,
            snippet=clip(snippet, SNIPPET_CHARS),
            published=plain(item.get(read["published"]), 40),
        )
        count += 1


def _is_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plausible = len(url) <= _URL_CHARS and url.isprintable() and " " not in url
    return plausible and parts.scheme in ("http", "https") and bool(parts.netloc)

"""A web site: any pages, redirects included."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

from .base import Answer, Request, Server

ARTICLE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Storks &amp; chimneys</title>
<script>var hidden = "tracking";</script><style>p {{ color: red }}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About</a></li></ul></nav>
<main><article><h1>Storks &amp; chimneys</h1><p>{}</p><p>They return each spring; pairs stay together for years, and
use the same nest again.</p><table><tr><th>Year</th><th>Pairs</th></tr><tr><td>2025</td><td>61</td></tr></table>
</article></main><footer>© 2026 The stork society</footer></body></html>"""


@dataclass(frozen=True)
class Found:
    """What lies at a path."""

    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def redirect(to: str, status: int = 302) -> Found:
    return Found(b"moved", status=status, headers={"location": to})


def zipped(body: bytes, content_type: str = "text/plain") -> Found:
    return Found(gzip.compress(body), content_type, headers={"content-encoding": "gzip"})


class PageServer(Server):
    """Serves `pages` by their path; what does not exist is a 404."""

    def __init__(self, pages: Mapping[str, Found] | None = None) -> None:
        super().__init__()
        self.pages = dict(pages or {})

    async def answer(self, request: Request, answer: Answer) -> None:
        found = self.pages.get(request.path.partition("?")[0], Found(b"Not here", "text/plain", 404))
        await answer.whole(found.status, found.body, found.content_type, found.headers)

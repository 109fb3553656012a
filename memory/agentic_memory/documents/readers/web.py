"""Web pages: the main text, without menus and other surroundings."""

from __future__ import annotations

from dataclasses import replace

from agentic.types.errors import ConfigError, InvalidInput

from ...types import Document, Parsed
from .text import markdown
from .writing import decode

_MAX_ELEMENTS = 50_000
"""A page with more is taken whole, menus and all: finding its main text could take half a minute."""


def html(content: str | bytes, document: Document) -> Parsed:
    """HTML: its main text as Markdown, so that headings, lists, listings and tables are known."""
    try:
        import trafilatura
    except ImportError:
        raise ConfigError("HTML is read with trafilatura.", hint="Run: pip install 'agentic[web]'") from None
    tree = trafilatura.load_html(content)  # bytes: their charset stands in the page
    if tree is None:
        raise InvalidInput("it is no HTML.", hint="Add it as text/plain.")
    title = trafilatura.extract_metadata(tree).title or ""
    found = None
    if sum(1 for _ in tree.iter()) <= _MAX_ELEMENTS:
        found = trafilatura.extract(tree, output_format="markdown", include_comments=False, favor_recall=True)
    parsed = markdown(found or decode(trafilatura.html2txt(tree)), document)
    return replace(parsed, title=" ".join(title.split())[:500] or parsed.title)

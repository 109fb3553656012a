"""Readable text from what was fetched."""

from __future__ import annotations

from dataclasses import dataclass

from agentic.net import Page

from ..text import clean, plain

MAX_ELEMENTS = 50_000
"""A page with more elements is taken whole, menus and all: to find its main text could take half a minute."""

_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Readable:
    """A page as it is read: its title, if it has one, and its text without menus and other surroundings."""

    title: str
    text: str


def readable(page: Page) -> Readable:
    """The text of a page; HTML takes some time, so this belongs into a thread."""
    start = page.data[:1000].lstrip().lower()
    if page.media_type in _HTML or (not page.media_type and start.startswith((b"<!doctype html", b"<html"))):
        return _from_html(page)
    return Readable("", clean(page.text))


def _from_html(page: Page) -> Readable:
    import trafilatura

    # With a charset from the server the text is certain; otherwise the extractor looks for one in the page.
    tree = trafilatura.load_html(page.text if page.charset else page.data)
    if tree is None:  # too little mark-up to be a page
        return Readable("", plain(page.text, len(page.text)))
    if sum(1 for _ in tree.iter()) > MAX_ELEMENTS:
        return Readable(plain(tree.findtext(".//title"), 200), clean(trafilatura.html2txt(tree)))
    title = plain(trafilatura.extract_metadata(tree).title, 200)
    text = trafilatura.extract(tree, output_format="txt", include_comments=False, favor_recall=True)
    return Readable(title, clean(text or trafilatura.html2txt(tree)))

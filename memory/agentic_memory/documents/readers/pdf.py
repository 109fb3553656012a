"""PDF, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentic.types.errors import ConfigError, InvalidInput

from ...types import Document, Parsed
from .writing import Writer

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

MAX_PAGES = 5000
MAX_SCANNED_PAGES = 50
_SCAN_SCALE = 2.0
"""144 dots per inch: enough for OCR."""
_MAX_PAGE_POINTS = 3000

_HYPHEN = re.compile(r"(?<=\w)(?:[\x02\ufffe\xad]|-)\n(?=[a-zà-ÿ])|[\x02\ufffe]\n?")
_FULL = 0.75
"""A line shorter than that, measured by the page's long lines, ends a paragraph."""


def pdf(content: str | bytes, _: Document) -> Parsed:
    """PDF: paragraphs with the number of their page; a scan is recognised with `agentic[ocr]`."""
    try:
        import pypdfium2
    except ImportError:
        raise ConfigError("PDF is read with pypdfium2.", hint="Run: pip install 'agentic[documents]'") from None
    if isinstance(content, str):
        raise InvalidInput("a PDF is bytes, not text.")
    try:
        file = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise InvalidInput("it is protected by a password.", hint="Save it without one.") from None
        raise InvalidInput(f"it is broken, or no PDF ({error}).", hint="Save it anew with another program.") from None
    with file:
        count = len(file)
        if count > MAX_PAGES:
            raise InvalidInput(f"it has {count:,} pages; at most {MAX_PAGES:,} are read.", hint="Split it.")
        return _pages(file)


def _pages(file: PdfDocument) -> Parsed:
    writer, scanned, length = Writer(), [], 0
    for index in range(len(file)):
        page = file[index]
        text = _text(page)
        if not text.strip() and _has_picture(page):
            scanned.append(index)
        length += len(text)
        for paragraph in _paragraphs(text):
            writer.add(paragraph, page=index + 1)
        page.close()
    title = file.get_metadata_dict().get("Title", "")
    if scanned and not length:
        return _recognised(file, scanned, title)
    metadata = {"pages": len(file)} | ({"unread_pages": [index + 1 for index in scanned]} if scanned else {})
    return writer.parsed(title, metadata)


def _text(page: PdfPage) -> str:
    textpage = page.get_textpage()
    text: str = textpage.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n")
    textpage.close()
    return _HYPHEN.sub("", text)


def _has_picture(page: PdfPage) -> bool:
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    return any(True for _ in page.get_objects(filter=[FPDF_PAGEOBJ_IMAGE], max_depth=2))


def _recognised(file: PdfDocument, pages: list[int], title: str) -> Parsed:
    """A scan."""
    from .pictures import recognise

    if len(pages) > MAX_SCANNED_PAGES:
        raise InvalidInput(
            f"it is a scan of {len(pages)} pages; at most {MAX_SCANNED_PAGES} are recognised.",
            hint="Split it, or add a text layer, for example with ocrmypdf.",
        )
    writer = Writer()
    for index in pages:
        page = file[index]
        scale = min(_SCAN_SCALE, _MAX_PAGE_POINTS / max(page.get_size()))
        for paragraph in _paragraphs("\n".join(recognise(page.render(scale=scale).to_numpy()))):
            writer.add(paragraph, page=index + 1)
        page.close()
    return writer.parsed(title, {"pages": len(file), "recognised": True})


def _paragraphs(text: str) -> Iterator[str]:
    """Lines joined to paragraphs: PDF knows only where letters stand."""
    lines = [line.strip() for line in text.split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    if not lengths:
        return
    full = _FULL * lengths[int(0.9 * len(lengths))]
    paragraph: list[str] = []
    for line in lines:
        if line:
            paragraph.append(line)
        if paragraph and len(line) < full:
            yield " ".join(paragraph)
            paragraph = []
    if paragraph:
        yield " ".join(paragraph)

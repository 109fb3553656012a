"""Which format a document has, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from posixpath import splitext
from typing import Literal, TypeAlias, cast

from agentic.types.errors import InvalidInput

from ..types import Document, Parsed

MAX_CHARS = 10_000_000
"""The longest text that a document may have."""

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
IN_PLACE = ("text/plain", "text/markdown")
"""Formats that are read so fast that no process is needed, as long as they are short."""

_SUFFIXES = {
    **dict.fromkeys((".txt", ".text", ".log", ".rst", ".tex", ".srt", ".vtt"), "text/plain"),
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".qmd", ".rmd"), "text/markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "text/html"),
    **dict.fromkeys((".jsonl", ".ndjson"), "application/x-ndjson"),
    ".bmp": "image/bmp",
    ".pdf": "application/pdf",
    ".docx": DOCX,
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
}
_CODE = frozenset(
    [
        "bash",
        "bat",
        "c",
        "cc",
        "cfg",
        "clj",
        "cmake",
        "cpp",
        "cs",
        "css",
        "cu",
        "cxx",
        "dart",
        "erl",
        "ex",
        "f90",
        "go",
        "gradle",
        "h",
        "hpp",
        "hs",
        "ini",
        "java",
        "jl",
        "js",
        "jsx",
        "kt",
        "lua",
        "m",
        "mjs",
        "ml",
        "php",
        "pl",
        "proto",
        "ps1",
        "py",
        "pyi",
        "pyx",
        "r",
        "rb",
        "rs",
        "scala",
        "scss",
        "sh",
        "sql",
        "swift",
        "tf",
        "toml",
        "ts",
        "tsx",
        "vue",
        "xml",
        "xsd",
        "yaml",
        "yml",
        "zig",
        "zsh",
    ]
)
_CODE_TYPES = ("text/x-", "application/javascript", "text/javascript", "application/xml", "text/xml", "text/css")
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_BINARY = ("application/pdf", DOCX, "image/bmp")
"""Of a text whose source has such a name, somebody else has read the file."""
VAGUE = ("", "text/plain", "application/octet-stream", "application/x-download", "binary/octet-stream")
"""What servers say of anything: a name says more."""

Reader: TypeAlias = Callable[[str | bytes, Document], Parsed]
_READERS = {
    "text/plain": ("text", "plain"),
    "text/markdown": ("text", "markdown"),
    "text/x-source": ("text", "source"),
    "text/html": ("web", "html"),
    "application/pdf": ("pdf", "pdf"),
    DOCX: ("word", "docx"),
    "text/csv": ("rows", "table"),
    "text/tab-separated-values": ("rows", "table"),
    "application/json": ("rows", "json_values"),
    "application/x-ndjson": ("rows", "json_lines"),
    "image/*": ("pictures", "image"),
}


def mime_type_of(document: Document) -> str:
    """The format as one of those that are read here; `text/x-source` is source code in any language."""
    given = (document.mime_type or "").partition(";")[0].strip().lower()
    if given not in VAGUE and (known := _known(given)):
        return known
    content = document.content
    if isinstance(content, str) and given == "text/plain":
        return given
    if isinstance(content, bytes) and (found := _by_content(content)):
        return found
    suffix = splitext(document.source.partition("?")[0])[1].lower()
    if suffix in _SUFFIXES and (isinstance(content, bytes) or _SUFFIXES[suffix] not in _BINARY):
        return _SUFFIXES[suffix]
    if suffix[1:] in _CODE:
        return "text/x-source"
    start = content[:1000].lstrip() if isinstance(content, str) else content[:1000].lstrip().decode("latin-1")
    if document.source and start.lower().startswith(("<!doctype html", "<html")):
        return "text/html"
    return given if given not in VAGUE else "text/plain"


def read(document: Document, mime_type: str) -> Parsed:
    """Reads a document; this may take long, and more memory than there is.

    Raises:
        InvalidInput: It cannot be read.
        ConfigError: What reads it is not installed.
    """
    key = "image/*" if mime_type.startswith("image/") else mime_type
    if key not in _READERS:
        raise InvalidInput(f"files of the type {mime_type[:100]} cannot be read.", hint="Save it as PDF, DOCX or text.")
    module, function = _READERS[key]
    reader = cast("Reader", getattr(import_module(f".readers.{module}", __package__), function))
    if not document.content:
        raise InvalidInput("it is empty.")
    parsed = reader(document.content, document)
    if len(parsed.text) > MAX_CHARS:
        raise InvalidInput(
            f"it holds {len(parsed.text):,} characters; at most {MAX_CHARS:,} are taken.", hint="Split it."
        )
    if not parsed.blocks:
        raise InvalidInput("it holds no text.")
    return parsed


def _known(mime_type: str) -> str | None:
    if mime_type in _READERS or mime_type.startswith("image/"):
        return mime_type if mime_type != "image/svg+xml" else "text/x-source"
    if mime_type == "application/xhtml+xml":
        return "text/html"
    if mime_type in ("application/jsonl", "application/jsonlines", "application/x-jsonlines"):
        return "application/x-ndjson"
    if mime_type.endswith("+json"):
        return "application/json"
    return "text/x-source" if mime_type.startswith(_CODE_TYPES) else None


def _by_content(content: bytes) -> str | Literal[""]:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[:4] == b"PK\x03\x04" and b"word/" in content[-64 * 1024 :]:  # its directory is at the end
        return DOCX
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), "")

"""The words of memory banks: what goes in, what it is cut into, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from agentic.types.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

Kind = Literal["text", "heading", "code", "table"]


@dataclass(frozen=True, slots=True)
class Document:
    """Something to remember.

    Attributes:
        content: Its text, or the bytes of a file.
        id: Adding a document of the same id replaces it; default: its source, or a hash of its content.
        title: For listings and citations; default: the title that the content names, or the file's name.
        source: A path or URL.
        mime_type: What `content` is; default: found out from the source's name and the content.
        metadata: JSON values; queries filter by them.

    Raises:
        InvalidInput: One of them is of another type.
    """

    content: str | bytes
    _: KW_ONLY
    id: str | None = None
    title: str = ""
    source: str = ""
    mime_type: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in _DOCUMENT.items():
            if not isinstance(value := getattr(self, name), kind):
                raise InvalidInput(f"A document's {name} cannot be of the type {type(value).__name__}.")


_DOCUMENT: dict[str, Any] = {
    "content": str | bytes,
    "id": str | None,
    "title": str,
    "source": str,
    "mime_type": str | None,
    "metadata": Mapping,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of a parsed document that belongs together: a paragraph, a heading, a listing, a table.

    Attributes:
        text: The piece.
        kind: Headings are repeated in what follows them; code and tables are kept whole where they fit.
        page: Counted from 1, where the format has pages.
        headings: The titles above it, outermost first.
        start: Where it begins in the document's text, in characters.
    """

    text: str
    kind: Kind = "text"
    page: int | None = None
    headings: tuple[str, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A document's text and its blocks, in order. `text[block.start:]` begins with `block.text`."""

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What is embedded and found.

    Attributes:
        text: Its text.
        position: `start` and `end` in characters of the document's text, and where known `page` (from 1) and
            `headings` (a list, outermost first).
    """

    text: str
    position: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What makes two embeddings comparable.

    Attributes:
        model: The model string.
        dimension: Length of a vector.
        normalised: Whether each vector has length 1.
        weights: SHA-256 of the weights in hex, or an empty string where they are behind a server.
    """

    model: str
    dimension: int
    normalised: bool = True
    weights: str = ""


@runtime_checkable
class Embedding(Protocol):
    """A model that turns texts into vectors, and says which it is."""

    async def fingerprint(self) -> Fingerprint:
        """Which model this is; asks it when that must be found out."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, float32, shape (texts, dimension), finite.

        Raises:
            InferenceError: In any of its kinds.
        """
        ...

    async def aclose(self) -> None:
        """Frees threads and connections."""
        ...

"""What adding documents did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened to each document.

    Attributes:
        added: The ids of new documents.
        changed: Those that replaced an older version.
        unchanged: Those that were there already: nothing was computed for them.
        failed: Why a source could not be read, by its path, URL or id.
        chunks: How many chunks were stored.
        seconds: How long it took.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    chunks: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A stored document.

    Attributes:
        id: Its id.
        title: Its title.
        source: A path or URL.
        mime_type: What it was.
        metadata: JSON values.
        chunks: How many chunks it has.
        added: When, in seconds since 1970, UTC.
    """

    id: str
    title: str
    source: str
    mime_type: str
    metadata: Mapping[str, object]
    chunks: int
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` checked.

    Attributes:
        documents: Documents whose chunks and vectors match their hash.
        chunks: Chunks among them.
        problems: What does not match, one sentence for each; empty when all is well.
    """

    documents: int
    chunks: int
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems

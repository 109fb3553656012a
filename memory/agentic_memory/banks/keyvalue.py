"""Values by their keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from agentic.types.content import storable
from agentic.types.errors import InvalidInput
from agentic.types.steps import Hit

from ..bank import synced
from ..rows import Change, Entry, Filter, Tx, fetch, known, matching
from ..rows.documents import clean
from ..searching import whole
from ..types import Chunk
from .base import RowBank, below_one, best, by_words, checked_id, checked_metadata, checked_query, hash_of

_MOST_WORDS = 200
_LONGEST_KEY = 4
"""In words: longer keys are found by all of a question being the key, and by their words."""


class KeyValueBank(RowBank):
    """Remembers JSON values by key: `bank.put("wifi password", "tortoise")`.

    A question finds the values whose keys it names, word for word, with score 1; after them those that share words with
    it, with scores below 1. A hit's text is `key: value`.
    """

    kind: ClassVar[str] = "keyvalue"

    async def aput(self, key: str, value: Any, *, metadata: Mapping[str, Any] | None = None) -> Change:
        """Remembers a value; one that the key had is replaced. Returns what that changed.

        Raises:
            InvalidInput: The key is no text, or the value is not JSON.
        """
        key = checked_id(key)
        try:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"The value of {key!r} must be JSON: {error}.") from error
        chunk = Chunk(text=f"{key}: {shown}", position={"value": storable(value)})
        about = checked_metadata(metadata)
        entry = Entry(name=key, hash=hash_of(value, about), chunks=[chunk], metadata=about)
        return await self._put(entry)

    async def aget(self, key: str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        rows = await self._rows_of(checked_id(key))
        return rows[0].position["value"] if rows else default

    async def akeys(self, prefix: str = "") -> list[str]:
        """The keys that begin so, in the order in which their values were put."""
        return [document.id for document in await self.adocuments() if document.id.startswith(prefix)]

    async def aadd_text(self, text: str, *, id: str, metadata: Mapping[str, Any] | None = None) -> Change:
        """The same as `aput` with the id as key: how other banks call it."""
        return await self.aput(id, text, metadata=metadata)

    async def aquery(
        self, query: str, *, k: int = 5, filter: Filter | None = None, min_score: float | None = None
    ) -> list[Hit]:
        """The values whose keys the question names, then those that share words with it.

        Args:
            query: The question.
            k: How many at the most.
            filter: Conditions on the metadata.
            min_score: Leaves out what scores less.
        """
        names, k = list(dict.fromkeys(_named(checked_query(query)))), whole("k", k, 1)

        def work(tx: Tx) -> list[Hit]:
            found = known(tx, names)
            among = {number for number, _ in matching(tx, filter)} if filter is not None else None
            numbers = [found[name].id for name in names if name in found]
            rows = fetch(tx, [number for number in numbers if among is None or number in among])
            hits = {row.name: self._hit(row, 1.0) for number in numbers if (row := rows.get(number))}
            for row, score in by_words(tx, query, k, filter, thorough=True):
                hits.setdefault(row.name, self._hit(row, below_one(score)))
            return best(hits.values(), k, min_score)

        return await self._rows.read(work)

    put = synced(aput)
    get = synced(aget)
    keys = synced(akeys)
    add_text = synced(aadd_text)
    query = synced(aquery)
    close = synced(RowBank.aclose)


def _named(query: str) -> Iterator[str]:
    """What may be a key in a question: all of it, then its runs of words, the longest first."""
    query = clean(query)
    yield query.strip()[:1000]
    words = [word.strip(".,;:!?\"'()[]{}<>`") for word in query.split()[:_MOST_WORDS]]
    for length in range(_LONGEST_KEY, 0, -1):
        for start in range(len(words) - length + 1):
            run = words[start : start + length]
            for spelled in (run, [word.lower() for word in run]):
                yield from (joint.join(spelled) for joint in (" ", "_", "-", ".") if re.search(r"\S", "".join(run)))

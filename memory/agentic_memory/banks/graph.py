"""Entities and how they are related."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from agentic.inference import connect
from agentic.protocols import Inference
from agentic.types.content import storable
from agentic.types.errors import ConfigError, InvalidInput
from agentic.types.steps import Hit

from ..bank import synced
from ..extract import LONGEST_MATERIAL, ask
from ..rows import Change, Entry, Filter, Row, Tx, known, span, words_of
from ..rows.documents import from_json
from ..searching import whole
from ..types import Chunk
from .base import RowBank, below_one, best, by_words, checked_id, checked_metadata, checked_query, hash_of

_MOST_RELATIONS = 1000
"""Relations looked at for one entity."""
_MOST_ENTITIES = 1000
"""Entities that a walk through the graph visits."""
_LONGEST_NAME = 200
_ARTICLES = ("the", "a", "an")

_READ = (
    "You read a text and write down what it says of people, places, things and ideas, as relations between two of "
    "them. Use the text's own words for names, always the same for the same thing, and a short verb phrase for the "
    "relation. Leave out what the text does not say."
)
_TEXT = {"type": "string"}
_RELATION = {
    "type": "object",
    "properties": {"subject": _TEXT, "relation": _TEXT, "object": _TEXT},
    "required": ["subject", "relation", "object"],
}
_SCHEMA = {
    "type": "object",
    "properties": {"relations": {"type": "array", "items": _RELATION}},
    "required": ["relations"],
}


@dataclass(frozen=True, slots=True)
class Relation:
    """Two entities and what one is to the other.

    Attributes:
        subject: Such as `Ada Lovelace`.
        relation: Such as `wrote`.
        object: Such as `the first program`.
    """

    subject: str
    relation: str
    object: str

    def __str__(self) -> str:
        return f"{self.subject} — {self.relation} → {self.object}"


class GraphBank(RowBank):
    """Remembers relations between entities, given or read out of texts by a model.

    A question finds the relations of the entities that it names, nearest first (score 1, then 1/2, 1/3, … for each step
    away), and after them relations that share words with it.

    Args:
        name: Its name, unique in the store.
        store: A path, an SQLAlchemy URL, or None for one that is gone when the bank is closed. Default: the file that
            sessions are in.
        model: Reads texts: a model string or an `Inference`. Without one, only relations can be added.
        depth: How many steps from the entities of a question its hits may be.
    """

    kind: ClassVar[str] = "graph"

    def __init__(
        self, name: str, *, store: str | Path | None = "default", model: str | Inference | None = None, depth: int = 2
    ) -> None:
        self._depth = whole("depth", depth, 1)
        self._own = isinstance(model, str)
        self._model = connect(model) if isinstance(model, str) else model
        super().__init__(name, store=store)

    async def aadd_relations(
        self,
        relations: Iterable[Relation | Sequence[str]],
        *,
        id: str,
        title: str = "",
        source: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Change:
        """Remembers relations as one document; those that it had are replaced.

        Args:
            relations: `Relation`s, or triples of texts.
            id: The document's id.
            title: For citations.
            source: Where they are from.
            metadata: JSON values; queries filter by them.

        Raises:
            InvalidInput: A relation is not three texts, each with a letter or digit in it.
        """
        checked = list(dict.fromkeys(_relation(given) for given in relations))
        about = checked_metadata(metadata)
        hashed = hash_of([str(one) for one in checked], title, source, about)
        entry = Entry(name=checked_id(id), hash=hashed, title=title, source=source, metadata=about)
        return await self._store(entry, checked)

    async def aadd_text(
        self,
        text: str,
        *,
        id: str | None = None,
        title: str = "",
        source: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Change:
        """Has the model read a text and remembers the relations that it finds. A text that is known is not read again.

        Args:
            text: The text.
            id: The document's id; default: a hash of the text.
            title: For citations.
            source: A path or URL.
            metadata: JSON values; queries filter by them.

        Raises:
            ConfigError: The bank has no model.
            InferenceError: The model failed; nothing has changed.
        """
        if self._model is None:
            raise ConfigError(f"The graph bank {self.name!r} has no model to read texts with.", hint="Pass model=….")
        if not isinstance(text, str):
            raise InvalidInput(f"add_text takes text, not {type(text).__name__}.")
        about = checked_metadata(metadata)
        hashed = hash_of(text, title, source, about)
        name = checked_id(id if id is not None else hash_of(text).hex()[:32])
        there = await self._rows.read(lambda tx: known(tx, [name]))
        if name in there and there[name].hash == hashed:
            return "unchanged"
        found: dict[Relation, None] = {}
        for start in range(0, len(text), LONGEST_MATERIAL):
            answer = await ask(self._model, _READ, text[start : start + LONGEST_MATERIAL], _SCHEMA)
            found |= dict.fromkeys(_readable(answer.get("relations")))
        entry = Entry(name=name, hash=hashed, title=title, source=source, metadata=about)
        return await self._store(entry, list(found))

    async def aget(self, id: str) -> list[Relation]:
        """The relations of a document, in order; none when it is not known."""
        return [_of(row.position) for row in await self._rows_of(checked_id(id))]

    async def aneighbours(self, entity: str, *, depth: int = 1) -> list[Relation]:
        """The relations around an entity, nearest first.

        Args:
            entity: Its name, in any case, with or without its article.
            depth: How many steps to go, at least 1.
        """
        name, steps = _key(checked_query(entity)), whole("depth", depth, 1)
        found = await self._rows.read(lambda tx: _walk(tx, [name], steps, None))
        return [_of(row.position) for row, _ in found]

    async def aentities(self) -> list[str]:
        """The entities, by how many relations they have, most first."""

        def work(tx: Tx) -> list[str]:
            query = "SELECT position FROM agentic_bank_chunks WHERE id > ? AND id < ? ORDER BY id"
            relations = [_of(from_json(position)) for (position,) in tx.all(query, span(tx))]
            names = [name for one in relations for name in (one.subject, one.object)]
            counts, spelled = Counter(map(_key, names)), {_key(name): name for name in reversed(names)}
            return [spelled[key] for key, _ in counts.most_common()]

        return await self._rows.read(work)

    async def aquery(
        self, query: str, *, k: int = 5, filter: Filter | None = None, min_score: float | None = None
    ) -> list[Hit]:
        """The relations around the entities that a question names, then those that share words with it.

        Args:
            query: The question.
            k: How many at the most.
            filter: Conditions on the documents' metadata.
            min_score: Leaves out what scores less.
        """
        asked, k = f" {_key(checked_query(query))} ", whole("k", k, 1)

        def work(tx: Tx) -> list[Hit]:
            similar = by_words(tx, query, _MOST_RELATIONS, filter)
            entities = dict.fromkeys(
                key
                for row, _ in similar
                for key in (_key(row.position["subject"]), _key(row.position["object"]))
                if f" {key} " in asked
            )
            hits = {
                row.chunk: self._hit(row, 1 / steps) for row, steps in _walk(tx, list(entities), self._depth, filter)
            }
            least = 1 / (self._depth + 1)
            for row, score in similar:
                hits.setdefault(row.chunk, self._hit(row, least * below_one(score)))
            return best(hits.values(), k, min_score)

        return await self._rows.read(work)

    async def aclose(self) -> None:
        """Closes the connections to the store, and to a model that was given as a string."""
        await super().aclose()
        if self._own and self._model is not None:
            await self._model.aclose()

    async def _store(self, entry: Entry, relations: Sequence[Relation]) -> Change:
        chunks = [
            Chunk(text=str(one), position={"subject": one.subject, "relation": one.relation, "object": one.object})
            for one in relations
        ]
        return await self._put(replace(entry, chunks=chunks))

    add_relations = synced(aadd_relations)
    add_text = synced(aadd_text)
    get = synced(aget)
    neighbours = synced(aneighbours)
    entities = synced(aentities)
    query = synced(aquery)
    close = synced(aclose)


def _walk(tx: Tx, entities: Sequence[str], depth: int, filter: Filter | None) -> list[tuple[Row, int]]:
    """The relations around some entities, breadth first, each with how many steps away it is, from 1."""
    found: dict[int, tuple[Row, int]] = {}
    seen = dict.fromkeys(entities)
    frontier = list(seen)
    for steps in range(1, depth + 1):
        reached: dict[str, None] = {}
        for entity in frontier:
            for row, _ in by_words(tx, entity, _MOST_RELATIONS, filter):
                ends = (_key(row.position["subject"]), _key(row.position["object"]))
                if entity in ends:
                    found.setdefault(row.chunk, (row, steps))
                    reached |= dict.fromkeys(ends)
        frontier = [entity for entity in reached if entity not in seen][: _MOST_ENTITIES - len(seen)]
        seen |= dict.fromkeys(frontier)
    return list(found.values())


def _relation(given: Relation | Sequence[str]) -> Relation:
    parts = (given.subject, given.relation, given.object) if isinstance(given, Relation) else given
    if not isinstance(parts, list | tuple) or len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise InvalidInput(f"A relation is three texts: subject, relation, object; not {given!r:.200}.")
    subject, relation, object_ = (" ".join(storable(part).split())[:_LONGEST_NAME] for part in parts)
    if not words_of(subject) or not words_of(object_) or not relation:
        raise InvalidInput(f"The entities of a relation have letters or digits in their names; not {given!r:.200}.")
    return Relation(subject, relation, object_)


def _readable(listed: Any) -> Iterable[Relation]:
    """The relations that a model wrote; what is none is passed over."""
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, Mapping):
            try:
                yield _relation([item.get("subject", ""), item.get("relation", ""), item.get("object", "")])
            except InvalidInput:
                continue


def _of(position: Mapping[str, Any]) -> Relation:
    return Relation(position["subject"], position["relation"], position["object"])


def _key(name: str) -> str:
    """A name without regard to case, article, white space and signs, but for those that tell C from C++."""
    words = re.findall(r"[^\W_]+[+#]*", storable(name).casefold())
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)

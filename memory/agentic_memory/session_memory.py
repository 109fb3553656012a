"""What an agent remembers of a user from one session to the next."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from agentic.inference import connect
from agentic.protocols import Inference
from agentic.threads import run_in_thread
from agentic.types.errors import InvalidInput
from agentic.types.messages import UserMessage
from agentic.types.steps import Hit
from agentic.types.turns import Turn

from .bank import MemoryBank, synced
from .banks import KeyValueBank, KeywordBank
from .embedding import EmbeddingLike
from .extract import ask, texts_in

MOST_FACTS = 10
"""Facts that one turn may teach."""

LONGEST_FACT = 300
"""In characters."""

_LEARN = (
    "You read one exchange between a user and an assistant. Write down what is worth remembering of the user for later "
    "conversations: lasting facts, preferences, decisions, names. Each is one complete sentence that can be understood "
    "alone and begins with 'The user'. Take only what the user said or agreed to. Leave out the request itself, what "
    "everybody knows, passwords and keys. Most exchanges teach nothing; then the list is empty."
)
_SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_FACTS}},
    "required": ["facts"],
}

Extract = Callable[[Turn], Sequence[str] | Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something remembered of a user.

    Attributes:
        id: For `delete`.
        text: One sentence.
        session: The session in which it was last learnt; empty for what was added by hand.
        turn: The turn, likewise.
        at: When; UTC.
    """

    id: str
    text: str
    session: str
    turn: str
    at: datetime


class SessionMemory:
    """A memory of one user: `Agent(memory=[SessionMemory("ada")])`.

    After each turn, a model writes down what it taught of the user; before the next ones, in any session, what fits is
    put beside the question. A turn is learnt from once, also when the process dies in between. The user may see every
    fact, with the session and turn that it is from, and delete it.

    Every method but `learn` has an async form with the letter `a` before its name.

    Args:
        user: Whose memory it is; nothing of it is found in another user's.
        store: A path, an SQLAlchemy URL, or None for one that is gone when it is closed. Default: the file that
            sessions are in.
        embedding: What facts are found by, as for `MemoryBank`; None finds them by their words alone.
        model: Writes the facts down: a model string or an `Inference`. Default: the agent's model.
        extract: A function, sync or async, that says instead which facts a turn teaches.

    Raises:
        InvalidInput: The user's name cannot be used.
    """

    def __init__(
        self,
        user: str,
        *,
        store: str | Path | None = "default",
        embedding: EmbeddingLike | None = "default",
        model: str | Inference | None = None,
        extract: Extract | None = None,
    ) -> None:
        if not user.strip():
            raise InvalidInput("A memory belongs to a user: give a name.")
        self._own = isinstance(model, str)
        self._model = connect(model) if isinstance(model, str) else model
        self.user = user
        self.name = f"memory of {user}"
        self._facts: MemoryBank = (
            KeywordBank(self.name, store=store)
            if embedding is None
            else MemoryBank(self.name, store=store, embedding=embedding)
        )
        self._turns = KeyValueBank(f"turns of {user}", store=store)
        self._extract = extract

    def __repr__(self) -> str:
        return f"SessionMemory({self.user!r})"

    async def learn(self, turn: Turn, model: Inference) -> None:
        """Writes down what a turn taught; a turn that was learnt from already changes nothing.

        Raises:
            InferenceError: The model failed; the turn is not marked as learnt.
        """
        if await self._turns.aget(turn.turn_id) is not None:
            return
        facts = await self._taught(turn, self._model or model)
        for fact in facts:
            await self._remember(fact, turn.session_id, turn.turn_id)
        await self._turns.aput(turn.turn_id, {"session": turn.session_id, "facts": len(facts)})

    async def aadd_text(self, text: str) -> Fact:
        """Remembers something that no turn taught."""
        kept = texts_in([text], most=1, longest=LONGEST_FACT)
        if not kept:
            raise InvalidInput("There is nothing to remember.")
        return await self._remember(kept[0], "", "")

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        """The facts that fit a question best, best first; scores are those of the bank behind it."""
        return await self._facts.aquery(query, k=k)

    async def afacts(self) -> list[Fact]:
        """Everything remembered of the user, oldest first."""
        return [_fact(document.id, document.metadata) for document in await self._facts.adocuments()]

    async def adelete(self, id: str) -> bool:
        """Forgets a fact; returns whether there was one. It comes back only if the user says it again."""
        return bool(await self._facts.adelete(id))

    async def aclear(self) -> int:
        """Forgets everything, and returns how many facts there were. Turns of the past are not learnt from again."""
        return await self._facts.aclear()

    async def aclose(self) -> None:
        """Closes the connections to the store, and to a model that was given as a string."""
        await self._facts.aclose()
        await self._turns.aclose()
        if self._own and self._model is not None:
            await self._model.aclose()

    async def _taught(self, turn: Turn, model: Inference) -> list[str]:
        if self._extract is not None:
            extract = self._extract
            found = (
                extract(turn) if inspect.iscoroutinefunction(extract) else await run_in_thread(lambda: extract(turn))
            )
            listed = await found if isinstance(found, Awaitable) else found
            return texts_in(list(listed), most=MOST_FACTS, longest=LONGEST_FACT)
        asked = "\n".join(message.text for message in turn.input_messages if isinstance(message, UserMessage))
        if not asked.strip():
            return []
        answer = await ask(model, _LEARN, f"user: {asked}\n\nassistant: {turn.text}", _SCHEMA)
        return texts_in(answer.get("facts"), most=MOST_FACTS, longest=LONGEST_FACT)

    async def _remember(self, text: str, session: str, turn: str) -> Fact:
        """The id is made of the words, so what is learnt twice is one fact, with its newest origin."""
        id = hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()[:16]
        at = datetime.now(UTC)
        about = {"fact": text, "session": session, "turn": turn, "at": at.isoformat(), "user": self.user}
        title = f"remembered on {at:%Y-%m-%d}"
        await self._facts.aadd_text(text, id=id, title=title, metadata=about)
        return _fact(id, about)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    add_text = synced(aadd_text)
    query = synced(aquery)
    facts = synced(afacts)
    delete = synced(adelete)
    clear = synced(aclear)
    close = synced(aclose)


def _fact(id: str, about: Any) -> Fact:
    return Fact(
        id=id, text=about["fact"], session=about["session"], turn=about["turn"], at=datetime.fromisoformat(about["at"])
    )

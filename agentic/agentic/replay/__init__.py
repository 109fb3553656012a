"""Stored turns run again, on what the log recorded instead of the world.

Models, tools, banks and shields are not asked: what they answered then is played back, and the turns are decided anew
by the code and the agent of today. Where that leads elsewhere, the differences say where and how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..history import History
from ..setup import Setup
from ..store import MemoryStore
from ..types.errors import NotFound
from ..types.records import Record, TurnOpened
from .compare import OF_THE_AGENT, Difference, compare
from .player import Paper, Player
from .recording import Recording, told_by

__all__ = ["Difference", "Replay", "replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of running stored turns again.

    Attributes:
        turns: How many were run.
        differences: In order; empty when every step came out as recorded.
    """

    turns: int
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


async def replay(
    session_id: str, records: Sequence[Record], setup: Setup | None = None, turn_id: str | None = None
) -> Replay:
    """Runs stored turns again.

    Args:
        session_id: The session.
        records: Its log.
        setup: The agent of today. None takes what the log tells of the agent, and the prompts as they were recorded.
        turn_id: The one turn to run; None runs all of them.

    Raises:
        NotFound: There is no such turn.
    """
    recorded, parts = History(session_id, records), list(_by_turn(records))
    numbers = [number for number, turn in enumerate(recorded.turns) if turn_id in (None, turn.turn_id)]
    if turn_id is not None and not numbers:
        raise NotFound(f"Session {session_id!r} has no turn {turn_id!r}.")
    differences: list[Difference] = []
    store = MemoryStore()
    await store.create("replay")
    lease = await store.acquire("replay")
    before: History | None = None
    for number in numbers:
        if before is None:
            before = History(session_id, (record for part in parts[:number] for record in part))
        history, before = before, None
        recording = Recording(parts[number], recorded)
        paper = Paper(recording, history, store, lease)
        missing = await Player(setup or told_by(recording), paper, own=setup is not None).play()
        found = list(compare(number + 1, (recorded, recorded.turns[number]), (history, history.turns[-1])))
        if missing:
            found.append(Difference(number + 1, None, "the turn", "over here", f"at what was not recorded: {missing}"))
        differences += found
        if history.state is None and all(one.what in OF_THE_AGENT for one in found):
            before = history
    return Replay(len(numbers), tuple(differences))


def _by_turn(records: Sequence[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    for record in records:
        if isinstance(record, TurnOpened) and part:
            yield part
            part = []
        part.append(record)
    if part:
        yield part

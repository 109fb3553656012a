"""Every kind of store behind one fixture, and records to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentic.store import Store, open_store
from agentic.types.messages import AssistantMessage, UserMessage
from agentic.types.records import PromptDelta, Record, StepClosed, StepOpened, TurnClosed, TurnOpened
from agentic.types.steps import Generation, InferenceStep
from agentic.types.turns import EndReason, Limits

KINDS = ["memory", "sqlite", "postgresql"]

OpenStore = Callable[[], Store]
MakeTurn = Callable[[str], list[Record]]


@pytest.fixture(params=KINDS)
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the test's store; the same one each time, but for memory."""
    if request.param == "postgresql":
        with request.getfixturevalue("postgresql").database() as url:
            yield lambda: open_store(url)
    else:
        where = tmp_path / "sessions.db" if request.param == "sqlite" else None
        yield lambda: open_store(where)


@pytest.fixture
def turn() -> MakeTurn:
    """Makes the four records of a turn `t` whose one step is `t-step`."""

    def make(turn_id: str) -> list[Record]:
        now, step_id = datetime.now(UTC), f"{turn_id}-step"
        step = InferenceStep(step_id=step_id, turn_id=turn_id, started_at=now, model="scripted/one")
        answer = Generation(message=AssistantMessage(f"Answer in {turn_id}: Zoë 🦙"))
        return [
            TurnOpened(turn_id=turn_id, at=now, input_messages=(UserMessage("Hello"),), limits=Limits()),
            StepOpened(step=step, prompt=PromptDelta(None, 0, "<|begin_of_text|>")),
            StepClosed(step_id=step_id, at=now, outcome=answer),
            TurnClosed(turn_id=turn_id, at=now, reason=EndReason.END_OF_TURN, output=answer.message),
        ]

    return make

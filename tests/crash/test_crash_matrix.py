"""A process is killed at every boundary of a turn, on SQLite and on PostgreSQL; the session goes on (promises 1, 3)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentic import EndReason, Session, ToolResponse
from agentic.types import ToolStatus
from crash import scenario
from crash.scenario import ANSWER, GOES_ON, IDEMPOTENT, Facts, Scenario, answers
from invariants import check_providers, check_turns

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")]

LEAST = 50
"""So many boundaries there are at least, or the scenario has lost some."""
Play = Callable[[str, Path, str, int], int]


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Plays the scenario in a process of its own and returns how that ended."""
    tests = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", "import crash.scenario as it; it.serve()"],
        cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        stdin, stdout = server.stdin, server.stdout

        def ask(where: str, facts: Path, session: str, place: int) -> int:
            stdin.write(json.dumps({"where": where, "facts": str(facts), "session": session, "place": place}) + "\n")
            return int(stdout.readline())

        yield ask
        stdin.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """The store of each place: of SQLite a file for each, of PostgreSQL one database for all."""
    if request.param == "postgresql":
        with request.getfixturevalue("postgresql").database() as url:
            yield lambda _place: url
        return

    def file_of(place: int) -> str:
        file = tmp_path / f"{place}.db"
        if place and not file.exists():
            shutil.copy(tmp_path / "0.db", file)
        return str(file)

    yield file_of


@pytest.mark.timeout(600)  # seconds, for a machine that is busy: by itself it takes five or ten
@pytest.mark.parametrize("how", ["run", "resume"])
def test_a_process_may_die_anywhere(database: Callable[[int], str], play: Play, tmp_path: Path, how: str) -> None:
    whole = tmp_path / "facts-0"
    assert play(database(0), whole, "s0", 0) == 0
    (points,) = Facts(whole).all("points")
    assert len(points) >= LEAST
    for place, name in enumerate(points, 1):
        facts = tmp_path / f"facts-{place}"
        assert play(database(place), facts, f"s{place}", place) == -signal.SIGKILL, name
        try:
            asyncio.run(go_on(database(place), Facts(facts), f"s{place}", how))
        except Exception as error:
            error.add_note(f"The process was killed at boundary {place}: {name}.")
            raise


async def go_on(where: str, facts: Facts, session_id: str, how: str) -> None:
    """Opens the session as the next process does, and sees that nothing is lost, repeated or made up."""
    reopened = Scenario(where, facts)
    async with reopened.agent as agent:
        session = agent.session(session_id)
        await session.aload()
        stored = await agent._store.verify(session_id)
        assert stored >= max(facts.all("acknowledged"), default=0), "an acknowledged record is missing"
        steps = {step.step_id for turn in session.turns for step in turn.steps}
        assert steps.issuperset(facts.all("told")), "a step that was told is missing"
        finished = responses_of(session)
        before = Counter(facts.all("effect"))
        cut_off = set(facts.all("started")) - {n_of(call_id) for call_id in finished}
        if session.pending:  # not a matter of crashes: whoever answers may come tomorrow
            await session.aresume(answers(session))
        elif how == "resume" and session.interrupted:
            turn = await session.aresume()
            turn = await session.aresume(answers(session)) if turn.pending else turn
            assert (turn.reason, turn.text) == (EndReason.END_OF_TURN, ANSWER)
        turn = await session.arun("continue")
        assert (turn.reason, turn.text) == (EndReason.END_OF_TURN, GOES_ON)
        check_results(session, finished, cut_off, resumed=how == "resume")
        ran = Counter(facts.all("effect"))
        assert all(ran[n_of(call_id)] == before[n_of(call_id)] for call_id in finished), "a finished tool ran again"
        check_turns(session.turns, ran, idempotent=IDEMPOTENT)
        await check_providers(session.messages)
        assert await agent._store.verify(session_id) > stored


def check_results(session: Session, finished: dict[str, ToolResponse], cut_off: set[int], *, resumed: bool) -> None:
    """What had a result keeps it; what was cut off is told as unknown, or was run again where that does no harm."""
    now = responses_of(session)
    assert {call_id: now[call_id] for call_id in finished} == finished
    for call_id, response in now.items():
        if n_of(call_id) in cut_off:
            repeated = resumed and response.tool_name in IDEMPOTENT
            assert response.status is (ToolStatus.OK if repeated else ToolStatus.OUTCOME_UNKNOWN)


def responses_of(session: Session) -> dict[str, ToolResponse]:
    """The results in the log, by call id; an open step's, too."""
    steps: list[Any] = [step for turn in session.turns for step in turn.steps]
    return {one.call_id: one for step in steps for one in getattr(step, "tool_responses", ())}


def n_of(call_id: str) -> int:
    """The number of a call's effect."""
    return next(int(call.arguments["n"]) for call in scenario.CALLS if call.call_id == call_id)

"""One session whose turn meets everything: shields, memory, three tools (one idempotent, one not, one the caller's)
and two inferences. It calls `point` at every boundary, so that a test can kill or cancel it there.

`serve` is a fork server: it has imported everything once, and for each line on its standard input it forks a process
that plays the session and is killed at the boundary that the line names.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from agentic import Agent, Session, StepCompleted, Tool, ToolCall, ToolDef
from agentic.protocols import Delta, Prepared
from agentic.store import Lease
from agentic.store.sql import SqlStore
from agentic.testing import ScriptedModel
from agentic.types import Hit, InferenceRequest, Message, Touchpoint, Verdict
from agentic.types.events import Event
from agentic.types.records import Record

Point = Callable[[str], None]
IDEMPOTENT = frozenset({"again"})
CALLS = [ToolCall(name, {"n": n}, f"call_{name}") for n, name in enumerate(("again", "send", "ask"), 1)]
ANSWER = "All is done, and this is a sentence that is long enough to be shown by itself to whoever reads. Good bye."
GOES_ON = "Then we go on."


def silent(_where: str) -> None:
    """A point at which nothing happens."""


class Model(ScriptedModel):
    """Calls the three tools, then answers; to `continue` it says that it goes on."""

    def __init__(self, point: Point) -> None:
        super().__init__([_reply] * 1000)
        self._point = point

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        self._point("the model is asked")
        async for delta in super().generate(prepared):
            yield delta
            self._point("the model has said something")


def _reply(request: InferenceRequest) -> Any:
    last = request.messages[-1]
    if last.role == "ipython":
        return [ANSWER[:20], ANSWER[20:90], ANSWER[90:]]
    return GOES_ON if last.text == "continue" else CALLS


class Store(SqlStore):
    """A store with a point before and after each write, which notes what it has acknowledged."""

    def __init__(self, where: str | Path, facts: Facts, point: Point) -> None:
        super().__init__(where)
        self._facts = facts
        self._point = point

    async def acquire(self, session_id: str) -> Lease:
        self._point("the lease is taken")
        lease = await super().acquire(session_id)
        self._point("the lease was taken")
        return lease

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        what = " + ".join(record.record for record in records)
        self._point(f"before writing {what}")
        await super().append(lease, records, release=release)
        self._facts.note(acknowledged=lease.seq)
        self._point(f"after writing {what}")

    async def release(self, lease: Lease) -> None:
        self._point("before the lease is given back")
        await super().release(lease)


class Facts:
    """What happened, in a file that outlives the process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def note(self, **fact: Any) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fact) + "\n")

    def all(self, what: str) -> list[Any]:
        """The values that were noted under a name, in order."""
        if not self._file.exists():
            return []
        facts = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        return [fact[what] for fact in facts if what in fact]


class Scenario:
    """The agent and its surroundings; it is its own shield and its own memory bank.

    Args:
        where: The store.
        facts: What is noted there: `started` and `effect` by a tool's `n`, `acknowledged` records, `told` steps.
        point: Called at each boundary with its name.
    """

    shield_id = "watchful"
    touchpoints = frozenset(Touchpoint)
    name = "docs"

    def __init__(self, where: str | Path, facts: Facts, point: Point = silent) -> None:
        self.facts = facts
        self._point = point
        self.model = Model(point)
        tools: list[Tool | ToolDef] = [
            Tool(self._again, name="again", idempotent=True),
            Tool(self._send, name="send"),
            _ask(),
        ]
        store = Store(where, facts, point)
        self.agent = Agent(self.model, tools=tools, memory=[self], shields=[self], store=store)

    async def check(self, messages: Sequence[Message]) -> Verdict:
        self._point(f"a shield looks at {messages[-1].role}")
        return Verdict(self.shield_id)

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        self._point("memory is searched")
        return [Hit("What was found.", 1.0, "a.pdf")]

    async def _again(self, n: int) -> str:
        """May be repeated."""
        return self._effect(n)

    async def _send(self, n: int) -> str:
        """Must not be repeated."""
        return self._effect(n)

    def _effect(self, n: int) -> str:
        self._point(f"effect {n} is about to happen")
        self.facts.note(started=n)
        self._point(f"effect {n} has started")
        self.facts.note(effect=n)
        self._point(f"effect {n} has happened")
        return f"did {n}"

    async def play(self, session_id: str) -> None:
        """Runs the turn to its pause, answers, and runs it to its end."""
        await self.play_in(self.agent.session(session_id))

    async def play_in(self, session: Session) -> None:
        """The same in a session object that the caller has, too."""
        await self._read(session.astream("Go."))
        self._point("the turn waits for the caller")
        await self._read(session.aresume_stream(answers(session)))
        self._point("the turn has ended")

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            if isinstance(event, StepCompleted):
                self.facts.note(told=event.step.step_id)


def answers(session: Session) -> dict[str, Any]:
    """What the caller's side says to the calls that wait."""
    return {item.call.call_id: "blue" for item in session.pending}


def _ask() -> ToolDef:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    return ToolDef("ask", "Asks the caller.", schema)


def _die_there(where: str, facts: Path, session_id: str, place: int) -> None:
    """Plays the session in this process, which is killed at the boundary with that number (from 1; 0 is none)."""
    passed: list[str] = []

    def point(name: str) -> None:
        passed.append(name)
        if len(passed) == place:
            os.kill(os.getpid(), signal.SIGKILL)

    async def play() -> None:
        scenario = Scenario(where, Facts(facts), point)
        await scenario.play(session_id)
        await scenario.agent.aclose()

    asyncio.run(play())
    Facts(facts).note(points=passed)


def serve() -> None:
    """Forks a process for each line, and says how it ended."""
    with tempfile.TemporaryDirectory() as folder:  # so that every fork has imported and compiled everything
        _die_there(f"{folder}/s.db", Path(folder) / "facts", "s", 0)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            try:
                _die_there(job["where"], Path(job["facts"]), job["session"], job["place"])
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)

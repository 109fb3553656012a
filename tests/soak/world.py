"""A world in which everything fails now and then: the model's server, tools, shields, memory and the store."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentic import Agent, Tool, ToolDef, ToolError
from agentic.inference import Retries, connect
from agentic.store import Lease
from agentic.store.sql import SqlStore
from agentic.types import Hit, Limits, Message, SafetyViolation, Touchpoint, Verdict
from agentic.types.errors import StoreError, StoreFull
from agentic.types.records import Record
from servers.base import CutAfter, Fault, HangUp, Insert, Resplit, StallAfter, Status
from servers.brain import Call, Reply, Seen
from servers.openai import OpenAIServer

IDEMPOTENT = frozenset({"again"})
FAULTS: tuple[Fault, ...] = (
    Status(429, headers={"retry-after": "0"}),
    Status(500),
    Status(400),
    Status(200, body=b"no JSON"),
    HangUp(),
    CutAfter(1),
    CutAfter(2, reset=False),
    StallAfter(1),
    Insert(1, b"data: {nonsense\n\n"),
    Resplit(3),
)


class Ledger:
    """What was seen to happen, on disk, so that the soak's own memory does not grow."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """A number for an effect that no other has."""
        return next(self._numbers)

    def note(self, **fact: Any) -> None:
        """Writes one fact down; from any thread."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fact) + "\n")

    def facts(self) -> Iterator[dict[str, Any]]:
        """Everything that was written down."""
        if self._file.exists():
            with self._file.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


class Chaos:
    """The dice, and what is thrown with them.

    Args:
        seed: Of the dice.
        ledger: Where effects are noted.
    """

    def __init__(self, seed: int, ledger: Ledger) -> None:
        self.dice = random.Random(seed)
        self.ledger = ledger

    def chance(self, one_in: float) -> bool:
        return self.dice.random() * one_in < 1

    def brain(self, seen: Seen) -> Reply:
        """Calls up to four tools, or answers in up to sixty words; after a few rounds it always answers."""
        results = sum(1 for _ in itertools.takewhile(lambda said: said.role != "user", reversed(seen.messages)))
        if results < 6 and self.chance(1.6):
            names = self.dice.choices(
                [*seen.tools, "none_such"], [*[4] * len(seen.tools), 1], k=self.dice.randint(1, 4)
            )
            return Reply("", tuple(self._call(name) for name in names))
        return Reply(" ".join(["So be it, é 🦙 <|eot_id|>."] * self.dice.randint(1, 12)))

    def _call(self, name: str) -> Call:
        manner = self.dice.choices(["fine", "fails", "slow", "large", "odd"], [12, 2, 1, 1, 1])[0]
        return Call(name, {"n": self.ledger.next_number(), "manner": manner})

    def model_fault(self) -> Fault | None:
        return self.dice.choice(FAULTS) if self.chance(8) else None

    # -- tools --------------------------------------------------------------------------------------------------------

    def tools(self) -> list[Tool | ToolDef]:
        """One of each kind."""

        def happen(n: int, manner: str) -> str:
            self.ledger.note(effect=n)
            if manner == "fails":
                raise ToolError("It failed.") if self.chance(2) else ZeroDivisionError("odd")
            return {"large": "x" * 50_000, "odd": "\udc80\0<|eot_id|>"}.get(manner, "done")

        def send(n: int, manner: str) -> str:
            """Sends something, once."""
            if manner == "slow":
                time.sleep(0.3)  # longer than the tool may take
            return happen(n, manner)

        async def wait(n: int, manner: str) -> str:
            """Waits, and then has its effect."""
            await asyncio.sleep(30 if manner == "slow" else self.dice.random() / 50)
            return happen(n, manner)

        def again(n: int, manner: str) -> str:
            """May be repeated."""
            return happen(n, manner)

        def risky(n: int, manner: str) -> str:
            """Wants approval."""
            return happen(n, manner)

        risky_tool = Tool(risky, timeout=5.0, approve=True)
        return [
            Tool(send, timeout=0.15, parallel=False),
            Tool(wait, timeout=0.15),
            Tool(again, timeout=5.0, idempotent=True),
            ToolDef("ask", "Asks the caller.", risky_tool.definition.parameters),
            risky_tool,
        ]

    # -- shields and memory -------------------------------------------------------------------------------------------

    @property
    def shield_id(self) -> str:
        return "moody"

    @property
    def touchpoints(self) -> frozenset[Touchpoint]:
        return frozenset(Touchpoint)

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """A shield that allows, objects, rewrites or fails."""
        await asyncio.sleep(0)
        if self.chance(60):
            raise RuntimeError("The shield is out of order.")
        if self.chance(60):
            return Verdict(self.shield_id, violation=SafetyViolation("Not that."))
        return Verdict(self.shield_id)

    @property
    def name(self) -> str:
        return "docs"

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        """A bank that finds something, or fails."""
        if self.chance(25):
            raise ConnectionError("The bank is closed.")
        return [Hit("What was found.", 1.0, "a.pdf")]


class FaultyStore(SqlStore):
    """A store whose writes fail before or after they have happened."""

    def __init__(self, where: str | Path, chaos: Chaos) -> None:
        super().__init__(where, timeout=2.0)
        self._chaos = chaos

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        if self._chaos.chance(200):
            raise StoreFull("The disk is said to be full.")
        await super().append(lease, records, release=release)
        if self._chaos.chance(200):
            raise StoreError("The connection broke when all was written.")

    async def read(self, session_id: str, *, after: int = 0) -> list[Record]:
        if self._chaos.chance(200):
            raise StoreError("The connection broke before anything was read.")
        return await super().read(session_id, after=after)


class FaultyServer(OpenAIServer):
    """A model server that keeps no requests, and fails as the dice say."""

    def __init__(self, chaos: Chaos) -> None:
        super().__init__(chaos.brain)
        self._chaos = chaos

    async def _respond(self, request: Any, answer: Any, wire: Any) -> bool:
        self.requests.clear()
        answer.fault = self._chaos.model_fault()
        return await super()._respond(request, answer, wire)


def agent_of(chaos: Chaos, server: FaultyServer, store: FaultyStore) -> Agent:
    """An agent of this world, which waits for nothing very long."""
    agent = Agent(
        connect("openai/test", endpoint=server.url),
        tools=chaos.tools(),
        memory=[chaos],
        shields=[chaos],
        limits=Limits(max_infer_iters=6, seconds=10.0),
        store=store,
    )
    retries = Retries(limit=1, backoff=0.0, first_token=0.5, gap=0.5)
    object.__setattr__(agent._setup, "retries", retries)
    return agent

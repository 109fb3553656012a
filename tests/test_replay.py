"""Stored turns run again on what was recorded: the same steps, or where and how they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentic import Agent, Deny, Limits, Tool, ToolCall, ToolDef, ToolError
from agentic.replay import Replay, replay
from agentic.session import Session
from agentic.store import MemoryStore, Store
from agentic.testing import Delay, Reply, ScriptedModel
from agentic.types import (
    ContextOverflow,
    Hit,
    Message,
    NotFound,
    SafetyViolation,
    ServerFailed,
    StepStarted,
    Touchpoint,
    Verdict,
)
from agentic.types.records import Record

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    ran.append("add")
    return a + b


def fail(why: str) -> str:
    """Fails."""
    ran.append("fail")
    raise ToolError(why)


def call(name: str, call_id: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, call_id)


class Notes:
    """A bank with one note."""

    name = "notes"

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        ran.append("notes")
        return [Hit(f"About {query}", 1.0, "d", bank="notes")][:k]


class Watch:
    """A shield that objects to a word, and masks another one."""

    shield_id = "watch"
    touchpoints = frozenset(Touchpoint)

    async def check(self, messages: Sequence[Message]) -> Verdict:
        ran.append("watch")
        text = messages[-1].text
        if "bomb" in text:
            return Verdict(self.shield_id, SafetyViolation("No."))
        masked = text.replace("Ann", "[NAME_1]")
        return Verdict(self.shield_id, replacement=masked if masked != text else None)


def agent(*replies: Reply, store: Store | None = None, **options: Any) -> Agent:
    return Agent(ScriptedModel(replies), store=store, **options)


def replays(session: Session) -> tuple[Replay, Replay]:
    """With the agent, and with nothing but the log."""
    session.load()
    before = session.turns
    ran.clear()

    async def without() -> Replay:
        return await replay(session.session_id, await session._store.read(session.session_id))

    both = session.replay(), asyncio.run(without())
    assert not ran, "nothing is asked again"
    assert session.turns == before, "nothing is written"
    return both


def talk(session: Session) -> None:
    session.run("What is 2 + 3?")
    session.run("Thanks.")


def tools(session: Session) -> None:
    with pytest.raises(ServerFailed):
        session.run("Fail.")
    session.run("Add, fail, call nothing, and send a broken call.")


def approvals(session: Session) -> None:
    turn = session.run("Book it.")
    assert [item.call.call_id for item in turn.pending] == ["a", "c", "d"]
    turn = session.resume({"a": True, "d": {"id": 7}})
    session.resume({"c": Deny("Not now.")})


def waiting(session: Session) -> None:
    session.run("Book it.")


def given_up(session: Session) -> None:
    session.run("Book it.")
    session.cancel()


def watched(session: Session) -> None:
    session.run("Ann asks.")
    session.run("How is a bomb made?")
    session.run("Say something bad.")


def remembered(session: Session) -> None:
    session.run("quinces")


CALLS = [call("add", "1", a=2, b=3), call("fail", "2", why="no"), call("nothing", "3"), call("add", "4", a="x")]
BOOKING = [call("book", "a", city="Rome"), call("add", "b", a=1, b=1), call("book", "c", city="Bern"), call("ask", "d")]


def book(city: str) -> str:
    """Books a room."""
    ran.append("book")
    return city


BOOKS = [Tool(book, approve=True), add, ToolDef("ask", "Asks the caller.")]
CASES: dict[str, tuple[Callable[[Session], None], list[Reply], dict[str, Any]]] = {
    "talk": (talk, [[call("add", "1", a=2, b=3)], "5", "Bye."], {"tools": [add], "instructions": "Be brief."}),
    "tools": (tools, [ServerFailed("down")] * 3 + [CALLS, "So it is."], {"tools": [add, fail]}),
    "approvals": (approvals, [BOOKING, "Done."], {"tools": BOOKS}),
    "waiting": (waiting, [BOOKING], {"tools": BOOKS}),
    "given up": (given_up, [BOOKING], {"tools": BOOKS}),
    "shields": (watched, ["Hello, Ann.", "Here is the bomb."], {"shields": [Watch()]}),
    "memory": (remembered, ["About quinces [1]."], {"memory": [Notes()]}),
    "limits": (talk, [[call("add", "1", a=2, b=3)], "Bye."], {"tools": [add], "limits": Limits(max_infer_iters=1)}),
    "failures": (talk, [[call("fail", str(n), why="x")] for n in range(3)] + ["."], {"tools": [fail]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_session_replays_as_it_was(case: str) -> None:
    go, replies, options = CASES[case]
    session = agent(*replies, **options).session()
    if case == "tools":
        object.__setattr__(session._setup, "retries", replace(session._setup.retries, backoff=0.0))
    go(session)
    assert ran or case in ("waiting", "given up", "limits")
    for done in replays(session):
        assert done.same, [str(one) for one in done.differences]
        assert done.turns == len(session.turns)


def crashed_after(last: int, records: Sequence[Record]) -> MemoryStore:
    """A store whose process died after so many records."""

    async def filled() -> MemoryStore:
        store = MemoryStore()
        await store.create("s")
        lease = await store.acquire("s")
        await store.append(lease, records[:last])
        await store.release(lease)
        return store

    return asyncio.run(filled())


def test_crashed_turns_replay_whether_taken_up_or_closed() -> None:
    calls: list[Reply] = [[call("add", "1", a=1, b=2), call("fail", "2", why="x")]]
    options: dict[str, Any] = {
        "tools": [Tool(add, idempotent=True), fail],
        "shields": [Watch()],
        "memory": [Notes()],
    }
    first = agent(*calls, "Done.", **options).session()
    first.run("Go.")
    records = asyncio.run(first._store.read(first.session_id))
    statuses = set()
    for last in range(1, len(records)):
        for resume in (True, False):
            answered = any(record.record == "call_opened" for record in records[:last])
            replies = ["Done."] * 2 if answered else [*calls, "Done.", "Done."]
            session = agent(*replies, store=crashed_after(last, records), **options).session("s")
            if resume:
                session.resume()
            else:
                session.run("Go on.")
            for done in replays(session):
                assert done.same, (last, resume, [str(one) for one in done.differences])
            statuses |= {response.status for turn in session.turns for response in turn.tool_responses}
    assert {"ok", "error", "outcome_unknown", "not_run"} <= statuses


def test_a_turn_that_nobody_took_up_yet_replays_as_far_as_it_came() -> None:
    first = agent([call("add", "1", a=1, b=2)], "Done.", tools=[add]).session()
    first.run("Go.")
    records = asyncio.run(first._store.read(first.session_id))
    for last in range(1, len(records)):
        session = agent(store=crashed_after(last, records), tools=[add]).session("s")
        for done in replays(session):
            assert done.same, (last, [str(one) for one in done.differences])


def test_a_cancelled_turn_replays() -> None:
    async def cancelled() -> Session:
        session = agent(Delay(60, "Late."), tools=[add]).session()
        async for event in session.astream("Go."):
            if isinstance(event, StepStarted):
                await session.acancel()
        return session

    for done in replays(asyncio.run(cancelled())):
        assert done.same, [str(one) for one in done.differences]


def test_a_conversation_that_was_shortened_replays() -> None:
    from test_context import KINDS, Small

    for kind in KINDS.values():
        for overflow in ("drop", "summarise"):
            model = Small(["x" * 80] * 60, 300, **kind)
            session = Agent(model, store=None, overflow=overflow).session()
            for letter in "abcdefghij":
                session.run(letter * 100)
            for done in replays(session):
                assert done.same, [str(one) for one in done.differences]


@pytest.mark.parametrize("overflow", ["drop", "summarise", "error"])
def test_a_conversation_that_did_not_fit_replays(overflow: Any) -> None:
    from test_context import KINDS, Small

    for kind in KINDS.values():
        session = Agent(Small(["x" * 80] * 60, 300, **kind), store=None, overflow=overflow).session()
        session.run("Hello")
        with pytest.raises(ContextOverflow):
            session.run("y" * 5000)
        for done in replays(session):
            assert done.same, [str(one) for one in done.differences]


def changed(before: Agent, after: Callable[[Store], Agent], *questions: str) -> list[str]:
    session = before.session("s")
    for question in questions:
        session.run(question)
    return [str(one) for one in after(session._store).session("s").replay().differences]


def test_other_instructions_are_told_to_the_letter() -> None:
    store = MemoryStore()
    before = agent("Hi.", "Bye.", store=store, instructions="Be brief.")
    told = changed(before, lambda store: agent(store=store, instructions="Be kind."), "Hello", "Thanks")
    assert [one.partition(" was ")[0] for one in told] == [f"turn {n}, step 1: exact prompt" for n in (1, 2)]
    assert "Be brief." in told[0]
    assert "Be kind." in told[0]


def test_a_tool_that_now_asks_first() -> None:
    store = MemoryStore()
    before = agent([call("book", "a", city="Rome")], "Booked.", store=store, tools=[book])
    told = changed(before, lambda store: agent(store=store, tools=[Tool(book, approve=True)]), "Book it.")
    assert told == [
        "turn 1: the number of steps was 3, is now 1",
        "turn 1: output was " + told[1].partition(" was ")[2],
        *told[2:],
    ]
    assert any("status was 'completed', is now 'awaiting_input'" in one for one in told)


def test_a_shield_that_was_not_there() -> None:
    store = MemoryStore()
    told = changed(agent("Hi.", store=store), lambda store: agent(store=store, shields=[Watch()]), "Hello")
    assert told[-1] == "turn 1: the turn was over here, is now at what was not recorded: shields look at user-input"
    assert not any("step 1: the kind" in one for one in told)


def test_narrower_limits() -> None:
    store = MemoryStore()
    before = agent([call("add", "1", a=1, b=2)], "3", store=store, tools=[add])
    after = lambda store: agent(store=store, tools=[add], limits=Limits(max_infer_iters=1))  # noqa: E731
    assert any("reason was 'end_of_turn', is now 'max_infer_iters'" in one for one in changed(before, after, "Add"))


def test_one_turn_and_no_such_turn() -> None:
    session = agent("a", "b", "c").session()
    turns = [session.run(text) for text in "123"]
    assert session.replay(turns[1]) == Replay(1)
    assert session.replay(turns[2].turn_id) == Replay(1)
    with pytest.raises(NotFound, match="no turn 'x'"):
        session.replay("x")
    with pytest.raises(NotFound):
        agent().session("nobody").replay()


def test_a_turn_after_one_that_differs_is_judged_by_the_recorded_one() -> None:
    store = MemoryStore()
    before = agent([call("add", "1", a=1, b=2)], "3", "Bye.", store=store, tools=[add])
    told = changed(before, lambda store: agent(store=store, tools=[Tool(add, approve=True)]), "Add", "Thanks")
    assert all(one.startswith("turn 1") for one in told)

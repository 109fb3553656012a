"""Old sessions removed, and sessions moved as JSON lines: nothing is lost or changed on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, ToolCall
from agentic.retention import Pruned, prune
from agentic.store import MemoryStore, Store, open_store
from agentic.store.chain import ZERO, link
from agentic.testing import ScriptedModel
from agentic.transfer import export_session, import_sessions
from agentic.types import InvalidInput, NotFound, ToolDef, TurnStatus

LATER = timedelta(days=1)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else open_store(tmp_path / "sessions.db")


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def talked(store: Store, name: str) -> None:
    model = ScriptedModel([[ToolCall("add", {"a": 1, "b": 2}, "c1")], "3 Zoë 🦙"])
    Agent(model, store=store, tools=[add]).session(name).run("Add \u2028 1 and 2.")


def ids(store: Store) -> set[str]:
    return {one.session_id for one in asyncio.run(store.sessions())}


async def lines_of(store: Store, *names: str) -> list[bytes]:
    return [line for name in names for line in await export_session(store, name)]


def closing(store: Store) -> None:
    asyncio.run(store.aclose())


# -- prune ------------------------------------------------------------------------------------------------------------


def test_prune_takes_what_is_old_and_leaves_what_is_not(store: Store) -> None:
    talked(store, "a")
    talked(store, "b")
    now = datetime.now(UTC)
    assert asyncio.run(prune(store, now - LATER)) == Pruned()
    assert set(asyncio.run(prune(store, now + LATER, dry_run=True)).removed) == {"a", "b"}
    assert ids(store) == {"a", "b"}
    assert set(asyncio.run(prune(store, now + LATER)).removed) == {"a", "b"}
    assert ids(store) == set()
    closing(store)


def test_forks_go_before_what_they_were_forked_from(store: Store) -> None:
    async def scenario() -> None:
        await store.fork("a", "b")
        await store.fork("b", "c")
        found = await prune(store, datetime.now(UTC) + LATER)
        assert (found.removed, found.kept) == (("c", "b", "a"), {})

    talked(store, "a")
    asyncio.run(scenario())
    assert ids(store) == set()
    closing(store)


def test_a_parent_stays_as_long_as_one_of_its_forks() -> None:
    class Aged(MemoryStore):
        """Says that some sessions are old."""

        async def sessions(self) -> Any:
            from dataclasses import replace

            old = {"a", "b", "old"}
            return [
                replace(one, updated_at=one.updated_at - 10 * LATER) if one.session_id in old else one
                for one in await super().sessions()
            ]

        async def get(self, session_id: str) -> Any:
            return next(one for one in await self.sessions() if one.session_id == session_id)

    store = Aged()
    talked(store, "a")

    async def scenario() -> None:
        await store.fork("a", "b")
        await store.fork("b", "young")
        await store.fork("a", "old")
        for dry_run in (True, False):
            found = await prune(store, datetime.now(UTC) - LATER, dry_run=dry_run)
            assert found.removed == ("old",)
            assert found.kept == {"a": "its history goes on in 'b'", "b": "its history goes on in 'young'"}
        assert len(await store.read("young")) > 5

    asyncio.run(scenario())


def test_a_session_in_use_stays(store: Store) -> None:
    talked(store, "a")

    async def scenario() -> None:
        lease = await store.acquire("a")
        found = await prune(store, datetime.now(UTC) + LATER)
        assert found.removed == ()
        assert "is being written" in found.kept["a"]
        await store.release(lease)

    asyncio.run(scenario())
    closing(store)


# -- export and import ------------------------------------------------------------------------------------------------


def test_a_session_comes_back_as_it_was(store: Store) -> None:
    talked(store, "a")
    talked(store, "b")

    async def scenario() -> None:
        lines = await lines_of(store, "a", "b")
        assert all(json.loads(line) for line in lines)
        other = MemoryStore()
        assert await import_sessions(other, lines) == ["a", "b"]
        for name in ("a", "b"):
            assert await other.read(name) == await store.read(name)
            assert await other.verify(name) == await store.verify(name)
        assert await lines_of(other, "a", "b") == lines
        lease, copy = await store.acquire("a"), await other.acquire("a")
        assert lease.head == copy.head, "one chain, wherever it is"
        await store.release(lease)
        assert (await other.get("a")).model == "scripted/model"

    asyncio.run(scenario())
    closing(store)


def test_an_imported_session_goes_on(store: Store) -> None:
    talked(store, "a")
    lines = asyncio.run(lines_of(store, "a"))
    closing(store)
    other = MemoryStore()
    asyncio.run(import_sessions(other, lines, name="b"))
    session = Agent(ScriptedModel(["Still here."]), store=other).session("b")
    assert session.run("Hello?").text == "Still here."
    assert [turn.text for turn in session.turns] == ["3 Zoë 🦙", "Still here."]


def test_a_fork_brings_its_whole_history(store: Store) -> None:
    talked(store, "a")

    async def scenario() -> None:
        await store.fork("a", "b")
        other = MemoryStore()
        await import_sessions(other, await lines_of(store, "b"))
        assert await other.read("b") == await store.read("a")
        assert (await other.get("b")).parent is None

    asyncio.run(scenario())
    closing(store)


def test_an_empty_session_travels_too() -> None:
    async def scenario() -> None:
        store, other = MemoryStore(), MemoryStore()
        await store.create("empty", agent="x")
        lines = await lines_of(store, "empty")
        assert await import_sessions(other, lines) == ["empty"]
        assert await import_sessions(other, lines) == ["empty"], "there was nothing to lose"
        assert (await other.get("empty")).agent == "x"
        assert await import_sessions(other, []) == []
        with pytest.raises(NotFound):
            await export_session(store, "nobody")

    asyncio.run(scenario())


def test_names_that_are_taken() -> None:
    store = MemoryStore()
    talked(store, "a")
    talked(store, "b")

    async def scenario() -> None:
        one, both = await lines_of(store, "a"), await lines_of(store, "a", "b")
        other = MemoryStore()
        with pytest.raises(InvalidInput, match=r"already a session 'a'.*--as"):
            await import_sessions(store, one)
        with pytest.raises(InvalidInput, match="already a session 'b'"):
            await import_sessions(store, one, name="b")
        with pytest.raises(InvalidInput, match="already a session 'a'"):
            await import_sessions(other, one + one)
        with pytest.raises(InvalidInput, match="One name does not fit 2"):
            await import_sessions(other, both, name="c")
        with pytest.raises(InvalidInput, match="must not be empty"):
            await import_sessions(other, one, name="")
        assert await other.sessions() == []
        assert await import_sessions(store, one, name="c") == ["c"]

    asyncio.run(scenario())


def _swap(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


DAMAGE: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a letter": (
        lambda lines: [*lines[:1], lines[1].replace(b"Add", b"add"), *lines[2:]],
        "Line 2: record 1.*its hash",
    ),
    "a hash": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"hash":"', b'"hash":"' + b"0" * 64)],
        "missing or was written anew",
    ),
    "a line is missing": (lambda lines: [*lines[:3], *lines[4:]], "Line 4: record 3.*is missing"),
    "the last line is missing": (lambda lines: lines[:-1], "is missing"),
    "half a line": (lambda lines: [*lines[:-1], lines[-1][:20]], "is missing or was written anew"),
    "swapped": (_swap, "Line 2: record 1"),
    "one more": (lambda lines: [*lines, lines[-1]], "not the beginning of an exported session"),
    "another head": (lambda lines: [lines[0].replace(b'"head":"', b'"head":"00'), *lines[1:]], "does not end with"),
    "fewer than there were": (
        lambda lines: [lines[0].replace(b'"records":', b'"records":1,"was":'), *lines[1:]],
        "does not end with",
    ),
    "no header": (lambda lines: lines[1:], "Line 1: it is not the beginning"),
    "rubbish": (lambda _lines: [b"\x00\xff\n"], "Line 1: it is not the beginning"),
    "deep": (lambda _lines: [b"[" * 100_000], "Line 1: it is not the beginning"),
    "a newer format": (
        lambda lines: [lines[0].replace(b"agentic-session/1", b"agentic-session/2"), *lines[1:]],
        "format 'agentic-session/2'",
    ),
    "a bad name": (lambda lines: [lines[0].replace(b'"a"', b'"a\\u0007"'), *lines[1:]], "control characters"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_altered_on_the_way_is_refused(damage: str) -> None:
    alter, message = DAMAGE[damage]
    store = MemoryStore()
    talked(store, "a")

    async def scenario() -> None:
        other = MemoryStore()
        with pytest.raises(InvalidInput, match=message):
            await import_sessions(other, alter(await lines_of(store, "a")))
        assert await other.sessions() == []

    asyncio.run(scenario())


def forged(name: str, bodies: list[bytes]) -> list[bytes]:
    """An exported session whose hashes are right: whoever forges a log can compute them."""

    digest, lines = ZERO, []
    for seq, body in enumerate(bodies, 1):
        digest = link(digest, seq, body)
        lines.append(b'{"seq":%d,"hash":"%s","record":%s}' % (seq, digest.hex().encode(), body))
    about = {"format": "agentic-session/1", "session_id": name, "agent": "", "model": "", "head": digest.hex()}
    return [json.dumps({**about, "records": len(bodies)}).encode(), *lines]


def bodies_of(store: Store, name: str) -> list[bytes]:
    return [line.partition(b'"record":')[2].rstrip()[:-1] for line in asyncio.run(lines_of(store, name))[1:]]


def test_a_log_that_no_turn_could_have_written_is_refused() -> None:
    store = MemoryStore()
    talked(store, "a")
    lines = forged("x", bodies_of(store, "a")[2:3])
    with pytest.raises(InvalidInput, match="Line 2: record 1 of session 'x' cannot stand there: A turn begins"):
        asyncio.run(import_sessions(MemoryStore(), lines))


def test_what_a_newer_version_wrote_is_refused_not_dropped() -> None:
    store = MemoryStore()
    talked(store, "a")
    head, *rows = asyncio.run(lines_of(store, "a"))
    previous = ZERO
    for seq, row in enumerate(rows, 1):
        body = row.partition(b'"record":')[2].rstrip()[:-1].replace(b'"role":"user"', b'"role":"user","mood":"good"')
        previous = link(previous, seq, body)
        rows[seq - 1] = b'{"seq":%d,"hash":"%s","record":%s}\n' % (seq, previous.hex().encode(), body)
    about = json.dumps({**json.loads(head), "head": previous.hex()}).encode()
    with pytest.raises(InvalidInput, match=r"Line 2: .* does not know 'input_messages\.mood'"):
        asyncio.run(import_sessions(MemoryStore(), [about, *rows]))


@pytest.mark.parametrize(
    "prompt",
    [
        {"base": "nowhere", "keep": 0, "tail": "x"},
        {"base": None, "keep": 1, "tail": "x"},
        {"base": "first", "keep": -1, "tail": "x"},
        {"base": "first", "keep": 10**6, "tail": "x"},
        {"base": "second", "keep": 1, "tail": "x"},
    ],
)
def test_a_prompt_that_goes_on_from_none_is_refused(prompt: dict[str, Any]) -> None:
    """Or the session could be imported, and never be run: one that goes on from itself would be read without end."""
    store = MemoryStore()
    talked(store, "a")
    records = [json.loads(body) for body in bodies_of(store, "a")]
    asked = [record for record in records if record.get("prompt")]
    ids = {"first": asked[0]["step"]["step_id"], "second": asked[1]["step"]["step_id"]}
    asked[1]["prompt"] = {**prompt, "base": ids.get(prompt["base"], prompt["base"])}
    with pytest.raises(InvalidInput, match="goes on from one that is not there"):
        asyncio.run(import_sessions(MemoryStore(), forged("x", [json.dumps(one).encode() for one in records])))


# -- forks ------------------------------------------------------------------------------------------------------------


def test_a_fork_at_the_answer_that_a_paused_turn_waits_for_waits_too(store: Store) -> None:
    model = ScriptedModel([[ToolCall("ask", {}, "c1")], "Thanks."])
    session = Agent(model, store=store, tools=[ToolDef("ask", "Asks the caller.")]).session("a")
    turn = session.run("Ask me.")
    fork = session.fork("b", at=turn.steps[0])
    assert fork.turns[-1].status is TurnStatus.AWAITING_INPUT
    assert not fork.interrupted
    assert [item.call.call_id for item in fork.pending] == ["c1"]
    assert fork.resume({"c1": "Yes."}).text == "Thanks."
    closing(store)

"""Whatever is done to a store, it does what a dictionary of lists would do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic.store import Lease, Store, open_store
from agentic.types.errors import AgenticError, InvalidInput, NotFound, SessionBusy
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]
NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["create", "acquire", "append", "release", "delete"]), NAMES, NAMES),
        st.tuples(st.just("fork"), NAMES, NAMES),
    ),
    max_size=40,
)


class Model:
    """Sessions as lists; each method returns the error that a store must raise, or None."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Record]] = {}
        self.parents: dict[str, str | None] = {}
        self.leases: dict[str, Lease] = {}

    def forbids(self, what: str, name: str, other: str) -> type[AgenticError] | None:
        if what == "create":
            return None
        if name not in self.logs:
            return NotFound
        if what in {"acquire", "delete"} and name in self.leases:
            return SessionBusy
        if (what == "delete" and name in self.parents.values()) or (what == "fork" and other in self.logs):
            return InvalidInput
        return None


async def play(store: Store, steps: list[tuple[str, str, str]], turn: MakeTurn) -> None:
    model = Model()
    for number, (what, name, other) in enumerate(steps):
        if what in {"append", "release"} and name not in model.leases:
            continue
        if error := model.forbids(what, name, other):
            with pytest.raises(error):
                await (store.fork(name, other) if what == "fork" else getattr(store, what)(name))
            continue
        match what:
            case "create":
                await store.create(name)
                model.logs.setdefault(name, [])
                model.parents.setdefault(name, None)
            case "acquire":
                model.leases[name] = await store.acquire(name)
            case "append":
                records = turn(f"t{number}")[: 1 + number % 4]
                await store.append(model.leases[name], records)
                model.logs[name] = model.logs[name] + records
            case "release":
                await store.release(model.leases.pop(name))
            case "fork":
                await store.fork(name, other)
                model.logs[other], model.parents[other] = model.logs[name], name
            case "delete":
                await store.delete(name)
                del model.logs[name], model.parents[name]
    for name, log in model.logs.items():
        assert await store.read(name) == log
        assert await store.verify(name) == len(log)
        assert await store.read(name, after=len(log) // 2) == log[len(log) // 2 :]
    assert {one.session_id: one.parent for one in await store.sessions()} == model.parents
    await store.aclose()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_store_does_what_a_dictionary_of_lists_would(
    kind: str, turn: MakeTurn, steps: list[tuple[str, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(None if kind == "memory" else Path(folder) / "sessions.db")
        asyncio.run(play(store, steps, turn))

"""Patience: what is repeated, what is waited for, and what is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from agentic.inference import Retries, generate
from agentic.inference.retry import repeat
from agentic.protocols import Delta, Prepared
from agentic.testing import Delay, ScriptedModel
from agentic.types import (
    AssistantMessage,
    AuthenticationFailed,
    Completion,
    ConnectionFailed,
    InferenceRequest,
    InferenceTimeout,
    InvalidInput,
    InvalidResponse,
    RateLimited,
    ServerFailed,
    StreamBroken,
    ToolCallDelta,
    UserMessage,
)

pytestmark = pytest.mark.anyio
REQUEST = InferenceRequest(messages=[UserMessage("Hi")])
QUICK = Retries(backoff=0.001, first_token=5, gap=5)


async def collect(model: ScriptedModel, retries: Retries = QUICK) -> list[Delta]:
    return [delta async for delta in generate(model, await model.prepare(REQUEST), retries)]


class Provider(ScriptedModel):
    """Yields what it is given, and notes how it was closed."""

    def __init__(self, deltas: list[Delta], hang: bool = False) -> None:
        super().__init__()
        self.deltas = deltas
        self.hang = hang
        self.ended = False

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        try:
            for delta in self.deltas:
                yield delta
            if self.hang:
                await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_a_retryable_error_is_repeated_while_nothing_was_shown() -> None:
    model = ScriptedModel([ConnectionFailed("a"), ServerFailed("b"), "hello"])
    assert (await collect(model))[0] == "hello"
    model.assert_complete()


async def test_the_limit_is_kept() -> None:
    model = ScriptedModel([ServerFailed(str(number)) for number in range(3)])
    with pytest.raises(ServerFailed, match="2"):
        await collect(model)
    model.assert_complete()


async def test_nothing_is_repeated_once_something_was_shown() -> None:
    model = ScriptedModel([["hel", ServerFailed("no")], "hello"])
    with pytest.raises(ServerFailed):
        await collect(model)
    assert len(model.requests) == 1


async def test_a_connection_that_breaks_after_text_is_a_broken_stream() -> None:
    with pytest.raises(StreamBroken):
        await collect(ScriptedModel([["hel", ConnectionFailed("cut")]]))


async def test_other_errors_are_not_repeated() -> None:
    for error in (AuthenticationFailed("no"), ValueError("a bug")):
        model = ScriptedModel([error, "hello"])
        with pytest.raises(type(error)):
            await collect(model)
        assert len(model.requests) == 1


async def test_retry_after_is_waited_for() -> None:
    began = time.monotonic()
    await collect(ScriptedModel([RateLimited("slow", retry_after=0.05), "hello"]), Retries(backoff=60))
    assert 0.05 <= time.monotonic() - began < 5


async def test_the_gap_between_pieces_is_limited() -> None:
    model = ScriptedModel([["a", Delay(60, "b")]])
    with pytest.raises(InferenceTimeout, match=r"silent for 0\.02"):
        await collect(model, Retries(first_token=60, gap=0.02))


async def test_the_first_token_may_take_longer_than_a_gap() -> None:
    model = ScriptedModel([Delay(0.05, "a")])
    assert (await collect(model, Retries(first_token=5, gap=0.02)))[0] == "a"


async def test_the_callers_own_time_does_not_count() -> None:
    model = ScriptedModel([["a", "b", "c"]])
    shown = []
    async for delta in generate(model, await model.prepare(REQUEST), Retries(first_token=0.02, gap=0.02)):
        shown.append(delta)
        await asyncio.sleep(0.04)
    assert shown[:3] == ["a", "b", "c"]


async def test_a_timeout_leaves_the_task_as_it_was() -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(InferenceTimeout):
        await collect(ScriptedModel([Delay(60, "a")]), Retries(limit=0, first_token=0.01))
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    provider = Provider(["a"], hang=True)
    began = asyncio.Event()

    async def consume() -> None:
        async for _ in generate(provider, Prepared("", REQUEST), Retries(first_token=5, gap=5)):
            began.set()

    task = asyncio.create_task(consume())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.ended


async def test_a_caller_that_stops_early_closes_the_provider() -> None:
    provider = Provider(["a", "b"], hang=True)
    async with aclosing(generate(provider, Prepared("", REQUEST), QUICK)) as deltas:
        async for _ in deltas:
            break
    assert provider.ended


async def test_an_answer_always_ends_with_one_completion() -> None:
    whole = Completion(AssistantMessage("ab"))
    assert await collect(Provider(["a", "", "b"])) == ["a", "b", whole]
    assert await collect(Provider(["a", "b", whole, "more"])) == ["a", "b", whole]
    assert await collect(Provider([])) == [Completion(AssistantMessage())]
    with pytest.raises(InvalidResponse):
        await collect(Provider([ToolCallDelta(0, "a")]))


async def test_repeat() -> None:
    errors = [ServerFailed("a"), ServerFailed("b")]

    async def attempt() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await repeat(attempt, QUICK) == "done"
    errors += [ServerFailed("a")] * 3
    with pytest.raises(ServerFailed):
        await repeat(attempt, QUICK)


def test_nonsense_is_refused() -> None:
    for options in ({"limit": -1}, {"gap": 0.0}, {"backoff": -1.0}):
        with pytest.raises(InvalidInput):
            Retries(**options)

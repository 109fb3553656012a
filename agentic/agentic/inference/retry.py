"""Patience around any provider: repeats what is safe to repeat, and gives up on silence.

- Only errors that call themselves retryable are repeated, and only while nothing of the answer was passed on.
- The wait for the first piece and for each next one is limited; the time in which the caller is busy does not count.
- Every answer ends with exactly one `Completion`.
- The provider's iterator is always closed, on errors and on cancel too, so that the server sees the connection end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from ..protocols import Delta, Inference, Prepared
from ..types.errors import (
    ConnectionFailed,
    ContextOverflow,
    InferenceError,
    InferenceTimeout,
    InvalidInput,
    InvalidResponse,
    RateLimited,
    StreamBroken,
)
from ..types.messages import AssistantMessage
from ..types.sampling import Completion

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How long a model is waited for, and how often it is asked again.

    Attributes:
        limit: How often a failed request is repeated.
        backoff: Seconds before the first repeat; each next wait is twice as long. A random part of up to half is
            taken off, so that many clients do not come back at once.
        longest_wait: The longest wait before a repeat in seconds. A server that asks for more is not asked again.
        first_token: Seconds for the first piece of the answer, connecting and the prompt's processing included.
        gap: Seconds for each next piece.
    """

    limit: int = 2
    backoff: float = 0.5
    longest_wait: float = 30.0
    first_token: float = 300.0
    gap: float = 120.0

    def __post_init__(self) -> None:
        if self.limit < 0 or min(self.backoff, self.longest_wait) < 0 or min(self.first_token, self.gap) <= 0:
            raise InvalidInput(f"These retries make no sense: {self}. Waits are in seconds and time-outs above 0.")


async def generate(
    inference: Inference, prepared: Prepared, retries: Retries | None = None
) -> AsyncGenerator[Delta, None]:
    """Generates with a provider, with patience.

    Args:
        inference: The provider.
        prepared: What its `prepare` returned.
        retries: How patient to be; None is the default `Retries()`.

    Yields:
        Text and pieces of calls (never an empty string), and last the `Completion`.

    Raises:
        InferenceError: In any of its kinds; the last one, when repeating did not help.
    """
    retries = retries or Retries()
    for attempt in itertools.count():
        shown = False
        try:
            async with aclosing(_once(inference, prepared, retries)) as deltas:
                async for delta in deltas:
                    shown = True
                    yield delta
        except InferenceError as error:
            if shown and isinstance(error, ConnectionFailed | ContextOverflow):
                raise StreamBroken(error.message, hint=error.hint) from error
            wait = _wait(error, attempt, retries)
            if shown or wait is None:
                raise
        else:
            return
        await asyncio.sleep(wait)


async def complete(inference: Inference, prepared: Prepared, retries: Retries | None = None) -> Completion:
    """The whole answer at once; arguments and errors are those of `generate`."""
    async with aclosing(generate(inference, prepared, retries)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Completion):
                return delta
    raise AssertionError


async def repeat(attempt: Callable[[], Awaitable[T]], retries: Retries | None = None) -> T:
    """Calls a function until it succeeds, as patiently as `generate`.

    Raises:
        InferenceError: The last one, when repeating did not help.
    """
    retries = retries or Retries()
    for number in itertools.count():
        try:
            return await attempt()
        except InferenceError as error:
            wait = _wait(error, number, retries)
            if wait is None:
                raise
        await asyncio.sleep(wait)
    raise AssertionError


def _wait(error: InferenceError, attempt: int, retries: Retries) -> float | None:
    """Seconds until the next attempt; None is no further attempt."""
    if not error.retryable or attempt >= retries.limit:
        return None
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return error.retry_after if error.retry_after <= retries.longest_wait else None
    return min(retries.longest_wait, retries.backoff * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311


async def _once(inference: Inference, prepared: Prepared, retries: Retries) -> AsyncGenerator[Delta]:
    texts: list[str] = []
    called = False
    watch = _Watch(retries)
    deltas = inference.generate(prepared)
    try:
        while True:
            watch.start()
            try:
                delta = await anext(deltas)
            except StopAsyncIteration:
                break
            except asyncio.CancelledError:
                if watch.caught():
                    raise watch.error(inference.model) from None
                raise
            finally:
                watch.stop()
            if type(delta) is str:
                if not delta:  # a sign of life: the model works on something that is not part of the answer
                    continue
                texts.append(delta)
            elif isinstance(delta, Completion):
                yield delta
                return
            else:
                called = True
            yield delta
    finally:
        watch.close()
        if (close := getattr(deltas, "aclose", None)) is not None:
            await close()
    if called:
        raise InvalidResponse(f"The provider of {inference.model!r} yielded pieces of calls but no Completion.")
    yield Completion(AssistantMessage("".join(texts)))


class _Watch:
    """Cancels the running task when it waited too long, as `asyncio.timeout` does, but for many waits in a row.

    A wait only notes its deadline. One timer exists at a time; it is set again when it fires, or for an earlier
    deadline (the first gap's).
    """

    def __init__(self, retries: Retries) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = retries.first_token
        self._gap = retries.gap
        self._deadline = 0.0
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._deadline = self._loop.time() + self._limit
        if self._timer is None or self._timer.when() > self._deadline:
            self.close()
            self._timer = self._loop.call_at(self._deadline, self._check)
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0

    def stop(self) -> None:
        self._task = None
        self._limit = self._gap

    def caught(self) -> bool:
        """Whether a cancellation that was just caught is this watch's, and no one else's."""
        return self._fired and self._task is not None and self._task.uncancel() <= self._cancelling

    def error(self, model: str) -> InferenceTimeout:
        return InferenceTimeout(f"{model} was silent for {self._limit:g} seconds.", hint="Allow more with Retries(…).")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the caller is busy; the next wait sets the timer again
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check)
        else:
            self._fired = True
            self._task.cancel()

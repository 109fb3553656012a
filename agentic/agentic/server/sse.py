"""Server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from . import failures

EVENT = {"type": "object", "properties": {"data": {"type": "string"}, "id": {"type": "string"}}, "required": ["data"]}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "The answer, or the events of a stream"}
}
"""How `/openapi.json` describes an answer that may be a stream."""


BEAT = b": alive\n\n"
"""A comment, which clients skip: it keeps what stands between from closing a silent stream."""


class EventStream(StreamingResponse):
    """A stream of frames, each `data: …` and an empty line, and of comments while there are none.

    Args:
        frames: Whole frames, as `frame` makes them.
        headers: More headers of the answer.
    """

    def __init__(self, frames: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        kept = {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(frames, headers=kept, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        seconds = scope["app"].state.services.stack.config.server.beat_seconds
        loop = asyncio.get_running_loop()
        latest, begun = loop.time(), False

        async def noted(message: Message) -> None:
            nonlocal latest, begun
            latest, begun = loop.time(), message.get("more_body", True)
            await send(message)

        async def beat() -> None:
            while True:
                await asyncio.sleep(max(0.0, latest + seconds - loop.time()))
                if begun and loop.time() >= latest + seconds:
                    await noted({"type": "http.response.body", "body": BEAT, "more_body": True})
                elif not begun:
                    await asyncio.sleep(seconds)

        beating = asyncio.create_task(beat())
        try:
            await super().__call__(scope, receive, noted)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)


def frame(value: Any) -> bytes:
    """One frame."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def frames(values: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Frames of values; an error becomes the last one."""
    try:
        async for value in values:
            yield frame(value)
    except Exception as error:
        yield frame(failures.frame_of(error))

"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

from . import errors

EVENT = {"type": "object", "properties": {"data": {"type": "string"}, "id": {"type": "string"}}, "required": ["data"]}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "The answer, or the events of a stream"}
}
"""How `/openapi.json` describes an answer that may be a stream."""


class EventStream(StreamingResponse):
    """A stream of frames, each `data: …` and an empty line.

    Args:
        frames: Whole frames, as `frame` makes them.
        headers: More headers of the answer.
    """

    def __init__(self, frames: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        kept = {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(frames, headers=kept, media_type="text/event-stream")


def frame(value: Any) -> bytes:
    """One frame."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def frames(values: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Frames of values; an error becomes the last one."""
    try:
        async for value in values:
            yield frame(value)
    except Exception as error:
        yield frame(errors.frame_of(error))

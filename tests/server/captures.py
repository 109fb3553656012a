"""Reads the recorded exchanges of `tests/data/wire`, and makes them comparable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "wire"
IDS = ("agent_id", "session_id", "turn_id", "step_id")
TIMES = ("started_at", "completed_at", "created_at")


@dataclass
class Exchange:
    """One request and its answer.

    Attributes:
        method: Of the request.
        path: With its query.
        body: JSON, or None.
        status: Of the answer.
        answer: Its JSON body; None for a stream.
        frames: The frames of a stream, without `data: `.
    """

    method: str
    path: str
    body: Any = None
    status: int = 0
    answer: Any = None
    frames: list[Any] = field(default_factory=list)
    streamed: bool = False


def read(name: str) -> list[Exchange]:
    """A scenario's exchanges, in order."""
    (file,) = FOLDER.glob(f"{name}_*.http")
    found: list[Exchange] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if match := re.match(r">>> (GET|POST|DELETE) (\S+)$", line):
            found.append(Exchange(match[1], match[2]))
        elif line.startswith((">>> {", ">>> [")):
            found[-1].body = json.loads(line[4:])
        elif match := re.match(r"<<< (\d+) (.*)", line):
            found[-1].status = int(match[1])
            found[-1].streamed = match[2].startswith("text/event-stream")
        elif match := re.match(r"\[\+\d+ms\] data: (.*)", line):
            found[-1].frames.append(json.loads(match[1]))
        elif found and found[-1].status and line and not line.startswith(("#", ">>>", "<<<")):
            found[-1].answer = json.loads(line)
    return found


def normal(value: Any) -> Any:
    """A body or frame without what differs between two runs: ids and times."""
    if isinstance(value, dict):
        shown: dict[str, Any] = {}
        for name, item in value.items():
            if name in IDS:
                shown[name] = "<id>"
            elif name in TIMES:
                shown[name] = None if item is None else "<time>"
            else:
                shown[name] = normal(item)
        return shown
    return [normal(item) for item in value] if isinstance(value, list) else value


def normal_frames(frames: list[Any]) -> list[Any]:
    """A stream's frames, where neighbouring pieces of text are one."""
    joined: list[Any] = []
    for frame in map(normal, frames):
        delta, last = _text(frame), _text(joined[-1]) if joined else None
        if delta is not None and last is not None:
            last["text"] += delta["text"]
        else:
            joined.append(frame)
    return joined


def _text(frame: Any) -> Any:
    """The text delta of a progress frame, or None."""
    event = frame.get("event") or {}
    payload = event.get("payload") or event
    delta = payload.get("delta") or {}
    progress = payload.get("event_type") in ("step_progress", "progress")
    return delta if progress and delta.get("type") == "text" else None


def generations(exchanges: list[Exchange]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """What the model said in a scenario: the pieces of text, and the message."""
    pieces: list[str] = []
    for exchange in exchanges:
        for frame in exchange.frames:
            payload = (frame.get("event") or {}).get("payload") or {}
            if payload.get("step_type") != "inference":
                continue
            delta = payload.get("delta") or {}
            if delta.get("type") == "text":
                pieces.append(delta["text"])
            if payload["event_type"] == "step_complete":
                yield pieces, payload["step_details"]["model_response"]
                pieces = []

"""What a call of the code interpreter gives back, and how a worker's answer becomes it. No word of it is trusted."""

from __future__ import annotations

import re
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from agentic.types.content import File, Image, safe_name, unused_name

from .folder import MAX_DEPTH
from .kernel import Outcome, Reason
from .limits import Limits

Status = Literal["completed", "failed", "interrupted", "reset"]

_PNG = b"\x89PNG\r\n\x1a\n"
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended.

    Attributes:
        stdout: What it printed; the head and the tail when that was a lot.
        stderr: What it printed there.
        value: The `repr` of the last expression's value, or None.
        error: The traceback or what else went wrong, or None.
        images: Its figures, as PNG.
        files: The files that it wrote or changed.
        status: `completed`; `failed` when it raised; `interrupted` when it was stopped and its variables are kept;
            `reset` when its process is gone, and its variables with it.
        isolation: `strong`, `medium` or `none`; `seatbelt` on macOS, `remote` on another machine.
        notes: What else the model should know.
    """

    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: str | None = None
    images: tuple[Image, ...] = ()
    files: tuple[File, ...] = ()
    status: Status = "completed"
    isolation: str = ""
    notes: tuple[str, ...] = ()


def result_of(outcome: Outcome, isolation: str, limits: Limits, notes: tuple[str, ...], ended: str) -> Result:
    """Makes the result of an outcome.

    Args:
        outcome: It.
        isolation: The level.
        limits: Those that were in force.
        notes: What to say besides.
        ended: How the process ended, when it did.
    """
    stdout, stderr = clean(outcome.stdout.text), clean(outcome.stderr.text)
    if isolation == "none":
        notes = (*notes, "This code ran without any isolation, with the rights of the program that started it.")
    answer = outcome.answer
    if answer is None:
        error = f"{_why(outcome.reason, limits, ended)} {_LOST}"
        return Result(stdout, stderr, error=error, status="reset", isolation=isolation, notes=notes)
    error_text = _text(answer.get("error"), limits.traceback * 2)
    status: Status = "failed" if error_text else "completed"
    if outcome.reason is not None:
        status = "interrupted"
        error_text = f"{_why(outcome.reason, limits, ended)} Variables from earlier steps are kept.\n{error_text or ''}"
    images, files = _unpack(answer, outcome.blobs, limits)
    said = answer.get("notes")
    listed = [note for note in (_text(item, 500) for item in said[:20]) if note] if isinstance(said, list) else []
    return Result(
        stdout,
        stderr,
        _text(answer.get("value"), limits.value * 2),
        error_text.strip() if error_text else None,
        images,
        files,
        status,
        isolation,
        (*notes, *listed),
    )


_LOST = "The session was restarted: all variables are lost. Run your imports and assignments again."


def ending(status: int | None) -> str:
    """How a process ended, from its wait status."""
    if status is None:
        return "It ended."
    if status & 0x7F:
        name = signal.Signals(status & 0x7F).name if status & 0x7F in set(signal.Signals) else str(status & 0x7F)
        return f"It was ended by signal {name}."
    return f"It ended itself with exit code {status >> 8}."


def clean(text: str) -> str:
    """Text without escape sequences, control characters and lone surrogates."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text).encode("utf-8", "replace").decode("utf-8")


def _why(reason: Reason | None, limits: Limits, ended: str) -> str:
    match reason:
        case "timeout" | None:
            return f"The code was stopped: its time of {limits.timeout:g} s was over."
        case "cancelled":
            return "The code was stopped: the call was cancelled."
        case "cpu":
            return f"The code was stopped: it used more than {limits.cpu:g} s of CPU time."
        case "output":
            return f"The code was stopped: it printed more than {limits.flood >> 20} MiB."
        case "memory":
            return f"The code was stopped: it used more than {limits.memory >> 20} MiB of memory."
        case "disk":
            return (
                f"The code was stopped: its folder may hold {limits.folder_size >> 20} MiB in {limits.folder_files:,} "
                f"files, nested at most {MAX_DEPTH} deep. The folder was emptied."
            )
        case "died":
            return f"The interpreter's process is gone. {ended}"
        case "protocol":
            return "The code was stopped: it wrote to the interpreter's own pipes."


def _text(value: object, most: int) -> str | None:
    return clean(value[:most]) if isinstance(value, str) else None


def _unpack(answer: dict[str, Any], blobs: bytes, limits: Limits) -> tuple[tuple[Image, ...], tuple[File, ...]]:
    """The images and files that the answer names; what does not add up is left out."""
    images: list[Image] = []
    files: list[File] = []
    start, room = 0, limits.returned
    names: set[str] = set()
    for kind, name, size in _listed(answer):
        data = blobs[start : start + size]
        start += size
        if len(data) < size:
            break
        if kind == "image" and _is_picture(data, limits) and len(images) < limits.images:
            images.append(Image.of(data))
        elif kind == "file" and size <= room and len(files) < limits.files:
            room -= size
            files.append(File(unused_name(safe_name(name), names), data))
    return tuple(images), tuple(files)


def _is_picture(data: bytes, limits: Limits) -> bool:
    """Whether these bytes are a PNG within the limits: whoever shows it will decode it."""
    if len(data) < 24 or len(data) > limits.returned or not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return False
    width, height = struct.unpack(">II", data[16:24])
    return bool(width * height <= limits.pixels)


def _listed(answer: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    images, files = answer.get("images"), answer.get("files")
    for size in images[:1000] if isinstance(images, list) else ():
        if isinstance(size, int) and size >= 0:
            yield "image", "", size
    for entry in files[:1000] if isinstance(files, list) else ():
        match entry:
            case [str(name), int(size)] if size >= 0:
                yield "file", name, size

"""Documents read in processes of their own: what comes from outside may hang, explode or crash its parser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from agentic.threads import run_in_thread
from agentic.types.errors import AgenticError, ConfigError, InferenceTimeout, InvalidInput

from ..types import Block, Document, Parsed
from .formats import IN_PLACE, mime_type_of, read

if TYPE_CHECKING:
    from agentic.protocols import Inference

PARSE_SECONDS = 120.0
"""How long one document may take by default."""
CAPTION_SECONDS = 120.0

_IN_PLACE_CHARS = 512 * 1024
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONUTF8", "SYSTEMROOT")
"""What a parser gets to see of the environment: no keys."""
_CAPTION = "Describe this image for a search index: what it shows, and all text in it, word for word. No preamble."


class Workers:
    """Processes that read documents, started when they are needed; they end with the `async with` block.

    Args:
        most: How many documents are read at the same time.
        seconds: How long one may take.
    """

    def __init__(self, most: int = 2, *, seconds: float = PARSE_SECONDS) -> None:
        if most < 1 or not seconds > 0:
            raise ConfigError("Workers need at least one process and some seconds.")
        self.most = most
        self._free = asyncio.Semaphore(most)
        self._idle: list[Process] = []
        self._seconds = seconds

    async def parse(self, document: Document) -> Parsed:
        """Reads a document in one of the processes, which is killed when it takes too long or nobody waits any more.

        Raises:
            InvalidInput: It cannot be read.
            ConfigError: What reads it is not installed.
        """
        async with self._free:
            worker = self._idle.pop() if self._idle else await _start()
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await _ask(worker, document, self._seconds)
            except TimeoutError:
                await _kill(worker)
                raise InvalidInput(
                    f"{_name(document)} could not be read within {self._seconds:g} s.", hint="Split it, or simplify it."
                ) from None
            except (EOFError, ConnectionError):
                await _kill(worker)
                raise InvalidInput(
                    f"{_name(document)} crashed its parser.", hint="Save it anew with another program."
                ) from None
            except BaseException:
                await _kill(worker)
                raise
            self._idle.append(worker)
        return await run_in_thread(lambda: _parsed(answer, document), "document-answer")

    async def aclose(self) -> None:
        """Ends the processes."""
        while self._idle:
            await _kill(self._idle.pop())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def parse(document: Document, workers: Workers | None = None, *, vision: Inference | None = None) -> Parsed:
    """Reads a document: its text, and the blocks that belong together.

    Text, Markdown, HTML, PDF, DOCX, CSV, TSV, JSON, JSON lines, source code and images are known by `mime_type`, else
    by their content and the name of their source. Short text is read in a thread, everything else in another process.

    Args:
        document: The document.
        workers: The processes; by default one is started and ends with this call.
        vision: A model that describes images; without one their text is recognised (extra `ocr`).

    Raises:
        InvalidInput: It cannot be read: broken, protected, too large, of an unknown format.
        ConfigError: What reads it is not installed.
        InferenceError: The model failed.
    """
    if at_once(document):
        return await run_in_thread(lambda: parse_here(document), "document-parse")
    if vision is not None and mime_type_of(document).startswith("image/"):
        return await _captioned(document, vision)
    if workers is not None:
        return await workers.parse(document)
    async with Workers(1) as own:
        return await own.parse(document)


def at_once(document: Document) -> bool:
    """Whether a document is read so fast that no process is needed."""
    return len(document.content) <= _IN_PLACE_CHARS and mime_type_of(document) in IN_PLACE


def parse_here(document: Document) -> Parsed:
    """Reads a document in this process.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        return _titled(read(document, mime_type_of(document)), document)
    except InvalidInput as error:
        raise InvalidInput(f"{_name(document)}: {error.message}", hint=error.hint) from None


async def _captioned(document: Document, vision: Inference) -> Parsed:
    from agentic.protocols import Inference as Port
    from agentic.types.content import Image, Text
    from agentic.types.messages import UserMessage
    from agentic.types.sampling import Completion, InferenceRequest, SamplingParams

    if not isinstance(vision, Port):
        raise ConfigError(f"vision is a model, not {type(vision).__name__}.")
    content = document.content
    image = Image.of(content) if isinstance(content, bytes) else Image.of(content.encode())
    message = UserMessage((image, Text(_CAPTION)))
    text = ""
    request = InferenceRequest(messages=(message,), sampling=SamplingParams(max_tokens=1024))
    try:
        async with asyncio.timeout(CAPTION_SECONDS):
            prepared = await vision.prepare(request)
            async with contextlib.aclosing(vision.generate(prepared)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if isinstance(delta, Completion):
                        text = delta.message.text
                    elif isinstance(delta, str):
                        text += delta
    except TimeoutError:
        late = f"{vision.model} did not describe {_name(document)} within {CAPTION_SECONDS:g} s."
        raise InferenceTimeout(late) from None
    text = text.strip()
    if not text:
        raise InvalidInput(f"{vision.model} said nothing about {_name(document)}.", hint="Try another model.")
    return _titled(Parsed(text=text, blocks=(Block(text=text),), metadata={"caption_by": vision.model}), document)


async def _start() -> Process:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    # -P: a file in the current folder must not pass for a module.
    command = (sys.executable, "-P", "-m", "agentic_memory.documents.worker")
    return await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
    )


async def _ask(worker: Process, document: Document, seconds: float) -> bytes:
    assert worker.stdin is not None  # noqa: S101 - for mypy: both were asked for
    assert worker.stdout is not None  # noqa: S101
    content = document.content
    body = content.encode("utf-8", "replace") if isinstance(content, str) else content
    order = {
        "size": len(body),
        "text": isinstance(content, str),
        "source": document.source,
        "mime_type": document.mime_type,
        "seconds": seconds,
    }
    worker.stdin.write(json.dumps(order).encode() + b"\n")
    worker.stdin.write(body)
    await worker.stdin.drain()
    size = int.from_bytes(await worker.stdout.readexactly(8), "big")
    return await worker.stdout.readexactly(size)


async def _kill(worker: Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
    await asyncio.shield(worker.communicate())


def _parsed(answer: bytes, document: Document) -> Parsed:
    """What a worker answered; it is not trusted with more than text."""
    values: dict[str, Any] = json.loads(answer)
    if "error" in values:
        kind: type[AgenticError] = ConfigError if values["error"] == "ConfigError" else InvalidInput
        raise kind(f"{_name(document)}: {values['message']}", hint=values["hint"])
    text: str = values["text"]
    blocks = tuple(
        Block(text=text[start:end], kind=kind, page=page, headings=tuple(headings), start=start)
        for start, end, kind, page, headings in values["blocks"]
    )
    parsed = Parsed(text=text, blocks=blocks, title=values["title"], metadata=values["metadata"])
    return _titled(parsed, document)


def _titled(parsed: Parsed, document: Document) -> Parsed:
    """The title that the caller gave goes before that of the content; the name of a file or page comes last."""
    name = document.source.partition("?")[0].rstrip("/").rpartition("/")[2]
    return replace(parsed, title=document.title or parsed.title or name)


def _name(document: Document) -> str:
    return document.source or document.title or document.id or "The document"

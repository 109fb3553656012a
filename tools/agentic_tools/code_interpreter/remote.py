"""The interpreter that runs code elsewhere: in virtual machines, by E2B's API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from agentic.inference.http import base_url
from agentic.portal import run_sync
from agentic.types.content import File, FileLike, Image, unused_name
from agentic.types.errors import InvalidInput, ToolError

from .e2b import Broken, Client, Gone, Sandbox, connect
from .kernel import Printed
from .result import Result, Status, clean
from .tool import InterpreterTool, check_code, limits_of, read

_ANSWER_SECONDS = 30.0
"""How long the service may keep still outside of a running call."""
_KILL_SECONDS = 5.0
_LOST = "The sandbox was restarted: all variables and files are lost. Run your imports and assignments again."


@dataclass(slots=True)
class _Session:
    """A session.

    Attributes:
        lock: Held during a call; a thread's, for callers in different event loops.
        sandbox: Its virtual machine.
        expires: When that ends by itself, on `time.monotonic`'s clock.
        placed: The files that were put into it.
        seen: The files in it after the last call.
        calls: How many there were.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    sandbox: Sandbox | None = None
    expires: float = math.inf
    placed: set[File] = field(default_factory=set)
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    calls: int = 0


@dataclass(slots=True)
class _Said:
    """What came of a call so far."""

    stdout: Printed
    stderr: Printed
    value: str | None = None
    error: str | None = None
    images: list[Image] = field(default_factory=list)


class RemoteCodeInterpreter(InterpreterTool):
    """Runs Python in virtual machines of E2B, or of a service with the same API. The key is `E2B_API_KEY`.

    The same as `CodeInterpreter` otherwise: used by itself it has one session; as a tool, one for each of the agent's.
    Each session has a machine, which starts with its first call and ends with `aclose`, or by itself when there was no
    call for `idle` seconds and up to half as many more.

    Args:
        template: What the machines are made from.
        timeout: Seconds for one call, 30 by default.
        files: Files that each session finds in its folder: paths, or names with bytes.
        internet: Whether code may use the network; not by default.
        endpoint: The URL of the service's platform.
        sandbox_endpoint: The URL behind which its machines are.
        **limits: Any other field of `Limits`; those of memory, processors and disk are the template's.

    Raises:
        ConfigError: A value is impossible.
        InvalidInput: A file cannot be read.
    """

    def __init__(
        self,
        template: str = "code-interpreter-v1",
        *,
        timeout: float = 30.0,
        files: Sequence[FileLike] = (),
        internet: bool = False,
        endpoint: str = "https://api.e2b.app",
        sandbox_endpoint: str = "https://sandbox.e2b.app",
        **limits: Any,
    ) -> None:
        rules = "" if internet else "There is no network."
        super().__init__(limits_of(timeout, limits), files, 4 * _ANSWER_SECONDS, rules)
        self._template = template
        self._internet = internet
        self._api, self._inside = base_url(endpoint), base_url(sandbox_endpoint)
        self._busy = self.limits.idle + self.limits.timeout + self.limits.grace
        self._life = math.ceil(self._busy + self.limits.idle / 2)  # so not every call must prolong it
        self._sessions: dict[str, _Session] = {}

    async def run(self, code: str, *, session: str = "", files: Sequence[FileLike] = ()) -> Result:
        """Runs code in a session; the first call of a name begins one.

        A call that takes too long, breaks off or is cancelled ends its machine (status `reset`). One whose machine
        had ended before gets a new machine, and a note that says so.

        Args:
            code: Python.
            session: Its name.
            files: Files that it needs: paths, or names with bytes; each is put into the session's folder once.

        Raises:
            ConfigError: There is no key.
            InvalidInput: `code` is no text.
            ToolError: The service refuses, fails or cannot be reached; the message says what to do.
        """
        check_code(code)
        given = read(files)
        async with self._held(session) as held, self._connected() as client:
            return await self._run(client, held, code, (*self._files, *given))

    async def put(self, name: str, source: bytes | str | Path, *, session: str = "") -> None:
        """Puts a file into a session's folder: its bytes, or the path of one to copy.

        Raises:
            InvalidInput: It is too large, or cannot be read.
            ToolError: The service refuses, fails or cannot be reached.
        """
        file = File(name, source if isinstance(source, bytes) else File.of(source).data)
        if len(file.data) > self.limits.file_size:
            raise InvalidInput(f"{name} has {len(file.data):,} bytes; the limit is {self.limits.file_size:,}.")
        async with self._held(session) as held, self._connected() as client:
            try:
                await self._ready(client, held)
                await client.upload(_of(held), file.name, file.data)
                held.seen = await client.listing(_of(held))
            except Gone:
                held.sandbox = None
                raise ToolError("The sandbox ended. The next call starts a new one.") from None

    async def reset(self, session: str = "") -> None:
        """Ends a session and its machine; its name begins a new one with the next call."""
        async with self._held(session) as held:
            self._sessions.pop(session, None)
            await self._kill(held)

    async def aclose(self) -> None:
        """Ends all sessions and their machines."""
        await asyncio.gather(*(self.reset(name) for name in list(self._sessions)))

    def close(self) -> None:
        """As `aclose`, for programs without an event loop."""
        run_sync(self.aclose())

    async def __aenter__(self) -> RemoteCodeInterpreter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"RemoteCodeInterpreter({self._template!r})"

    # -- a call -------------------------------------------------------------------------------------------------------

    async def _run(self, client: Client, session: _Session, code: str, files: Sequence[File]) -> Result:
        notes: tuple[str, ...] = ()
        for _ in range(2):
            try:
                await self._ready(client, session)
                placed = await self._place(client, session, files)
                result = await self._execute(client, session, code)
                session.calls += 1
                written, more = await self._written(client, session)
            except Gone:
                session.sandbox = None
                notes = (f"The sandbox had ended. {_LOST}",) if session.calls else ()
                continue
            return replace(result, files=written, notes=(*notes, *placed, *more))
        raise ToolError("E2B has no sandbox for this session.", hint="It can be tried again later.")

    async def _ready(self, client: Client, session: _Session) -> None:
        """Sees to it that there is a machine, and that it lives long enough."""
        now = time.monotonic()
        if session.sandbox is None:
            session.sandbox = await client.create(self._template, self._life, internet=self._internet)
            session.placed.clear()
            session.seen = await client.listing(session.sandbox)
        elif session.expires - now < self._busy:
            await client.extend(session.sandbox, self._life)
        else:
            return
        session.expires = now + self._life

    async def _place(self, client: Client, session: _Session, files: Sequence[File]) -> tuple[str, ...]:
        """Uploads the files that are not there yet; returns what the model should be told."""
        notes = []
        for file in dict.fromkeys(files):
            if file in session.placed:
                continue
            session.placed.add(file)
            if len(file.data) > self.limits.file_size:
                notes.append(f"{file.name} has {len(file.data):,} bytes; the limit is {self.limits.file_size:,}.")
                continue
            try:
                await client.upload(_of(session), file.name, file.data)
                session.seen = await client.listing(_of(session))
            except ToolError as error:
                notes.append(f"{file.name} could not be uploaded. {error}")
        return tuple(notes)

    async def _execute(self, client: Client, session: _Session, code: str) -> Result:
        """Runs the code; whatever ends it early ends the machine too, for nobody knows what still runs in it."""
        said = _Said(Printed(self.limits.output), Printed(self.limits.output))
        problem = ""
        try:
            async with asyncio.timeout(self.limits.timeout + self.limits.grace):
                async with contextlib.aclosing(client.execute(_of(session), code)) as events:
                    async for event in events:
                        self._take(said, event)
        except TimeoutError:
            problem = f"The code was stopped: its time of {self.limits.timeout:g} s was over."
        except Broken as error:
            problem = str(error)
        except asyncio.CancelledError:
            await self._kill(session)
            raise
        if problem:
            await self._kill(session)
            said.error = f"{problem} {_LOST}"
        status: Status = "reset" if problem else "failed" if said.error else "completed"
        stdout, stderr = clean(said.stdout.text), clean(said.stderr.text)
        return Result(stdout, stderr, said.value, said.error, tuple(said.images), (), status, "remote")

    def _take(self, said: _Said, event: dict[str, Any]) -> None:
        """Takes in one thing that the code did. What is not as documented is left out."""
        text = event.get("text")
        match event.get("type"):
            case "stdout" | "stderr" as stream if isinstance(text, str):
                (said.stdout if stream == "stdout" else said.stderr).add(text.encode("utf-8", "replace"))
                if said.stdout.total + said.stderr.total > self.limits.flood:
                    raise Broken(f"The code was stopped: it printed more than {self.limits.flood >> 20} MiB.")
            case "error":
                trace = event.get("traceback") or f"{event.get('name')}: {event.get('value')}"
                said.error = _clip(str(trace), self.limits.traceback)
            case "result":
                if event.get("is_main_result") is True and isinstance(text, str):
                    said.value = _clip(text, self.limits.value)
                picture = event.get("png") or event.get("jpeg")
                if isinstance(picture, str) and len(said.images) < self.limits.images:
                    with contextlib.suppress(binascii.Error, InvalidInput, ValueError):
                        data = base64.b64decode("".join(picture.split()), validate=True)
                        said.images += [Image.of(data)] if len(data) <= self.limits.returned else []

    async def _written(self, client: Client, session: _Session) -> tuple[tuple[File, ...], tuple[str, ...]]:
        """The files that the call wrote or changed, and what the model should be told of the others."""
        if session.sandbox is None:
            return (), ()
        files: list[File] = []
        notes: list[str] = []
        names: set[str] = set()
        room = self.limits.returned
        try:
            listing = await client.listing(session.sandbox)
            changed = [name for name, mark in listing.items() if session.seen.get(name) != mark]
            session.seen = listing
            for name in changed[: 4 * self.limits.files]:
                if len(files) >= self.limits.files or listing[name][0] > room:
                    notes.append(f"The file {clean(name)!r} stays in the folder, but was not returned: see the limits.")
                    continue
                data = await client.download(session.sandbox, name, room)
                room -= len(data)
                file = File(name, data)
                files.append(File(unused_name(file.name, names), data))
        except (ToolError, Gone) as error:  # the code has run: its result must not be lost
            notes.append(f"The files could not be fetched. {error}".strip())
        return tuple(files), tuple(notes[:20])

    # -- sessions -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[_Session]:
        """A session for one caller."""
        now = time.monotonic()
        for old in [key for key, session in self._sessions.items() if session.expires < now]:
            if not self._sessions[old].lock.locked():
                del self._sessions[old]
        while True:
            session = self._sessions.setdefault(name, _Session())
            while not session.lock.acquire(blocking=False):  # noqa: ASYNC110 - the holder may be in another loop
                await asyncio.sleep(0.02)
            if self._sessions.get(name) is session:
                break
            session.lock.release()  # it was ended meanwhile
        try:
            yield session
        finally:
            session.lock.release()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        seconds = max(_ANSWER_SECONDS, self.limits.timeout + self.limits.grace)
        async with connect(self._api, self._inside, seconds) as client:
            yield client

    async def _kill(self, session: _Session) -> None:
        """Ends the machine. Where that fails it ends by itself when its time is over."""
        sandbox, session.sandbox = session.sandbox, None
        if sandbox is None:
            return
        session.expires = math.inf
        with contextlib.suppress(ToolError, Gone, TimeoutError):
            async with asyncio.timeout(_KILL_SECONDS), self._connected() as client:
                await client.kill(sandbox)


def _of(session: _Session) -> Sandbox:
    assert session.sandbox is not None  # noqa: S101 - `_ready` saw to it
    return session.sandbox


def _clip(text: str, most: int) -> str:
    text = clean(text)
    return text if len(text) <= most else f"{text[: most // 2]}\n…\n{text[-most // 2 :]}"

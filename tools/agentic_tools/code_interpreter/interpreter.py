"""The interpreter's face: sessions by name, each with a process and a folder; and the tool that a model calls."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from agentic.llama import code_result
from agentic.protocols import Tool, ToolContext, Toolgroup, ToolOutput, ToolPolicy
from agentic.threads import run_in_thread
from agentic.types.content import Part, Text
from agentic.types.errors import AgenticError, ConfigError, InvalidInput, ToolError
from agentic.types.tools import ToolDef

from . import folder as folders
from .environment import environment
from .kernel import Kernel, Outcome
from .launch import ALLOW_UNJAILED, PRELOADED, Level, Zygote, advice, launch
from .limits import Limits
from .result import Result, ending, result_of, safe_name

T = TypeVar("T")

_START_SECONDS = 60.0
"""What a first call may take besides: the zygote's imports."""

_DESCRIPTION = """Runs Python code in a sandbox and returns what it prints, the last expression's value, and its \
matplotlib figures. Variables stay for the next call. Files are read from and written to the current folder. There \
is no network, and no other process can be started."""


@dataclass(slots=True)
class _Session:
    """A session: its folder stays when its process is replaced."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kernel: Kernel | None = None
    folder: Path | None = None
    uid: int | None = None
    begun: bool = False
    calls: int = 0


class CodeInterpreter:
    """Runs Python in a jail, with state that stays from call to call. Also a tool for agents, `code_interpreter`.

    Used by itself it has one session; as a tool, one for each of the agent's. Its processes start with the first
    call, or with `async with`.

    Args:
        python: The interpreter that runs the code, with what is installed beside it; default: this one.
        packages: What to install for it besides, as `pip install` takes them; done once, into the cache folder.
        isolation: `strong`, `medium`, or None for the better one that works. `none` is no jail at all, and is refused
            unless `AGENTIC_ALLOW_UNJAILED_CODE=1` is set in the environment.
        timeout: Seconds for one call, 30 by default.
        files: Files that each session finds in its folder.
        **limits: Any other field of `Limits`.

    Raises:
        ConfigError: No isolation works here, or a value is impossible.
    """

    def __init__(
        self,
        python: str | None = None,
        packages: Sequence[str] = (),
        isolation: Level | None = None,
        timeout: float = 30.0,
        files: Sequence[str | Path] = (),
        **limits: Any,
    ) -> None:
        if isolation not in (None, "strong", "medium", "none"):
            raise ConfigError(f"isolation is 'strong', 'medium', 'none' or None, not {isolation!r}.")
        if isolation == "none" and os.environ.get(ALLOW_UNJAILED) != "1":
            raise ConfigError(
                "isolation='none' runs what a model writes with all of your rights.",
                hint=f"If you want that, set {ALLOW_UNJAILED}=1 as well.",
            )
        if isinstance(packages, str) or isinstance(files, str):
            raise ConfigError("packages and files are lists.")
        try:
            self.limits = Limits(timeout=timeout, **limits)
        except TypeError:
            known = ", ".join(Limits.__dataclass_fields__)
            raise ConfigError(f"There is an unknown limit among {sorted(limits)}.", hint=f"Known: {known}.") from None
        self._python, self._packages, self._wanted = python, tuple(packages), isolation
        self._files = {safe_name(Path(file).name): Path(file) for file in files}
        self._engine = _Engine()
        self._finalizer = weakref.finalize(self, _Engine.close, self._engine)
        seconds = self.limits.timeout + self.limits.grace + _START_SECONDS
        self.policy = ToolPolicy(timeout=seconds, parallel=False)
        parameters = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
        self.definition = ToolDef("code_interpreter", _DESCRIPTION, parameters)

    async def run(self, code: str, *, session: str = "") -> Result:
        """Runs code in a session; the first call of a name begins one.

        A cancelled call is interrupted like one that takes too long, and has ended when this raises.

        Raises:
            ConfigError: There is no isolation here.
            InvalidInput: `code` is no text.
        """
        if not isinstance(code, str):
            raise InvalidInput(f"code is text, not {type(code).__name__}.")
        if len(code) > 1 << 20:
            raise InvalidInput("code is longer than a million characters.")
        return await _cancellable(lambda stop: self._run(session, code, stop))

    async def put(self, name: str, source: bytes | str | Path, *, session: str = "") -> None:
        """Puts a file into a session's folder: its bytes, or the path of one to copy.

        Raises:
            InvalidInput: It is too large, or cannot be read.
        """
        data = source if isinstance(source, bytes) else _content_of(Path(source), self.limits)
        if len(data) > self.limits.file_size:
            raise InvalidInput(f"{name} has {len(data):,} bytes; the limit is {self.limits.file_size:,}.")
        await _cancellable(lambda stop: self._put(session, name, data, stop))

    async def reset(self, session: str = "") -> None:
        """Ends a session and removes its folder; its name begins a new one with the next call."""
        await _cancellable(lambda stop: self._engine.end(session, stop))

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Runs a model's code in the session that the context names."""
        code = arguments.get("code")
        if not isinstance(code, str) or set(arguments) != {"code"}:
            raise ToolError("The arguments do not fit: there is one, `code`, a string.")
        return _as_output(await self.run(code, session=f"agent {context.session_id}"))

    def _run(self, name: str, code: str, stop: int) -> Result:
        with self._engine.use(name, stop) as session:
            kernel, notes = self._kernel(session)
            outcome = kernel.call({"op": "run", "code": code}, b"", self.limits.timeout, stop)
            session.calls += 1
            return self._finish(session, kernel, outcome, notes)

    def _finish(self, session: _Session, kernel: Kernel, outcome: Outcome, notes: tuple[str, ...]) -> Result:
        zygote = self._engine.zygote
        assert zygote is not None  # noqa: S101 - the kernel came from it
        if outcome.answer is not None and kernel.folder_too_large():
            outcome.answer, outcome.reason = None, "disk"
        ended = ""
        if outcome.answer is None:
            kernel.close()
            ended = ending(zygote.ended(kernel.pid_inside))
            session.kernel = None
            if outcome.reason == "disk" and session.folder is not None:
                with contextlib.suppress(OSError):
                    folders.remove(session.folder)
                session.folder, session.begun = None, False
            else:
                notes = (*notes, *_remaining(session.folder))
        return result_of(outcome, zygote.level, self.limits, notes, ended)

    def _put(self, name: str, file: str, data: bytes, stop: int) -> None:
        with self._engine.use(name, stop) as session:
            kernel, _ = self._kernel(session)
            self._send_file(session, kernel, file, data, stop)

    def _send_file(self, session: _Session, kernel: Kernel, file: str, data: bytes, stop: int) -> None:
        outcome = kernel.call({"op": "put", "name": safe_name(file)}, data, self.limits.timeout, stop)
        if outcome.answer is None:
            self._finish(session, kernel, outcome, ())
            raise InvalidInput(f"{file} could not be put into the session.")
        if error := outcome.answer.get("error"):
            raise InvalidInput(str(error)[:500])

    def _kernel(self, session: _Session) -> tuple[Kernel, tuple[str, ...]]:
        """The session's process, a new one if need be, and what the model should be told then."""
        if session.kernel is not None:
            if session.kernel.alive:
                return session.kernel, ()
            session.kernel.close()
            session.kernel = None
        zygote = self._engine.running(self._launch)
        if session.folder is None or not session.folder.is_relative_to(zygote.base):
            session.folder, session.uid = zygote.new_folder(os.urandom(8).hex())
            session.begun = False
        try:
            started = zygote.start(session.folder, session.uid)
        except (OSError, IndexError, ValueError) as error:
            zygote.end()
            raise ToolError("The code interpreter's process has died. The next call starts a new one.") from error
        kernel = session.kernel = Kernel(started, session.folder, self.limits)
        notes: tuple[str, ...] = ()
        if session.calls and session.begun:
            notes = ("This is a new process: the variables of earlier calls are lost, the files are kept.",)
        if not session.begun:
            session.begun = True
            with _never() as stop:
                for name, path in self._files.items():
                    self._send_file(session, kernel, name, _content_of(path, self.limits), stop)
        return kernel, notes

    def _launch(self) -> Zygote:
        zygote, _ = launch(self._wanted, environment(self._python, self._packages), self.limits, PRELOADED)
        return zygote

    async def aclose(self) -> None:
        """Ends all processes and removes the sessions' folders."""
        await run_in_thread(self.close, "code-interpreter")

    def close(self) -> None:
        """Ends all processes and removes the sessions' folders."""
        self._engine.close()

    async def __aenter__(self) -> CodeInterpreter:
        await _cancellable(lambda _: self._engine.running(self._launch))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        level = self._engine.zygote.level if self._engine.zygote else self._wanted or "not started"
        return f"CodeInterpreter(isolation={level!r})"


class _Engine:
    """The zygote and the sessions, apart from the interpreter so that its finalizer can close them."""

    def __init__(self) -> None:
        self.zygote: Zygote | None = None
        self.sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def running(self, start: Callable[[], Zygote]) -> Zygote:
        with self._lock:
            if self.zygote is not None and not self.zygote.alive:
                self.zygote.close()
                self.zygote = None
            if self.zygote is None:
                self.zygote = start()
            return self.zygote

    @contextlib.contextmanager
    def use(self, name: str, stop: int) -> Iterator[_Session]:
        """A session for one caller; whoever waits can be cancelled."""
        with self._lock:
            session = self.sessions.setdefault(name, _Session())
        while not session.lock.acquire(timeout=0.1):
            if _rung(stop):
                raise ToolError("The call was cancelled while another one ran in its session.")
        try:
            yield session
        finally:
            session.lock.release()

    def end(self, name: str, stop: int) -> None:
        """Ends one session, when its call has ended."""
        with self.use(name, stop) as session:
            if session.kernel is not None:
                session.kernel.close()
            if self.zygote is not None and session.kernel is not None:
                self.zygote.ended(session.kernel.pid_inside)
            if session.folder is not None:
                with contextlib.suppress(OSError):
                    folders.remove(session.folder)
            with self._lock:
                self.sessions.pop(name, None)

    def close(self) -> None:
        with self._lock:
            zygote, self.zygote = self.zygote, None
            sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            with session.lock:
                if session.kernel is not None:
                    session.kernel.close()
                    session.kernel = None
        if zygote is not None:
            zygote.close()


async def _cancellable(work: Callable[[int], T]) -> T:
    """Runs blocking work in a thread; when this is cancelled, the work is told so and waited for."""
    stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    closing = threading.Lock()

    def thread() -> T:
        nonlocal stop
        try:
            return work(stop)
        finally:
            with closing:
                os.close(stop)
                stop = -1

    task = asyncio.ensure_future(run_in_thread(thread, "code-interpreter"))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with closing:
            if stop >= 0:
                os.eventfd_write(stop, 1)
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


@contextlib.contextmanager
def _never() -> Iterator[int]:
    """An eventfd that nobody rings."""
    stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        yield stop
    finally:
        os.close(stop)


def _rung(stop: int) -> bool:
    try:
        return bool(os.eventfd_read(stop))
    except BlockingIOError:
        return False


def _content_of(path: Path, limits: Limits) -> bytes:
    try:
        if path.stat().st_size > limits.file_size:
            raise InvalidInput(f"{path} is larger than {limits.file_size:,} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from None


def _remaining(folder: Path | None) -> tuple[str, ...]:
    """What a lost session leaves in its folder, for the model to go on with."""
    if folder is None:
        return ()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [safe_name(entry.name) for entry, _ in zip(entries, range(20), strict=False) if entry.name[0] != "."]
        return (f"Its folder still holds: {', '.join(sorted(names)) or 'nothing'}.",)
    return ()


def _as_output(result: Result) -> ToolOutput:
    """A result in the form that Llama models were trained to read, with the figures after it."""
    stdout = "\n".join(part for part in (result.stdout.rstrip("\n"), result.value) if part)
    stderr = "\n".join(part for part in (result.stderr.rstrip("\n"), result.error, *result.notes) if part)
    text = code_result("completed" if result.status == "completed" else "failed", stdout, stderr)
    if result.files:
        text += "\nFiles written: " + ", ".join(file.name for file in result.files)
    attached = [{"name": file.name, "data": base64.b64encode(file.data).decode()} for file in result.files]
    metadata = {"status": result.status, "isolation": result.isolation, "files": attached}
    parts: tuple[Part, ...] = (Text(text), *result.images)
    return ToolOutput(parts if result.images else text, metadata)


class _Group:
    """The interpreter of an agent that named it by its id: it is closed with the agent."""

    name = "code_interpreter"

    def __init__(self) -> None:
        self._interpreter = CodeInterpreter()

    def __iter__(self) -> Iterator[Tool]:
        yield self._interpreter

    async def aclose(self) -> None:
        await self._interpreter.aclose()


def toolgroup(_: str) -> Toolgroup:
    """The entry point of `builtin::code_interpreter`."""
    return _Group()


def check() -> tuple[bool, str]:
    """For `agentic doctor`: whether the full jail works here, and in words the level and what a better one lacks."""
    try:
        zygote, problems = launch(None, environment(), Limits(), ())
    except AgenticError as error:
        return False, str(error)
    try:
        missing = "; ".join(f"{level} is not possible: {reason}." for level, reason in problems.items())
        return not problems, f"isolation {zygote.level}. {missing} {advice(problems)}".strip()
    finally:
        zygote.close()

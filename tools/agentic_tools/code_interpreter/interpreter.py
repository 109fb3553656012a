"""The interpreter that runs code on this machine: sessions by name, each with a process and a folder."""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agentic.protocols import Tool, Toolgroup
from agentic.threads import run_in_thread
from agentic.types.content import File, FileLike, safe_name
from agentic.types.errors import AgenticError, ConfigError, InvalidInput, ToolError

from . import folder as folders
from .engine import Engine, Session, cancellable
from .environment import environment
from .kernel import Kernel, Outcome
from .launch import ALLOW_UNJAILED, ELSEWHERE, PRELOADED, Level, TooManyFiles, Zygote, advice, launch
from .limits import Limits
from .result import Result, clean, ending, result_of
from .seatbelt import SeatbeltInterpreter
from .tool import InterpreterTool, check_code, limits_of, read

_RULES = "There is no network, and no other process can be started."
_START_SECONDS = 60.0
"""What a first call may take besides: the zygote's imports."""


class CodeInterpreter(InterpreterTool):
    """Runs Python in a jail, with state that stays from call to call. Also a tool for agents, `code_interpreter`.

    Used by itself it has one session; as a tool, one for each of the agent's. Its processes start with the first
    call, or with `async with`, which waits until they have imported what is imported beforehand.

    Args:
        python: The interpreter that runs the code, with what is installed beside it; default: this one.
        packages: What to install for it besides, as `pip install` takes them; done once, into the cache folder.
        isolation: `strong`, `medium`, or None for the better one that works. `none` is no jail at all, and is refused
            unless `AGENTIC_ALLOW_UNJAILED_CODE=1` is set in the environment.
        timeout: Seconds for one call, 30 by default.
        files: Files that each session finds in its folder: paths, or names with bytes.
        **limits: Any other field of `Limits`.

    Raises:
        ConfigError: A value is impossible, or this is no Linux.
        InvalidInput: A file cannot be read.
    """

    def __init__(
        self,
        python: str | None = None,
        packages: Sequence[str] = (),
        isolation: Level | None = None,
        timeout: float = 30.0,
        files: Sequence[FileLike] = (),
        **limits: Any,
    ) -> None:
        if sys.platform != "linux":
            mac = "Use SeatbeltInterpreter. " if sys.platform == "darwin" else ""
            raise ConfigError(f"This jail needs Linux; this is {sys.platform}.", hint=f"{mac}{ELSEWHERE}")
        if isolation not in (None, "strong", "medium", "none"):
            raise ConfigError(f"isolation is 'strong', 'medium', 'none' or None, not {isolation!r}.")
        if isolation == "none" and os.environ.get(ALLOW_UNJAILED) != "1":
            raise ConfigError(
                "isolation='none' runs what a model writes with all of your rights.",
                hint=f"If you want that, set {ALLOW_UNJAILED}=1 as well.",
            )
        if isinstance(packages, str):
            raise ConfigError("packages is a list.")
        super().__init__(limits_of(timeout, limits), files, _START_SECONDS, _RULES)
        self._python, self._packages, self._wanted = python, tuple(packages), isolation
        self._engine = Engine(self.limits.keep, int(self.limits.waiting))
        self._finalizer = weakref.finalize(self, Engine.close, self._engine)

    async def run(self, code: str, *, session: str = "", files: Sequence[FileLike] = ()) -> Result:
        """Runs code in a session; the first call of a name begins one.

        A cancelled call is interrupted like one that takes too long, and has ended when this raises.

        Args:
            code: Python.
            session: Its name.
            files: Files that it needs: paths, or names with bytes; each is put into the session's folder once.

        Raises:
            ConfigError: There is no isolation here.
            InvalidInput: `code` is no text, or a file cannot be read.
        """
        check_code(code)
        return await cancellable(lambda stop: self._run(session, code, read(files), stop))

    async def put(self, name: str, source: bytes | str | Path, *, session: str = "") -> None:
        """Puts a file into a session's folder: its bytes, or the path of one to copy.

        Raises:
            InvalidInput: It is too large, or cannot be read.
        """
        data = source if isinstance(source, bytes) else File.of(source).data
        await cancellable(lambda stop: self._put(session, File(name, data), stop))

    async def reset(self, session: str = "") -> None:
        """Ends a session and removes its folder; its name begins a new one with the next call."""
        await cancellable(lambda stop: self._engine.end(session, stop))

    def _run(self, name: str, code: str, files: Sequence[File], stop: int) -> Result:
        with self._engine.use(name, stop) as session:
            kernel, notes = self._kernel(session)
            notes += self._place(session, kernel, files, stop)
            outcome = kernel.call({"op": "run", "code": code}, b"", self.limits.timeout, stop)
            session.calls += 1
            return self._finish(session, kernel, outcome, notes)

    def _finish(self, session: Session, kernel: Kernel, outcome: Outcome, notes: tuple[str, ...]) -> Result:
        zygote = session.zygote
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
                session.folder = None
            else:
                notes = (*notes, *_remaining(session.folder))
        return result_of(outcome, zygote.level, self.limits, notes, ended)

    def _place(self, session: Session, kernel: Kernel, files: Sequence[File], stop: int) -> tuple[str, ...]:
        """Puts the files into the folder that were not put there yet; returns what the model should be told."""
        notes = []
        for file in (*self._files, *files):
            if file not in session.placed:
                if problem := self._send(session, kernel, file, stop):
                    notes.append(problem)
                session.placed.add(file)
        return tuple(notes)

    def _put(self, name: str, file: File, stop: int) -> None:
        with self._engine.use(name, stop) as session:
            kernel, _ = self._kernel(session)
            if problem := self._send(session, kernel, file, stop):
                raise InvalidInput(problem)

    def _send(self, session: Session, kernel: Kernel, file: File, stop: int) -> str:
        """Sends a file to the folder. Returns why it is not there, or an empty string."""
        if len(file.data) > self.limits.file_size:
            return f"{file.name} has {len(file.data):,} bytes; the limit is {self.limits.file_size:,}."
        outcome = kernel.call({"op": "put", "name": file.name}, file.data, self.limits.timeout, stop)
        if outcome.answer is None:
            self._finish(session, kernel, outcome, ())
            raise InvalidInput(f"{file.name} could not be put into the session.")
        return clean(str(outcome.answer.get("error") or "")[:500])

    def _kernel(self, session: Session) -> tuple[Kernel, tuple[str, ...]]:
        """The session's process, a new one if need be, and what the model should be told then."""
        if session.kernel is not None:
            if session.kernel.alive:
                return session.kernel, ()
            session.kernel.close()
            session.kernel = None
        self._engine.make_room()
        for again in (True, False):
            try:
                lost = self._start(session)
                break
            except TooManyFiles as error:
                raise ToolError("This program has too many open files.", hint="Raise its limit (ulimit -n).") from error
            except (OSError, ValueError) as error:  # the zygote has died, or its folder was removed
                if not again:
                    raise ToolError("The code interpreter's process dies as soon as it starts.") from error
        assert session.kernel is not None  # noqa: S101 - it was started
        told = f"This is a new process: the {lost} of earlier calls are lost."
        return session.kernel, (told,) if session.calls else ()

    def _start(self, session: Session) -> str:
        """Starts the session's process. Returns what is lost with that."""
        zygote = self._engine.running(self._launch)
        lost = "variables"
        try:
            if session.folder is None or not session.folder.is_relative_to(zygote.base):
                session.folder, session.uid = zygote.new_folder(os.urandom(8).hex())
                session.placed.clear()
                lost = "variables and files"
            started = zygote.start(session.folder, session.uid)
        except TooManyFiles:
            raise  # the other sessions are well
        except BaseException:
            zygote.end()
            raise
        session.zygote, session.kernel = zygote, Kernel(started, session.folder, self.limits)
        return lost

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
        await cancellable(lambda _: self._engine.running(self._launch).wait())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        level = self._engine.zygote.level if self._engine.zygote else self._wanted or "not started"
        return f"CodeInterpreter(isolation={level!r})"


def _remaining(folder: Path | None) -> tuple[str, ...]:
    """What a lost session leaves in its folder, for the model to go on with."""
    if folder is None:
        return ()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [safe_name(entry.name) for entry, _ in zip(entries, range(20), strict=False) if entry.name[0] != "."]
        return (f"Its folder still holds: {', '.join(sorted(names)) or 'nothing'}.",)
    return ()


class _Group:
    """The interpreter of an agent that named it by its id: it is closed with the agent."""

    name = "code_interpreter"

    def __init__(self) -> None:
        self._interpreter = SeatbeltInterpreter() if sys.platform == "darwin" else CodeInterpreter()

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

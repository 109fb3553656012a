"""The interpreter on macOS: a process for each session, locked in by Seatbelt (`sandbox-exec`).

Written from Apple's documentation and never run on a Mac: the tests run everything but the jail itself, on Linux. It
gives less than the jail on Linux: memory is not limited, a thread that code leaves behind runs on between calls, and
a session begins with importing what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from agentic.portal import run_sync
from agentic.types.content import File, FileLike
from agentic.types.errors import ConfigError, InvalidInput

from . import folder as folders
from . import leftovers
from .environment import Environment, environment
from .kernel import Outcome, Printed, Reason, decode, whole_frame
from .launch import ELSEWHERE
from .limits import Limits
from .result import Result, clean, ending, result_of
from .tool import InterpreterTool, check_code, limits_of, read

_START_SECONDS = 30.0
_PIECE = 1 << 16
_MAIN = """
import json, os, resource, sys, threading
inside, folder, limits, request, reply, life = sys.argv[1:]
limits, request, reply, life = json.loads(limits), int(request), int(reply), int(life)
sys.path.insert(0, inside)
from jailed import worker
sys.path.remove(inside)
def end_with_the_host():
    os.read(life, 1)
    os._exit(70)
threading.Thread(target=end_with_the_host, daemon=True).start()
resource.setrlimit(resource.RLIMIT_CPU, (limits["session_cpu"],) * 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_size"],) * 2)
resource.setrlimit(resource.RLIMIT_NOFILE, (limits["open_files"],) * 2)
os.chdir(folder)
worker.serve(request, reply, folder, limits)
"""


def profile(place: Environment, folder: Path) -> str:
    """What a session may do, in Seatbelt's language: read the Python installation, write its own folder, no more."""
    readable = [*place.readable, *place.programs, *place.path, str(Path(__file__).parent / "jailed")]
    system = ["/usr/lib", "/usr/share/zoneinfo", "/System/Library", "/System/Volumes/Preboot", "/private/var/db/dyld"]
    programs = dict.fromkeys((place.python, str(Path(place.python).resolve()), *place.programs))
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow sysctl-read)",
        "(allow file-read-metadata)",
        '(allow file-read* (literal "/") (literal "/dev/null") (literal "/dev/random") (literal "/dev/urandom"))',
        "(allow signal (target self))",
        *(f"(allow process-exec (literal {_quoted(path)}))" for path in programs),
        *(f"(allow file-read* (subpath {_quoted(path)}))" for path in dict.fromkeys([*system, *readable])),
        f"(allow file-read* file-write* (subpath {_quoted(str(folder))}))",
    ]
    return "\n".join(lines)


def _quoted(path: str) -> str:
    if any(ord(character) < 32 for character in path):
        raise ConfigError(f"A path with control characters cannot be named to Seatbelt: {path!r}.")
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(slots=True, eq=False)
class _Process:
    """A session's process and this side's ends of its pipes."""

    process: subprocess.Popen[bytes]
    request: int
    reply: int
    stdout: int
    stderr: int
    life: int

    def end(self) -> int:
        """Kills it, closes the pipes and returns its wait status."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        for descriptor in (self.request, self.reply, self.stdout, self.stderr, self.life):
            os.close(descriptor)
        return -code if code < 0 else code << 8

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGINT)


@dataclass(slots=True, eq=False)
class _Session:
    folder: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: _Process | None = None
    placed: set[File] = field(default_factory=set)
    calls: int = 0


class SeatbeltInterpreter(InterpreterTool):
    """Runs Python in macOS's own sandbox. Never tried on a Mac by its authors.

    The same as `CodeInterpreter` otherwise: used by itself it has one session; as a tool, one for each of the agent's.

    Args:
        python: The interpreter that runs the code, with what is installed beside it; default: this one.
        packages: What to install for it besides, as `pip install` takes them.
        timeout: Seconds for one call, 30 by default.
        files: Files that each session finds in its folder: paths, or names with bytes.
        **limits: Any other field of `Limits`; those of memory and of threads have no effect here.

    Raises:
        ConfigError: This is no macOS, or a value is impossible.
        InvalidInput: A file cannot be read.
    """

    def __init__(
        self,
        python: str | None = None,
        packages: Sequence[str] = (),
        timeout: float = 30.0,
        files: Sequence[FileLike] = (),
        **limits: Any,
    ) -> None:
        self._check_system()
        rules = "There is no network, and no other process can be started."
        super().__init__(limits_of(timeout, limits), files, _START_SECONDS, rules)
        self._python, self._packages = python, tuple(packages)
        self._base: tuple[Path, int] | None = None
        self._sessions: dict[str, _Session] = {}

    async def run(self, code: str, *, session: str = "", files: Sequence[FileLike] = ()) -> Result:
        """See `CodeInterpreter.run`."""
        check_code(code)
        given = read(files)
        async with self._held(session) as held:
            notes = await self._ready(held)
            for file in (*self._files, *given):
                if file not in held.placed:
                    notes += await self._place(held, file)
                    held.placed.add(file)
            outcome = await self._call(held, {"op": "run", "code": code}, b"")
            held.calls += 1
            ended = "" if held.process or outcome.answer else ending(outcome.status)
            return result_of(outcome, "seatbelt", self.limits, notes, ended)

    async def put(self, name: str, source: bytes | str | Path, *, session: str = "") -> None:
        """See `CodeInterpreter.put`."""
        file = File(name, source if isinstance(source, bytes) else File.of(source).data)
        async with self._held(session) as held:
            await self._ready(held)
            if problems := await self._place(held, file):
                raise InvalidInput(problems[0])

    async def reset(self, session: str = "") -> None:
        """Ends a session and removes its folder; its name begins a new one with the next call."""
        async with self._held(session) as held:
            self._sessions.pop(session, None)
            if held.process is not None:
                held.process.end()
                held.process = None
            with contextlib.suppress(OSError):
                folders.remove(held.folder)

    async def aclose(self) -> None:
        """Ends all processes and removes the sessions' folders."""
        for name in list(self._sessions):
            await self.reset(name)
        base, self._base = self._base, None
        if base is not None:
            with contextlib.suppress(OSError):
                folders.remove(base[0])
            os.close(base[1])

    def close(self) -> None:
        """As `aclose`, for programs without an event loop."""
        run_sync(self.aclose())

    async def __aenter__(self) -> SeatbeltInterpreter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _check_system(self) -> None:
        if sys.platform != "darwin":
            raise ConfigError(f"Seatbelt is macOS's; this is {sys.platform}.", hint=ELSEWHERE)

    def _jail(self, command: list[str], place: Environment, folder: Path) -> list[str]:
        return ["/usr/bin/sandbox-exec", "-p", profile(place, folder), *command]

    @contextlib.asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[_Session]:
        if self._base is None:
            leftovers.sweep()
            self._base = leftovers.make()
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = _Session(self._base[0] / secrets.token_hex(8))
        async with session.lock:
            session.folder.mkdir(0o700, exist_ok=True)
            yield session

    async def _ready(self, session: _Session) -> tuple[str, ...]:
        """Starts the session's process if there is none; returns what the model should be told then."""
        if session.process is not None:
            if session.process.process.poll() is None:
                return ()
            session.process.end()
        place = await asyncio.to_thread(environment, self._python, self._packages)
        session.process = self._start(place, session.folder)
        return ("This is a new process: the variables of earlier calls are lost.",) if session.calls else ()

    def _start(self, place: Environment, folder: Path) -> _Process:
        pipes = [os.pipe() for _ in range(5)]
        (request, ours_request), (ours_reply, reply), (out, stdout), (err, stderr), (life, ours_life) = pipes
        command = [place.python, "-I", "-B", "-X", "utf8", "-W", "ignore", "-c", _MAIN]
        command += [str(Path(__file__).parent), str(folder), json.dumps(self.limits.for_worker())]
        command += [str(descriptor) for descriptor in (request, reply, life)]
        try:
            process = subprocess.Popen(  # noqa: S603
                self._jail(command, place, folder),
                env={"HOME": str(folder), "TMPDIR": str(folder), "MPLCONFIGDIR": str(folder), "MPLBACKEND": "agg"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                pass_fds=(request, reply, life),
                start_new_session=True,
            )
        except OSError as error:
            for descriptor in (ours_request, ours_reply, out, err, ours_life):
                os.close(descriptor)
            raise ConfigError(f"{place.python} cannot be started in the sandbox: {error}.") from None
        finally:
            for descriptor in (request, reply, stdout, stderr, life):
                os.close(descriptor)
        for descriptor in (ours_request, ours_reply, out, err):
            os.set_blocking(descriptor, False)
        return _Process(process, ours_request, ours_reply, out, err, ours_life)

    async def _place(self, session: _Session, file: File) -> tuple[str, ...]:
        """Puts a file into the folder; returns what the model should be told."""
        if len(file.data) > self.limits.file_size:
            return (f"{file.name} has {len(file.data):,} bytes; the limit is {self.limits.file_size:,}.",)
        outcome = await self._call(session, {"op": "put", "name": file.name}, file.data)
        problem = "it could not be put into the session" if outcome.answer is None else outcome.answer.get("error")
        return (clean(f"{file.name}: {problem}"[:500]),) if problem else ()

    async def _call(self, session: _Session, message: dict[str, Any], data: bytes) -> _Ended:
        process = session.process
        if process is None:
            return _Ended(Printed(0), Printed(0), "died")
        call = _Call(process, message, data, self.limits)
        try:
            outcome = await call.converse()
        except asyncio.CancelledError:
            session.process = None
            process.end()
            raise
        if outcome.answer is not None and folders.too_large(session.folder, None, self.limits):
            outcome.answer, outcome.reason = None, "disk"
            with contextlib.suppress(OSError):
                folders.remove(session.folder)
            session.placed.clear()
        if outcome.answer is None:
            session.process = None
            outcome.status = process.end()
        return outcome


@dataclass(slots=True)
class _Ended(Outcome):
    """An outcome, and the wait status of a process that has ended with it."""

    status: int | None = None


class _Call:
    """One frame to the process and one back, with what it prints meanwhile; the event loop's readers do the work."""

    def __init__(self, process: _Process, message: dict[str, Any], data: bytes, limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._id = secrets.token_hex(16)
        text = json.dumps({**message, "id": self._id}).encode()
        self._pending = memoryview(struct.pack(">II", len(text), len(data)) + text + data)
        self._received = bytearray()
        self._outcome = _Ended(Printed(limits.output), Printed(limits.output))
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False

    async def converse(self) -> _Ended:
        process, outcome = self._process, self._outcome
        self._loop.add_writer(process.request, self._write)
        self._loop.add_reader(process.reply, self._read)
        self._loop.add_reader(process.stdout, self._print, process.stdout, outcome.stdout)
        self._loop.add_reader(process.stderr, self._print, process.stderr, outcome.stderr)
        timer = self._loop.call_later(self._limits.timeout, self._stop, "timeout")
        try:
            await self._over
            for descriptor, printed in ((process.stdout, outcome.stdout), (process.stderr, outcome.stderr)):
                for _ in range(64):
                    if not self._print(descriptor, printed):
                        break
        finally:
            timer.cancel()
            self._loop.remove_writer(process.request)
            for descriptor in (process.reply, process.stdout, process.stderr):
                self._loop.remove_reader(descriptor)
        return outcome

    def _stop(self, reason: Reason) -> None:
        """Interrupts; after the grace period it is over."""
        if self._stopping:
            self._end()
            return
        self._stopping = True
        self._outcome.reason = reason
        self._process.interrupt()
        self._loop.call_later(self._limits.grace, self._end)

    def _end(self, reason: Reason | None = None) -> None:
        if not self._over.done():
            self._outcome.reason = reason or self._outcome.reason
            self._over.set_result(None)

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._process.request, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._end("died")
        if not self._pending:
            self._loop.remove_writer(self._process.request)

    def _read(self) -> None:
        data = _some(self._process.reply)
        if data is None:
            return
        if not data:
            self._end("died")
            return
        self._received += data
        try:
            frame = whole_frame(self._received, self._limits)
        except ValueError:
            self._end("protocol")
            return
        if frame is not None:
            answer = decode(frame[0])
            if answer is None or answer.get("id") != self._id:
                self._end("protocol")
            else:
                self._outcome.answer, self._outcome.blobs = answer, frame[1]
                self._end()

    def _print(self, descriptor: int, printed: Printed) -> bool:
        data = _some(descriptor)
        if data == b"":
            self._loop.remove_reader(descriptor)
        if not data:
            return False
        printed.add(data)
        if self._outcome.stdout.total + self._outcome.stderr.total > self._limits.flood and not self._stopping:
            self._stop("output")
        return True


def _some(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, _PIECE)
    except BlockingIOError:
        return None

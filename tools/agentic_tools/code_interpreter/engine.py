"""The zygote and the sessions of an interpreter, and how a thread that works for a coroutine is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from agentic.threads import run_in_thread
from agentic.types.content import File
from agentic.types.errors import ToolError

from . import folder as folders
from .kernel import Kernel
from .launch import Zygote

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """A session: its folder stays when its process is replaced.

    Attributes:
        lock: Held during a call.
        kernel: Its process.
        zygote: Where that came from; the interpreter may have another one by now, or none.
        folder: Its folder.
        uid: Whose that is, when this process is root's.
        placed: The files that were put into the folder.
        calls: How many there were.
        used: When the last one ended, on `time.monotonic`'s clock.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    kernel: Kernel | None = None
    zygote: Zygote | None = None
    folder: Path | None = None
    uid: int | None = None
    placed: set[File] = field(default_factory=set)
    calls: int = 0
    used: float = field(default_factory=time.monotonic)


class Engine:
    """The zygote and the sessions, apart from the interpreter so that its finalizer can close them.

    Args:
        keep: Seconds without a call until a session is forgotten, its folder too.
        waiting: How many processes may wait for their sessions' next calls.
    """

    def __init__(self, keep: float, waiting: int) -> None:
        self.zygote: Zygote | None = None
        self.sessions: dict[str, Session] = {}
        self._keep = keep
        self._waiting = waiting
        self._lock = threading.Lock()
        _engines.add(self)

    def running(self, start: Callable[[], Zygote]) -> Zygote:
        """The zygote; a new one if there is none that lives."""
        with self._lock:
            if self.zygote is not None and not self.zygote.alive:
                self.zygote.close()
                self.zygote = None
            if self.zygote is None:
                self.zygote = start()
            return self.zygote

    @contextlib.contextmanager
    def use(self, name: str, stop: int) -> Iterator[Session]:
        """A session for one caller; whoever waits can be cancelled."""
        self._forget_old()
        session = self._held(name, stop)
        try:
            yield session
        finally:
            session.used = time.monotonic()
            session.lock.release()

    def end(self, name: str, stop: int) -> None:
        """Ends one session, when its call has ended."""
        with self.use(name, stop) as session:
            with self._lock:
                self.sessions.pop(name, None)
            self._remove(session)

    def make_room(self) -> None:
        """For one more process, ends those that have waited longest; each takes memory, and descriptors of this one."""
        with self._lock:
            started = sorted((one for one in self.sessions.values() if one.kernel), key=lambda one: one.used)
            too_many = started[: max(0, len(started) + 1 - self._waiting)]
            held = [session for session in too_many if session.lock.acquire(blocking=False)]
        for session in held:
            self._end_process(session)
            session.lock.release()

    def close(self) -> None:
        """Ends all sessions, and the zygote."""
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

    def let_go(self) -> None:
        """In a fork of this process: forgets the sessions, which are its parent's, without ending them."""
        sessions, zygote = self.sessions, self.zygote
        self.sessions, self.zygote, self._lock = {}, None, threading.Lock()
        for session in sessions.values():
            if session.kernel is not None:
                session.kernel.let_go()
        if zygote is not None:
            zygote.let_go()

    def _held(self, name: str, stop: int) -> Session:
        while True:
            with self._lock:
                session = self.sessions.setdefault(name, Session())
            while not session.lock.acquire(timeout=0.1):
                if _rung(stop):
                    raise ToolError("The call was cancelled while another one ran in its session.")
            if self.sessions.get(name) is session:
                return session
            session.lock.release()  # it was ended meanwhile

    def _forget_old(self) -> None:
        """Forgets the sessions that nobody has used for long: an agent does not say when it needs one no more."""
        now = time.monotonic()
        with self._lock:
            old = [name for name, session in self.sessions.items() if now - session.used > self._keep]
            held = [self.sessions.pop(name) for name in old if self.sessions[name].lock.acquire(blocking=False)]
        for session in held:
            self._remove(session)
            session.lock.release()

    @staticmethod
    def _end_process(session: Session) -> None:
        if session.kernel is not None:
            session.kernel.close()
            if session.zygote is not None:
                session.zygote.ended(session.kernel.pid_inside)
            session.kernel = None

    def _remove(self, session: Session) -> None:
        self._end_process(session)
        if session.folder is not None:
            with contextlib.suppress(OSError):
                folders.remove(session.folder)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forked() -> None:
    for engine in list(_engines):
        engine.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


async def cancellable(work: Callable[[int], T]) -> T:
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


def _rung(stop: int) -> bool:
    try:
        return bool(os.eventfd_read(stop))
    except BlockingIOError:
        return False

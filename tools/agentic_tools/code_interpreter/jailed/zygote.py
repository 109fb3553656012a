"""The process that has imported everything, and forks one locked-in process for each session.

It talks with the host over a SEQPACKET socket, one JSON object in a message. The first message configures it, and
the answer says whether the jail works here. Then it imports, and answers: `ready`; `start` (with four pipe ends)
forks a session and gives its pidfd; `end` says how one has ended. When the host goes, however it goes, the socket
closes, and everything ends.
"""

# Descriptors and flags are what matters here; pathlib has none.
# ruff: noqa: PTH103, PTH208

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from . import jail, worker

REQUEST, REPLY = 3, 4
"""The session's ends of its pipes; 1 and 2 are its stdout and stderr."""


def main(descriptor: int) -> None:
    """Serves the host until it closes the socket."""
    host = socket.socket(fileno=descriptor)
    config = json.loads(host.recv(1 << 20))
    problem = _try_jail(config)
    host.send(json.dumps({"problem": problem}).encode())
    if problem:
        return
    _preload(config)
    _Zygote(host, config).serve()


class _Zygote:
    def __init__(self, host: socket.socket, config: dict[str, Any]) -> None:
        self.host = host
        self.config = config
        self.stopped: dict[int, float] = {}
        self.ended: dict[int, int] = {}
        self.bell, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(ring)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a session may be interrupted before it can take it

    def serve(self) -> None:
        waiting = select.poll()
        waiting.register(self.host, select.POLLIN)
        waiting.register(self.bell, select.POLLIN)
        while True:
            ready = dict(waiting.poll(self._patience()))
            if self.bell in ready:
                os.read(self.bell, 4096)
            self._look_after_children()
            if self.host.fileno() in ready:
                text, pipes, _, _ = socket.recv_fds(self.host, 1 << 20, 4)
                if not text:
                    return
                self._answer(json.loads(text), pipes)

    def _patience(self) -> float | None:
        """Milliseconds until the next session has been idle for too long."""
        if not self.stopped:
            return None
        idle: float = self.config["limits"]["idle"]
        return max(0.0, min(self.stopped.values()) + idle - time.monotonic()) * 1000 + 10

    def _look_after_children(self) -> None:
        """Notes which sessions were stopped, continued or ended, and ends those that were idle for too long."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
                if not pid:
                    break
                self.stopped.pop(pid, None)
                if os.WIFSTOPPED(status):
                    self.stopped[pid] = time.monotonic()
                elif not os.WIFCONTINUED(status):
                    self.ended[pid] = status
        for pid, since in list(self.stopped.items()):
            if time.monotonic() - since > self.config["limits"]["idle"]:
                os.kill(pid, signal.SIGKILL)

    def _answer(self, message: dict[str, Any], pipes: list[int]) -> None:
        if message["op"] == "ready":
            self.host.send(b"{}")
            return
        if message["op"] == "end":
            pid = message["pid"]
            status = self.ended.pop(pid, None)
            if status is None:
                with contextlib.suppress(ChildProcessError):
                    status = os.waitpid(pid, 0)[1]
                self.stopped.pop(pid, None)
            self.host.send(json.dumps({"status": status}).encode())
            return
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_session(self.config, message, pipes, parent)
        self.ended.pop(pid, None)  # of an earlier process of that number, which nobody asked about
        handle = os.pidfd_open(pid)
        socket.send_fds(self.host, [json.dumps({"pid": pid}).encode()], [handle])
        for descriptor in (handle, *pipes):
            os.close(descriptor)


def _become_session(config: dict[str, Any], message: dict[str, Any], pipes: list[int], parent: int) -> None:
    """In the child: puts the pipes in place, locks itself in and serves; never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for source, target in zip(_lifted(pipes), (REQUEST, REPLY, 1, 2), strict=True):
            os.dup2(source, target)
        os.closerange(5, 65536)
        os.chdir(message["folder"])
        temporary = str(Path(message["folder"], ".tmp"))
        os.environ.update(HOME=message["folder"], USER="user", TMPDIR=temporary, MPLBACKEND="agg", TZ="UTC")
        jail.lock_in(config, message["folder"], message["uid"], parent)
        os.makedirs(temporary, exist_ok=True)
        worker.serve(REQUEST, REPLY, message["folder"], config["limits"])
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(70)


def _lifted(pipes: list[int]) -> list[int]:
    """Copies of the pipes above the numbers that they are going to take."""
    import fcntl

    return [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in pipes]


def _try_jail(config: dict[str, Any]) -> str:
    """Locks a child in and lets it try what must work, and what must not. Returns what is wrong, or an empty string."""
    if config["level"] == "none":
        return ""
    said, says = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        problem = "its process broke off"
        try:
            jail.lock_in(config, config["probe"], config["uid"], parent)
            inner = Path(config["probe"], "folder")
            inner.mkdir()
            inner.rmdir()
            problem = _loophole()
        except BaseException as error:
            problem = str(error)
        finally:
            os.write(says, problem.encode())
            os._exit(0)
    os.close(says)
    with os.fdopen(said, "rb") as report:
        problem = report.read().decode()
    _, status = os.wait()
    return problem or ("" if status == 0 else f"the locked-in process ended with {status}")


def _loophole() -> str:
    for what, attempt in (
        ("list /", lambda: os.listdir("/")),
        ("read /proc", lambda: os.listdir("/proc/self")),
        ("make a socket", socket.socket),
        ("start a process", os.fork),
        ("signal its parent", lambda: os.kill(os.getppid(), 0)),
    ):
        try:
            attempt()
        except OSError:
            continue
        return f"it could {what} in spite of the jail"
    return ""


def _preload(config: dict[str, Any]) -> None:
    sys.path[:] = [*config["path"], *(path for path in sys.path if _below(path, config["readable"]))]
    with warnings.catch_warnings(action="ignore"):
        for name in config["preload"]:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
    gc.collect()
    gc.freeze()  # or the first collection in each session would copy every page


def _below(path: str, folders: list[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)

"""Starting the zygote at the best level of isolation that works here. A level is found by trying it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentic.types.errors import ConfigError

from . import folder as folders
from . import leftovers
from .environment import Environment
from .limits import Limits

Level = Literal["strong", "medium", "none"]
ELSEWHERE = "Run it in WSL2, in a Linux container or a virtual machine, or use RemoteCodeInterpreter."
ALLOW_UNJAILED = "AGENTIC_ALLOW_UNJAILED_CODE"
PRELOADED = ("numpy", "pandas", "matplotlib.pyplot", "asyncio", "json", "csv", "datetime", "random", "statistics")
READY_SECONDS = 60.0
_INSIDE = Path(__file__).parent
_MAIN = (
    "import sys; folder, descriptor = sys.argv[1:]; sys.path.insert(0, folder); "
    "from jailed import zygote; sys.path.remove(folder); sys.argv = ['']; zygote.main(int(descriptor))"
)
_uids = itertools.count(secrets.randbelow(3000))


class NotPossible(Exception):
    """This level cannot be had here; the text says why."""


class TooManyFiles(Exception):
    """This process can open no more files."""


@dataclass(frozen=True, slots=True)
class Started:
    """A session's process.

    Attributes:
        pidfd: A handle on it.
        pid: Its number in its own pid namespace, which only the zygote understands.
        request: Where frames go.
        reply: Where frames come from.
        stdout: What it prints.
        stderr: What it prints there.
    """

    pidfd: int
    pid: int
    request: int
    reply: int
    stdout: int
    stderr: int


class Zygote:
    """The pre-imported process of one interpreter, and the folder under which its sessions have theirs.

    Raises:
        NotPossible: The level cannot be had here.
    """

    def __init__(self, level: Level, environment: Environment, limits: Limits, preload: Sequence[str]) -> None:
        self.level = level
        self.base, self._claim = leftovers.make()
        self.base.chmod(0o711)
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _start(level, environment, self.base, theirs.fileno())
            try:
                self._configure(environment, limits, preload)
            except BaseException:
                self.end()
                raise
        except BaseException:
            self._socket.close()
            shutil.rmtree(self.base, ignore_errors=True)
            os.close(self._claim)
            raise

    def _configure(self, environment: Environment, limits: Limits, preload: Sequence[str]) -> None:
        probe, uid = self.new_folder("probe")
        config = {
            "level": self.level,
            "readable": environment.readable,
            "path": environment.path,
            "preload": list(preload),
            "limits": limits.for_worker(),
            "probe": str(probe),
            "uid": uid,
        }
        self._socket.settimeout(READY_SECONDS)
        try:
            problem = self._ask(config)["problem"]
        except (OSError, ValueError):
            self._process.kill()
            said = self._process.stderr.read().decode("utf-8", "replace").strip() if self._process.stderr else ""
            raise NotPossible(said.splitlines()[-1] if said else "it did not start") from None
        if problem:
            raise NotPossible(problem)
        probe.rmdir()

    @property
    def alive(self) -> bool:
        """Whether it can still start sessions."""
        return self._process.poll() is None

    def new_folder(self, name: str) -> tuple[Path, int | None]:
        """Makes a session's folder; when this process is root's, it belongs to a user of its own."""
        path = self.base / name
        path.mkdir(0o700)
        if os.geteuid() != 0 or self.level == "none":
            return path, None
        uid = 62_000 + next(_uids) % 3000
        os.chown(path, uid, uid)
        return path, uid

    def start(self, folder: Path, uid: int | None) -> Started:
        """Forks a session.

        Raises:
            TooManyFiles: There are no descriptors left.
            OSError, ValueError: The zygote has died.
        """
        pipes: list[int] = []
        with contextlib.ExitStack() as undo:
            undo.callback(lambda: list(map(os.close, pipes)))
            try:
                for _ in range(4):
                    pipes += os.pipe2(os.O_CLOEXEC)
                theirs = [pipes[0], pipes[3], pipes[5], pipes[7]]
                ours = [pipes[1], pipes[2], pipes[4], pipes[6]]
                with self._lock:
                    order = json.dumps({"op": "start", "folder": str(folder), "uid": uid}).encode()
                    socket.send_fds(self._socket, [order], theirs)
                    text, handles, _, _ = socket.recv_fds(self._socket, 65536, 1)
            except OSError as error:
                raise TooManyFiles if error.errno in (errno.EMFILE, errno.ENFILE) else error from None
            pid = json.loads(text)["pid"]
            if not handles:  # there was no room for that one; without its pipes the session ends
                raise TooManyFiles
            undo.pop_all()
        for descriptor in theirs:
            os.close(descriptor)
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        return Started(handles[0], pid, *ours)

    def wait(self) -> None:
        """Returns when everything was imported. One that does not say so is ended: the next call starts another."""
        with self._lock:
            try:
                self._ask({"op": "ready"})
            except (OSError, ValueError):
                self.end()

    def ended(self, pid: int) -> int | None:
        """The wait status of a session that has ended, or None when nobody knows."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            status: int | None = self._ask({"op": "end", "pid": pid})["status"]
            return status
        return None

    def close(self) -> None:
        """Ends it with all its sessions, and removes their folders."""
        self._socket.close()
        self.end()
        with contextlib.suppress(OSError):
            folders.remove(self.base)
        claim, self._claim = self._claim, -1
        if claim >= 0:
            os.close(claim)

    def let_go(self) -> None:
        """In a fork of this process: closes what keeps it alive there too, and leaves it to its owner."""
        self._socket.close()
        os.close(self._claim)
        if self._process.stderr:
            self._process.stderr.close()
        self._process.returncode = 0  # it is no child of this process: nobody must wait for it

    def _ask(self, message: dict[str, Any]) -> Any:
        self._socket.send(json.dumps(message).encode())
        return json.loads(self._socket.recv(65536))

    def end(self) -> None:
        """Ends the process, and with it all sessions."""
        self._socket.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()


def _start(level: Level, environment: Environment, base: Path, descriptor: int) -> subprocess.Popen[bytes]:
    command = [environment.python, "-I", "-B", "-X", "utf8", "-c", _MAIN]
    command += [str(_INSIDE), str(descriptor)]
    if level == "strong":
        command = [*_bubblewrap(environment, base), *command]
    cache = base / "matplotlib"
    cache.mkdir(0o700)
    return subprocess.Popen(  # noqa: S603
        command,
        env={"MPLCONFIGDIR": str(cache), "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=base,
        pass_fds=[descriptor],
        start_new_session=True,
    )


def _bubblewrap(environment: Environment, base: Path) -> list[str]:
    """The outer jail. It is started with an empty environment: its own would be readable inside."""
    program = shutil.which("bwrap")
    if program is None:
        raise NotPossible("bubblewrap is not installed")
    command = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--hostname", "sandbox", "--as-pid-1", "--new-session", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own
    if os.geteuid() == 0:  # a user namespace would have no second user to become
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL"]
    else:
        command += ["--unshare-user"]
    for path in dict.fromkeys((*environment.readable, *environment.programs, str(_INSIDE / "jailed"))):
        command += ["--ro-bind", path, path]
    return [*command, "--bind", str(base), str(base), "--chdir", str(base), "--"]


def launch(
    level: Level | None, environment: Environment, limits: Limits, preload: Sequence[str] = PRELOADED
) -> tuple[Zygote, dict[Level, str]]:
    """Starts a zygote at a level, or at the best one.

    Returns:
        It, and why each better level is not possible.

    Raises:
        ConfigError: No level works; the message says why and what can be done.
    """
    problems: dict[Level, str] = {}
    if sys.platform != "linux":
        raise ConfigError(f"The code interpreter's jail needs Linux; this is {sys.platform}.", hint=ELSEWHERE)
    leftovers.sweep()
    tried: tuple[Level, ...] = ("strong", "medium") if level is None else (level,)
    for candidate in tried:
        if (candidate, environment) in _impossible and level is None:
            problems[candidate] = _impossible[candidate, environment]
            continue
        try:
            return Zygote(candidate, environment, limits, preload), problems
        except NotPossible as error:
            problems[candidate] = _impossible[candidate, environment] = str(error)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
    raise ConfigError(f"Code that a model writes cannot be jailed here ({reasons}).", hint=advice(problems))


_impossible: dict[tuple[Level, Environment], str] = {}
"""What was tried once and cannot work in this process's lifetime."""


def advice(problems: dict[Level, str]) -> str:
    """What can be done about levels that are not possible."""
    hints = []
    strong = problems.get("strong", "")
    if "not installed" in strong:
        hints.append("Install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap).")
    elif "uid map" in strong or "RTM_NEWADDR" in strong:
        hints.append("Ubuntu's AppArmor stops bubblewrap: add a profile for /usr/bin/bwrap that has `userns,`.")
    elif strong:
        hints.append("In a container, allow user namespaces, or run it as root with CAP_SYS_ADMIN.")
    if "medium" in problems:
        hints.append(f"Use Linux 5.13 or later with Landlock. Or isolation='none' with {ALLOW_UNJAILED}=1: no jail.")
    return " ".join(hints)

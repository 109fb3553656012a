"""Hostile programs, judged by what they did and not by what they said.

Each `### name` in `hostile/*.txt` is a program. It is run in a world of canaries: a secret in files and in the
environment, listeners of every kind, a file and a folder that anyone may write to, a process that anyone may kill.
As a script it runs the programs at one level and prints what they achieved: `python suite.py medium [class …]`.
Some run at once: what one did may be told of those beside it as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

from agentic_tools.code_interpreter import CodeInterpreter, Result

LIMITS: dict[str, Any] = {
    "timeout": 0.3,
    "grace": 0.2,
    "cpu": 5.0,
    "memory": 256 << 20,
    "folder_size": 64 << 20,
    "folder_files": 2000,
    "flood": 32 << 20,
}
SECONDS = 10.0
AT_ONCE = 4
LITTER = [Path(folder, "agentic-hostile") for folder in ("/tmp", "/var/tmp", "/dev/shm", "/root")]
LITTER += [Path("/tmp/escaped-agentic"), Path("/escaped-agentic")]
SYSV_KEY = str(0x61676E74)


def programs(kind: str = "*") -> dict[str, str]:
    """The programs of one class, or of all, by `class.name`."""
    found: dict[str, str] = {}
    for file in sorted((Path(__file__).parent / "hostile").glob(f"{kind}.txt")):
        for part in file.read_text(encoding="utf-8").split("### ")[1:]:
            name, _, code = part.partition("\n")
            found[f"{file.stem}.{name}"] = code
    return found


class World:
    """Everything that must stay as it is."""

    def __init__(self) -> None:
        self.secret = f"canary{secrets.token_hex(12)}"
        os.environ["AGENTIC_CANARY"] = self.secret
        self.top = Path(tempfile.mkdtemp(prefix="world-"))
        self.top.chmod(0o755)
        self.canaries = self.folder("canaries", 0o755)
        for name in ("canary.txt", f"{self.secret}.txt"):
            (self.canaries / name).write_text(f"{self.secret}\n" * 3)
        (self.canaries / "canary.py").write_text(f"SECRET = {self.secret!r}\n")
        self.out = self.folder("out", 0o777)
        self.victim_file = self.folder("victim", 0o777) / "file"
        self.victim_file.write_text("untouched")
        self.victim_file.chmod(0o666)
        self.victim = subprocess.Popen(["sleep", "1000"], env={})
        unix = self.folder("unix", 0o777)
        self.abstract = f"agentic-{secrets.token_hex(6)}"
        self.listeners = {
            "TCP": listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "UDP": listener(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "UNIX": listener(socket.AF_UNIX, socket.SOCK_STREAM, str(unix / "stream")),
            "UNIX_DGRAM": listener(socket.AF_UNIX, socket.SOCK_DGRAM, str(unix / "datagram")),
            "ABSTRACT": listener(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.abstract}"),
        }
        for path in unix.iterdir():
            path.chmod(0o777)
        self.before = self.state()

    def folder(self, name: str, mode: int) -> Path:
        path = self.top / name
        path.mkdir()
        path.chmod(mode)
        return path

    def fill_in(self, code: str) -> str:
        """A program with the names of this world's things."""
        return Template(code).safe_substitute(
            CANARY=self.canaries / "canary.txt",
            CANARY_DIR=self.canaries,
            OUT=self.out,
            VICTIM_FILE=self.victim_file,
            VICTIM=self.victim.pid,
            HOST_PID=os.getpid(),
            TCP=self.listeners["TCP"].getsockname()[1],
            UDP=self.listeners["UDP"].getsockname()[1],
            UNIX=self.listeners["UNIX"].getsockname(),
            UNIX_DGRAM=self.listeners["UNIX_DGRAM"].getsockname(),
            ABSTRACT=self.abstract,
        )

    def state(self) -> dict[str, object]:
        """What no program may change."""
        file = self.victim_file.stat()
        shared = Path("/proc/sysvipc/shm")
        return {
            "file": (self.victim_file.read_text(), stat.filemode(file.st_mode), file.st_uid, file.st_mtime_ns),
            "out": sorted(path.name for path in self.out.iterdir()),
            "out itself": stat.filemode(self.out.stat().st_mode),
            "attributes": os.listxattr(self.victim_file),
            "litter": [str(path) for path in LITTER if can_see(path)],
            "victim": self.victim.poll(),
            "host name": socket.gethostname(),
            "shared memory": SYSV_KEY in shared.read_text().split() if shared.exists() else False,
            "clock": time.time() > 1_600_000_000,
            "heard": [name for name, heard in self.listeners.items() if has_heard(heard)],
        }

    def harm(self, result: Result) -> list[str]:
        """What a program achieved."""
        found = [f"{key}: {value}" for key, value in self.state().items() if value != self.before[key]]
        texts = (result.stdout, result.stderr, result.value or "", result.error or "", *result.notes)
        told = "\n".join((*texts, *(file.name for file in result.files)))
        data = b"".join([*(file.data for file in result.files), *(image.data or b"" for image in result.images)])
        if self.secret in told or self.secret.encode() in data:
            found.append("it read the secret")
        if "SECRET_LEAK" in result.stdout or b"SECRET_LEAK" in data or re.search(r"root:[x*]:0|root:\$", told):
            found.append("it got through")
        if len(told) > 500_000:
            found.append(f"{len(told)} characters came back")
        processes = descendants(os.getpid()) - {self.victim.pid}
        if len(processes) > 2 + AT_ONCE:  # bubblewrap, the zygote, the sessions
            found.append(f"{len(processes)} processes")
        return found

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for heard in self.listeners.values():
            heard.close()
        del os.environ["AGENTIC_CANARY"]
        subprocess.run(["rm", "-rf", str(self.top)], check=True)


def listener(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def has_heard(heard: socket.socket) -> bool:
    try:
        if heard.type == socket.SOCK_STREAM:
            heard.accept()[0].close()
        else:
            heard.recv(99)
    except BlockingIOError:
        return False
    return True


def can_see(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def descendants(pid: int) -> set[int]:
    """The processes below one, by /proc."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(file.parent.name)] = int(fields[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {pid}


async def try_one(interpreter: CodeInterpreter, world: World, name: str, code: str) -> list[str]:
    """Runs one program, then asks whether the interpreter is still of use."""
    start = time.monotonic()
    result = await interpreter.run(world.fill_in(code), session=name)
    took = time.monotonic() - start
    found = world.harm(result)
    if took > SECONDS:
        found.append(f"it took {took:.1f} s")
    await interpreter.run("1 + 1", session=name)  # the session may have spoilt itself, but not this program
    await interpreter.reset(name)
    for _ in range(3):  # a busy machine may need longer than the time of a call
        after = await interpreter.run("1 + 1", session=name)
        if after.status != "interrupted":
            break
    if after.value != "2" or after.stdout or after.stderr:
        found.append(f"afterwards: {after}")
    await interpreter.reset(name)
    return found


@contextlib.contextmanager
def hostile_ground(level: Any) -> Iterator[tuple[CodeInterpreter, World]]:
    """A world, and an interpreter in it."""
    world = World()
    interpreter = CodeInterpreter(isolation=level, **LIMITS)
    try:
        asyncio.run(interpreter.run("1 + 1"))
        asyncio.run(interpreter.reset())
        yield interpreter, world
    finally:
        interpreter.close()
        world.close()


async def failures(interpreter: CodeInterpreter, world: World, *kinds: str) -> dict[str, list[str]]:
    """What the programs of these classes, or of all, achieved; nothing, if all is well."""
    outcomes: dict[str, list[str]] = {}
    places = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, code: str) -> None:
        async with places:
            start = time.monotonic()
            outcomes[name] = await try_one(interpreter, world, name, code)
            if "-v" in sys.argv:
                print(f"{name:40} {time.monotonic() - start:6.2f} s {outcomes[name] or ''}", flush=True)

    await asyncio.gather(*(one(*pair) for kind in kinds or "*" for pair in programs(kind).items()))
    return {name: outcome for name, outcome in outcomes.items() if outcome}


if __name__ == "__main__":
    chosen, *classes = [argument for argument in sys.argv[1:] if argument != "-v"]
    with hostile_ground(chosen) as ground:
        found = asyncio.run(failures(*ground, *classes))
    for name, outcome in found.items():
        print(name, *outcome, sep="\n    ")
    sys.exit(bool(found))

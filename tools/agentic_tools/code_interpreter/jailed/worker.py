"""Runs the code of one session, inside the jail: one frame in, one frame out.

A frame is two lengths of four bytes, then a JSON object, then the bytes of the files and images that it names.
"""

# Descriptors and flags are what matters here; pathlib has none.
# ruff: noqa: PTH105, PTH118, PTH123

from __future__ import annotations

import ast
import builtins
import io
import json
import linecache
import os
import signal
import stat
import struct
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

_CELLS = 200
"""Of so many calls the lines are kept, for tracebacks and `inspect`."""
_FRAMES = 14


def serve(request: int, reply: int, folder: str, limits: dict[str, int]) -> None:
    """Answers frames until the host closes the pipe."""
    session = _Session(folder, limits)
    while (frame := _read_frame(request)) is not None:
        message, data = frame
        answer = session.put(message["name"], data) if message["op"] == "put" else session.run(message["code"])
        blobs = answer.pop("blobs", [])
        _write_frame(reply, {"id": message["id"], **answer}, b"".join(blobs))


class _Session:
    def __init__(self, folder: str, limits: dict[str, int]) -> None:
        self.folder = folder
        self.limits = limits
        self.running = False
        self.count = 0
        self.main = ModuleType("__main__")
        self.main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = self.main
        sys.argv = [""]
        sys.path.insert(0, folder)
        self.streams: tuple[Any, Any] = (_text(1), _text(2))
        self.seen = dict(self._listing())

    def put(self, name: str, data: bytes) -> dict[str, Any]:
        """Writes a file of the host's into the folder; a link that stands in its place is replaced."""
        try:
            beside = os.path.join(self.folder, f".incoming-{name}")
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(data)
            os.replace(beside, os.path.join(self.folder, name))
        except OSError as error:
            return {"error": f"{name} could not be written: {error.strerror}"}
        self.seen |= {key: mark for key, mark in self._listing() if key == name}
        return {"error": None}

    def run(self, code: str) -> dict[str, Any]:
        """Runs code; what it prints goes to the pipes, the rest into the answer."""
        self.count += 1
        self._restore()
        answer: dict[str, Any] = {"value": None, "error": None, "images": [], "files": [], "notes": [], "blobs": []}
        try:
            self.running = True
            value = self._execute(code)
            if picture := _picture_of(value):
                self._show(answer, picture, "The value's picture")
            if value is not None:
                answer["value"] = _clip(repr(value), self.limits["value"])
        except SystemExit as error:
            if error.code not in (None, 0):
                answer["error"] = f"SystemExit: {_safely(error.code)}"
        except BaseException as error:
            answer["error"] = _clip(_trimmed(error), self.limits["traceback"])
        for step in (self._figures, self._files, self._flush):
            try:
                step(answer)
            except BaseException as error:
                answer["notes"].append(f"{step.__name__[1:]}: {type(error).__name__}")
        self.running = False
        return answer

    def _execute(self, code: str) -> Any:
        """Runs the statements; the value of the last one if it is an expression."""
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        linecache.cache.pop(f"<cell {self.count - _CELLS}>", None)
        tree: ast.Module = compile(code, name, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)  # type: ignore[assignment]
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(self._compile(tree, name), self.main.__dict__)  # noqa: S102
        if not isinstance(last, ast.Expr):
            return None
        expression = compile(ast.Expression(last.value), name, "eval", dont_inherit=True)
        return eval(expression, self.main.__dict__)  # noqa: S307

    @staticmethod
    def _compile(tree: ast.Module, name: str) -> CodeType:
        return compile(tree, name, "exec", dont_inherit=True)

    def _restore(self) -> None:
        """Puts back what the last call may have broken: the signal handler, the streams, the folder."""
        signal.signal(signal.SIGINT, self._interrupted)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        sys.stdout, sys.stderr = self.streams
        if any(stream.closed for stream in self.streams):
            self.streams = (_text(1), _text(2))
            sys.stdout, sys.stderr = self.streams
        os.chdir(self.folder)

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        if self.running:
            raise KeyboardInterrupt

    def _flush(self, _answer: dict[str, Any]) -> None:
        for stream in (*self.streams, sys.stdout, sys.stderr):  # code may have put others in their places
            stream.flush()

    def _show(self, answer: dict[str, Any], picture: bytes, what: str) -> None:
        width, height = struct.unpack(">II", picture[16:24].ljust(8, b"\0"))
        room = min(self.limits["returned"], 3 * self.limits["returned"] - sum(answer["images"]))
        too_large = width * height > self.limits["pixels"] or len(picture) > room
        if too_large or len(answer["images"]) >= self.limits["images"]:
            answer["notes"].append(f"{what} was left out: too many figures, or too large.")
        else:
            answer["images"].append(len(picture))
            answer["blobs"].append(picture)

    def _figures(self, answer: dict[str, Any]) -> None:
        """Every open matplotlib figure as a PNG, and closes it."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        try:
            for number in pyplot.get_fignums():
                try:
                    self._show(answer, self._drawn(pyplot.figure(number)), f"Figure {number}")
                except Exception as error:
                    answer["notes"].append(f"Figure {number} cannot be drawn: {type(error).__name__}: {_safely(error)}")
        finally:
            pyplot.close("all")

    def _drawn(self, figure: Any) -> bytes:
        if figure.bbox.width * figure.bbox.height > self.limits["pixels"]:
            raise ValueError("it is too large")
        file = io.BytesIO()
        with warnings.catch_warnings(action="ignore"):  # they would name this line, not one of the code's
            figure.savefig(file, format="png")
        return file.getvalue()

    def _files(self, answer: dict[str, Any]) -> None:
        """The files that are new or changed since the last call."""
        listing = dict(self._listing())
        changed = [name for name, mark in listing.items() if self.seen.get(name) != mark]
        self.seen = listing
        room = self.limits["returned"]
        for name in changed:
            data = self._read(name, room) if len(answer["files"]) < self.limits["files"] else None
            if data is None:
                answer["notes"].append(f"The file {name!r} stays in the folder, but was not returned: see the limits.")
            else:
                room -= len(data)
                answer["files"].append([name, len(data)])
                answer["blobs"].append(data)
        del answer["notes"][20:]

    def _read(self, name: str, room: int) -> bytes | None:
        try:
            place = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # it has no mode, or a thread removed it
            return None
        with open(place, "rb") as file:
            found = os.fstat(place)
            if not stat.S_ISREG(found.st_mode) or found.st_size > room:
                return None
            return file.read(room)

    def _listing(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Regular files in the folder and two levels below, hidden ones left out: name, and what changes with them."""
        left = self.limits["listed"]
        folders = [("", 0)]
        while folders:
            prefix, depth = folders.pop()
            try:
                entries = os.scandir(os.path.join(self.folder, prefix))
            except OSError:
                continue
            with entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.name.startswith((".", "__pycache__")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders += [(f"{prefix}{entry.name}/", depth + 1)] if depth < 2 else []
                    elif entry.is_file(follow_symlinks=False):
                        found = entry.stat(follow_symlinks=False)
                        yield prefix + entry.name, (found.st_ino, found.st_mtime_ns, found.st_size)


def _picture_of(value: Any) -> bytes | None:
    """What a value such as a PIL image shows of itself in a notebook."""
    show = getattr(type(value), "_repr_png_", None)
    data = show(value) if callable(show) else None
    return data if isinstance(data, bytes) else None


def _trimmed(error: BaseException) -> str:
    """The traceback, without this module's part in it."""
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__, limit=-_FRAMES, compact=True)
        shown.stack = traceback.StackSummary.from_list(frame for frame in shown.stack if frame.filename != __file__)
        return "".join(shown.format()).rstrip()
    except BaseException as another:  # its __str__ may do anything
        return f"{type(error).__name__} (it cannot be shown: {type(another).__name__})"


def _safely(value: Any) -> str:
    try:
        return _clip(str(value), 1000)
    except BaseException as error:
        return f"({type(error).__name__})"


def _clip(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n… {len(text) - most} characters left out …\n{text[-(most // 2) :]}"


def _text(descriptor: int) -> io.TextIOWrapper:
    return open(descriptor, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)


def _read_frame(descriptor: int) -> tuple[Any, bytes] | None:
    head = _read_exactly(descriptor, 8)
    if head is None:
        return None
    text, data = (_read_exactly(descriptor, size) or b"" for size in struct.unpack(">II", head))
    return json.loads(text), data


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_frame(descriptor: int, message: dict[str, Any], data: bytes) -> None:
    text = json.dumps(message).encode()
    view = memoryview(struct.pack(">II", len(text), len(data)) + text + data)
    while view:
        view = view[os.write(descriptor, view) :]

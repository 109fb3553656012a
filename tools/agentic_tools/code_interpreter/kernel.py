"""One session's process, seen from the host: runs a call to its end, whatever the code does. Blocking, for a thread."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import folder as folders
from .launch import Started
from .limits import Limits

Reason = Literal["timeout", "cancelled", "cpu", "output", "memory", "disk", "died", "protocol"]
FATAL: frozenset[Reason] = frozenset(("memory", "disk", "died", "protocol"))
_TICK = 0.05
_DISK_EVERY = 4
_SHORT = 0.005


class Printed:
    """What was printed: the head and the tail of it, however much it is."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Takes more of it."""
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 2 * self._half + 65536:
            del self._tail[: -self._half]

    @property
    def text(self) -> str:
        """The text, with a note where some is left out."""
        tail = self._tail[-self._half :]
        dropped = self.total - len(self._head) - len(tail)
        if dropped <= 0:
            return (self._head + tail).decode("utf-8", "replace")
        head, rest = self._head.decode("utf-8", "replace"), tail.decode("utf-8", "replace")
        return f"{head}\n… {dropped:,} bytes left out …\n{rest}"


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        stdout: What it printed.
        stderr: What it printed there.
        reason: Why it was stopped, or None when it came to its own end.
        answer: The worker's answer; None when it was killed.
        blobs: The bytes of its images and files.
    """

    stdout: Printed
    stderr: Printed
    reason: Reason | None = None
    answer: dict[str, Any] | None = None
    blobs: bytes = b""


@dataclass(slots=True)
class _Call:
    outcome: Outcome
    request_id: str
    pending: memoryview
    stop: int
    deadline: float
    cpu_start: float
    received: bytearray = field(default_factory=bytearray)
    interrupted: bool = False


class Kernel:
    """A session's process."""

    def __init__(self, started: Started, folder: Path, limits: Limits) -> None:
        self._started = started
        self._folder = folder
        self._limits = limits
        self._pid = _pid_of(started.pidfd)
        self._unseen = 0.0
        self.pid_inside = started.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is stopped between calls."""
        return not select.select([self._started.pidfd], [], [], 0)[0] and not self._headless()

    def call(self, message: dict[str, Any], data: bytes, timeout: float, stop: int) -> Outcome:
        """Sends one frame and waits for its answer.

        Args:
            message: What to do.
            data: Bytes that go with it.
            timeout: Seconds.
            stop: An eventfd: when it can be read, the call is cancelled.

        Returns:
            The outcome. When its reason is fatal, or it has no answer, the process is dead.
        """
        request_id = secrets.token_hex(16)
        text = json.dumps({**message, "id": request_id}).encode()
        frame = memoryview(struct.pack(">II", len(text), len(data)) + text + data)
        outcome = Outcome(Printed(self._limits.output), Printed(self._limits.output))
        begun = time.monotonic()
        self._signal(signal.SIGCONT)
        call = _Call(outcome, request_id, frame, stop, time.monotonic() + timeout, self._cpu())
        try:
            self._converse(call)
        finally:
            if outcome.answer is None:
                self._signal(signal.SIGKILL)
            else:
                self._signal(signal.SIGSTOP)
            self._drain(outcome)
            self._unseen += time.monotonic() - begun
        return outcome

    def close(self) -> None:
        """Kills the process and closes the pipes."""
        self._signal(signal.SIGKILL)
        select.select([self._started.pidfd], [], [], 5)
        self.let_go()

    def let_go(self) -> None:
        """Closes the pipes."""
        started = self._started
        for descriptor in (started.request, started.reply, started.stdout, started.stderr, started.pidfd):
            os.close(descriptor)

    def _converse(self, call: _Call) -> None:
        """The loop over everything that can happen during a call."""
        started, outcome = self._started, call.outcome
        waiting = select.poll()
        for descriptor in (started.reply, started.stdout, started.stderr, started.pidfd, call.stop):
            waiting.register(descriptor, select.POLLIN)
        waiting.register(started.request, select.POLLOUT)
        next_tick, ticks = time.monotonic() + _TICK, 0
        while outcome.answer is None and outcome.reason not in FATAL:
            patience = max(0.0, min(next_tick, call.deadline) - time.monotonic())
            for descriptor, _ in waiting.poll(patience * 1000 + 0.5):
                if descriptor == call.stop:
                    waiting.unregister(call.stop)
                    self._interrupt(call, "cancelled")
                elif not self._attend(call, descriptor):
                    waiting.unregister(descriptor)
            if time.monotonic() >= next_tick:
                ticks += 1
                self._watch(call, ticks)
                next_tick = time.monotonic() + _TICK
            if time.monotonic() >= call.deadline:
                if call.interrupted:
                    return
                self._interrupt(call, "timeout")

    def _attend(self, call: _Call, descriptor: int) -> bool:
        """Reads or writes one descriptor once; False when there is nothing more to do with it."""
        started, outcome = self._started, call.outcome
        if descriptor == started.request:
            try:
                call.pending = call.pending[os.write(descriptor, call.pending) :]
            except BlockingIOError:
                return True
            except BrokenPipeError:
                return False
            return bool(call.pending)
        if descriptor == started.reply:
            return self._receive(call)
        if descriptor == started.pidfd:
            if outcome.answer is None:
                outcome.reason = "died"
            return False
        printed = outcome.stdout if descriptor == started.stdout else outcome.stderr
        data = _read(descriptor)
        printed.add(data)
        if outcome.stdout.total + outcome.stderr.total > self._limits.flood:
            self._interrupt(call, "output")
        return bool(data)

    def _receive(self, call: _Call) -> bool:
        """Takes a piece of the answer. Anything but one whole frame with the right id ends the session."""
        outcome = call.outcome
        data = _read(self._started.reply)
        call.received += data
        outcome.reason = outcome.reason if data else "died"
        try:
            frame = whole_frame(call.received, self._limits)
        except ValueError:
            outcome.reason = "protocol"
            return True
        if frame is not None:
            answer = decode(frame[0])
            if answer is None or answer.get("id") != call.request_id:
                outcome.reason = "protocol"
            else:
                outcome.answer, outcome.blobs = answer, frame[1]
        return bool(data)

    def _interrupt(self, call: _Call, reason: Reason) -> None:
        if not call.interrupted:
            call.interrupted = True
            call.outcome.reason = reason
            call.deadline = time.monotonic() + self._limits.grace
            self._signal(signal.SIGINT)

    def _watch(self, call: _Call, ticks: int) -> None:
        """Compares what the process uses with its limits."""
        limits = self._limits
        if self._headless():
            call.outcome.reason = "died"
        elif self._memory() > limits.memory:
            call.outcome.reason = "memory"
        elif self._cpu() - call.cpu_start > limits.cpu:
            self._interrupt(call, "cpu")
        elif ticks % _DISK_EVERY == 1 and self._disk_exceeded(self._pid):
            call.outcome.reason = "disk"

    def folder_too_large(self) -> bool:
        """Whether the session's folder is over its limits after a call; short ones cannot have hidden much."""
        if self._unseen <= _SHORT:
            return self._disk_exceeded(None)
        self._unseen = 0.0
        return self._disk_exceeded(self._pid)

    def _disk_exceeded(self, pid: int | None) -> bool:
        return folders.too_large(self._folder, pid, self._limits)

    def _memory(self) -> int:
        """Bytes in use. Pages shared with the zygote count for their part only, once it matters."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            resident = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            if resident <= self._limits.memory:
                return resident
            for line in Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        return 0

    def _cpu(self) -> float:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = self._stat()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def _headless(self) -> bool:
        """Whether the first thread has ended: what others use cannot be seen then."""
        with contextlib.suppress(OSError, IndexError):
            return self._stat()[0] in "ZX"
        return True

    def _stat(self) -> list[str]:
        return Path(f"/proc/{self._pid}/stat").read_text(errors="replace").rpartition(")")[2].split()

    def _drain(self, outcome: Outcome) -> None:
        """What is still in the pipes; they hold little, and the process is stopped."""
        for descriptor, printed in ((self._started.stdout, outcome.stdout), (self._started.stderr, outcome.stderr)):
            for _ in range(64):
                with contextlib.suppress(BlockingIOError):
                    if data := os.read(descriptor, 65536):
                        printed.add(data)
                        continue
                break

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._started.pidfd, number)


def _pid_of(pidfd: int) -> int:
    """The process's number in this /proc."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 18)
    except BlockingIOError:
        return b""


def whole_frame(received: bytearray, limits: Limits) -> tuple[bytes, bytes] | None:
    """The JSON and the bytes of a frame, or None while it is not whole.

    Raises:
        ValueError: This is no frame: far too long, or with something after it.
    """
    if len(received) < 8:
        return None
    text, blobs = struct.unpack(">II", received[:8])
    if text > limits.answer_text or blobs > limits.answer_blobs or len(received) > 8 + text + blobs:
        raise ValueError
    if len(received) < 8 + text + blobs:
        return None
    return bytes(received[8 : 8 + text]), bytes(received[8 + text :])


def decode(text: bytes) -> dict[str, Any] | None:
    """A frame's object, or None when it is none."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None

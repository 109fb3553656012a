"""A server that runs as a child process and speaks over its stdin and stdout, one JSON-RPC message a line.

The SDK has such a transport too. This one bounds the length of a line, keeps the end of stderr for error messages,
and knows whether a message was written before the server died.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

LARGEST_MESSAGE = 16 * 1024 * 1024
"""The longest message that is read from a server, in bytes."""
PATIENCE = 2.0
"""Seconds that a server has to end after its stdin was closed, and again after SIGTERM."""

_STDERR_BYTES = 4096


@dataclass(slots=True)
class Sending:
    """Whether a request has left for the server."""

    written: bool = False


SENDING: ContextVar[Sending | None] = ContextVar("agentic_mcp_sending", default=None)
"""Set by whoever wants to know about the request that it makes."""


@dataclass(slots=True)
class Child:
    """A server's process.

    Attributes:
        command: The program and its arguments.
        env: Its whole environment.
        folder: Where it runs, or None for the current folder.
        ended: Called when it can answer no more.
        problem: Why it cannot, or an empty string.
        stderr: The end of what it wrote there.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    folder: str | None
    ended: Callable[[], None]
    problem: str = ""
    stderr: bytearray = field(default_factory=bytearray)

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[tuple[Any, Any]]:
        """Starts the server and yields the streams that the SDK's client wants; it is gone afterwards.

        Raises:
            OSError: It cannot be started.
        """
        import anyio
        from mcp.shared.message import SessionMessage

        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self.env,
            cwd=self.folder,
            limit=LARGEST_MESSAGE,
            start_new_session=True,
        )
        _running.add(process.pid)
        arrived, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        readers = [
            asyncio.create_task(self._read_messages(process, arrived)),
            asyncio.create_task(self._read_stderr(process)),
        ]
        try:
            yield received, _Writer(process)
        finally:
            received.close()
            try:
                await _stop(process)
            finally:
                _signal(process.pid, "SIGKILL")  # those of its children that are left, and itself if we were cancelled
                _running.discard(process.pid)
                for reader in readers:
                    reader.cancel()
                arrived.close()
                _close(process)
                await asyncio.gather(*readers, return_exceptions=True)
                await _closed(process)

    async def _read_messages(self, process: Process, arrived: Any) -> None:
        import anyio
        from mcp.shared.message import SessionMessage
        from pydantic import ValidationError

        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with arrived:
                while line := await process.stdout.readline():
                    if not line.lstrip().startswith(b"{"):
                        continue  # something that it, or a library of its, printed
                    await arrived.send(SessionMessage(_message(line)))
        except ValidationError:
            self.problem = "sent invalid JSON-RPC"
        except ValueError:  # readline's
            self.problem = f"sent more than {LARGEST_MESSAGE:,} bytes at once"
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # nobody listens any more: it is being closed
        finally:
            self.ended()

    async def _read_stderr(self, process: Process) -> None:
        assert process.stderr is not None  # noqa: S101 - it was asked for
        while data := await process.stderr.read(_STDERR_BYTES):
            self.stderr += data
            del self.stderr[:-_STDERR_BYTES]


class _Writer:
    """The stream that the SDK writes into. It is called in the task of whoever makes the request."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        self._process = process
        self._stdin = process.stdin

    async def send(self, item: Any) -> None:
        import anyio

        if self._stdin.is_closing() or _dead(self._process):
            raise anyio.ClosedResourceError
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        if sending := SENDING.get():
            sending.written = True
        self._stdin.write(line)
        if getattr(item.message, "id", None) is None:
            return  # that a call was given up must not wait for a server that does not read
        try:
            await self._stdin.drain()
        except ConnectionError:
            raise anyio.BrokenResourceError from None

    async def aclose(self) -> None:
        self._stdin.close()

    async def __aenter__(self) -> _Writer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _message(line: bytes) -> Any:
    """A message. Half a character, such as servers make that cut text, does not spoil the rest of it.

    Raises:
        ValidationError: It is no JSON-RPC.
    """
    from mcp_types import jsonrpc_message_adapter
    from pydantic import ValidationError

    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        try:
            whole = json.dumps(json.loads(line.decode("utf-8", "replace")), ensure_ascii=False)
        except (ValueError, RecursionError):
            whole = ""
        return jsonrpc_message_adapter.validate_json(whole.encode("utf-8", "replace"), by_name=False)


async def _stop(process: Process) -> None:
    """Ends a server: by closing its stdin, by SIGTERM, by SIGKILL."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.close()
    for name in ("SIGTERM", "SIGKILL", None):
        ending = time.monotonic() + PATIENCE
        # `process.wait()` would also wait for whoever inherited its pipes.
        while process.returncode is None and time.monotonic() < ending:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        if process.returncode is not None or name is None:
            return
        _signal(process.pid, name)


def _dead(process: Process) -> bool:
    """Whether a server has ended, even if the loop has not heard of it yet; it is left for the loop to reap."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.returncode is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _close(process: Process) -> None:
    """Closes our ends of the pipes: a grandchild may hold the others open for ever."""
    transport = getattr(process, "_transport", None)
    with suppress(PermissionError):
        if transport is not None:
            transport.close()


async def _closed(process: Process) -> None:
    """Hears how stdin ended: asyncio would report a broken pipe as an exception that nobody has seen."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await process.stdin.wait_closed()


def _signal(pid: int, name: str) -> None:
    """Signals a server's process group, which has its pid; Windows knows only one process and one way to end it."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.Signals[name])


_running: set[int] = set()


@atexit.register
def _end_all() -> None:
    """At the end of a program that closed nothing: servers that do not mind their stdin would stay for ever."""
    for pid in _running:
        _signal(pid, "SIGTERM")
    ending = time.monotonic() + PATIENCE / 2
    while any(map(_alive, _running)) and time.monotonic() < ending:
        time.sleep(0.01)
    for pid in _running:
        _signal(pid, "SIGKILL")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # they are the parent's

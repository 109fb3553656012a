"""A small HTTP/1.1 server in a thread: keep-alive, chunked answers, and every way to fail.

::

    with OpenAIServer(brain) as server:
        server.faults.append(Status(429, headers={"retry-after": "1"}))   # the next request fails like this
        ... server.url, server.requests[0].json, server.connections
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

WAIT = 10.0  # seconds: nothing in a test takes that long


@dataclass
class Request:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the client closed the connection before the answer was complete."""
    answered: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Response:
    """Writes one answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.started = False
        self.ended = False

    async def whole(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        self.started = self.ended = True

    async def json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        await self.whole(status, json.dumps(value).encode(), "application/json", headers)

    async def start(self, content_type: str) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        await self._writer.drain()
        self.started = True

    async def send(self, data: bytes) -> None:
        if data:
            self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        self.ended = True

    def abort(self) -> None:
        """Resets the connection, as a crashing server does."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@dataclass(frozen=True)
class Status:
    """The next request is answered with this status."""

    code: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True)
class HangUp:
    """The connection of the next request is reset before any answer."""


@dataclass(frozen=True)
class CutAfter:
    """The next answer breaks after so many of its chunks: by a reset, or by a clean end of the stream."""

    chunks: int
    reset: bool = True


@dataclass(frozen=True)
class StallAfter:
    """The next answer stops after so many chunks and says nothing more until the client goes away."""

    chunks: int


@dataclass(frozen=True)
class Insert:
    """After so many chunks of the next answer, these bytes come instead of the rest."""

    chunks: int
    data: bytes


@dataclass(frozen=True)
class Resplit:
    """The next answer's bytes come in pieces of this size, wherever that cuts."""

    size: int


Fault = Status | HangUp | CutAfter | StallAfter | Insert | Resplit


class Server:
    """Serves in a thread of its own from `__enter__` to `__exit__`.

    Attributes:
        requests: All requests so far.
        faults: What goes wrong next, one for each request; None is nothing.
        connections: How many connections were opened.
        problems: What the requests got wrong, by this server's standards.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault | None] = []
        self.problems: list[str] = []
        self.connections = 0
        self._arrived = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name=type(self).__name__, daemon=True
        )
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._port = 0

    async def answer(self, request: Request, response: Answer) -> None:
        raise NotImplementedError

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base URL that a user would configure."""
        return self.origin

    def wait_for(self, count: int) -> Request:
        """Waits until so many requests came and returns the last of them."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, WAIT), "the request never came"
        return self.requests[count - 1]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.ensure_future(self._connection(Wire(reader), writer, self.connections))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, wire: Wire, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while (request := await wire.request(number)) is not None:
                with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                fault = self.faults.pop(0) if self.faults else None
                if not await self._respond(request, Answer(writer, fault), wire):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # gone, or no HTTP at all
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    async def _respond(self, request: Request, answer: Answer, wire: Wire) -> bool:
        """Answers, and watches for the client to go away meanwhile. Returns whether the connection goes on."""
        work = asyncio.ensure_future(self._safely(request, answer))
        watch = asyncio.ensure_future(wire.closed())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                request.gone.set()
        finally:
            watch.cancel()
            work.cancel()
            await asyncio.gather(watch, work, return_exceptions=True)
            request.answered.set()
        return answer.ended

    async def _safely(self, request: Request, answer: Answer) -> None:
        try:
            if isinstance(answer.fault, HangUp):
                answer.abort()
            elif isinstance(answer.fault, Status):
                await answer.refuse(answer.fault)
            else:
                await self.answer(request, answer)
        except Broken:
            pass
        except ConnectionError:
            request.gone.set()
        except Exception as error:
            self.problems.append(repr(error))
            if not answer.started:
                await answer.json(500, {"error": {"message": repr(error)}})


class Broken(Exception):
    """The fault ended the answer."""


class Answer(Response):
    """A response on which a fault may strike."""

    def __init__(self, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        super().__init__(writer)
        self.fault = fault
        self._sent = 0
        self._held = b""

    async def refuse(self, status: Status) -> None:
        body = status.body if isinstance(status.body, bytes) else json.dumps(status.body).encode()
        await self.whole(status.code, body, status.content_type, status.headers)

    async def send(self, data: bytes) -> None:
        match self.fault:
            case CutAfter(chunks=chunks, reset=reset) if self._sent >= chunks:
                if reset:
                    self.abort()
                else:
                    await self.end()
                raise Broken
            case StallAfter(chunks=chunks) if self._sent >= chunks:
                await asyncio.Event().wait()
            case Insert(chunks=chunks, data=instead) if self._sent >= chunks:
                await super().send(instead)
                await self.end()
                raise Broken
            case Resplit():
                self._held += data
            case _:
                await super().send(data)
        self._sent += 1

    async def end(self) -> None:
        if isinstance(self.fault, Resplit):
            size, held = self.fault.size, self._held
            for start in range(0, len(held), size):
                await super().send(held[start : start + size])
        await super().end()


class Wire:
    """The client's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._early = b""  # the first byte of a next request, met while watching for the end

    async def request(self, connection: int) -> Request | None:
        line = self._early + await self._reader.readline()
        self._early = b""
        if not line:
            return None
        method, path, _ = line.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := await self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, body, connection)

    async def closed(self) -> None:
        """Returns when the client closes the connection."""
        with contextlib.suppress(ConnectionError):
            if self._early or (byte := await self._reader.read(1)):
                self._early = self._early or byte
                await asyncio.Event().wait()

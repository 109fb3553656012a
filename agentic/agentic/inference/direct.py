"""Requests over asyncio itself: HTTP/1.1 as h11 speaks it, without the layers that a general client has in between.

Through httpx, httpcore and anyio a request takes more CPU time than all the rest of a turn. A model server is one
origin, asked in one way, so this is enough for it: connections are kept and used again, one request at a time on each.
Proxies are left to httpx (see `http`). Failures are httpx's errors, so that callers know one family.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import httpx

if TYPE_CHECKING:
    import h11

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""The longest silence on a connection. `retry.generate` has shorter limits; this one is the last resort."""

_IDLE_SECONDS = 30.0
_MOST_IDLE = 256
_LARGEST_HEAD = 64 * 1024
_ENOUGH_UNREAD = 256 * 1024
_PIECE = 8 * 1024


class Answer:
    """A response whose body is still to be read; it has the part of `httpx.Response` that providers use.

    Attributes:
        status_code: The status.
        headers: By their names in lower case; of a repeated one the last.
    """

    def __init__(self, connection: _Connection, response: h11.Response) -> None:
        self.status_code = response.status_code
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers
        }
        self._connection: _Connection | None = connection

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The body as it comes, each time all that has arrived.

        Raises:
            httpx.HTTPError: The connection broke, was silent for too long, or what came is not HTTP.
        """
        coding = self.headers.get("content-encoding", "identity").lower()
        if coding == "identity":
            while data := await self._read():
                yield data
            return
        if coding not in ("gzip", "deflate"):
            raise httpx.DecodingError(f"The answer came in the coding {coding!r}, which was not asked for.")
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        while data := await self._read():
            try:
                yield inflater.decompress(data)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error

    async def aread(self) -> bytes:
        """The whole body; raises as `aiter_bytes`."""
        return b"".join([data async for data in self.aiter_bytes()])

    async def aclose(self) -> None:
        """Closes the connection, unless the body was read to its end: then it has been given back already."""
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    async def _read(self) -> bytes:
        data = await self._connection.read() if self._connection else b""
        if not data:
            await self.aclose()
        return data


class Origin:
    """The connections of one event loop to one server.

    Args:
        url: Any URL of that server; only its scheme, user, host and port matter.
        tls: For https.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = httpx.URL(url)
        secure = parts.scheme == "https"
        self.host = parts.raw_host.decode("ascii").strip("[]")
        self.port = parts.port or (443 if secure else 80)
        self.tls = tls if secure else None
        self._literal = ":" in self.host or self.host.replace(".", "").isdigit()
        self.base: list[tuple[bytes, bytes]] = [(b"host", parts.netloc)]
        if parts.userinfo:
            named = f"{parts.username}:{parts.password}".encode()
            self.base.append((b"authorization", b"Basic " + base64.b64encode(named)))
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Sends a request and waits for the answer's head.

        Args:
            method: Such as `POST`.
            target: The path and query, beginning with `/`.
            headers: More of them; names in lower case.
            body: What to send, or None.

        Raises:
            httpx.HTTPError: No connection, silence, or something that is not HTTP.
        """
        import h11

        given = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        ours = [pair for pair in self.base if pair[0] not in {name for name, _ in given}]
        if body is not None:
            ours.append((b"content-length", str(len(body)).encode()))
        try:
            request = h11.Request(method=method, target=target, headers=[*ours, *given])
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        while True:
            connection = self._kept()
            fresh = connection is None
            connection = connection or await self._connect()
            try:
                return Answer(connection, await connection.ask(request, body or b""))
            except (httpx.RemoteProtocolError, httpx.ReadError):
                connection.release()
                # A server may close an idle connection just when it is used again (llama.cpp's does, without notice).
                if fresh or connection.answered:
                    raise
            except BaseException:
                connection.release()
                raise

    async def aclose(self) -> None:
        """Ends every connection."""
        ending = list(self._open)
        for connection in ending:
            connection.end()
        for connection in ending:
            await connection.gone.wait()

    def keep(self, connection: _Connection) -> None:
        """Takes a connection back that can be used again."""
        if len(self._idle) < _MOST_IDLE:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.end()

    def forget(self, connection: _Connection) -> None:
        """Strikes out a connection that has ended."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive and time.monotonic() - connection.idle_since < _IDLE_SECONDS:
                return connection
            connection.end()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        # Both kinds take `server_hostname`, but only with TLS.
        how: dict[str, Any] = {"ssl": self.tls, "server_hostname": self.host} if self.tls else {}
        if not self._literal:  # a race that is cancelled just when it is won loses its socket: none without need
            how["happy_eyeballs_delay"] = 0.25
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: _Connection(self), self.host, self.port, **how)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no answer within {CONNECT_SECONDS:g} s") from None
        except ConnectionResetError as error:
            # A handshake that a server broke off, as one does that speaks no TLS.
            cause = ssl.SSLError("the server broke off the handshake") if self.tls else error
            raise httpx.ConnectError(str(error)) from cause
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error
        self._open.add(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One connection: h11 on one side, asyncio's transport on the other, a reader who waits for what comes."""

    def __init__(self, origin: Origin) -> None:
        import h11

        self.idle_since = 0.0
        self.answered = False
        self.gone = asyncio.Event()
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._broken: Exception | None = None
        self._ended = False
        self._refused: httpx.RemoteProtocolError | None = None
        self._unread = 0
        self._paused = False

    # -- asyncio's side -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._unread += len(data)
        if self._unread > _ENOUGH_UNREAD and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._http.receive_data(b"")
        self._broken = self._broken or ConnectionError("the server closed the connection")
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._broken = exc or self._broken or ConnectionError("the connection was closed")
        self._origin.forget(self)
        self.gone.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the caller's side --------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether nothing came on it while it was idle, neither data nor its end."""
        return self._broken is None and not self._unread

    async def ask(self, request: h11.Request, body: bytes) -> h11.Response:
        """Sends a request and waits for the head of its answer."""
        import h11

        if self._transport is None or self._broken is not None:
            raise httpx.ReadError(str(self._broken))
        self.answered = False
        sent = [self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        self._transport.write(b"".join(filter(None, sent)))
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError("The server closed the connection before it answered.")

    async def read(self) -> bytes:
        """What of the body has arrived, from one byte to some thousands; empty at its end."""
        import h11

        pieces: list[bytes] = []
        size = 0
        event = None if self._ended else await self._event()
        while isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
            size += len(event.data)
            if size > _PIECE:
                await asyncio.sleep(0)  # who reads the events of a fast answer has a turn, too
                break
            try:
                event = self._next()
            except httpx.RemoteProtocolError:
                break  # the next read meets it again: what came before is good
        self._ended = self._ended or isinstance(event, h11.EndOfMessage)
        return b"".join(pieces)

    def release(self) -> None:
        """Ends the use of the connection for one request."""
        import h11

        whole = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        if whole and self._broken is None and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self._ended = False
            self._resume()
            self._origin.keep(self)
        else:
            self.end()

    def end(self) -> None:
        """Closes at once; the server sees it."""
        self._broken = self._broken or ConnectionError("the connection was closed")
        if self._transport is not None:
            self._transport.abort()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _event(self) -> Any:
        import h11

        while (event := self._next()) is h11.NEED_DATA:
            if self._broken is not None:
                raise httpx.ReadError(str(self._broken)) from self._broken
            self._resume()
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(SILENCE_SECONDS, self._too_quiet)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return event

    def _next(self) -> Any:
        import h11

        if self._refused is not None:
            raise self._refused
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refused = httpx.RemoteProtocolError(str(error))
            raise self._refused from error
        self.answered = self.answered or event is not h11.NEED_DATA
        return event

    def _too_quiet(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(httpx.ReadTimeout(f"nothing came for {SILENCE_SECONDS:g} s"))

    def _resume(self) -> None:
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

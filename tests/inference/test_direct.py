"""The direct way to a server, against servers that behave as servers do, and as they should not."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from agentic.inference import direct
from agentic.inference.direct import Origin
from agentic.inference.failures import Server
from agentic.inference.http import Http

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Peer:
    """A server whose answers are bytes.

    Attributes:
        url: Its base URL.
        requests: The bytes of each request.
        connections: How many there were.
        gone: Set when a client has closed its connection.
    """

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)


Answering = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def peer(answering: Answering | list[bytes]) -> AsyncIterator[Peer]:
    """Serves; a list gives the pieces of every answer."""
    found = Peer()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
                found.requests.append(head + await reader.readexactly(length[0] if length else 0))
                if isinstance(answering, list):
                    for piece in answering:
                        writer.write(piece)
                        await writer.drain()
                else:
                    await answering(writer, len(found.requests))
        except (asyncio.IncompleteReadError, ConnectionError):
            found.gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


@asynccontextmanager
async def origin(url: str) -> AsyncIterator[Origin]:
    opened = Origin(url, None)
    try:
        yield opened
    finally:
        await opened.aclose()


async def ask(to: Origin, body: bytes | None = b"{}") -> tuple[int, bytes]:
    answer = await to.send("GET" if body is None else "POST", "/v1/x", {"accept": "*/*"}, body)
    return answer.status_code, await answer.aread()


async def test_the_request_byte_for_byte_and_one_connection_for_all() -> None:
    async with peer([OK]) as server, origin(server.url) as to:
        assert await ask(to, b'{"a":1}') == (200, b"ok")
        assert await ask(to, None) == (200, b"ok")
    host = server.url.removeprefix("http://").encode()
    assert server.requests == [
        b"POST /v1/x HTTP/1.1\r\nhost: " + host + b'\r\ncontent-length: 7\r\naccept: */*\r\n\r\n{"a":1}',
        b"GET /v1/x HTTP/1.1\r\nhost: " + host + b"\r\naccept: */*\r\n\r\n",
    ]
    assert server.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_an_answer_in_pieces_of_any_size(size: int) -> None:
    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        for start in range(0, len(CHUNKED), size):
            writer.write(CHUNKED[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    async with peer(answering) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"hello world")
        assert await ask(to) == (200, b"hello world")
    assert server.connections == 1


async def test_what_is_not_the_answer_yet_is_passed_over() -> None:
    async with peer([b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK]) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"ok")


async def test_an_answer_that_ends_with_its_connection() -> None:
    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it")
        writer.close()

    async with peer(answering) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"all of it")
        assert await ask(to) == (200, b"all of it")
    assert server.connections == 2


@pytest.mark.parametrize(("coding", "bits"), [("gzip", zlib.MAX_WBITS | 16), ("deflate", zlib.MAX_WBITS)])
async def test_a_coding_that_nobody_asked_for(coding: str, bits: int) -> None:
    press = zlib.compressobj(wbits=bits)
    body = press.compress(b"hello " * 100) + press.flush()
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with peer([head, body]) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"hello " * 100)


@pytest.mark.parametrize(("coding", "body"), [("br", b"xx"), ("gzip", b"no")])
async def test_a_coding_that_cannot_be_read(coding: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with peer([head + body]) as server, origin(server.url) as to:
        answer = await to.send("GET", "/", {}, None)
        with pytest.raises(httpx.DecodingError):
            await answer.aread()
        await answer.aclose()


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, b"\r\n\r\n\r\n"]
)
async def test_something_that_is_not_http(answer: bytes) -> None:
    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(answer)
        writer.close()

    async with peer(answering) as server, origin(server.url) as to:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(to)
    assert len(server.requests) == 1, "only a connection that had been idle is tried again"


async def test_an_answer_cut_off_gives_what_came_and_then_the_error() -> None:
    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        writer.close()

    async with peer(answering) as server, origin(server.url) as to:
        answer = await to.send("GET", "/", {}, None)
        came = b""
        with pytest.raises(httpx.HTTPError):  # noqa: PT012
            async for data in answer.aiter_bytes():
                came += data
        assert came == b"half"
        await answer.aclose()


async def test_a_kept_connection_that_the_server_closed_is_opened_again() -> None:
    async def answering(writer: asyncio.StreamWriter, number: int) -> None:
        if number != 2:  # the second request meets a server that closes without a word
            writer.write(OK)
            await writer.drain()
        else:
            writer.close()

    async with peer(answering) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"ok")
        assert await ask(to) == (200, b"ok")
    assert (len(server.requests), server.connections) == (3, 2)


async def test_words_that_nobody_asked_for_end_the_connection() -> None:
    async with peer([OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"]) as server, origin(server.url) as to:
        assert await ask(to) == (200, b"ok")
        assert await ask(to) == (200, b"ok")
    assert server.connections == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await writer.drain()

    async with peer(answering) as server, origin(server.url) as to:
        answer = await to.send("GET", "/", {}, None)
        reading = asyncio.create_task(answer.aread())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await answer.aclose()
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "SILENCE_SECONDS", 0.02)
    async with peer([]) as server, origin(server.url) as to:
        with pytest.raises(httpx.ReadTimeout):
            await ask(to)


async def test_nobody_listens() -> None:
    async with peer([OK]) as server:
        pass
    async with origin(server.url) as to:
        with pytest.raises(httpx.ConnectError):
            await ask(to)


async def test_a_reader_who_is_slow_stops_the_server() -> None:
    size = 8 * 1024 * 1024
    written = 0

    async def answering(writer: asyncio.StreamWriter, _number: int) -> None:
        nonlocal written
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with peer(answering) as server, origin(server.url) as to:
        answer = await to.send("GET", "/", {}, None)
        before = -1
        while before != written:  # until the server cannot go on
            before = written
            for _ in range(200):
                await asyncio.sleep(0)
        assert written < size
        assert len(await answer.aread()) == size


async def test_many_at_once() -> None:
    async with peer([CHUNKED]) as server, origin(server.url) as to:
        answers = await asyncio.gather(*(ask(to) for _ in range(300)))
        assert set(answers) == {(200, b"hello world")}
        count = server.connections
        await ask(to)
        assert server.connections == count


async def test_a_name_and_password_in_the_url() -> None:
    async with peer([OK]) as server:
        async with origin(server.url.replace("//", "//me:p%40ss@")) as to:
            await ask(to)
        assert b"\r\nauthorization: Basic bWU6cEBzcw==\r\n" in server.requests[0]


async def test_a_proxy_is_used_where_the_environment_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer([OK]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "near.invalid")
        http = Http("http://far.invalid/v1", server=Server("test server", "m", ""))
        assert await http.fetch("/x", b"{}") == b"ok"
        await http.aclose()
    assert proxy.requests[0].startswith(b"POST http://far.invalid/v1/x HTTP/1.1\r\n")

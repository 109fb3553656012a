"""How providers reach their servers: one pool of connections for each event loop, and one loop over an answer.

Requests go directly (see `direct`), or through httpx where the environment names a proxy.
A provider object may be used from several event loops (the sync face runs one of its own), but a connection belongs
to the loop that opened it; so there is a pool for each. A pool ends with its loop or with `aclose`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from ..protocols import Delta
from ..types.errors import ConfigError
from .direct import CONNECT_SECONDS, SILENCE_SECONDS, Answer, Origin
from .failures import Server

A = TypeVar("A", Answer, httpx.Response)

_PER_CLIENT = 24  # httpx scans all connections of a client for each request, so many requests share several clients
_LARGEST_ERROR = 64 * 1024
_DRAIN_SECONDS = 0.5


class Decoder(Protocol):
    """Turns the bytes of one answer into deltas; knows nothing of connections.

    Attributes:
        complete: The message is whole; what follows can be skipped.
    """

    complete: bool

    @property
    def shown(self) -> bool:
        """Whether it gave out any part of an answer."""
        ...

    def feed(self, chunk: bytes) -> list[Delta]:
        """Takes the next bytes, however they were split."""
        ...

    def finish(self) -> list[Delta]:
        """Ends the answer.

        Raises:
            InferenceError: It is not whole.
        """
        ...


@dataclass(slots=True)
class _Client:
    http: httpx.AsyncClient
    in_flight: int = 0


@dataclass(slots=True)
class _Pool:
    origin: Origin | None  # None: a proxy is in between
    clients: list[_Client] = field(default_factory=list)
    closer: AsyncGenerator[None] | None = None


class Http:
    """A server at a base URL.

    Args:
        endpoint: The base URL, http or https.
        server: How errors name the server.
        headers: Sent with every request.

    Raises:
        ConfigError: The endpoint is not a URL.
    """

    def __init__(self, endpoint: str, *, server: Server, headers: Mapping[str, str] | None = None) -> None:
        self.endpoint = base_url(endpoint)
        self.server = server
        self._headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",  # a compressed stream would arrive in lumps
            "user-agent": "agentic",
            **(headers or {}),
        }
        self._path = httpx.URL(self.endpoint).raw_path.decode("ascii").rstrip("/")
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lends a client of the running event loop for one request."""
        async with self._lease() as client:
            yield client.http

    @asynccontextmanager
    async def request(self, path: str, body: bytes | None) -> AsyncIterator[httpx.Response | Answer]:
        """Posts some JSON, or gets a path; the answer's body is left to be read.

        Raises:
            InferenceError: The status is no success.
            httpx.HTTPError: The connection failed.
        """
        method = "GET" if body is None else "POST"
        origin = (await self._pool()).origin
        if origin is not None:
            answer = await origin.send(method, self._path + path, self._headers, body)
            try:
                yield await self._accepted(answer)
            finally:
                await answer.aclose()
        else:
            async with self.client() as http, http.stream(method, self.endpoint + path, content=body) as response:
                yield await self._accepted(response)

    async def _accepted(self, answer: A) -> A:
        if answer.status_code != httpx.codes.OK:
            raise self.server.refused(answer.status_code, await _some(answer), answer.headers)
        return answer

    async def fetch(self, path: str, body: bytes | None = None) -> bytes:
        """Posts some JSON, or gets a path, and reads the whole answer.

        Raises:
            InferenceError: In any of its kinds.
        """
        try:
            async with self.request(path, body) as response:
                return await response.aread()
        except httpx.HTTPError as error:
            raise self.server.unreachable(error, shown=False) from error

    async def stream(self, path: str, body: bytes, decoder: Decoder) -> AsyncGenerator[Delta]:
        """Posts some JSON and decodes the answer as it comes.

        Raises:
            InferenceError: In any of its kinds.
        """
        try:
            async with self.request(path, body) as response, aclosing(decoded(response, decoder)) as deltas:
                async for delta in deltas:
                    yield delta
        except httpx.HTTPError as error:
            raise self.server.unreachable(error, shown=decoder.shown) from error

    async def aclose(self) -> None:
        """Closes every connection, those of other event loops too."""
        for loop, pool in list(self._pools.items()):
            if pool.closer is None or loop.is_closed():
                self._pools.pop(loop, None)
            elif loop is asyncio.get_running_loop():
                await pool.closer.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pool.closer.aclose(), loop))

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[_Client]:
        client = await self._client()
        client.in_flight += 1
        try:
            yield client
        finally:
            client.in_flight -= 1

    async def _pool(self) -> _Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            tls = _trusted() if self.endpoint.startswith("https:") else None
            pool = self._pools[loop] = _Pool(None if _proxied(self.endpoint) else Origin(self.endpoint, tls))
            pool.closer = self._closer(loop, pool)
            await anext(pool.closer)
        return pool

    async def _client(self) -> _Client:
        pool = await self._pool()
        for client in pool.clients:
            if client.in_flight < _PER_CLIENT:
                return client
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        http = httpx.AsyncClient(verify=_tls(self.endpoint), headers=self._headers, timeout=timeout)
        pool.clients.append(_Client(http))
        return pool.clients[-1]

    async def _closer(self, loop: asyncio.AbstractEventLoop, pool: _Pool) -> AsyncGenerator[None]:
        # An event loop closes its async generators before it closes itself: the one moment at which the sockets of
        # a provider that nobody closed can still be closed properly.
        try:
            yield
        finally:
            self._pools.pop(loop, None)
            if pool.origin is not None:
                await pool.origin.aclose()
            for client in pool.clients:
                await client.http.aclose()


def base_url(endpoint: str) -> str:
    """A checked base URL without its last slash.

    Raises:
        ConfigError: It is not an http or https URL with a host.
    """
    try:
        url, host = httpx.URL(endpoint), urlsplit(endpoint).hostname
    except (httpx.InvalidURL, TypeError, ValueError):
        url, host = httpx.URL(""), None
    if url.scheme not in ("http", "https") or not host or " " in endpoint:
        shown = str(endpoint).rpartition("@")[2].partition("?")[0][:80]  # what is before or after may be secret
        raise ConfigError(f"An endpoint looks like http://127.0.0.1:8000/v1, not {shown!r}.")
    return str(url).rstrip("/")


def with_version(url: str) -> str:
    """A base URL; `/v1` is put after one that has no path."""
    url = base_url(url)
    return f"{url}/v1" if httpx.URL(url).path in ("", "/") else url


def shown_url(endpoint: str) -> str:
    """The endpoint as errors show it: without a user name, password or query."""
    url = httpx.URL(endpoint)
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path.rstrip('/')}"


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key, if there is one.

    Raises:
        ConfigError: The key cannot be sent in a header.
    """
    if not key:
        return {}
    if not key.isascii() or not key.isprintable():
        raise ConfigError("The API key holds characters that no key has; was it copied with a line break?")
    return {"authorization": f"Bearer {key}"}


def vectors(
    data: bytes, count: int, server: Server, find: Callable[[Any], Sequence[Sequence[float]]]
) -> list[list[float]]:
    """The embeddings in an answer: as many as there were texts, and all of one length.

    Raises:
        InvalidResponse: The answer holds something else.
    """
    try:
        found = [[float(number) for number in vector] for vector in find(json.loads(data))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise server.not_as_documented("something that is no list of embeddings") from None
    if len(found) != count or len({len(vector) for vector in found}) > 1:
        raise server.not_as_documented(f"{len(found)} embeddings for {count} texts, or of different lengths")
    return found


def _tls(endpoint: str) -> ssl.SSLContext:
    return _trusted() if endpoint.startswith("https:") or getproxies() else _unused()


@functools.cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # 20 ms of CPU time, so one for the process


@functools.cache
def _unused() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx wants one even where nothing is encrypted


def _proxied(endpoint: str) -> bool:
    """Whether the environment names a proxy for this server; then httpx takes the request there."""
    proxies = getproxies()
    scheme, host = urlsplit(endpoint).scheme, urlsplit(endpoint).hostname or ""
    return bool((proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host))


async def _some(response: httpx.Response | Answer) -> bytes:
    read = b""
    async for chunk in response.aiter_bytes():
        read += chunk
        if len(read) > _LARGEST_ERROR:
            break
    return read


async def decoded(response: httpx.Response | Answer, decoder: Decoder) -> AsyncGenerator[Delta]:
    """Decodes an answer's body as it comes.

    Raises:
        InferenceError: The answer is not what it should be, or not whole.
        httpx.HTTPError: The connection broke before the message was complete.
    """
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as chunks:
        try:
            async for chunk in chunks:
                for delta in decoder.feed(chunk):
                    yield delta
                if decoder.complete:
                    break
        except httpx.HTTPError:
            if not decoder.complete:
                raise
        last = decoder.finish()
        await _drain(chunks)
    for delta in last:
        yield delta


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads what follows the end of the message, so that the connection can be used again."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, httpx.HTTPError):
        pass  # a server that keeps the stream open, or ends it badly: the connection is given up

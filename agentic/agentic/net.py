"""Pages at addresses that a model, a user or a document names, fetched without a way into this network.

Only http and https, only public addresses, only the usual ports. Each host name is resolved once, all its addresses are
checked, and the connection goes to an address that was checked (the `Host` header and TLS keep the name); so neither a
redirect nor a second answer of the name server leads elsewhere. Proxies of the environment are not used: a proxy would
resolve the name again.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from .threads import run_in_thread
from .types.errors import ConfigError, InvalidInput, ToolError

TEXT_TYPES = ("text/", "application/json", "application/xml", "+json", "+xml")
"""Media types, their beginnings or their endings (with a `+`), that can be read as text."""

_CONNECT_SECONDS = 10.0
_TRIED_ADDRESSES = 3

# What Python calls global depends on its version, so the lists stand here (IANA's special-purpose registries).
_PRIVATE_4 = [
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure's host, on a public address
    )
]
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_PRIVATE_6 = [  # within the public range: protocol assignments with Teredo, documentation, 6to4
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")  # colons in IPv6 addresses, none with a zone
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Guard:
    """Says which addresses may be connected to.

    Attributes:
        allow: Networks that may be reached on any port although they are not public, such as `127.0.0.1/32`.
        ports: The ports of public addresses that may be reached.

    Raises:
        ConfigError: One of `allow` is no network.
    """

    allow: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})

    def __post_init__(self) -> None:
        for network in self.allow:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigError(f"A guard allows networks such as 127.0.0.1/32: {error}.") from None

    def permits(self, address: str, port: int) -> bool:
        """Whether this address may be connected to on this port."""
        parsed = ipaddress.ip_address(address)
        if any(parsed in ipaddress.ip_network(network) for network in self.allow):
            return True
        return port in self.ports and is_public(parsed)

    async def resolve(self, url: httpx.URL) -> list[str]:
        """The addresses of a URL's host, all of them checked.

        Raises:
            InvalidInput: The URL may not be fetched.
            httpx.ConnectError: The host name is not known.
        """
        host, port = _checked(url)
        try:
            # Not in the loop's own threads: names that nobody answers for would hold up all others, and the loop's end.
            found = await run_in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            raise httpx.ConnectError(f"The host {host} is not known.") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses or not all(self.permits(address, port) for address in addresses):
            raise InvalidInput(f"{host}, port {port}, may not be fetched: only public web servers may.")
        return addresses


def is_public(address: Address) -> bool:
    """Whether an address lies on the public internet: not private, local, reserved, multicast or a disguise of such."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _PRIVATE_4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:  # how a network without IPv4 reaches an IPv4 server
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _PRIVATE_6)


def _checked(url: httpx.URL) -> tuple[str, int]:
    """The host and the port of a URL that may be looked up."""
    if url.scheme not in ("http", "https"):
        raise InvalidInput(f"An address to fetch begins with http:// or https://, not with {url.scheme[:20]!r}.")
    if url.userinfo:
        raise InvalidInput("An address with a user name or a password in it is not fetched.")
    host = url.raw_host.decode("ascii")
    if not _HOST.fullmatch(host):
        raise InvalidInput("The address names no host that can be looked up.")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Name servers are not asked for 2130706433, 0x7f.1 or 127.1: the system's own reading of them is 127.0.0.1.
        if _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise InvalidInput(f"{host} is neither a host name nor a complete IP address.") from None
    return host, url.port if url.port is not None else 443 if url.scheme == "https" else 80


class _GuardedTransport(httpx.AsyncBaseTransport):
    def __init__(self, guard: Guard, verify: ssl.SSLContext) -> None:
        self._guard = guard
        # A kept connection would be found by its address: one that was opened for another host on it.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await self._guard.resolve(request.url)
        host = request.url.raw_host.decode("ascii")
        failure: httpx.TransportError = httpx.ConnectError(f"{host} cannot be reached.")
        for address in addresses[:_TRIED_ADDRESSES]:
            extensions = request.extensions | ({} if address == host else {"sni_hostname": host.rstrip(".")})
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()


def guarded_client(
    guard: Guard | None = None, *, seconds: float = 20.0, verify: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """An HTTP client that connects only where the guard lets it; to be closed by the caller.

    It follows no redirects unless told so, because httpx reads a redirect's whole body; each one is checked.

    Args:
        guard: What may be reached; by default the public web.
        seconds: The longest wait for the server, for each connection and each part of an answer.
        verify: Whom to trust, instead of the usual certificate authorities.

    Raises:
        InvalidInput: From its requests: the address may not be fetched.
    """
    return httpx.AsyncClient(
        transport=_GuardedTransport(guard or Guard(), verify or tls()),
        timeout=httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
        headers={"user-agent": "agentic", "accept-encoding": "gzip"},
        trust_env=False,
    )


@functools.cache
def tls() -> ssl.SSLContext:
    """The usual certificate authorities; making this takes 20 ms of CPU time, so there is one for the process."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch may take.

    Attributes:
        size: The largest body in bytes, after decompression.
        seconds: For everything: names, connections, redirects, the body.
        redirects: How many are followed.
        types: Media types that are taken, as in `TEXT_TYPES`; None takes any.
    """

    size: int = 5 * 1024 * 1024
    seconds: float = 20.0
    redirects: int = 5
    types: tuple[str, ...] | None = TEXT_TYPES


@dataclass(frozen=True, slots=True)
class Page:
    """What was found.

    Attributes:
        url: Where it was found, after redirects.
        media_type: In small letters; empty when the server did not say.
        charset: As the server said, or None.
        data: The body, decompressed.
    """

    url: str
    media_type: str
    charset: str | None
    data: bytes

    @property
    def text(self) -> str:
        """The body as text: in the server's charset, else as UTF-8; what cannot be read becomes U+FFFD."""
        try:
            return self.data.decode(self.charset or "utf-8-sig", errors="replace")
        except (LookupError, ValueError):  # an unknown charset, or one that is no text encoding
            return self.data.decode("utf-8-sig", errors="replace")


async def fetch(url: str, limits: FetchLimits | None = None, guard: Guard | None = None) -> Page:
    """Fetches what lies at an address that is not trusted.

    Raises:
        InvalidInput: It may not be fetched: the scheme, the host, its address or its port.
        ToolError: It could not be: no connection, an error of the server, too many redirects, too slow, too large, or
            of another type.
    """
    limits = limits or FetchLimits()
    try:
        first = httpx.URL(url)
        _checked(first)  # now, because httpx would read an address without a host as relative to nothing
        async with asyncio.timeout(limits.seconds), guarded_client(guard, seconds=limits.seconds) as client:
            return await _follow(client, client.build_request("GET", first), limits)
    except (httpx.InvalidURL, UnicodeError):
        raise InvalidInput(f"{url[:200]!r} is no web address.") from None
    except (TimeoutError, httpx.TimeoutException):
        raise ToolError(f"{_shown(url)} did not answer completely within {limits.seconds:g} s.") from None
    except httpx.HTTPError as error:
        raise ToolError(f"{_shown(url)} could not be fetched: {str(error) or type(error).__name__}") from None


async def _follow(client: httpx.AsyncClient, request: httpx.Request, limits: FetchLimits) -> Page:
    for _ in range(limits.redirects + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return await _read(response, limits)
            request = response.next_request
        finally:
            await response.aclose()
    raise ToolError(f"It redirects more than {limits.redirects} times.")


async def _read(response: httpx.Response, limits: FetchLimits) -> Page:
    where = _shown(str(response.url))
    if not response.is_success:
        raise ToolError(f"{where} answered {response.status_code} {response.reason_phrase[:60]}".strip() + ".")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _taken(media_type, limits.types):
        raise ToolError(f"{where} is of the type {media_type[:80]}, which cannot be read here.")
    data = bytearray()
    async for chunk in _decompressed(response, limits.size + 1):
        data += chunk
        if len(data) > limits.size:
            raise ToolError(f"{where} has more than {limits.size:,} bytes.")
    return Page(str(response.url), media_type, response.charset_encoding, bytes(data))


def _taken(media_type: str, types: tuple[str, ...] | None) -> bool:
    if types is None or not media_type:
        return True
    return any(media_type.endswith(one) if one.startswith("+") else media_type.startswith(one) for one in types)


async def _decompressed(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    """The body in pieces of at most `most` bytes: httpx itself would unpack a bomb whole."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ToolError(f"The page is compressed in a way that was not asked for ({encoding[:40]}).")
    if encoding == "identity":
        async for chunk in response.aiter_raw():
            yield chunk
        return
    unpacker, empty = zlib.decompressobj(zlib.MAX_WBITS | 16), True
    try:
        async for chunk in response.aiter_raw():
            empty = empty and not chunk
            yield unpacker.decompress(chunk, most)
    except zlib.error:
        raise ToolError("The page's compression is broken.") from None
    if not unpacker.eof and not empty:
        raise ToolError("The page broke off.")


def _shown(url: str) -> str:
    return url if len(url) <= 200 else f"{url[:199]}…"

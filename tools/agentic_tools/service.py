"""How web services are asked: bounded, patient for a moment, and with errors that say what to do.

The rules stand in a transport below httpx's client, so that they hold for libraries that bring requests of their own;
and so that a key which belongs into the address is added where httpx's log no longer sees it.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from agentic.net import tls
from agentic.types.errors import ToolError

from .text import plain

LARGEST_ANSWER = 4 * 1024 * 1024
"""The longest answer that is read, in bytes."""
LONGEST_PAUSE = 2.0
"""A refused request is repeated once if the service asks for no longer a pause than this, in seconds."""

_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Service:
    """A web service and who asks it.

    Attributes:
        name: As errors call it.
        key: The key. It is removed from all that the service answers.
        variable: The key's name in the environment.
        seconds: The longest time for one question, a repeated request included.
        parameters: What is added to each address without being logged.
    """

    name: str
    key: str = field(repr=False)
    variable: str
    seconds: float = 20.0
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one question; answers other than 200 never come out of it.

        Raises:
            ToolError: The service cannot be reached, refuses, fails or takes too long.
        """
        try:
            async with (
                asyncio.timeout(self.seconds),
                httpx.AsyncClient(transport=_Transport(self), timeout=None) as client,  # noqa: S113 - limited above
            ):
                client.headers["accept-encoding"] = "identity"
                client.headers["user-agent"] = "agentic"
                yield client
        except TimeoutError:
            raise ToolError(f"{self.name} did not answer within {self.seconds:g} s.") from None

    def parse(self, data: bytes) -> Any:
        """The JSON of an answer.

        Raises:
            ToolError: It is something else.
        """
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise ToolError(f"{self.name} answered with something that is not JSON, or cut off.") from None

    def refused(self, status: int, headers: httpx.Headers, body: bytes) -> ToolError:
        """What a status other than 200 means."""
        detail = _detail(body)
        why = f"({status}: {detail})" if detail else f"({status})"
        if status in (401, 403) or "TOKEN_INVALID" in detail:
            return ToolError(
                f"{self.name} does not accept the key {why}.",
                hint=f"The user must set a valid {self.variable}, or run: agentic keys set {self.variable}",
            )
        if status == 429:
            wait = _asked_pause(headers)
            when = f"after {wait:.0f} s" if wait is not None else "later"
            return ToolError(f"{self.name} had too many requests ({status}).", hint=f"It can be tried again {when}.")
        if status in (402, 432, 433):
            return ToolError(f"The plan's limit at {self.name} is used up {why}.")
        if status >= 500:
            return ToolError(f"{self.name} failed ({status}).", hint="It can be tried again later.")
        return ToolError(f"{self.name} refused the request {why}.")


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._inner: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._inner is None:
            self._inner = httpx.AsyncHTTPTransport(verify=tls(), proxy=_proxy(request.url))
        signed = httpx.Request(
            request.method,
            request.url.copy_merge_params(self._service.parameters),
            headers=request.headers,
            content=await request.aread(),
        )
        try:
            answer = await self._once(self._inner, signed)
            pause = _pause(answer)
            if pause is not None and pause <= LONGEST_PAUSE:
                await asyncio.sleep(pause)
                answer = await self._once(self._inner, signed)
        except httpx.ConnectError:
            raise ToolError(f"{self._service.name} cannot be reached.") from None
        except httpx.HTTPError:  # its text and its request may hold the key
            raise ToolError(f"The connection to {self._service.name} broke off.") from None
        if answer.status_code != httpx.codes.OK:
            raise self._service.refused(answer.status_code, answer.headers, answer.content)
        return answer

    async def _once(self, inner: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await inner.handle_async_request(request)
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise ToolError(f"{self._service.name} sent more than {LARGEST_ANSWER:,} bytes.")
        finally:
            await response.aclose()
        key = self._service.key.encode()
        data = bytes(body).replace(key, b"(key)") if len(key) >= 8 else bytes(body)
        for name in ("content-encoding", "content-length"):
            response.headers.pop(name, None)
        return httpx.Response(response.status_code, headers=response.headers, content=data)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()


def _proxy(url: httpx.URL) -> str | None:
    """The environment's proxy, which httpx only looks for where it makes the transport itself."""
    if proxy_bypass(url.host):
        return None
    found = getproxies()
    proxy = found.get(url.scheme) or found.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _pause(answer: httpx.Response) -> float | None:
    """Seconds after which a request may be repeated, or None if it should not be."""
    if answer.status_code == 429:
        return _asked_pause(answer.headers)
    if answer.status_code in (500, 502, 503, 504):
        asked = _asked_pause(answer.headers)
        return _PAUSE if asked is None else asked
    return None


def _asked_pause(headers: httpx.Headers) -> float | None:
    """Seconds to wait, from `Retry-After`, or from Brave's limits: when the last of those that are used up is reset."""
    if value := headers.get("retry-after", "").strip():
        return _seconds(value)
    left = headers.get("x-ratelimit-remaining", "").split(",")
    resets = headers.get("x-ratelimit-reset", "").split(",")
    waits = [_seconds(reset.strip()) for count, reset in zip(left, resets, strict=False) if count.strip() == "0"]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a time zone
            return None
    return max(0.0, seconds) if seconds < 1e9 else None


def _detail(body: bytes) -> str:
    """What an error's JSON says, in the places where these services say it; a page of HTML says nothing."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = ""
    while isinstance(said, dict | list) and said:
        if isinstance(said, list):
            said = said[0]
            continue
        code = said.get("code") or code
        said = next((said[key] for key in ("error", "errors", "detail", "message") if said.get(key)), None)
    return plain(": ".join(part for part in (code, said) if isinstance(part, str) and part), 300)

"""A server that is reached by HTTP: streamable, or as it was before that, a stream of events and posts beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agentic.net import tls

from .stdio import LARGEST_MESSAGE


@dataclass(slots=True)
class Site:
    """A server's address.

    Attributes:
        url: Its endpoint.
        headers: Sent with each request, such as `Authorization`.
        timeout: Seconds to connect.
        events: It speaks the older form, whose endpoint is a stream of events.
        status: The HTTP status of the last answer to a message if it was an error, otherwise 0.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    events: bool = False
    status: int = 0

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yields the streams that the SDK's client wants."""
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        if self.events:
            async with sse_client(self.url, httpx_client_factory=self._client) as streams:
                yield streams
            return
        async with (
            self._client() as client,
            streamable_http_client(self.url, http_client=client, max_sse_event_size=LARGEST_MESSAGE) as streams,
        ):
            yield streams

    def _client(self, headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:  # noqa: ARG002 - the SDK's
        import httpx2

        return httpx2.AsyncClient(
            headers={**self.headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(self.timeout, read=None),  # each request has its own limit
            verify=tls(),
            event_hooks={"response": [self._look]},
        )

    async def _look(self, response: Any) -> None:
        """Notes an error's status; bounds a body, but not a stream of events, whose events are bounded one by one."""
        if response.request.method == "POST" or self.events:
            self.status = response.status_code if response.status_code >= 400 else 0
        if response.headers.get("content-encoding", "identity") != "identity":
            response.headers["content-encoding"] = "identity"  # not asked for: it is then no JSON
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _bounded(response.stream)


def _bounded(stream: Any) -> Any:
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > LARGEST_MESSAGE:
                    raise httpx2.ReadError(f"more than {LARGEST_MESSAGE:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()

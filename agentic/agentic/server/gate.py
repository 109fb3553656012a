"""What stands before every route: who may ask, from where, and how much."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import ServerConfig
from . import errors

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = ("/v1/health",)
"""Paths that need no token: a load balancer asks them."""


class Gate:
    """ASGI middleware: checks Host, Origin, token, media type and size, and gives each answer a trace id.

    Args:
        app: What is behind it.
        settings: The server's settings.
    """

    def __init__(self, app: ASGIApp, settings: ServerConfig) -> None:
        self._app = app
        self._settings = settings
        token = token_of(settings)
        self._digest = hashlib.sha256(token.encode()).digest() if token else None
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin in self._settings.origins else None
        trace, begun = uuid.uuid4().hex, False

        async def marked(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["x-trace-id"] = trace
                if allowed:
                    answered["access-control-allow-origin"] = allowed
                    answered.add_vary_header("origin")
            await send(message)

        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _answer(marked, 204, None, _PREFLIGHT)
        elif refusal := self._refusal(scope, headers, origin, allowed):
            await _answer(marked, *refusal)
        else:
            try:
                await self._through(scope, receive, marked)
            except Exception as error:  # FastAPI's own handler of last resort would stand outside this gate
                if begun:
                    raise
                answer = errors.answer(Request(scope), errors.status_of(error), errors.message_of(error))
                await answer(scope, receive, marked)

    def _refusal(
        self, scope: Scope, headers: Headers, origin: str | None, allowed: str | None
    ) -> tuple[int, str] | tuple[int, str, dict[str, str]] | None:
        host = headers.get("host", "")
        if (self._digest is None or self._settings.hosts) and _name(host) not in self._hosts:
            return 403, f"The host {host[:100]!r} is none of this server's; add it to server.hosts."
        if origin and not allowed and urlsplit(origin).netloc.lower() != host.lower():
            return 403, f"Pages of {origin[:100]!r} may not use this server; add it to server.origins."
        if self._digest is not None and scope["path"] not in OPEN_PATHS and not self._known(headers):
            return 401, "Send this server's token: Authorization: Bearer …", {"www-authenticate": "Bearer"}
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > self._settings.max_body:
            return 413, self._too_large
        has_body = length != "0" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        form = media_type == "multipart/form-data" and scope["path"].endswith("/files")
        if has_body and scope["method"] != "GET" and media_type != "application/json" and not form:
            return 415, "Send JSON, with content-type: application/json."
        return None

    def _known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
        return scheme.lower() == "bearer" and hmac.compare_digest(digest, self._digest or b"")

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; its body may be so large and take so long."""
        size, whole = 0, False
        latest = asyncio.get_running_loop().time() + self._settings.body_seconds

        async def limited() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()  # only news of the connection come from here on
            try:
                async with asyncio.timeout_at(latest):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body took too long to arrive.", {"connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > self._settings.max_body:
                raise HTTPException(413, self._too_large, {"connection": "close"})
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, limited, send)

    @property
    def _too_large(self) -> str:
        return f"The body is larger than {self._settings.max_body} bytes."


_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, last-event-id",
    "access-control-max-age": "600",
}


def token_of(settings: ServerConfig) -> str | None:
    """The token that clients must send, or None."""
    return settings.token or os.environ.get("AGENTIC_SERVER_TOKEN") or None


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _answer(send: Send, status: int, message: str | None, headers: dict[str, str] | None = None) -> None:
    body = b"" if message is None else json.dumps({"detail": message, "error": {"message": message}}).encode()
    given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})

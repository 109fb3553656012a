"""E2B's HTTP API, as its reference documents it: sandboxes, their files, and code that runs in them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from agentic import keys
from agentic.net import tls
from agentic.types.errors import ToolError

from ..service import Service

VARIABLE = "E2B_API_KEY"
HOME = "/home/user"
_FILES_PORT, _CODE_PORT = "49983", "49999"
_BASIC_USER = "Basic dXNlcjo="  # the user `user`, without a password
_LONGEST_LINE = 32 << 20
_LONGEST_ANSWER = 4 << 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Gone(Exception):
    """The sandbox is not there any more."""


class Broken(Exception):
    """The connection broke, or made no sense, while the code ran."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A virtual machine.

    Attributes:
        sandbox_id: Its name.
        token: Opens it.
        traffic_token: Opens its ports, where they are not public.
    """

    sandbox_id: str
    token: str = field(default="", repr=False)
    traffic_token: str = field(default="", repr=False)


class Client:
    """Asks E2B for one call; made by `connect`.

    Args:
        http: The connection.
        service: Whom it asks.
        api: The URL of the platform.
        inside: The URL behind which the sandboxes are.
    """

    def __init__(self, http: httpx.AsyncClient, service: Service, api: str, inside: str) -> None:
        self._http = http
        self._service = service
        self._api = api
        self._inside = inside

    async def create(self, template: str, seconds: int, *, internet: bool) -> Sandbox:
        """Starts a sandbox that lives for so many seconds."""
        order = {"templateID": template, "timeout": seconds, "secure": True, "allow_internet_access": internet}
        answer = self._object(await self._ask("POST", f"{self._api}/sandboxes", self._key(), json=order))
        sandbox_id = answer.get("sandboxID")
        if not isinstance(sandbox_id, str) or not _ID.fullmatch(sandbox_id):
            raise ToolError(f"{self._service.name} answered without a sandbox.")
        tokens = (answer.get("envdAccessToken"), answer.get("trafficAccessToken"))
        if any(isinstance(token, str) and not (token.isascii() and token.isprintable()) for token in tokens):
            raise ToolError(f"{self._service.name} answered with a token that is none.")
        return Sandbox(sandbox_id, *(token if isinstance(token, str) else "" for token in tokens))

    async def extend(self, sandbox: Sandbox, seconds: int) -> None:
        """Lets it live for so many seconds from now."""
        url = f"{self._api}/sandboxes/{sandbox.sandbox_id}/timeout"
        await self._ask("POST", url, self._key(), json={"timeout": seconds})

    async def kill(self, sandbox: Sandbox) -> None:
        """Ends it."""
        await self._ask("DELETE", f"{self._api}/sandboxes/{sandbox.sandbox_id}", self._key())

    async def upload(self, sandbox: Sandbox, name: str, data: bytes) -> None:
        """Writes a file to its home folder."""
        target = {"path": f"{HOME}/{name}", "username": "user"}
        headers = self._headers(sandbox, _FILES_PORT)
        await self._ask("POST", f"{self._inside}/files", headers, params=target, files={"file": (name, data)})

    async def listing(self, sandbox: Sandbox) -> dict[str, tuple[int, str]]:
        """The regular files in its home folder, hidden ones left out: size and time of change by name."""
        headers = self._headers(sandbox, _FILES_PORT)
        headers |= {"connect-protocol-version": "1", "authorization": _BASIC_USER}
        url = f"{self._inside}/filesystem.Filesystem/ListDir"
        answer = self._object(await self._ask("POST", url, headers, json={"path": HOME, "depth": 1}))
        found = {}
        entries = answer.get("entries")
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case {"name": str(name), "type": "FILE_TYPE_FILE"} if name[:1] != "." and "symlinkTarget" not in entry:
                    size = str(entry.get("size", "0"))  # JSON has 64-bit numbers as strings
                    if "/" not in name and size.isascii() and size.isdigit() and len(size) < 19:
                        found[name] = (int(size), str(entry.get("modifiedTime")))
        return found

    async def download(self, sandbox: Sandbox, name: str, most: int) -> bytes:
        """A file of its home folder."""
        target = {"path": f"{HOME}/{name}", "username": "user"}
        headers = self._headers(sandbox, _FILES_PORT)
        return await self._ask("GET", f"{self._inside}/files", headers, most=most, params=target)

    async def execute(self, sandbox: Sandbox, code: str) -> AsyncGenerator[dict[str, Any], None]:
        """Runs code, and yields what comes of it.

        Raises:
            Gone: There is no such sandbox.
            Broken: The answer ended early, or is no JSON.
            ToolError: The service refused.
        """
        order = {"code": code, "context_id": None, "language": None, "env_vars": None}
        headers = self._headers(sandbox, _CODE_PORT)
        try:
            async with self._http.stream("POST", f"{self._inside}/execute", headers=headers, json=order) as response:
                if response.status_code != httpx.codes.OK:
                    await self._body(response, _LONGEST_ANSWER)
                async for line in _lines(response):
                    yield line
        except httpx.HTTPError as error:
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise self._failed(error) from None
            raise Broken(f"The connection to {self._service.name} broke off.") from None

    def _key(self) -> dict[str, str]:
        return {"x-api-key": self._service.key}

    @staticmethod
    def _headers(sandbox: Sandbox, port: str) -> dict[str, str]:
        headers = {"e2b-sandbox-id": sandbox.sandbox_id, "e2b-sandbox-port": port}
        if sandbox.token:
            headers["x-access-token"] = sandbox.token
        if sandbox.traffic_token:
            headers["e2b-traffic-access-token"] = sandbox.traffic_token
        return headers

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], *, most: int = _LONGEST_ANSWER, **what: Any
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(self._service.seconds),
                self._http.stream(method, url, headers=headers, **what) as response,
            ):
                return await self._body(response, most)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._failed(error) from None

    def _failed(self, error: httpx.HTTPError | TimeoutError) -> ToolError:
        """What a failing connection means; httpx's own words and requests may hold the key."""
        name = self._service.name
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ToolError(f"{name} cannot be reached.")
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            return ToolError(f"{name} did not answer within {self._service.seconds:g} s.")
        return ToolError(f"The connection to {name} broke off.")

    async def _body(self, response: httpx.Response, most: int) -> bytes:
        """A whole answer, if it is a good one."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most:
                raise ToolError(f"{self._service.name} sent more than {most:,} bytes.")
        if response.is_success:
            return bytes(body)
        if response.status_code in (404, 502):
            raise Gone
        raise self._service.refused(
            response.status_code, response.headers, bytes(body).replace(self._service.key.encode(), b"(key)")
        )

    def _object(self, data: bytes) -> dict[str, Any]:
        value = self._service.parse(data)
        if not isinstance(value, dict):
            raise ToolError(f"{self._service.name} answered with something else than its API documents.")
        return value


@asynccontextmanager
async def connect(api: str, inside: str, seconds: float) -> AsyncIterator[Client]:
    """A client for one call.

    Args:
        api: The URL of the platform.
        inside: The URL behind which the sandboxes are.
        seconds: How long any answer may take; of running code, how long it may keep still.

    Raises:
        ConfigError: There is no key.
    """
    service = Service("E2B", keys.need("The remote code interpreter", VARIABLE), VARIABLE, seconds)
    async with httpx.AsyncClient(verify=tls(), timeout=seconds, headers={"user-agent": "agentic"}) as http:
        http.headers["accept-encoding"] = "identity"
        yield Client(http, service, api, inside)


async def _lines(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an answer, one a line."""
    held = bytearray()
    async for chunk in response.aiter_bytes():
        held += chunk
        if b"\n" in chunk:
            *whole, rest = bytes(held).split(b"\n")
            held = bytearray(rest)
            for line in whole:
                if line.strip():
                    yield _decode(line)
        if len(held) > _LONGEST_LINE:
            raise Broken("A line of the answer is too long.")
    if held.strip():
        yield _decode(bytes(held))


def _decode(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Broken("The answer broke off in the middle of a line.")
    return value

"""E2B's platform and its sandboxes on one port, as its API reference documents them.

The platform creates, extends and ends sandboxes. What is sent with the headers `e2b-sandbox-id` and `e2b-sandbox-port`
goes to a sandbox: 49983 is its file service, 49999 runs code. Code is not run: `says` has the lines that each piece of
code is answered with, and what files it writes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .base import Answer, Request, Server

HOME = "/home/user/"


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode() + b"\n"


def out(text: str) -> bytes:
    return line("stdout", text=text, timestamp=1763700000000000000)


@dataclass
class Says:
    """What becomes of a piece of code."""

    lines: Sequence[bytes] = ()
    writes: dict[str, bytes] = field(default_factory=dict)
    hangs: bool = False


@dataclass
class Machine:
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    seconds: int = 0
    hung: asyncio.Event = field(default_factory=asyncio.Event)


class E2BServer(Server):
    """Answers like E2B.

    Attributes:
        machines: The sandboxes that live, by id.
        says: What becomes of each code.
        silent: Nothing is answered.
    """

    def __init__(self, key: str = "e2b_0123456789abcdef") -> None:
        super().__init__()
        self.key = key
        self.machines: dict[str, Machine] = {}
        self.says: dict[str, Says] = {}
        self.silent = False
        self._made = 0
        self._changes = 0

    def write(self, machine: Machine, name: str, data: bytes) -> None:
        self._changes += 1
        machine.files[name] = (data, self._changes)

    async def answer(self, request: Request, answer: Answer) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if sandbox_id := request.headers.get("e2b-sandbox-id"):
            await self._inside(sandbox_id, request, answer)
        elif request.headers.get("x-api-key") != self.key:
            sent = request.headers.get("x-api-key")
            await answer.json(401, {"code": 401, "message": f"Invalid API key: {sent}"})
        else:
            await self._platform(request, answer)

    async def _platform(self, request: Request, answer: Answer) -> None:
        _, _, sandbox_id, *rest = (*request.path.split("/"), "")
        machine = self.machines.get(sandbox_id)
        match request.method, rest[:1]:
            case "POST", [] if request.path == "/sandboxes":
                self._made += 1
                name = f"sbx{self._made}"
                self.machines[name] = Machine(seconds=request.json["timeout"])
                self.write(self.machines[name], ".bashrc", b"# hidden")
                made = {"sandboxID": name, "templateID": request.json["templateID"], "clientID": "c"}
                made |= {"envdVersion": "0.5.0", "envdAccessToken": f"token-{name}", "domain": None}
                await answer.json(201, made)
            case _ if machine is None:
                await answer.json(404, {"code": 404, "message": f"Sandbox {sandbox_id!r} not found"})
            case "POST", ["timeout"]:
                machine.seconds = request.json["timeout"]
                await answer.whole(204, b"", "text/plain")
            case "DELETE", _:
                del self.machines[sandbox_id]
                machine.hung.set()
                await answer.whole(204, b"", "text/plain")
            case _:
                await answer.json(405, {"code": 405, "message": "Method not allowed"})

    async def _inside(self, sandbox_id: str, request: Request, answer: Answer) -> None:
        machine = self.machines.get(sandbox_id)
        if "x-api-key" in request.headers:
            self.problems.append("the platform's key was sent to a sandbox")
        if machine is None:
            gone = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
            await answer.json(502, gone)
        elif request.headers.get("x-access-token") != f"token-{sandbox_id}":
            await answer.json(401, {"code": 401, "message": "unauthorized"})
        elif request.headers["e2b-sandbox-port"] == "49999" and request.path == "/execute":
            await self._execute(machine, request, answer)
        else:
            await self._files(machine, request, answer)

    async def _execute(self, machine: Machine, request: Request, answer: Answer) -> None:
        says = self.says.get(request.json["code"], Says())
        await answer.start("application/x-ndjson")
        await answer.send(line("number_of_executions", execution_count=1))
        for item in says.lines:
            await answer.send(item)
        for name, data in says.writes.items():
            self.write(machine, name, data)
        if says.hangs:
            await machine.hung.wait()
        await answer.end()

    async def _files(self, machine: Machine, request: Request, answer: Answer) -> None:
        url = urlsplit(request.path)
        name = parse_qs(url.query).get("path", [""])[0].removeprefix(HOME)
        if url.path == "/filesystem.Filesystem/ListDir":
            assert request.headers["authorization"] == "Basic dXNlcjo="
            assert request.headers["connect-protocol-version"] == "1"
            entries = [
                {"name": name, "type": "FILE_TYPE_FILE", "path": HOME + name, "size": str(len(data)), "mode": 420}
                | {"modifiedTime": f"2026-11-21T00:00:{change:02}.000000001Z"}
                for name, (data, change) in machine.files.items()
            ]
            folder = {"name": "folder", "type": "FILE_TYPE_DIRECTORY", "path": f"{HOME}folder", "size": "4096"}
            link = {"name": "link", "type": "FILE_TYPE_FILE", "size": "9", "symlinkTarget": "/etc/passwd"}
            await answer.json(200, {"entries": [*entries, folder, link]})
        elif request.method == "POST":
            head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
            parts: Any = message_from_bytes(head + request.body).get_payload()
            self.write(machine, name, parts[0].get_payload(decode=True))
            await answer.json(200, [{"path": HOME + name, "name": name, "type": "file"}])
        elif name in machine.files:
            await answer.whole(200, machine.files[name][0], "application/octet-stream")
        else:
            await answer.json(404, {"code": 404, "message": f"path '{HOME + name}' does not exist"})

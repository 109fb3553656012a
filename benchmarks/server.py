"""What the server adds to a turn, and to each of its events, over the bare engine: 1 to 200 streams at a time.

    python benchmarks/server.py [--json] [--readers 10000]

Before that: how soon it is healthy, and what memory it takes until then. With `--readers`, that many silent streams are
opened and dropped first, twice: what one round leaves is room that the next one uses.

The model is scripted and answers at once, so that all that is measured is ours. The server is a process of its own; the
client reads frames from raw sockets, so that it does not become what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from agentic import Agent, Stack
from agentic.config import Config, ServerConfig
from agentic.protocols import Delta, Prepared
from agentic.types.sampling import InferenceRequest

PIECES = 50
TURNS = 20
STREAMS = (1, 10, 50, 200)
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}


class Parrot:
    """Says the same fifty words to everybody, at once."""

    model = "parrot/parrot"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        return Prepared(f"{len(request.messages)} messages", request)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:  # noqa: ARG002 - the protocol
        for _ in range(PIECES):
            yield "word "

    async def aclose(self) -> None:
        pass


class Silent(Parrot):
    """Thinks for ever."""

    model = "parrot/silent"

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:  # noqa: ARG002 - the protocol
        await asyncio.Event().wait()
        yield ""


def serve() -> None:
    from agentic.server.serving import Server

    config = Config(store=None, server=ServerConfig(port=0, drain_seconds=1))
    Server(
        Stack(config, models={"parrot": Parrot(), "silent": Silent()}), ready=lambda url: print(url, flush=True)
    ).run()


class Connection:
    """One kept-alive connection, which reads chunked answers whole."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)

    async def post(self, path: str, body: Any) -> tuple[bytes, float]:
        """The answer's body, and the seconds until its first byte."""
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        begun = time.perf_counter()
        self._writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        headers = answered.lower()
        if b"content-length" in headers:
            length = int(headers.split(b"content-length:")[1].split(b"\r\n")[0])
            return await self._reader.readexactly(length), time.perf_counter() - begun
        found, first = b"", 0.0
        while size := int(await self._reader.readline(), 16):
            found += await self._reader.readexactly(size)
            first = first or time.perf_counter() - begun
            await self._reader.readline()
        await self._reader.readline()
        return found, first

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def stream(url: str, turns: list[float], firsts: list[float]) -> int:
    """Runs turns one after the other in a session of its own; returns how many frames came."""
    connection = Connection(url)
    await connection.open()
    config = {"agent_config": {"model": "parrot", "instructions": ""}}
    agent = json.loads((await connection.post("/v1/agents", config))[0])["agent_id"]
    made = json.loads((await connection.post(f"/v1/agents/{agent}/session", {"session_name": "s"}))[0])
    frames = 0
    for _ in range(TURNS):
        begun = time.perf_counter()
        answer, first = await connection.post(f"/v1/agents/{agent}/session/{made['session_id']}/turn", HELLO)
        turns.append(time.perf_counter() - begun)
        firsts.append(first)
        frames += answer.count(b"data: ")
    await connection.close()
    return frames


async def bare() -> float:
    """Milliseconds of a turn in the engine alone."""
    agent = Agent(Parrot(), store=None)
    session, times = agent.session(), []
    for _ in range(TURNS * 5):
        begun = time.perf_counter()
        async for _event in session.astream("Hello"):
            pass
        times.append(time.perf_counter() - begun)
    await agent.aclose()
    return statistics.median(times) * 1000


async def streams(url: str, alone: float) -> AsyncIterator[dict[str, float]]:
    """Numbers for each count of streams; `alone` are the milliseconds of a turn in the engine."""
    for count in STREAMS:
        turns: list[float] = []
        firsts: list[float] = []
        begun = time.perf_counter()
        frames = sum(await asyncio.gather(*(stream(url, turns, firsts) for _ in range(count))))
        seconds = time.perf_counter() - begun
        median, first = statistics.median(turns) * 1000, statistics.median(firsts) * 1000
        late = statistics.quantiles(turns, n=20)[-1] * 1000
        added = seconds * 1000 / len(turns) - alone
        event = added * len(turns) / frames
        yield {
            "streams": count,
            "first_ms": first,
            "turn_ms": median,
            "turn_p95_ms": late,
            "added_ms_per_turn": added,
            "added_ms_per_event": event,
            "events_per_second": frames / seconds,
        }


async def readers(url: str, count: int) -> None:
    """Follows one silent turn many times over, then goes away without a word."""
    connection = Connection(url)
    await connection.open()
    config = {"agent_config": {"model": "silent", "instructions": ""}}
    agent = json.loads((await connection.post("/v1/agents", config))[0])["agent_id"]
    made = json.loads((await connection.post(f"/v1/agents/{agent}/session", {"session_name": "s"}))[0])
    path, body = f"/v1/agents/{agent}/session/{made['session_id']}/turn", json.dumps(HELLO)
    parts = urlsplit(url)
    head = "host: 127.0.0.1\r\ncontent-type: application/json\r\n"
    first, starter = await asyncio.open_connection(parts.hostname, parts.port)
    starter.write(f"POST {path} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    answered = (await first.readuntil(b"\r\n\r\n")).decode().lower()
    turn = answered.split("x-turn-id:")[1].split("\r\n")[0].strip()
    opened = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {path}/{turn}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        opened.append(writer)
    for writer in [*opened, starter]:
        writer.close()
    await connection.close()


async def open_requests(url: str) -> int:
    """How many requests are under way, this one not counted."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return int(float(text.split("\nagentic_requests_open ")[1].split("\n")[0])) - 1


def memory(pid: int) -> float:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def started() -> tuple[subprocess.Popen[str], str, float]:
    """A server, its address, and the seconds until it answered."""
    begun = time.perf_counter()
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    with urlopen(f"{url}/v1/health") as answer:
        assert answer.status == 200
    return server, url, time.perf_counter() - begun


async def measure(server: subprocess.Popen[str], url: str, asked: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"idle_mb": memory(server.pid), "engine_ms_per_turn": await bare(), "streams": []}
    if asked.readers:
        found |= {"readers": asked.readers, "mb_after_readers": []}
        for _ in range(2):
            await readers(url, asked.readers)
            deadline = time.perf_counter() + 60
            while (left := await open_requests(url)) and time.perf_counter() < deadline:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
            found["readers_left"] = left
            found["mb_after_readers"].append(memory(server.pid))
    found["streams"] = [row async for row in streams(url, found["engine_ms_per_turn"])]
    return found


def show(found: dict[str, Any]) -> None:
    print(f"healthy after {found['healthy_seconds']:.2f} s; idle: {found['idle_mb']:.0f} MB")
    if "readers" in found:
        once, twice = found["mb_after_readers"]
        print(
            f"{found['readers']} silent streams opened and dropped: {found['readers_left']} left, {once:.0f} MB;"
            f" once more: {twice:.0f} MB"
        )
    print(f"bare engine: {found['engine_ms_per_turn']:.2f} ms a turn of {PIECES} pieces")
    print(" streams  first ms  turn ms      p95  added/turn  added/event  events/s")
    for row in found["streams"]:
        print(
            f"{row['streams']:>8} {row['first_ms']:>9.2f} {row['turn_ms']:>8.2f} {row['turn_p95_ms']:>8.2f}"
            f" {row['added_ms_per_turn']:>8.2f} ms {row['added_ms_per_event']:>9.4f} ms"
            f" {row['events_per_second']:>9.0f}"
        )


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readers", type=int, default=0)
    asked = parser.parse_args()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    server, url, seconds = started()
    try:
        found = {"healthy_seconds": seconds, **asyncio.run(measure(server, url, asked))}
    finally:
        server.terminate()
        server.wait()
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()

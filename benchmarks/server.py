"""What the server adds to a turn, and to each of its events, over the bare engine: 1 to 200 streams at a time.

    python benchmarks/server.py

The model is scripted and answers at once, so that all that is measured is ours. The server is a process of its own; the
client reads frames from raw sockets, so that it does not become what is measured.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from agentic import Agent, Stack
from agentic.config import Config, ServerConfig
from agentic.protocols import Delta, Prepared
from agentic.types.sampling import InferenceRequest

PIECES = 50
TURNS = 20
STREAMS = (1, 10, 50, 200)


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


def serve() -> None:
    from agentic.server.serving import Server

    config = Config(store=None, server=ServerConfig(port=0))
    Server(Stack(config, models={"parrot": Parrot()}), ready=lambda url: print(url, flush=True)).run()


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
        body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
        answer, first = await connection.post(f"/v1/agents/{agent}/session/{made['session_id']}/turn", body)
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


async def measure(url: str) -> None:
    alone = await bare()
    print(f"bare engine: {alone:.2f} ms a turn of {PIECES} pieces")
    print(" streams  first ms  turn ms      p95  added/turn  added/event  events/s")
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
        print(
            f"{count:>8} {first:>9.2f} {median:>8.2f} {late:>8.2f} {added:>8.2f} ms {event:>9.4f} ms"
            f" {frames / seconds:>9.0f}"
        )


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        asyncio.run(measure(server.stdout.readline().strip()))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

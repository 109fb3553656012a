"""What the framework adds to a tool call: CPU time per call, as a ratio to the bare function and to a bare httpx loop.

    ./do bench tools [--json] [--calls N]

One process, one zero-cost model server on 127.0.0.1 in another. The bare loop sends the same requests with httpx, calls
the same function and keeps nothing; the agent opens a session, validates arguments and records every step.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from agentic import Agent, Limits
from agentic.protocols import ToolContext
from agentic.tool import Tool


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def add_async(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


TOOL = {"type": "function", "function": {"name": "add_async", "parameters": Tool(add_async).definition.parameters}}


def serve(ready: Connection) -> None:
    """Asks for the tool once in each turn, then answers; one write for each reply."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                body = json.loads(await reader.readexactly(length))
                writer.write(answer(body["messages"][-1]["role"] == "tool"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(done: bool) -> bytes:
        call = {
            "index": 0,
            "id": "c1",
            "type": "function",
            "function": {"name": "add_async", "arguments": '{"a":1,"b":2}'},
        }
        delta = {"content": "3"} if done else {"tool_calls": [call]}
        finish = "stop" if done else "tool_calls"
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        data = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def bare_turn(client: httpx.AsyncClient) -> None:
    """What a person would write by hand: ask, call, ask again."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "1 + 2?"}]
    while True:
        body = {"model": "m", "stream": True, "tools": [TOOL], "messages": messages}
        calls: list[Any] = []
        async with client.stream("POST", "/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    calls += json.loads(line[6:])["choices"][0]["delta"].get("tool_calls", [])
        if not calls:
            return
        result = await add_async(**json.loads(calls[0]["function"]["arguments"]))
        messages += [
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "tool_call_id": calls[0]["id"], "content": str(result)},
        ]


async def cpu_ms(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """CPU milliseconds per call: the median of five rounds."""
    rounds = []
    await work()
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            await work()
        rounds.append((time.process_time() - began) / times * 1000)
    return statistics.median(rounds)


async def four_sleeping(store: Path) -> float:
    """Wall milliseconds of one message with four parallel tools of 50 ms each, the best of five."""
    from agentic import ToolCall
    from agentic.testing import ScriptedModel

    async def nap() -> str:
        """Sleeps 50 ms."""
        await asyncio.sleep(0.05)
        return "rested"

    best = float("inf")
    for _ in range(5):
        model = ScriptedModel([[ToolCall("nap")] * 4, "done"])
        async with Agent(model, tools=[nap], store=store) as agent:
            session = await agent.session().aload()
            began = time.perf_counter()
            await session.arun("Go.")
            best = min(best, time.perf_counter() - began)
    return best * 1000


async def measure(port: int, folder: Path, calls: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{port}"
    sync_tool, async_tool, context = Tool(add), Tool(add_async), ToolContext()
    async with httpx.AsyncClient(base_url=url) as client:
        bare = await cpu_ms(lambda: bare_turn(client), calls)
    options: dict[str, Any] = {"endpoint": url, "tools": [add_async], "limits": Limits(max_infer_iters=5)}
    async with Agent("openai/m", store=folder / "s.db", **options) as agent:
        stored = await cpu_ms(lambda: agent.arun("1 + 2?"), calls)
    async with Agent("openai/m", store=None, **options) as agent:
        in_memory = await cpu_ms(lambda: agent.arun("1 + 2?"), calls)
    return {
        "the function itself": await cpu_ms(lambda: add_async(1, 2), calls),
        "Tool.invoke, async": await cpu_ms(lambda: async_tool.invoke({"a": 1, "b": 2}, context), calls),
        "Tool.invoke, sync (a thread)": await cpu_ms(lambda: sync_tool.invoke({"a": 1, "b": 2}, context), calls),
        "one-tool turn, bare httpx loop": bare,
        "one-tool turn, agent in memory": in_memory,
        "one-tool turn, agent on SQLite": stored,
        "four parallel 50 ms tools (wall)": await four_sleeping(folder / "p.db"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=200)
    given = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = asyncio.run(measure(ours.recv(), Path(folder), given.calls))
    finally:
        server.terminate()
        server.join()
    bare = rows["one-tool turn, bare httpx loop"]
    if given.json:
        print(json.dumps({name: {"ms": ms, "ratio_to_bare_loop": ms / bare} for name, ms in rows.items()}))
        return
    for name, ms in rows.items():
        print(f"{name:36} {ms:9.4f} ms {ms / bare:8.3f}x the bare loop")


if __name__ == "__main__":
    main()

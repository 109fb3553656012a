"""What a turn costs over a bare loop: CPU time as a ratio to a hand-written httpx loop with the same zero-cost server.

    ./do bench overhead [--json] [--quick]

The server runs in a process of its own and answers at once. The loop keeps its messages in a list and nothing on disk;
the agent records every step, on SQLite unless the row says otherwise. Figures are medians of alternating rounds in one
run, so that a busy machine hits both alike; read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from agentic import Agent, Limits, TextDelta
from agentic.tool import Tool

TOKENS = 2000


async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def nap() -> str:
    """Sleeps 50 ms."""
    await asyncio.sleep(0.05)
    return "rested"


TOOLS = [
    {
        "type": "function",
        "function": {"name": made.name, "description": made.description, "parameters": made.parameters},
    }
    for made in (Tool(add).definition, Tool(nap).definition)
]

# -- the server: what it does is said by the last thing that the user said ---------------------------------------------


def serve(ready: Connection) -> None:
    """`tools N` asks for N calls one after another, `naps N` for N at once, `stream N` gives N pieces, else one."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                writer.write(answer(json.loads(await reader.readexactly(length))["messages"]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**24)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def answer(messages: list[dict[str, Any]]) -> bytes:
    results = 0
    while messages[-1 - results]["role"] == "tool" or messages[-1 - results].get("tool_calls"):
        results += 1
    kind, _, number = str(messages[-1 - results]["content"]).partition(" ")
    if kind == "tools" and results < 2 * int(number):
        deltas: list[dict[str, Any]] = [{"tool_calls": [call(0, "add", '{"a":1,"b":2}', results)]}]
    elif kind == "naps" and not results:
        deltas = [{"tool_calls": [call(index, "nap", "{}", index) for index in range(int(number))]}]
    else:
        deltas = [{"content": "word "}] * (int(number) if kind == "stream" else 1)
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls" if "tool_calls" in deltas[0] else "stop"})
    pieces = [f"data: {json.dumps({'choices': [choice]})}\n\n".encode() for choice in choices]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b"data: [DONE]\n\n"])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"


def call(index: int, name: str, arguments: str, number: int) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"c{number}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


# -- the bare loop -----------------------------------------------------------------------------------------------------


class Loop:
    """What a person would write by hand: ask, call, ask again; the conversation is a list."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.messages: list[dict[str, Any]] = []

    async def turn(self, text: str, seen: Callable[[], None] = lambda: None) -> None:
        self.messages.append({"role": "user", "content": text})
        while True:
            body = {"model": "m", "stream": True, "tools": TOOLS, "messages": self.messages}
            words: list[str] = []
            calls: list[dict[str, Any]] = []
            async with self.client.stream("POST", "/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        delta = json.loads(line[6:])["choices"][0]["delta"]
                        calls += delta.get("tool_calls") or []
                        if delta.get("content"):
                            words.append(delta["content"])
                            seen()
            if not calls:
                self.messages.append({"role": "assistant", "content": "".join(words)})
                return
            results = await asyncio.gather(*map(self.result, calls))
            self.messages += [{"role": "assistant", "content": None, "tool_calls": calls}, *results]

    async def result(self, item: dict[str, Any]) -> dict[str, Any]:
        functions: dict[str, Callable[..., Awaitable[object]]] = {"add": add, "nap": nap}
        value = await functions[item["function"]["name"]](**json.loads(item["function"]["arguments"]))
        return {"role": "tool", "tool_call_id": item["id"], "content": str(value)}


# -- measuring ---------------------------------------------------------------------------------------------------------

Work = Callable[[], Awaitable[Any]]


async def cpu_ms(make: Callable[[], Awaitable[dict[str, Work]]], times: int, rounds: int = 6) -> dict[str, float]:
    """CPU milliseconds of one call of each: medians of alternating rounds, the first left out.

    Args:
        make: Prepares the calls of one round.
        times: Calls in a round.
        rounds: How many rounds.
    """
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, work in (await make()).items():
            gc.collect()
            began = time.process_time()
            for _ in range(times):
                await work()
            taken.setdefault(name, []).append((time.process_time() - began) / times * 1000)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


async def ready(works: dict[str, Work]) -> dict[str, Work]:
    """For calls that need no preparation."""
    return works


class Bench:
    """All measurements against one server.

    Attributes:
        rows: Name, unit, loop's figure (None where there is none), ours.
    """

    def __init__(self, url: str, folder: Path, quick: bool) -> None:
        self.url = url
        self.folder = folder
        self.times = 20 if quick else 100
        self.quick = quick
        self.rows: list[tuple[str, str, float | None, float]] = []

    def row(self, name: str, unit: str, loop: float | None, ours: float) -> None:
        self.rows.append((name, unit, loop, ours))

    def agent(self, store: str | None) -> Agent:
        where, limits = store and self.folder / store, Limits(max_infer_iters=20)
        return Agent("openai/m", endpoint=self.url, tools=[add, nap], store=where, limits=limits)

    async def turns(self) -> None:
        """A turn without a tool, with one, with ten; each in a session that was opened before."""
        async with (
            httpx.AsyncClient(base_url=self.url) as client,
            self.agent("turns.db") as stored,
            self.agent(None) as kept,
        ):
            opened = await cpu_ms(lambda: ready({"open": stored.session().aload}), self.times)
            self.row("open a session", "ms CPU", None, opened["open"])
            for name, text in [("no tool", "hello"), ("1 tool", "tools 1"), ("10 tools", "tools 10")]:
                times = max(10, self.times // (5 if "10" in name else 1))

                async def works(text: str = text, times: int = times) -> dict[str, Work]:
                    new = {one: [await one.session().aload() for _ in range(times)] for one in (stored, kept)}
                    return {
                        "loop": lambda: Loop(client).turn(text),
                        "sqlite": lambda: new[stored].pop().arun(text),
                        "memory": lambda: new[kept].pop().arun(text),
                    }

                found = await cpu_ms(works, times)
                self.row(f"turn, {name}", "ms CPU", found["loop"], found["sqlite"])
                self.row(f"turn, {name}, in memory", "ms CPU", found["loop"], found["memory"])

    async def parallel(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client, self.agent("parallel.db") as agent:

            async def wall(work: Work) -> float:
                best = float("inf")
                for _ in range(5):
                    began = time.perf_counter()
                    await work()
                    best = min(best, time.perf_counter() - began)
                return best * 1000

            session = agent.session()
            loop = await wall(lambda: Loop(client).turn("naps 4"))
            self.row("4 parallel 50 ms tools", "ms wall", loop, await wall(lambda: session.arun("naps 4")))

    async def streaming(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client, self.agent("stream.db") as agent:
            first: dict[str, list[float]] = {"loop": [], "ours": []}

            async def bare() -> None:
                began, times = time.perf_counter(), list[float]()
                await Loop(client).turn(f"stream {TOKENS}", lambda: times.append(time.perf_counter()))
                first["loop"].append((times[0] - began) * 1000)

            async def ours() -> None:
                began, seen = time.perf_counter(), 0
                async for event in agent.session().astream(f"stream {TOKENS}"):
                    if isinstance(event, TextDelta):
                        if not seen:
                            first["ours"].append((time.perf_counter() - began) * 1000)
                        seen += 1
                assert seen, "no text came"

            found = await cpu_ms(lambda: ready({"loop": bare, "ours": ours}), 2 if self.quick else 10)
            each = {name: spent / TOKENS * 1000 for name, spent in found.items()}
            self.row(f"streamed token (of {TOKENS})", "us CPU", each["loop"], each["ours"])
            self.row("first event of a stream", "ms wall", *map(statistics.median, first.values()))

    async def concurrency(self) -> None:
        """Turns with one tool in N sessions at once: turns in a second of wall time."""
        for count in (1, 50, 500):
            async with (
                httpx.AsyncClient(base_url=self.url, timeout=120) as client,
                self.agent(f"many{count}.db") as agent,
            ):
                rounds = 40 if count == 1 else 2
                loops = [Loop(client) for _ in range(count)]
                sessions = [agent.session(f"s{index}") for index in range(count)]
                loop = await per_second(lambda loops=loops: [item.turn("tools 1") for item in loops], rounds)  # type: ignore[misc]
                before = resident_kb()
                ours = await per_second(lambda sessions=sessions: [item.arun("tools 1") for item in sessions], rounds)  # type: ignore[misc]
                self.row(f"{count} sessions at once", "turns/s", loop, ours)
                if count == 500:
                    gc.collect()
                    self.row("an idle session after 3 turns", "kB", None, (resident_kb() - before) / count)

    async def long_session(self) -> None:
        """CPU of turns of one long session, and bytes written to the disk for each."""
        last = 200 if self.quick else 1000
        async with httpx.AsyncClient(base_url=self.url) as client, self.agent("long.db") as agent:
            loop, session = Loop(client), agent.session("long")
            spent: dict[str, list[float]] = {"loop": [], "ours": []}
            written: list[int] = []
            works: dict[str, Callable[[str], Awaitable[Any]]] = {"loop": loop.turn, "ours": session.arun}
            for _ in range(last):
                for name, work in works.items():
                    began = time.process_time()
                    await work("hello")
                    spent[name].append((time.process_time() - began) * 1000)
                written.append(bytes_written())
            for low, high in [(0, 25), (175, 200), (950, 1000)]:
                if high <= last:
                    loop_ms, ours_ms = (statistics.median(spent[name][low:high]) for name in ("loop", "ours"))
                    self.row(f"turn {low + 1} to {high} of a session", "ms CPU", loop_ms, ours_ms)
                    self.row(
                        f"written by turn {low + 1} to {high}",
                        "kB/turn",
                        None,
                        (written[high - 1] - written[low]) / (high - low - 1) / 1000,
                    )
        opened = child_cpu(RESUME, str(self.folder / "long.db"), self.url)
        self.row(f"{last} turns reopened: first turn", "ms CPU", None, opened)

    def start(self) -> None:
        loop = min(child_cpu(IMPORT.format("httpx, pydantic")) for _ in range(5))
        ours = min(child_cpu(IMPORT.format("agentic")) for _ in range(5))
        self.row("import (loop: httpx and pydantic)", "ms CPU", loop, ours)
        command = [sys.executable, "-m", "agentic", "--help"]
        best = float("inf")
        for _ in range(5):
            began = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            best = min(best, ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
        self.row("agentic --help", "ms CPU", None, best * 1000)


RESUME = """
import asyncio, sys, time
from agentic import Agent
async def main():
    async with Agent("openai/m", endpoint=sys.argv[2], store=sys.argv[1]) as agent:
        await agent.session("warm").arun("hello")
        began = time.process_time()
        await agent.session("long").arun("hello")
        print((time.process_time() - began) * 1000)
asyncio.run(main())
"""
IMPORT = "import time; began = time.process_time(); import {}; print((time.process_time() - began) * 1000)"


def child_cpu(script: str, *arguments: str) -> float:
    """CPU milliseconds, as a new process prints them."""
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # else a module that was just edited is compiled again
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    return float(done.stdout)


def bytes_written() -> int:
    """What this process has written to files so far (Linux only; sockets do not count)."""
    counters = Path("/proc/self/io")
    return int(counters.read_text().split("wchar:")[1].split()[0]) if counters.exists() else 0


def resident_kb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1000


async def per_second(turns: Callable[[], Sequence[Awaitable[Any]]], rounds: int) -> float:
    await asyncio.gather(*turns())
    count, began = 0, time.perf_counter()
    for _ in range(rounds):
        count += len(await asyncio.gather(*turns()))
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, 200 turns instead of 1,000")
    given = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(f"http://127.0.0.1:{ours.recv()}", Path(folder), given.quick)

            async def measure() -> None:
                await bench.turns()
                await bench.parallel()
                await bench.streaming()
                await bench.concurrency()
                await bench.long_session()

            bench.start()
            asyncio.run(measure())
    finally:
        server.terminate()
        server.join()
    if given.json:
        print(json.dumps([dict(zip(("name", "unit", "loop", "ours"), row, strict=True)) for row in bench.rows]))
        return
    for name, unit, loop, figure in bench.rows:
        compared = "" if loop is None else f"loop {loop:9.3f}   ratio {figure / loop:6.2f}"
        print(f"{name:36} {figure:10.3f} {unit:8} {compared}")


if __name__ == "__main__":
    main()

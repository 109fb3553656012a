"""Streams that nobody reads, and workers that are killed: nothing is left behind, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from agentic.config import ServerConfig
from agentic.testing import ScriptedModel
from agentic.types.errors import SessionBusy
from servers.openai import OpenAIServer

from ..serving import Served, served
from ..test_serve import begun, configured, serve
from .test_keys import made

READERS = int(os.environ.get("AGENTIC_TEST_READERS", "100"))
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}


class Slow:
    """A server whose one turn runs until it is told to end."""

    def __init__(self, server: Served, release: asyncio.Event) -> None:
        self.server = server
        self.client = httpx.Client(base_url=server.url, timeout=20)
        self._release = release

    def end(self) -> None:
        self.server.soon(self._release.set)


@pytest.fixture
def slow() -> Iterator[Slow]:
    release = asyncio.Event()

    async def wait(_request: object) -> str:
        await release.wait()
        return "Hello"

    settings = ServerConfig(port=0, drain_seconds=5, beat_seconds=0.05)
    with served(models={"test": ScriptedModel([wait])}, settings=settings) as server:
        running = Slow(server, release)
        with running.client:
            yield running


def test_a_silent_stream_shows_that_it_is_alive(slow: Slow) -> None:
    with slow.client.stream("POST", f"{begun(slow.client)}/turn", json=HELLO) as answer:
        lines = answer.iter_lines()
        seen = [next(line for line in lines if line == ": alive") for _ in range(3)]
        slow.end()
        rest = list(lines)
    assert len(seen) == 3
    frames = [line for line in rest if line.startswith("data: ")]
    assert '"turn_complete"' in frames[-1]
    assert all(not line or line.startswith(("data: ", ": alive")) for line in rest)


def tasks_of(server: Served) -> int:
    async def count() -> int:
        gc.collect()
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), server.loop).result(20)


def until(server: Served, most: int) -> int:
    """The server's tasks once there are no more than so many: each look lets its loop go on."""
    for _ in range(2000):
        if (found := tasks_of(server)) <= most:
            break
    return found


def test_readers_that_go_away_leave_nothing(slow: Slow) -> None:
    session = begun(slow.client)
    parts = urlsplit(slow.server.url)
    with slow.client.stream("POST", f"{session}/turn", json=HELLO) as first:
        path = f"{session}/turn/{first.headers['x-turn-id']}/events"
        alone = tasks_of(slow.server)
        raw = []
        for _ in range(READERS):
            reader = socket.create_connection((parts.hostname, parts.port), timeout=20)
            raw.append(reader)
            reader.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        for reader in raw:
            assert b" 200 " in reader.recv(20)
        assert tasks_of(slow.server) > alone + READERS
        for reader in raw:
            reader.close()
        assert until(slow.server, alone) <= alone
        assert len(slow.server.server.server_state.connections) <= 2
        slow.end()
        assert "turn_complete" in first.read().decode()


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    """Two workers share a store. One is killed under load; its turns are taken up by the other one."""
    turns: list[str] = []
    kept = threading.Lock()

    def work(url: str, halfway: threading.Event, number: int) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            session = begun(client)
            for _ in range(3):
                try:
                    with client.stream("POST", f"{session}/turn", json=HELLO) as answer:
                        with kept:
                            turns.append(f"{session}/turn/{answer.headers['x-turn-id']}")
                        if number % 2:
                            halfway.set()
                        answer.read()
                except httpx.HTTPError:
                    return  # its worker is dead

    with OpenAIServer() as model_server:
        file = configured(tmp_path, model_server)
        with serve(file, folder=tmp_path) as (one, dying), serve(file, folder=tmp_path) as (two, living):
            halfway = threading.Event()
            with ThreadPoolExecutor(8) as pool:
                jobs = [pool.submit(work, (one, two)[number % 2 == 0], halfway, number) for number in range(8)]
                assert halfway.wait(20)
                dying.kill()
                for job in jobs:
                    job.result(60)
            with httpx.Client(base_url=two, timeout=20) as client:
                for turn in turns:
                    known = client.get(turn)
                    assert known.status_code == 200, known.text
                    if known.json()["completed_at"] is None:
                        resumed = client.post(f"{turn}/resume", json={"tool_responses": []})
                        assert resumed.status_code == 200, resumed.text
                    answer: dict[str, Any] = client.get(turn).json()
                    assert answer["output_message"]["content"].startswith("Hello there")
            _end(living)
    assert len(turns) >= 13


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors


def test_the_end_of_the_server_waits_for_every_tenants_turns(slow: Slow) -> None:
    key = made(slow.server, tenant="acme")
    server = slow.server.server

    async def release_once_it_ends() -> None:
        turns = server.tenants.of("acme").turns
        while not turns._closing:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        slow._release.set()

    with (
        httpx.Client(base_url=slow.server.url, headers=key, timeout=20) as client,
        client.stream("POST", f"{begun(client)}/turn", json=HELLO) as answer,
    ):
        ending = asyncio.run_coroutine_threadsafe(release_once_it_ends(), slow.server.loop)
        server.should_exit = True
        text = answer.read().decode()
        ending.result(20)
    assert '"turn_complete"' in text
    with pytest.raises(SessionBusy):
        server.tenants.of("latecomer")

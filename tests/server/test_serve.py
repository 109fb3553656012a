"""`agentic serve` as a process: from a file, to a signal, and after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers.base import StallAfter
from servers.openai import OpenAIServer

HELLO = [{"role": "user", "content": "Hello"}]


@contextmanager
def serve(*arguments: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "agentic", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(30, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving on http://127.0.0.1:"), process.communicate()[1]
        yield line.split()[-1], process
    finally:
        watch.cancel()
        process.kill()
        process.communicate()
        watch.join()


def configured(folder: Path, model_server: OpenAIServer) -> str:
    file = folder / "run.yaml"
    file.write_text(
        f"models:\n  test: {{model: openai/test, endpoint: '{model_server.url}', api_key: k}}\n"
        "store: sessions.db\nserver: {drain_seconds: 5}\n"
    )
    return file.name


def begun(client: httpx.Client) -> str:
    config = {"agent_config": {"model": "test", "instructions": ""}}
    agent = client.post("/v1/agents", json=config).json()["agent_id"]
    session = client.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    return f"/v1/agents/{agent}/session/{session}"


@pytest.mark.slow
def test_a_turn_that_was_killed_is_taken_up_by_the_next_server(tmp_path: Path) -> None:
    with OpenAIServer() as model_server:
        file = configured(tmp_path, model_server)
        model_server.faults.append(StallAfter(1))
        with serve(file, folder=tmp_path) as (url, process), httpx.Client(base_url=url, timeout=20) as client:
            session = begun(client)
            body: dict[str, Any] = {"messages": HELLO, "stream": True}
            with client.stream("POST", f"{session}/turn", json=body) as answer:
                turn = f"{session}/turn/{answer.headers['x-turn-id']}"
                model_server.wait_for(1)
                process.kill()
                process.wait()
        with serve(file, folder=tmp_path) as (url, process), httpx.Client(base_url=url, timeout=20) as client:
            assert client.get(turn).json()["completed_at"] is None
            ended = client.post(f"{turn}/resume", json={"tool_responses": []}).json()
            assert ended["output_message"]["content"].startswith("Hello there")
            assert client.get(turn).json() == ended
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
            assert process.returncode in (0, -signal.SIGTERM)
            assert "Traceback" not in errors
            assert '"error"' not in errors


@pytest.mark.slow
def test_a_signal_lets_the_turn_end_first(tmp_path: Path) -> None:
    with OpenAIServer() as model_server:
        file = configured(tmp_path, model_server)
        with serve(file, folder=tmp_path) as (url, process), httpx.Client(base_url=url, timeout=20) as client:
            session = begun(client)
            body: dict[str, Any] = {"messages": HELLO, "stream": True}
            with client.stream("POST", f"{session}/turn", json=body) as answer:
                process.send_signal(signal.SIGTERM)
                answer.read()
            last = answer.text.strip().splitlines()[-1]
            turn = json.loads(last.removeprefix("data: "))["event"]["payload"]["turn"]
            assert turn["output_message"]["content"].startswith("Hello there")
            process.wait(20)


@pytest.mark.slow
def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    def failed(*arguments: str) -> str:
        command = [sys.executable, "-m", "agentic", "serve", *arguments]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 2
        return ended.stderr

    assert "open to everybody" in failed("--host", "0.0.0.0")
    (tmp_path / "run.yaml").write_text("server:\n  prot: 1\n")
    assert "line 2" in (told := failed("run.yaml"))
    assert "did you mean 'port'?" in told

"""What every test gets: folders of its own, asyncio for async tests, and a look at what it leaves behind."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path

import pytest

from postgres import PostgreSQL, why_not

KEYS = (
    *("OPENAI_BASE_URL", "OPENAI_API_KEY", "RAW_BASE_URL", "RAW_API_KEY", "OLLAMA_HOST", "LLAMA_STACK_BASE_URL"),
    *("AGENTIC_GUARD_MODEL", "TAVILY_API_KEY", "BRAVE_SEARCH_API_KEY", "WOLFRAM_ALPHA_API_KEY", "WOLFRAM_ALPHA_APPID"),
)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (`@pytest.mark.anyio`) run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's sessions or settings, nor sees the machine's endpoints and keys.

    Models are shared (`AGENTIC_CACHE_DIR` stays): they are large, and checked by their hash.
    """
    monkeypatch.setenv("AGENTIC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AGENTIC_CONFIG_DIR", str(tmp_path / "config"))
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """One PostgreSQL server with pgvector for the whole run; `with postgresql.database() as url` for a test's own."""
    if because := why_not():
        pytest.skip(because)
    with PostgreSQL() as server:
        yield server


KEPT_THREADS = ("agentic-portal", "asyncio_")
"""The process's one loop for sync calls, and that loop's look-ups of host names, live as long as the process."""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a thread, a child process or a task, or whose tasks asyncio complains about."""
    threads, children, tasks = set(threading.enumerate()), child_processes(), portal_tasks()
    complaints = BufferingHandler(capacity=1000)
    complaints.setLevel(logging.ERROR)
    logging.getLogger("asyncio").addHandler(complaints)
    yield
    logging.getLogger("asyncio").removeHandler(complaints)
    left: list[object] = [record.getMessage() for record in complaints.buffer]
    left += portal_tasks() - tasks
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith(KEPT_THREADS):
            thread.join(timeout=2)
            left += [thread] if thread.is_alive() else []
    left += child_processes() - children
    assert not left, f"This test left behind: {left}"


def portal_tasks() -> set[object]:
    """The unfinished tasks of the loop that runs sync calls, if there is one."""
    portal = getattr(sys.modules.get("agentic.portal"), "_portal", None)
    return set(asyncio.all_tasks(portal.loop)) if portal else set()


def child_processes() -> set[str]:
    """This process's children, ended ones that nobody waited for included: `pid (command)`. Empty without /proc."""
    found = set()
    proc = Path("/proc")
    for name in os.listdir(proc) if proc.exists() else ():  # noqa: PTH208 - a glob fails when a process ends meanwhile
        if not name.isdigit():
            continue
        try:
            stat = (proc / name / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        process, _, fields = stat.rpartition(")")
        if int(fields.split()[1]) == os.getpid():
            found.add(f"{process})")
    return found

"""A test that leaves something behind fails; one that does not, does not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

LEAKS = """
import asyncio, subprocess, sys, threading, time

done = threading.Event()

def test_thread():
    threading.Thread(target=done.wait, daemon=True).start()

def test_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    globals()["process"] = process

def test_task():
    async def fail():
        raise ValueError
    async def main():
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        del task
        await asyncio.sleep(0)
    asyncio.run(main())

def test_sync_call():
    import agentic.portal as portal
    portal._get().start(asyncio.Event().wait())
    portal.run_sync(asyncio.sleep(0))

def test_clean():
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    subprocess.run([sys.executable, "-c", ""], check=True)
    asyncio.run(asyncio.sleep(0))
    process.communicate()
"""


@pytest.mark.slow
def test_what_is_left_behind_is_found(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where what conftest.py imports lies
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(LEAKS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=5, errors=4)
    failed = ("thread", "process", "task", "sync_call")
    result.stdout.fnmatch_lines([f"ERROR *::test_{name} *" for name in failed])

"""The interpreter for macOS, on Linux: all of it but the jail, which only a Mac has."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentic.types.content import File
from agentic.types.errors import ConfigError, InvalidInput
from agentic_tools.code_interpreter import SeatbeltInterpreter
from agentic_tools.code_interpreter.environment import Environment
from agentic_tools.code_interpreter.seatbelt import profile

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")]


class Unjailed(SeatbeltInterpreter):
    def _check_system(self) -> None:
        pass

    def _jail(self, command: list[str], place: Environment, folder: Path) -> list[str]:
        assert profile(place, folder)
        return command


@asynccontextmanager
async def interpreter(**options: Any) -> AsyncIterator[SeatbeltInterpreter]:
    async with Unjailed(**options) as opened:
        yield opened


async def test_state_value_error_and_output() -> None:
    async with interpreter() as code:
        first = await code.run("x = 20\nprint('hi')\nx + 1")
        assert (first.status, first.stdout, first.value, first.isolation) == ("completed", "hi\n", "21", "seatbelt")
        failed = await code.run("x / 0")
        assert failed.status == "failed"
        assert "ZeroDivisionError" in (failed.error or "")
        assert (await code.run("x")).value == "20"


async def test_files_go_in_and_come_back() -> None:
    async with interpreter(files=[("a.csv", b"1,2")]) as code:
        await code.put("b.txt", b"there")
        result = await code.run("open('c.txt', 'w').write(open('a.csv').read() + open('b.txt').read())")
        assert [(file.name, file.data) for file in result.files] == [("c.txt", b"1,2there")]
        await code.run("1", files=[File("d.txt", b"d")])
        assert (await code.run("open('d.txt').read()")).value == "'d'"
        with pytest.raises(InvalidInput, match="limit"):
            await code.put("big", b"x" * (code.limits.file_size + 1))


async def test_sessions_do_not_see_each_other_and_run_at_once() -> None:
    async with interpreter() as code:
        results = await asyncio.gather(*(code.run(f"x = {n}; x", session=str(n)) for n in range(5)))
        assert [result.value for result in results] == list("01234")
        assert (await code.run("x", session="3")).value == "3"


async def test_an_interrupted_call_keeps_its_variables() -> None:
    async with interpreter(timeout=0.3) as code:
        await code.run("x = 1")
        result = await code.run("while True: pass")
        assert result.status == "interrupted"
        assert (await code.run("x")).value == "1"


async def test_code_that_will_not_stop_loses_its_process() -> None:
    async with interpreter(timeout=0.3, grace=0.2) as code:
        await code.run("x = 1")
        result = await code.run("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
        assert (result.status, "lost" in (result.error or "")) == ("reset", True)
        again = await code.run("'x' in globals()")
        assert (again.value, again.notes) == (
            "False",
            ("This is a new process: the variables of earlier calls are lost.",),
        )


FORGED = r"""
import os
for number in range(3, 40):
    try: os.write(number, b"\0\0\0\2\0\0\0\0{}")
    except OSError: pass
"""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        (FORGED, "pipes"),
        ("open('big', 'wb').write(b'x' * 3_000_000)", "folder may hold"),
    ],
)
async def test_what_ends_a_session(code: str, why: str) -> None:
    async with interpreter(folder_size=1 << 20) as opened:
        result = await opened.run(code)
        assert result.status == "reset"
        assert why in (result.error or "")
        assert (await opened.run("1")).value == "1"


async def test_much_output_is_kept_in_part() -> None:
    async with interpreter(output=1000) as code:
        result = await code.run("print('a' * 100_000)")
        assert "left out" in result.stdout
        assert len(result.stdout) < 2000


async def test_a_cancelled_call_ends_its_process() -> None:
    async with interpreter() as code:
        await code.run("1")
        task = asyncio.create_task(code.run("import time; open('started', 'w'); time.sleep(60)"))
        (session,) = code._sessions.values()
        while not (session.folder / "started").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await code.run("2")).value == "2"


async def test_closing_removes_everything() -> None:
    code = Unjailed()
    await code.run("1")
    (session,) = code._sessions.values()
    assert session.process
    pid = session.process.process.pid
    await code.aclose()
    assert not session.folder.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_process_ends_with_its_host() -> None:
    async with interpreter() as code:
        await code.run("1")
        (session,) = code._sessions.values()
        assert session.process
        os.close(os.dup(session.process.life))
        life, session.process.life = session.process.life, os.open(os.devnull, os.O_RDONLY)
        os.close(life)
        assert await asyncio.to_thread(session.process.process.wait, 5) == 70


def test_only_a_mac_has_it() -> None:
    if sys.platform != "darwin":
        with pytest.raises(ConfigError, match="macOS"):
            SeatbeltInterpreter()


def test_the_profile_denies_all_but_what_it_names(tmp_path: Path) -> None:
    place = Environment("/usr/bin/python3", ("/usr/lib/python3",), ("/usr/bin/python3",))
    lines = profile(place, tmp_path / 'a "quoted" \\ name').splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    writable = [line for line in lines if "file-write*" in line]
    assert writable == [f'(allow file-read* file-write* (subpath "{tmp_path}/a \\"quoted\\" \\\\ name"))']
    assert not [line for line in lines if "network" in line or "process-fork" in line or "mach" in line]
    with pytest.raises(ConfigError, match="control"):
        profile(place, tmp_path / "a\nb")

"""The interpreter as its users see it, at each level that this machine offers."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent
from agentic.protocols import ToolContext
from agentic.testing import ScriptedModel
from agentic.types.content import File, Image, files_of, text_of
from agentic.types.errors import ConfigError, InvalidInput, ToolError
from agentic.types.tools import ToolCall
from agentic_tools.code_interpreter import CodeInterpreter, Result, check, leftovers, toolgroup
from agentic_tools.code_interpreter.environment import environment
from agentic_tools.code_interpreter.kernel import Kernel
from agentic_tools.code_interpreter.launch import Zygote
from code_interpreter.levels import LEVELS, cpu_seconds
from code_interpreter.suite import descendants
from code_interpreter.test_hostile import python_for_all

Run = Callable[..., Result]


pytestmark = pytest.mark.skipif(not LEVELS, reason="no jail works on this machine")


@pytest.fixture(scope="module", params=LEVELS)
def interpreter(request: pytest.FixtureRequest) -> Iterator[CodeInterpreter]:
    made = CodeInterpreter(isolation=request.param, timeout=1.0, grace=0.5)
    asyncio.run(made.run("1"))
    yield made
    made.close()


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreters that start at once: what is imported beforehand does not matter."""
    monkeypatch.setattr("agentic_tools.code_interpreter.interpreter.PRELOADED", ())


@pytest.fixture
def run(interpreter: CodeInterpreter) -> Iterator[Run]:
    """Runs a call in the test's own session."""
    yield lambda code, **options: asyncio.run(interpreter.run(code, **options))
    asyncio.run(interpreter.reset())


def test_state_stays(run: Run) -> None:
    assert run("x = 20\ndef f(n): return n + x\nprint('set')").stdout == "set\n"
    result = run("import math\nf(22)")
    assert (result.value, result.status, result.error, result.stdout) == ("42", "completed", None, "")
    assert run("_ = 1; None").value is None


def test_an_error_shows_the_users_own_lines(run: Run) -> None:
    result = run("def f():\n    return 1 / 0\n\nprint('before')\nf()")
    assert (result.status, result.stdout) == ("failed", "before\n")
    assert result.error is not None
    assert "return 1 / 0" in result.error
    assert result.error.endswith("ZeroDivisionError: division by zero")
    assert "worker" not in result.error
    syntax = run("def f(:")
    assert syntax.status == "failed"
    assert syntax.error is not None
    assert syntax.error.startswith('File "<cell')
    assert syntax.error.endswith("SyntaxError: invalid syntax")


def test_streams_are_kept_apart_and_cleaned(run: Run) -> None:
    result = run(
        "import os, sys\nprint('\\x1b[31mred\\x1b[0m\\x07')\nos.write(1, b'\\xff!\\n')\nprint('e', file=sys.stderr)"
    )
    assert (result.stdout, result.stderr, result.value) == ("red\n\ufffd!\n", "e\n", None)


def test_output_keeps_its_head_and_its_tail(run: Run) -> None:
    text = run("print('start'); print('x' * 10**6); print('end')").stdout
    assert text.startswith("start\n")
    assert text.endswith("end\n")
    assert "bytes left out" in text
    assert len(text) < 70_000


def test_asyncio_threads_and_files_work(run: Run) -> None:
    code = """
import asyncio, concurrent.futures, shutil, socket, sqlite3, tempfile, zoneinfo
async def main():
    return await asyncio.gather(asyncio.to_thread(lambda: 1), asyncio.sleep(0.001, 2))
a = asyncio.run(main())
b = list(concurrent.futures.ThreadPoolExecutor(4).map(abs, [-3]))
db = sqlite3.connect("a.db"); db.execute("create table t (x)"); db.commit(); db.close()
shutil.copy2("a.db", "b.db")
with tempfile.TemporaryDirectory() as folder: open(folder + "/x", "w").close()
left, right = socket.socketpair(); left.sendall(b"hi"); c = right.recv(9); left.close(); right.close()
(a, b, c, zoneinfo.ZoneInfo("Europe/Lisbon").key)
"""
    result = run(code)
    assert result.error is None
    assert result.value == "([1, 2], [3], b'hi', 'Europe/Lisbon')"
    assert sorted(file.name for file in result.files) == ["a.db", "b.db"]


def test_figures_come_back_without_being_asked_for(run: Run) -> None:
    pytest.importorskip("matplotlib")
    result = run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()\nplt.figure()\nNone")
    assert result.error is None
    assert result.stderr == ""
    assert [image.media_type for image in result.images] == ["image/png", "image/png"]
    assert run("1").images == ()


def test_files_go_in_and_come_out(interpreter: CodeInterpreter, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    asyncio.run(interpreter.put("data.csv", tmp_path / "data.csv"))
    asyncio.run(interpreter.put("../../etc/x y", b"bytes"))
    assert run("import os; sorted(n for n in os.listdir() if n[0] != '.')").value == "['_.._etc_x_y', 'data.csv']"
    result = run("os.mkdir('out'); open('out/r\u00e9sum\u00e9 \\n.txt', 'w').write(open('data.csv').read()[:3])")
    assert [(file.name, file.data) for file in result.files] == [("out_r_sum_.txt", b"a,b")]
    assert run("1").files == ()
    assert [file.name for file in run("open('data.csv', 'a').write('3,4')").files] == ["data.csv"]
    with pytest.raises(InvalidInput, match="Cannot read"):
        asyncio.run(interpreter.put("x", tmp_path / "missing"))


def test_too_much_time_keeps_the_variables(run: Run) -> None:
    run("x = 7")
    result = run("print('waiting')\nwhile True: pass")
    assert (result.status, result.stdout) == ("interrupted", "waiting\n")
    assert "Variables from earlier steps are kept" in str(result.error)
    assert "worker" not in str(result.error)
    assert run("x").value == "7"


def test_what_cannot_be_interrupted_is_killed(run: Run) -> None:
    run("x = 7; open('kept.txt', 'w').close()")
    result = run("import itertools; any(itertools.repeat(0))")
    assert result.status == "reset"
    assert "all variables are lost" in str(result.error)
    assert any("kept.txt" in note for note in result.notes)
    after = run("import os; os.path.exists('kept.txt'), 'x' in globals()")
    assert after.value == "(True, False)"


def test_a_crash_is_reported(run: Run) -> None:
    result = run("import ctypes; ctypes.string_at(0)")
    assert result.status == "reset"
    assert "SIGSEGV" in str(result.error)
    assert "exit code 5" in str(run("import os; os._exit(5)").error)


def test_too_much_memory_is_an_error_that_code_can_catch(run: Run) -> None:
    result = run("x = bytearray(1 << 40)")
    assert (result.status, str(result.error)[-11:]) == ("failed", "MemoryError")
    assert run("1 + 1").value == "2"


MIB = "b'x' * (1 << 20)"
HIDDEN = {
    "by a thread that has no first one beside it": f"""
import ctypes, os, threading, time
def fill():
    for n in range(4):
        file = open('u', 'wb'); os.unlink('u'); held.append(file)
        for _ in range(9): file.write({MIB})
    time.sleep(9)
held = []; threading.Thread(target=fill).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)
""",
    "by one mapped page of each file": f"""
import ctypes, os, time
c = ctypes.CDLL(None)
for n in range(4):
    file = os.open('u', os.O_CREAT | os.O_RDWR); os.unlink('u')
    for _ in range(9): os.write(file, {MIB})
    c.mmap(None, ctypes.c_size_t(4096), 1, 1, file, ctypes.c_long(0)); os.close(file)
time.sleep(9)
""",
    "by a name": f"""
import mmap, os, time
os.mkdir('dev'); held = []
for n in range(4):
    file = open('dev/zero', 'wb+'); os.unlink('dev/zero')
    for _ in range(9): file.write({MIB})
    file.flush(); held.append(mmap.mmap(file.fileno(), 9 << 20)); file.close()
time.sleep(9)
""",
}


@pytest.mark.parametrize("level", LEVELS)
def test_files_without_names_are_counted(level: Any, light: None) -> None:
    async def statuses() -> list[str]:
        sizes: dict[str, Any] = {"file_size": 10 << 20, "folder_size": 20 << 20}
        async with CodeInterpreter(isolation=level, timeout=3.0, grace=1.0, **sizes) as interpreter:
            results = await asyncio.gather(*(interpreter.run(code, session=how) for how, code in HIDDEN.items()))
            return [f"{result.status}: {result.error}" for result in results]

    for said in asyncio.run(statuses()):
        assert said.startswith("reset: ")
        assert "its time of" not in said


def test_more_mappings_than_can_be_looked_through_end_the_session(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_tools.code_interpreter.folder.MAX_MAPPINGS", 10)
    assert run("import time; time.sleep(9)").status == "reset"


def test_mapped_files_and_temporary_ones_work(run: Run) -> None:
    code = """
import mmap, tempfile
with tempfile.TemporaryFile() as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 1 << 20) as held: held[:3] = b"abc"
    file.seek(0); file.read(3)
"""
    assert run(f"{code}\nwith open('x', 'wb') as f: __import__('os').posix_fallocate(f.fileno(), 0, 999)").error is None


def test_what_a_spoilt_session_says_is_cleaned(run: Run) -> None:
    spoil = "import sys; worker = type(sys._getframe(1).f_locals['self'])\n"
    run(f"{spoil}worker.put = lambda *_: {{'error': '\\ud800\\x1b[31mred'}}")
    assert run("1", files=[File("a.txt", b"a")]).notes == ("?red",)
    forged = """
def figures(self, answer):
    for size, length in ((200_000, 50), (10, 9 << 20), (10, 50)):
        data = b"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR" + size.to_bytes(4, "big") * 2 + bytes(length)
        answer["images"].append(len(data)); answer["blobs"].append(data)
worker._figures = figures
"""
    assert [len(image.data or b"") for image in run(f"{spoil}{forged}").images] == [74]


def test_a_file_that_did_not_arrive_is_sent_again(run: Run) -> None:
    run("import os; os.replace = lambda *_: os._exit(1)")
    file = File("a.txt", b"a")
    with pytest.raises(InvalidInput, match="could not be put"):
        run("1", files=[file])
    assert run("open('a.txt').read()", files=[file]).value == "'a'"


PHOTOS = """
import struct, sys
from types import SimpleNamespace as Fake
class Figure:
    bbox = Fake(width=9, height=9)
    def savefig(self, file, format):
        file.write(b"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR" + struct.pack(">II", 9, 9) + bytes(7 << 20))
sys.modules["matplotlib.pyplot"] = Fake(get_fignums=lambda: range(1, 7), figure=lambda _: Figure(), close=bool)
open("f", "wb").write(bytes(7 << 20)); None
"""


def test_of_many_large_figures_some_come_back(light: None) -> None:
    async def drawn() -> Result:
        async with CodeInterpreter() as interpreter:
            return await interpreter.run(PHOTOS)

    result = asyncio.run(drawn())
    assert (result.status, len(result.images), len(result.files)) == ("completed", 3, 1)
    assert [note.partition(" was")[0] for note in result.notes] == ["Figure 4", "Figure 5", "Figure 6"]


def test_limits_may_be_raised(light: None) -> None:
    async def much() -> Result:
        async with CodeInterpreter(value=200_000, returned=40 << 20) as interpreter:
            return await interpreter.run("open('f', 'wb').write(bytes(36 << 20)); '\\u00e9' * 190_000")

    result = asyncio.run(much())
    assert (len(result.value or ""), [len(file.data) for file in result.files]) == (190_002, [36 << 20])


def test_warnings_name_the_users_own_lines(run: Run) -> None:
    pytest.importorskip("matplotlib")
    code = "import warnings, matplotlib.pyplot as plt; warnings.warn('careful')\nplt.title('\u65e5'); None"
    result = run(code)
    assert result.stderr.startswith("<cell ")
    assert "UserWarning: careful" in result.stderr
    assert ".py:" not in result.stderr
    assert len(result.images) == 1


def test_one_bad_figure_does_not_cost_the_others(run: Run) -> None:
    pytest.importorskip("matplotlib")
    code = "import matplotlib.pyplot as plt\nplt.plot([1]); plt.figure(); plt.title('$\\\\frac$'); plt.figure()\nNone"
    result = run(code)
    assert (len(result.images), len(result.notes)) == (2, 1)
    assert "Figure 2 cannot be drawn: ValueError" in result.notes[0]
    assert (run("1").images, run("1").notes) == ((), ())


def test_output_belongs_to_its_call(run: Run) -> None:
    assert run("import io, sys; print('mine', end=''); sys.stdout = io.StringIO()").stdout == "mine"
    assert run("print('next')").stdout == "next\n"


def test_a_file_that_cannot_be_read_does_not_cost_the_others(run: Run) -> None:
    code = "import os; os.close(os.open('a', os.O_CREAT | os.O_WRONLY, 0)); open('b', 'w').write('b'); None"
    assert "b" in [file.name for file in run(code).files]


def test_sessions_do_not_see_each_other(run: Run) -> None:
    folder = run("import os; x = 1; open('mine', 'w').write('secret'); os.getcwd()", session="one").value
    assert run("x", session="two").status == "failed"
    assert "PermissionError" in str(run(f"open({folder} + '/mine').read()", session="two").error)
    assert run("x", session="one").value == "1"


def test_threads_do_not_run_between_calls(run: Run) -> None:
    run("import threading\ndef burn():\n    while True: pass\nfor _ in range(3): threading.Thread(target=burn).start()")
    spent = cpu_seconds(descendants(os.getpid()))
    run("1", session="another")
    time.sleep(0.3)  # time in which nothing happens is what this test is about
    assert cpu_seconds(descendants(os.getpid())) - spent < 0.15


def test_a_cancelled_call_is_interrupted(interpreter: CodeInterpreter, run: Run) -> None:
    run("x = 5")

    async def cancelled() -> None:
        task = asyncio.create_task(interpreter.run("open('started', 'w').close()\nwhile True: pass"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = time.monotonic()
    asyncio.run(cancelled())
    assert time.monotonic() - started < 0.9
    assert run("x").value == "5"


def test_calls_in_one_session_wait_for_each_other(interpreter: CodeInterpreter, run: Run) -> None:
    run("log = []")

    async def together() -> None:
        code = "log.append('in'); import time; time.sleep(0.01); log.append('out')"
        await asyncio.gather(*(interpreter.run(code) for _ in range(5)))

    asyncio.run(together())
    assert run("log == ['in', 'out'] * 5").value == "True"


def test_fifty_sessions_at_once(interpreter: CodeInterpreter, run: Run) -> None:
    async def all_of_them() -> list[Result]:
        await asyncio.gather(*(interpreter.run(f"x = {n}", session=f"s{n}") for n in range(50)))
        return await asyncio.gather(*(interpreter.run("x", session=f"s{n}") for n in range(50)))

    assert [result.value for result in asyncio.run(all_of_them())] == [str(n) for n in range(50)]

    async def end() -> None:
        await asyncio.gather(*(interpreter.reset(f"s{n}") for n in range(50)))

    asyncio.run(end())


def test_a_thousand_calls_leave_nothing(interpreter: CodeInterpreter, run: Run) -> None:
    async def calls(count: int) -> None:
        for _ in range(count):
            await interpreter.run("x = [1] * 1000; print(len(x)); x[0]")

    asyncio.run(calls(50))
    threads, opened, before = threading.active_count(), descriptors(), memory()
    asyncio.run(calls(1000))
    assert threading.active_count() <= threads + 1  # the last one may be about to end
    assert descriptors() <= opened
    assert memory() - before < 8 << 20


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("level", LEVELS)
def test_idle_sessions_are_ended(level: Any, light: None) -> None:
    async def idle() -> tuple[Result, Result]:
        async with CodeInterpreter(isolation=level, idle=0.05) as interpreter:
            await interpreter.run("x = 1; open('f', 'w').close()")
            session = interpreter._engine.sessions[""]
            assert session.kernel is not None
            pidfd = session.kernel._started.pidfd
            assert await asyncio.to_thread(select.select, [pidfd], [], [], 10) != ([], [], [])
            return await interpreter.run("import os; os.path.exists('f')"), await interpreter.run("1")

    after, later = asyncio.run(idle())
    assert after.value == "True"
    assert "variables of earlier calls are lost" in " ".join(after.notes)
    assert later.value == "1"


HOST = """
import asyncio, sys
from agentic_tools.code_interpreter import CodeInterpreter, interpreter
interpreter.PRELOADED = ()
async def main():
    async with CodeInterpreter(isolation=sys.argv[1]) as interpreter:
        await interpreter.run("import threading\\ndef f():\\n  while True: pass\\nthreading.Thread(target=f).start()")
        print("ready", flush=True)
        await interpreter.run("while True: pass")
asyncio.run(main())
"""


@pytest.mark.parametrize("level", LEVELS)
def test_killing_the_framework_leaves_no_process(level: Any) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, level], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host.stdout:
        assert host.stdout.readline() == b"ready\n"
        below = descendants(host.pid)
        assert len(below) >= 2
        host.send_signal(signal.SIGKILL)
        host.wait()
    deadline = time.monotonic() + 10
    while left := {pid for pid in below if runs(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)  # polls: nothing tells a process of a stranger's end


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


FORKING = """
import asyncio, os, sys
from agentic_tools.code_interpreter import CodeInterpreter, interpreter
interpreter.PRELOADED = ()
made = CodeInterpreter(isolation=sys.argv[1])
asyncio.run(made.run("x = 1"))
if os.fork() == 0:
    assert asyncio.run(made.run("'x' in globals()")).value == "False"
    sys.exit()
assert os.wait()[1] == 0
print(asyncio.run(made.run("x")).value)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_fork_of_the_framework_has_sessions_of_its_own(level: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, level], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_closing_waits_for_the_call_that_runs(light: None) -> None:
    interpreter = CodeInterpreter()
    results: list[Result] = []
    asyncio.run(interpreter.run("1"))
    call = "open('started', 'w').close(); import time; time.sleep(0.2); 7"
    caller = threading.Thread(target=lambda: results.append(asyncio.run(interpreter.run(call))))
    caller.start()
    folder = interpreter._engine.sessions[""].folder
    assert folder is not None
    while not (folder / "started").exists():
        time.sleep(0.01)  # polls: a file is all that the jail can show
    interpreter.close()
    caller.join()
    assert [result.value for result in results] == ["7"]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become somebody else")
@pytest.mark.parametrize("level", LEVELS)
def test_the_folder_may_lie_where_nobody_else_gets(
    level: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: None
) -> None:
    if (python := python_for_all()) is None:
        pytest.skip("there is no Python that every user may run")
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def written() -> Result:
        async with CodeInterpreter(python, isolation=level) as interpreter:
            return await interpreter.run("open('f', 'w').write('x')")

    assert asyncio.run(written()).value == "1"


@pytest.mark.parametrize("level", LEVELS)
def test_everything_may_be_killed(level: Any, light: None) -> None:
    async def killed() -> tuple[Result, Result]:
        before = descendants(os.getpid())
        async with CodeInterpreter(isolation=level) as interpreter:
            await interpreter.run("x = 1; open('f', 'w').close()")
            for pid in descendants(os.getpid()) - before:
                os.kill(pid, signal.SIGKILL)
            return await interpreter.run("x"), await interpreter.run("1 + 1")

    first, second = asyncio.run(killed())
    assert first.status in ("failed", "reset")  # it may find the process dead, or dying
    assert second.value == "2"


@pytest.mark.parametrize("level", LEVELS)
def test_a_zygote_that_dies_is_replaced(level: Any, monkeypatch: pytest.MonkeyPatch, light: None) -> None:
    async def dying() -> tuple[Result, Result]:
        async with CodeInterpreter(isolation=level, files=[("a.txt", b"a")]) as interpreter:
            await interpreter.run("open('b.txt', 'w').close()")
            zygote = interpreter._engine.zygote
            assert zygote is not None
            zygote._socket.shutdown(socket.SHUT_RDWR)
            with monkeypatch.context() as patch:  # it dies right after it was looked at
                patch.setattr(Zygote, "alive", property(lambda one: one is zygote or one._process.poll() is None))
                patch.setattr(Kernel, "alive", False)
                with pytest.raises(ToolError, match="dies as soon as it starts"):
                    await interpreter.run("1")
            return await interpreter.run("import os; sorted(os.listdir())"), await interpreter.run("1")

    first, second = asyncio.run(dying())
    assert (first.value, second.value) == ("['.tmp', 'a.txt']", "1")
    assert "variables and files of earlier calls are lost" in first.notes[0]


HELD = """
import asyncio, sys
from agentic_tools.code_interpreter import CodeInterpreter, interpreter
interpreter.PRELOADED = ()
async def main():
    async with CodeInterpreter(isolation=sys.argv[1]) as interpreter:
        await interpreter.run("import os; os.makedirs('a/b'); open('a/b/f', 'w').close(); os.chmod('a', 0)")
        print(interpreter._engine.zygote.base, flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def test_what_a_killed_framework_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o711)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HELD, LEVELS[-1]]
    with (
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed,
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as alive,
    ):
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, kept = (Path(process.stdout.readline().decode().strip()) for process in (killed, alive))  # type: ignore[union-attr]
        below = descendants(killed.pid)
        killed.kill()
        killed.wait()
        while any(map(runs, below)):
            time.sleep(0.01)  # polls: nothing tells a process of a stranger's end
        (tmp_path / "agentic-code-link").symlink_to(tmp_path)
        (tmp_path / "agentic-code-new").mkdir()
        (tmp_path / "agentic-code-old").mkdir()
        os.utime(tmp_path / "agentic-code-old", (1, 1))
        leftovers.sweep()
        found = {path.name for path in tmp_path.iterdir()}
        assert left.name not in found
        assert found == {kept.name, "agentic-code-link", "agentic-code-new"}
        alive.communicate()
    assert not kept.exists()


def test_sessions_that_nobody_uses_are_forgotten(light: None) -> None:
    async def forgotten() -> tuple[Result, bool]:
        async with CodeInterpreter(keep=0.05, file_size=4096) as interpreter:
            await interpreter.run("x = 1", session="old")
            folder = interpreter._engine.sessions["old"].folder
            assert folder is not None
            interpreter._engine.sessions["old"].used -= 1
            result = await interpreter.run("1", session="new", files=[File("large", bytes(4097))])
            assert set(interpreter._engine.sessions) == {"new"}
            return result, folder.exists()

    result, exists = asyncio.run(forgotten())
    assert (result.value, exists) == ("1", False)
    assert result.notes == ("large has 4,097 bytes; the limit is 4,096.",)


def test_of_many_sessions_the_longest_unused_lose_their_process(light: None) -> None:
    async def many() -> tuple[list[Result], int]:
        async with CodeInterpreter(waiting=2) as interpreter:
            for name in "abc":
                await interpreter.run(f"x = {name!r}; open(x, 'w').close()", session=name)
            await interpreter.run("x", session="b")
            before = descriptors()
            results = [await interpreter.run("import os; [x for x in dir() if x == 'x']", session=n) for n in "bca"]
            results.append(await interpreter.run("sorted(os.listdir())", session="a"))
            return results, descriptors() - before

    (b, c, a, files), opened = asyncio.run(many())
    assert (b.value, c.value, a.value, files.value) == ("['x']", "['x']", "[]", "['.tmp', 'a']")
    assert "the variables of earlier calls are lost" in a.notes[0]
    assert opened == 0


def test_without_descriptors_the_other_sessions_live_on(light: None) -> None:
    async def crowded() -> tuple[Result, list[str]]:
        refused = []
        async with CodeInterpreter() as interpreter:
            await interpreter.run("x = 1")
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            filling = [os.dup(1)]  # the gaps between those that are open
            while filling[-1] < 100:
                filling.append(os.dup(1))
            for room in range(2, 13):  # a call takes one, and a new session's process nine
                resource.setrlimit(resource.RLIMIT_NOFILE, (filling[-1] + room, limits[1]))
                try:
                    await interpreter.run("1", session=f"{room}")
                except ToolError as error:
                    refused.append(str(error))
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in filling:
                os.close(descriptor)
            return await interpreter.run("x"), refused

    result, refused = asyncio.run(crowded())
    assert result.value == "1"
    assert len(refused) >= 9
    assert all("too many open files" in text for text in refused)


def test_files_are_put_once(run: Run) -> None:
    old, new = File("a b.csv", b"1"), File("a b.csv", b"2")
    assert run("open('a_b.csv', 'a').write('!')", files=[old]).files[0].data == b"1!"
    assert run("open('a_b.csv').read()", files=[old]).value == "'1!'"
    assert run("open('a_b.csv').read()", files=[old, new]).value == "'2'"


def test_as_a_tool(interpreter: CodeInterpreter) -> None:
    def invoke(code: object, session: str = "a") -> Any:
        return asyncio.run(interpreter.invoke({"code": code}, ToolContext(session_id=session)))

    output = invoke("x = 2\nprint('hello')\nx + 1")
    assert output.content == "completed\n[stdout]hello\n3[/stdout]"
    assert output.metadata["isolation"] in LEVELS
    failed = text_of(invoke("1 / 0").content)
    assert failed.startswith("failed\n[stderr]Traceback")
    written = invoke("open('r.txt', 'w').write('x'); None").content
    assert text_of(written).endswith("Files written:\n")
    assert [part.data for part in files_of(written)] == [b"x"]
    assert "NameError" in text_of(invoke("x", "b").content)
    with pytest.raises(ToolError, match="do not fit"):
        invoke(7)


def test_an_agent_plots_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    csv = tmp_path / "sales 2026.csv"
    csv.write_text("month,sold\n1,10\n2,40\n3,20\n")
    code = """import pandas as pd, matplotlib.pyplot as plt
pd.read_csv('sales_2026.csv').plot(x='month', y='sold')
plt.savefig('plot.png')
print('plotted')"""
    model = ScriptedModel([ToolCall("code_interpreter", {"code": code}, "c1"), "Here is the plot."])
    with Agent(model, tools=["builtin::code_interpreter"], store=None) as agent:
        turn = agent.run("Plot the file.", files=[csv])
    assert "[file sales_2026.csv, 26 bytes]" in model.requests[0].messages[-1].text
    response = turn.tool_responses[0]
    picture = next(part for part in response.content if isinstance(part, Image))
    assert text_of(response.content).startswith("completed\n[stdout]plotted")
    assert picture.data is not None
    assert len(picture.data) > 5000
    (saved,) = [file.save(tmp_path / "out") for file in turn.files]
    assert saved == tmp_path / "out" / "plot.png"
    assert saved.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("level", LEVELS)
def test_entering_waits_for_the_imports(level: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_last.py").write_text("open('imported', 'w').close()")
    place = environment()
    place = replace(place, path=(str(tmp_path),), readable=(*place.readable, str(tmp_path)))
    monkeypatch.setattr("agentic_tools.code_interpreter.interpreter.environment", lambda *_: place)
    monkeypatch.setattr("agentic_tools.code_interpreter.interpreter.PRELOADED", ("asyncio", "imported_last"))

    async def imported() -> bool:
        async with CodeInterpreter(isolation=level) as interpreter:
            zygote = interpreter._engine.zygote
            assert zygote is not None
            return (zygote.base / "imported").exists()

    assert asyncio.run(imported())


@pytest.mark.parametrize("level", LEVELS)
def test_a_script_that_starts_python_will_do(level: Any, tmp_path: Path, light: None) -> None:
    shim = tmp_path / "python3"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)

    async def isolation() -> str:
        async with CodeInterpreter(str(shim), isolation=level) as interpreter:
            return (await interpreter.run("1")).isolation

    assert asyncio.run(isolation()) == level


def test_a_tree_that_is_too_deep_is_called_so(run: Run) -> None:
    result = run("import os\nfor _ in range(60): os.mkdir('d'); os.chdir('d')")
    assert result.status == "reset"
    assert "nested at most 48 deep" in str(result.error)


def test_a_call_takes_files_in_every_form(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    files = [str(tmp_path / "a.txt"), tmp_path / "b.txt", ("c.txt", b"c"), File("d.txt", b"d")]
    assert run("[open(f'{name}.txt').read() for name in 'abcd']", files=files).value == "['a', 'b', 'c', 'd']"
    with pytest.raises(InvalidInput, match="Cannot read the file"):
        run("1", files=[tmp_path / "missing.txt"])
    for no_list in ("a.txt", {"a.txt": b"a"}):
        with pytest.raises(ConfigError, match="files is a list"):
            run("1", files=no_list)


def test_figures_are_saved_from_the_turn(tmp_path: Path, light: None) -> None:
    pytest.importorskip("PIL")
    code = "from PIL import Image; Image.new('RGB', (2, 2))"
    model = ScriptedModel([ToolCall("code_interpreter", {"code": code}, "c1"), "There it is."])
    with Agent(model, tools=["builtin::code_interpreter"], store=None) as agent:
        turn = agent.run("Draw.")
    assert turn.images == turn.tool_responses[0].images
    saved = turn.images[0].save(tmp_path / "new" / "plot.png")
    assert saved.read_bytes() == turn.images[0].data
    with pytest.raises(InvalidInput, match="Cannot write"):
        turn.images[0].save(saved / "below.png")
    with pytest.raises(InvalidInput, match="fetch http"):
        Image(url="http://127.0.0.1/a.png").save(tmp_path / "a.png")


def test_an_agent_closes_the_interpreter_that_it_made(light: None) -> None:
    model = ScriptedModel([ToolCall("code_interpreter", {"code": "6 * 7"}, "c1"), "42"])
    with Agent(model, tools=["builtin::code_interpreter"], store=None) as agent:
        assert agent.run("What is six times seven?").text == "42"


def test_packages_are_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: None) -> None:
    monkeypatch.setenv("AGENTIC_CACHE_DIR", str(tmp_path / "cache"))
    wheel = a_wheel(tmp_path)

    async def value() -> str | None:
        async with CodeInterpreter(packages=[str(wheel)]) as interpreter:
            return (await interpreter.run("import tiny_thing; tiny_thing.ANSWER")).value

    assert asyncio.run(value()) == "42"
    wheel.unlink()
    assert asyncio.run(value()) == "42"
    with pytest.raises(ConfigError, match="cannot be installed"):
        asyncio.run(CodeInterpreter(packages=[str(tmp_path / "missing.whl")]).run("1"))


def a_wheel(folder: Path) -> Path:
    import zipfile

    wheel = folder / "tiny_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny_thing.py", "ANSWER = 42\n")
        file.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        file.writestr(
            "tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    return wheel


def test_no_jail_only_when_asked_for_twice(monkeypatch: pytest.MonkeyPatch, light: None) -> None:
    monkeypatch.delenv("AGENTIC_ALLOW_UNJAILED_CODE", raising=False)
    with pytest.raises(ConfigError, match="AGENTIC_ALLOW_UNJAILED_CODE"):
        CodeInterpreter(isolation="none")
    monkeypatch.setenv("AGENTIC_ALLOW_UNJAILED_CODE", "1")

    async def result() -> Result:
        async with CodeInterpreter(isolation="none") as interpreter:
            return await interpreter.run("1 + 1")

    found = asyncio.run(result())
    assert (found.value, found.isolation) == ("2", "none")
    assert "without any isolation" in " ".join(found.notes)


def test_impossible_settings_are_refused() -> None:
    for settings in (
        {"isolation": "weak"},
        {"timeout": 0},
        {"speed": 3},
        {"packages": "numpy"},
        {"memory": "1 GB"},
        {"returned": 51 << 20},
    ):
        with pytest.raises(ConfigError):
            CodeInterpreter(**settings)
    with pytest.raises(ConfigError, match="no Python"):
        asyncio.run(CodeInterpreter(python="/no/such/python").run("1"))
    with pytest.raises(InvalidInput):
        asyncio.run(CodeInterpreter().run(b"1"))  # type: ignore[arg-type]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_refused(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", system)
    with pytest.raises(ConfigError, match=f"this is {system}.*WSL2.*RemoteCodeInterpreter"):
        CodeInterpreter()
    assert check()[0] is False


def test_the_check_names_the_level() -> None:
    good, text = check()
    assert good == (LEVELS[0] == "strong")
    assert f"isolation {LEVELS[0]}" in text
    assert [tool.definition.name for tool in toolgroup("builtin::code_interpreter")] == ["code_interpreter"]

"""The remote interpreter, against a local server that behaves like E2B."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest

from agentic import Agent
from agentic.testing import ScriptedModel
from agentic.types.content import File, Image
from agentic.types.errors import ConfigError, InvalidInput, ToolError
from agentic.types.tools import ToolCall
from agentic_tools.code_interpreter import RemoteCodeInterpreter, Result, remote
from servers.base import CutAfter, Fault, HangUp, Insert, Resplit, StallAfter, Status
from servers.e2b import E2BServer, Says, line, out

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BServer]:
    with E2BServer() as server:
        monkeypatch.setenv("E2B_API_KEY", server.key)
        yield server
        assert server.problems == []


def made(server: E2BServer, **options: Any) -> RemoteCodeInterpreter:
    return RemoteCodeInterpreter(endpoint=server.url, sandbox_endpoint=server.url, **options)


def run(server: E2BServer, *codes: str, **options: Any) -> list[Result]:
    """Runs codes in one session."""

    async def all_of_them() -> list[Result]:
        async with made(server, **options) as interpreter:
            return [await interpreter.run(code) for code in codes]

    return asyncio.run(all_of_them())


def test_a_call_and_its_requests(server: E2BServer) -> None:
    trace = "\x1b[31mValueError\x1b[0m: no"
    server.says["x = 1"] = Says([out("one\n"), line("stderr", text="warn\n", timestamp=1), out("two\n")])
    server.says["plot()"] = Says(
        [
            line("result", text="<Figure>", png=PNG, is_main_result=False, extra={}),
            line("result", text="42", is_main_result=True),
        ],
        {"r\u00e9sum\u00e9.txt": b"cv", "out.csv": b"a,b\n"},
    )
    server.says["1 / 0"] = Says([line("error", name="ValueError", value="no", traceback=trace)])
    first, second, third = run(server, "x = 1", "plot()", "1 / 0", idle=300)
    assert first == Result("one\ntwo\n", "warn\n", isolation="remote")
    assert (second.value, [image.media_type for image in second.images]) == ("42", ["image/png"])
    assert [(file.name, file.data) for file in second.files] == [("r_sum_.txt", b"cv"), ("out.csv", b"a,b\n")]
    assert (third.status, third.error, third.files) == ("failed", "ValueError: no", ())
    assert server.machines == {}

    sent = server.requests
    assert [(one.method, one.path) for one in (sent[0], sent[1], sent[2], sent[-1])] == [
        ("POST", "/sandboxes"),
        ("POST", "/filesystem.Filesystem/ListDir"),
        ("POST", "/execute"),
        ("DELETE", "/sandboxes/sbx1"),
    ]
    order = b'{"templateID":"code-interpreter-v1","timeout":482,"secure":true,"allow_internet_access":false}'
    assert sent[0].body == order
    assert sent[1].body == b'{"path":"/home/user","depth":1}'
    assert sent[2].body == b'{"code":"x = 1","context_id":null,"language":null,"env_vars":null}'
    assert sent[2].headers["e2b-sandbox-id"] == "sbx1"
    assert sent[2].headers["e2b-sandbox-port"] == "49999"
    assert "authorization" not in sent[2].headers
    fetched = [one.path for one in sent if one.method == "GET"]
    assert fetched[1] == "/files?path=%2Fhome%2Fuser%2Fout.csv&username=user"


def test_files_go_in(server: E2BServer) -> None:
    async def put() -> list[Result]:
        async with made(server, files=[("base.txt", b"b")], file_size=100) as interpreter:
            await interpreter.put("my data.csv", b"\x00\xff\r\n--")
            with pytest.raises(InvalidInput, match="101 bytes"):
                await interpreter.put("large", bytes(101))
            large, small = File("large", bytes(101)), File("a.csv", b"1")
            results = [await interpreter.run("1", files=[large, small]) for _ in range(2)]
            files = server.machines["sbx1"].files
            assert {name: data for name, (data, _) in files.items() if name[0] != "."} == {
                "my_data.csv": b"\x00\xff\r\n--",
                "base.txt": b"b",
                "a.csv": b"1",
            }
            return results

    first, second = asyncio.run(put())
    assert (first.files, first.notes) == ((), ("large has 101 bytes; the limit is 100.",))
    assert (second.files, second.notes) == ((), ())
    assert sum(one.path.startswith("/files?") for one in server.requests) == 3


REFUSALS: list[tuple[Fault, str]] = [
    (Status(401, {"code": 401, "message": "bad e2b_0123456789abcdef"}), "does not accept the key"),
    (Status(429, {"code": 429, "message": "slow"}, {"retry-after": "7"}), "again after 7 s"),
    (Status(400, {"code": 400, "message": "template 'x' is unknown"}), "template 'x' is unknown"),
    (Status(500, b"<html>", content_type="text/html"), "failed"),
    (Status(302, b"", {"location": "http://127.0.0.1:1/"}), "302"),
    (Status(201, b"[]"), "something else"),
    (Status(201, b"{"), "not JSON"),
    (Status(201, {"sandboxID": "../../x"}), "without a sandbox"),
    (Status(201, {"sandboxID": "x", "envdAccessToken": "\u00e9"}), "token"),
    (Status(201, {"sandboxID": "x", "trafficAccessToken": "a\r\nx-api-key: b"}), "token"),
    (Status(201, b" " * (5 << 20)), "sent more than"),
    (HangUp(), "broke off"),
]


@pytest.mark.parametrize(("fault", "says"), REFUSALS)
def test_refusals_are_typed(server: E2BServer, fault: Fault, says: str) -> None:
    server.faults.append(fault)
    with pytest.raises(ToolError, match=says) as raised:
        run(server, "1")
    assert server.key not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (CutAfter(2), "broke off"),
        (CutAfter(1, reset=True), "broke off"),
        (StallAfter(2), "its time of 0.2 s was over"),
        (Insert(2, b"<html>502</html>"), "middle of a line"),
        (Insert(2, b'{"type": "stdo'), "middle of a line"),
        (Insert(2, b"[1]\n"), "middle of a line"),
    ],
)
def test_a_broken_stream_resets_the_session(server: E2BServer, fault: Fault, says: str) -> None:
    server.says["go"] = Says([out("begun\n"), out("more\n")])
    server.faults += [None, None, fault]
    broken, after = run(server, "go", "go", timeout=0.2, grace=0.1)
    assert (broken.status, says in str(broken.error), "all variables and files" in str(broken.error)) == (
        "reset",
        True,
        True,
    )
    assert broken.stdout == ("begun\n" if fault != CutAfter(1) else "")
    assert (after.status, after.stdout) == ("completed", "begun\nmore\n")
    assert [one.path for one in server.requests if one.method == "DELETE"] == ["/sandboxes/sbx1", "/sandboxes/sbx2"]


def test_odd_streams_are_read(server: E2BServer) -> None:
    server.says["odd"] = Says(
        [
            line("unheard_of", text="x"),
            line("stdout", text=7),
            line("result", png="no base64!", is_main_result="yes", text="v"),
            line("result", png=base64.b64encode(b"no picture").decode(), text=None),
            b"\n\n",
            out("\ud83d\ude00 \x1b[2Jok\n"),
        ]
    )
    server.faults += [None, None, Resplit(1)]
    (result,) = run(server, "odd")
    assert (result.stdout, result.value, result.images, result.status) == ("\U0001f600 ok\n", None, (), "completed")


def test_a_sandbox_that_is_gone_is_replaced(server: E2BServer) -> None:
    async def gone() -> list[Result]:
        async with made(server, files=[("a.csv", b"1")]) as interpreter:
            first = await interpreter.run("1")
            server.machines.clear()
            return [first, await interpreter.run("2"), await interpreter.run("3")]

    first, second, third = asyncio.run(gone())
    assert (first.notes, third.notes) == ((), ())
    assert "all variables and files are lost" in second.notes[0]
    assert second.status == "completed"
    assert "a.csv" in str([one.path for one in server.requests if "sbx2" in str(one.headers)])


def test_no_sandbox_twice_is_an_error(server: E2BServer) -> None:
    gone = Status(502, {"message": "The sandbox was not found", "code": 502})
    server.faults += [None, gone, None, gone]
    with pytest.raises(ToolError, match="no sandbox"):
        run(server, "1")


def test_a_service_that_says_nothing_is_given_up(server: E2BServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 0.1)
    server.silent = True
    with pytest.raises(ToolError, match=r"did not answer within 0.1 s"):
        run(server, "1", timeout=0.05, grace=0.05)


def test_files_that_cannot_be_fetched_do_not_cost_the_result(server: E2BServer) -> None:
    server.says["w"] = Says([out("ok\n")], {"big.bin": bytes(50), "a": b"1", "b": b"2", "c": b"3"})
    server.faults += [None, None, None, None, Status(500, b"")]
    (result,) = run(server, "w", returned=40, files=[])
    assert (result.stdout, result.files) == ("ok\n", ())
    assert any("big.bin" in note for note in result.notes)
    assert any("could not be fetched" in note for note in result.notes)


def test_a_cancelled_call_ends_its_machine(server: E2BServer) -> None:
    server.says["wait"] = Says([out("begun\n")], hangs=True)

    async def cancelled() -> None:
        async with made(server) as interpreter:
            task = asyncio.create_task(interpreter.run("wait"))
            await asyncio.to_thread(server.wait_for, 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert server.machines == {}

    asyncio.run(cancelled())


def test_sessions_have_machines_of_their_own_and_wait_their_turn(server: E2BServer) -> None:
    async def together() -> None:
        async with made(server) as interpreter:
            await asyncio.gather(*(interpreter.run("1", session=name) for name in "aabb"))
            assert len(server.machines) == 2
            await interpreter.reset("a")
            assert len(server.machines) == 1

    asyncio.run(together())
    assert server.machines == {}


def test_a_machine_lives_on_while_it_is_used(server: E2BServer) -> None:
    async def used() -> None:
        async with made(server, idle=100) as interpreter:
            await interpreter.run("1")
            await interpreter.run("1")
            interpreter._sessions[""].expires -= 51  # so much later
            await interpreter.run("1")
            assert server.machines["sbx1"].seconds == 182

    asyncio.run(used())
    extended = [one for one in server.requests if one.path.endswith("/timeout")]
    assert [one.body for one in extended] == [b'{"timeout":182}']


def test_settings(server: E2BServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"endpoint": "e2b.app"}, {"timeout": 0}, {"speed": 2}, {"files": "a.csv"}):
        with pytest.raises(ConfigError):
            RemoteCodeInterpreter(**wrong)
    with pytest.raises(InvalidInput):
        run(server, b"1")  # type: ignore[arg-type]
    monkeypatch.delenv("E2B_API_KEY")
    with pytest.raises(ConfigError, match="E2B_API_KEY"):
        run(server, "1")
    monkeypatch.setenv("E2B_API_KEY", "key-of-somebody")
    with pytest.raises(ToolError, match="agentic keys set E2B_API_KEY"):
        run(server, "1")
    monkeypatch.setenv("E2B_API_KEY", server.key)
    unreachable = RemoteCodeInterpreter(endpoint="http://127.0.0.1:1", sandbox_endpoint=server.url)
    with pytest.raises(ToolError, match="cannot be reached"):
        asyncio.run(unreachable.run("1"))
    assert "E2B" not in repr(unreachable)


def test_as_a_tool_of_an_agent(server: E2BServer) -> None:
    server.says["plot('sales.csv')"] = Says([line("result", png=PNG, text="<Figure>")], {"out.txt": b"done"})
    model = ScriptedModel([ToolCall("code_interpreter", {"code": "plot('sales.csv')"}, "c1"), "Here it is."])
    interpreter = made(server)
    with Agent(model, tools=[interpreter], store=None) as agent:
        turn = agent.run("Plot it.", files=[("sales.csv", b"1,2\n")])
    assert [(file.name, file.data) for file in turn.files] == [("out.txt", b"done")]
    assert any(isinstance(part, Image) for part in turn.tool_responses[0].content)
    assert server.machines["sbx1"].files["sales.csv"][0] == b"1,2\n"
    interpreter.close()
    assert server.machines == {}

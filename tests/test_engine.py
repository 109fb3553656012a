"""The engine end to end on a scripted model: turns, tools, limits, pauses, crashes, streams (promises 1, 3, 4, 6)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from agentic import (
    Agent,
    Approve,
    AssistantMessage,
    Deny,
    EndReason,
    Image,
    Limits,
    Session,
    StepCompleted,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallStarted,
    ToolDef,
    ToolError,
    ToolOutput,
    ToolResponse,
    Turn,
    TurnCompleted,
    TurnPaused,
    TurnStarted,
    UserMessage,
)
from agentic.protocols import Prepared
from agentic.store import MemoryStore, open_store
from agentic.testing import Delay, ScriptedModel
from agentic.types import (
    ConfigError,
    Event,
    Hit,
    InvalidInput,
    Message,
    NotFound,
    SafetyViolation,
    ServerFailed,
    SessionBusy,
    StopReason,
    StoreFull,
    ToolExecutionStep,
    ToolStatus,
    TurnPending,
    TurnStatus,
    Usage,
    UsageError,
    Verdict,
)
from agentic.types.sampling import Completion

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


def call(name: str, call_id: str = "", /, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, call_id)


def agent(*replies: Any, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(replies)
    return Agent(model, **{"store": None, **options}), model


def results(turn: Turn) -> list[tuple[str, str]]:
    return [(str(response.status), response.text) for response in turn.tool_responses]


# -- plain turns ------------------------------------------------------------------------------------------------------


def test_a_plain_turn() -> None:
    mine, model = agent("Hello.", instructions="Be brief.")
    turn = mine.run("Hi")
    assert (turn.text, turn.reason, turn.status) == ("Hello.", EndReason.END_OF_TURN, TurnStatus.COMPLETED)
    assert [message.role for message in model.requests[0].messages] == ["system", "user"]
    model.assert_complete()


def test_a_session_remembers_and_keeps_each_exact_prompt(tmp_path: Path) -> None:
    mine, model = agent("one", "two", store=tmp_path / "s.db")
    with mine:
        session = mine.session("trip")
        first, second = session.run("a"), session.run("b")
        assert [message.text for message in model.requests[1].messages] == ["a", "one", "b"]
        assert [session.prompt(turn.steps[0]) for turn in (first, second)] == model.prompts
    again, more = agent("three", store=tmp_path / "s.db")
    with again:
        session = again.session("trip")
        assert session.turns == (first, second)
        session.run("c")
        assert [message.text for message in more.requests[0].messages] == ["a", "one", "b", "two", "c"]
        assert session.prompt(second.steps[0].step_id) == model.prompts[1]
        with pytest.raises(NotFound, match="nonsense"):
            session.prompt("nonsense")


@pytest.mark.parametrize("empty", ["", "  \n", []])
def test_an_empty_message_is_refused(empty: Any) -> None:
    mine, model = agent()
    with pytest.raises(InvalidInput, match="empty"):
        mine.run(empty)
    assert not model.requests


def test_an_image_reaches_the_model_before_the_text() -> None:
    mine, model = agent("A pixel.")
    mine.run("What is this?", images=[PNG])
    content = model.requests[0].messages[0].content
    assert isinstance(content, tuple)
    assert isinstance(content[0], Image)
    assert (content[0].data, content[0].media_type) == (PNG, "image/png")


def test_messages_may_be_given_as_they_are() -> None:
    mine, model = agent("Again.")
    given: list[Message] = [UserMessage("a"), AssistantMessage("b"), UserMessage("c")]
    mine.run(given)
    assert list(model.requests[0].messages) == given


# -- tools: exactly one result for each call, in order (promise 1) ----------------------------------------------------


def test_tools_run_and_their_results_come_in_call_order() -> None:
    mine, model = agent([call("add", a=1, b=2), call("add", a="3", b=4)], "3 and 7", tools=[add])
    turn = mine.run("Add.")
    assert results(turn) == [("ok", "3"), ("ok", "7")]
    assert turn.text == "3 and 7"
    roles = [message.role for message in model.requests[1].messages]
    assert roles == ["user", "assistant", "ipython", "ipython"]


HOSTILE: list[tuple[str, Sequence[ToolCall], list[tuple[str, str]]]] = [
    ("unknown tool", [call("nope")], [("unknown_tool", "There is no tool called 'nope'. The tools are: add, fail.")]),
    (
        "malformed arguments",
        [ToolCall("add", {}, error="the arguments are not valid JSON")],
        [("error", "This call was not run: the arguments are not valid JSON")],
    ),
    (
        "wrong types",
        [call("add", a="one", b=2, c=3)],
        [
            (
                "error",
                "The arguments do not fit. $.a: Input should be a valid integer, unable to parse string as an integer; "
                "$.c: is not permitted.",
            )
        ],
    ),
    (
        "one of two raises",
        [call("fail", why="broken"), call("add", a=1, b=1)],
        [("error", "ValueError: broken"), ("ok", "2")],
    ),
    (
        "duplicate ids",
        [call("add", "x", a=1, b=1), call("add", "x", a=2, b=2)],
        [("ok", "2"), ("ok", "4")],
    ),
    ("no ids", [call("add", a=1, b=1), call("add", a=2, b=2)], [("ok", "2"), ("ok", "4")]),
]


@pytest.mark.parametrize(("calls", "expected"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_calls_get_one_truthful_result_each(calls: list[ToolCall], expected: list[tuple[str, str]]) -> None:
    mine, model = agent(calls, "done", tools=[add, fail])
    turn = mine.run("Go.")
    assert results(turn) == expected
    assert len({response.call_id for response in turn.tool_responses}) == len(calls)
    assert turn.text == "done"
    model.assert_complete()


def test_what_no_json_can_hold_is_made_fit_for_the_log_and_the_turn_goes_on(tmp_path: Path) -> None:
    def odd(x: float) -> ToolOutput:
        """Returns what cannot be stored."""
        return ToolOutput(f"half a pair: \ud800 {x}", {"object": object, "nan": float("nan"), "deep": [[["\udfff"]]]})

    calls = [call("odd", x=float("nan")), call("odd\ud800", x=1.0)]
    mine, _ = agent(AssistantMessage("text \ud800", tuple(calls)), "fine", tools=[odd], store=tmp_path / "s.db")
    with mine:
        turn = mine.run("Go.")
        assert [status for status, _ in results(turn)] == ["ok", "unknown_tool"]
        assert results(turn)[0][1] == "half a pair: ? nan"
        assert mine.session(turn.session_id).turns == (turn,)
        with pytest.raises(InvalidInput, match="surrogate"):
            mine.run("\ud800")


def test_an_empty_reply_ends_the_turn() -> None:
    mine, _ = agent("")
    assert mine.run("Hi").text == ""


def test_endless_tool_calling_ends_at_the_limit_and_every_call_is_answered() -> None:
    counter = iter(range(100))
    mine, model = agent(
        *[lambda _request: call("add", a=next(counter), b=0)] * 4, tools=[add], limits=Limits(max_infer_iters=4)
    )
    turn = mine.run("Go.")
    assert turn.reason is EndReason.MAX_INFER_ITERS
    assert [status for status, _ in results(turn)] == ["ok", "ok", "ok", "not_run"]
    model.assert_complete()


def test_the_identical_failing_call_ends_the_turn_the_third_time() -> None:
    mine, model = agent(*[call("fail", why="same")] * 3, tools=[fail])
    turn = mine.run("Go.")
    assert turn.reason is EndReason.REPEATED_FAILURE
    model.assert_complete()


def test_a_turn_bears_only_so_many_failing_calls() -> None:
    why = iter(map(str, range(100)))
    mine, model = agent(
        *[lambda _request: call("fail", why=next(why))] * 99, tools=[fail], limits=Limits(max_infer_iters=50)
    )
    turn = mine.run("Go.")
    assert turn.reason is EndReason.REPEATED_FAILURE
    assert len(model.requests) == 10


def test_a_reply_cut_inside_a_call_is_answered_not_run() -> None:
    cut = AssistantMessage("", (ToolCall("add", {}, error="it was cut off"),), StopReason.OUT_OF_TOKENS)
    mine, _ = agent(cut, "Sorry.", tools=[add])
    turn = mine.run("Go.")
    assert results(turn) == [("error", "This call was not run: it was cut off")]
    assert turn.reason is EndReason.END_OF_TURN


def test_a_reply_cut_in_its_text_says_so() -> None:
    mine, _ = agent(AssistantMessage("Once upon", (), StopReason.OUT_OF_TOKENS))
    turn = mine.run("Tell.")
    assert (turn.text, turn.reason) == ("Once upon", EndReason.OUT_OF_TOKENS)


def test_parallel_calls_overlap_and_barriers_do_not() -> None:
    running, most = 0, {"parallel": 0, "barrier": 0}
    gate = asyncio.Event()

    def tracked(kind: str, wait: Callable[[], Any]) -> Callable[[], Any]:
        async def run() -> str:
            nonlocal running
            running += 1
            most[kind] = max(most[kind], running)
            if running == 2 or kind == "barrier":
                gate.set()
            await wait()
            running -= 1
            return kind

        return run

    async def together() -> None:
        await asyncio.wait_for(gate.wait(), 5)

    parallel = Tool(tracked("parallel", together), name="parallel")
    barrier = Tool(tracked("barrier", lambda: asyncio.sleep(0)), name="barrier", parallel=False)
    mine, _ = agent(
        [call(n) for n in ("parallel", "parallel", "barrier", "barrier")], "done", tools=[parallel, barrier]
    )
    turn = mine.run("Go.")
    assert [text for _, text in results(turn)] == ["parallel", "parallel", "barrier", "barrier"]
    assert most == {"parallel": 2, "barrier": 1}


def test_a_tool_that_takes_too_long_is_given_up() -> None:
    released = threading.Event()

    def slow() -> str:
        """Waits."""
        released.wait(10)
        return "late"

    async def slow_async() -> None:
        """Waits."""
        await asyncio.sleep(60)

    mine, _ = agent(
        [call("slow"), call("slow_async")],
        "ok",
        tools=[Tool(slow, timeout=0.05), Tool(slow_async, timeout=0.05)],
    )
    turn = mine.run("Go.")
    released.set()
    assert [status for status, _ in results(turn)] == ["timeout", "timeout"]


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), TimeoutError("own"), StopIteration()])
def test_whatever_a_tool_raises_is_a_result(error: BaseException) -> None:
    async def raising() -> None:
        """Raises."""
        raise error

    def raising_sync() -> None:
        """Raises."""
        raise error

    mine, _ = agent([call("raising"), call("raising_sync")], "ok", tools=[raising, raising_sync])
    assert [status for status, _ in results(mine.run("Go."))] == ["error", "error"]


def test_an_exception_that_is_returned_or_says_nothing_is_told_as_an_error() -> None:
    def returned() -> object:
        """Returns an exception."""
        return KeyError("key")

    def wordless() -> object:
        """Raises an error without words."""
        raise ToolError("")

    mine, _ = agent([call("returned"), call("wordless")], "ok", tools=[returned, wordless])
    assert results(mine.run("Go.")) == [("error", "KeyError: 'key'"), ("error", "ToolError")]


def test_a_tool_error_is_what_the_model_reads() -> None:
    def strict(city: str) -> str:
        """Looks up a city."""
        raise ToolError(f"There is no city called {city}.", hint="Try Lisbon.")

    mine, _ = agent(call("strict", city="Atlantis"), "ok", tools=[strict])
    assert results(mine.run("Go.")) == [("error", "There is no city called Atlantis. Try Lisbon.")]


def test_a_tool_may_run_an_agent_whose_tokens_count_for_the_outer_turn() -> None:
    inner_model = ScriptedModel([AssistantMessage("inner")])

    class Counting:
        model = "test/counting"

        async def prepare(self, request: Any) -> Prepared:
            return Prepared("", request)

        async def generate(self, _prepared: Prepared) -> Any:
            yield Completion(AssistantMessage("inner"), Usage(50, 50))

        async def aclose(self) -> None:
            """Nothing to close."""

    inner = Agent(Counting(), store=None)

    def ask(question: str) -> str:
        """Asks another agent."""
        return inner.run(question).text

    mine, model = agent(call("ask", question="?"), "never asked", tools=[ask], limits=Limits(tokens=100))
    turn = mine.run("Go.")
    assert results(turn) == [("ok", "inner")]
    assert turn.reason is EndReason.TOKEN_LIMIT
    assert len(model.requests) == 1
    assert not inner_model.requests


def test_wall_time_ends_the_turn_and_tells_of_the_call_that_was_running() -> None:
    async def forever() -> None:
        """Never ends."""
        await asyncio.Event().wait()

    mine, _ = agent(call("forever"), tools=[forever], limits=Limits(seconds=0.1))
    turn = mine.run("Go.")
    assert turn.reason is EndReason.TIME_LIMIT
    assert [status for status, _ in results(turn)] == ["outcome_unknown"]


def test_a_forced_call_is_forced_once_a_turn() -> None:
    mine, model = agent(call("add", a=1, b=1), "2", tools=[add], tool_choice="required")
    mine.run("Go.")
    assert [request.tool_choice for request in model.requests] == ["required", "auto"]


def test_two_tools_of_one_name_and_unknown_choices_are_refused_when_the_agent_is_built() -> None:
    with pytest.raises(ConfigError, match="Two tools are called 'add'"):
        agent(tools=[add, Tool(fail, name="add")])
    with pytest.raises(ConfigError, match="none of the agent's tools"):
        agent(tools=[add], tool_choice="multiply")
    with pytest.raises(ConfigError, match="Nothing called 'builtin::nonsense'"):
        agent(tools=["builtin::nonsense"])


# -- pauses: approvals and client-side tools --------------------------------------------------------------------------


def test_a_client_side_tool_pauses_the_turn_and_resume_brings_its_result() -> None:
    ask_user = ToolDef("ask_user", "Asks the user.")
    mine, model = agent([call("add", a=1, b=2), call("ask_user")], "Blue it is.", tools=[add, ask_user])
    session = mine.session()
    turn = session.run("Go.")
    assert turn.status is TurnStatus.AWAITING_INPUT
    (pending,) = session.pending
    assert (pending.call.name, pending.why) == ("ask_user", "client")
    with pytest.raises(TurnPending, match=r"waits for: ask_user"):
        session.run("Something else")
    with pytest.raises(TurnPending, match="waits for"):
        session.resume()
    with pytest.raises(InvalidInput, match="No call waits under 'wrong'"):
        session.resume({"wrong": 1})
    with pytest.raises(InvalidInput, match="by call id, not list"):
        session.resume([pending.call.call_id])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="yours to run"):
        session.resume({pending.call.call_id: Approve()})
    done = session.resume({pending.call.call_id: {"colour": "blue"}})
    assert results(done) == [("ok", "3"), ("ok", '{"colour":"blue"}')]
    assert (done.text, done.turn_id) == ("Blue it is.", turn.turn_id)
    assert session.pending == ()
    model.assert_complete()


def test_a_client_side_tool_that_failed_is_answered_with_its_exception() -> None:
    made, _ = agent(call("ask"), "Pity.", tools=[ToolDef("ask")])
    session = made.session()
    (waits,) = session.run("Ask.").pending
    turn = session.resume({waits.call.call_id: ConnectionError("nobody there")})
    assert results(turn) == [("error", "ConnectionError: nobody there")]


def test_approval_is_asked_for_and_survives_a_restart(tmp_path: Path) -> None:
    done: list[str] = []

    def delete(name: str) -> str:
        """Deletes something."""
        done.append(name)
        return "deleted"

    tools = [Tool(delete, approve=lambda arguments: arguments["name"] != "junk")]
    calls = [call("delete", name="junk"), call("delete", name="a"), call("delete", name="b")]
    mine, _ = agent(calls, store=tmp_path / "s.db", tools=tools)
    with mine:
        turn = mine.session("x").run("Clean up.")
        assert [item.why for item in turn.pending] == ["approval", "approval"]
        assert done == []
    again, _ = agent("Done.", store=tmp_path / "s.db", tools=tools)
    with again:
        session = again.session("x")
        first, second = (item.call.call_id for item in session.pending)
        with pytest.raises(InvalidInput, match="answer True, Approve"):
            session.resume({first: "yes"})
        still = session.resume({first: True})
        assert still.status is TurnStatus.AWAITING_INPUT
        turn = session.resume({second: Deny("keep it")})
    assert done == ["junk", "a"]
    assert results(turn)[2] == ("denied", "The user did not allow this call. Reason: keep it")


def test_a_waiting_turn_can_be_cancelled() -> None:
    mine, _ = agent(call("add", a=1, b=1), "next", tools=[Tool(add, approve=True)])
    session = mine.session()
    session.run("Go.")
    turn = session.cancel()
    assert turn is not None
    assert (turn.reason, results(turn)[0][0]) == (EndReason.CANCELLED, "not_run")
    assert session.run("Next").text == "next"
    assert session.cancel() is None


def delete(name: str) -> str:
    """Deletes something."""
    return f"deleted {name}"


def only_pending(session: Session) -> str:
    (pending,) = session.pending
    return pending.call.call_id


def test_an_approval_may_hold_for_the_session_and_survives_a_restart(tmp_path: Path) -> None:
    tools = [Tool(delete, approve=True)]
    mine, _ = agent(call("delete", name="a"), "1", call("delete", name="b"), "2", tools=tools, store=tmp_path / "s.db")
    with mine:
        session = mine.session("x")
        session.run("Go.")
        session.resume({only_pending(session): Approve("session")})
        assert session.run("Again.").text == "2"
    more, _ = agent(call("delete", name="c"), "3", call("delete", name="d"), tools=tools, store=tmp_path / "s.db")
    with more:
        assert more.session("x").run("And again.").text == "3"
        assert more.session("y").run("Elsewhere.").status is TurnStatus.AWAITING_INPUT


def test_an_approval_may_hold_for_good_for_agents_of_one_name() -> None:
    tools = [Tool(delete, approve=True)]
    mine, _ = agent(call("delete", name="a"), "1", tools=tools, name="cleaner")
    session = mine.session()
    session.run("Go.")
    session.resume({only_pending(session): Approve("always")})
    again, _ = agent(call("delete", name="b"), "2", tools=tools, name="cleaner")
    assert again.run("Go.").text == "2"
    other, _ = agent(call("delete", name="b"), tools=tools, name="other")
    assert other.run("Go.").status is TurnStatus.AWAITING_INPUT


def test_the_caller_may_change_the_arguments_and_the_model_is_told() -> None:
    mine, model = agent(call("delete", name="all"), "ok", tools=[Tool(delete, approve=True)])
    session = mine.session()
    session.run("Go.")
    turn = session.resume({only_pending(session): Approve(arguments={"name": "junk"})})
    told = '(The user changed the arguments to {"name": "junk"}.)\ndeleted junk'
    assert results(turn) == [("ok", told)]
    assert model.requests[1].messages[-1].text == told
    assert turn.tool_calls[0].arguments == {"name": "all"}


def test_a_huge_result_is_cut_for_the_model_and_whole_in_the_turn() -> None:
    def big() -> str:
        """Returns much."""
        return "a" * 100_000 + "z" * 100_000

    mine, model = agent(call("big"), "ok", tools=[big])
    turn = mine.run("Go.")
    assert len(turn.tool_responses[0].text) == 200_000
    seen = model.requests[1].messages[-1].text
    assert len(seen) < 41_000
    assert seen.startswith("aaaa")
    assert seen.endswith("zzzz")
    assert "[… 160,000 characters left out here …]" in seen


def test_what_tools_and_approval_functions_do_to_their_arguments_changes_no_call(tmp_path: Path) -> None:
    def sort(rows: list[Any], options: dict[str, Any]) -> str:
        """Sorts rows in their place."""
        rows[0].append("changed")
        options["by"].clear()
        return f"{rows} {options}"

    def approve(arguments: Any) -> bool:
        arguments["rows"][0].clear()
        return bool(arguments.pop("options")["by"] != ["name"])

    asked = {"rows": [["b"]], "options": {"by": ["name"]}}
    mine, model = agent(
        call("sort", **asked), "ok", tools=[Tool(sort, approve=approve)], store=str(tmp_path / "sessions.db")
    )
    turn = mine.session("s").run("Sort.")
    assert results(turn) == [("ok", "[['b', 'changed']] {'by': []}")]
    (logged,) = mine.session("s").turns[0].tool_calls
    assert turn.tool_calls[0].arguments == logged.arguments == asked
    assert "changed" not in model.prompts[1].splitlines()[1]
    mine.close()


def test_an_approval_function_that_fails_asks_a_person() -> None:
    mine, _ = agent(call("add"), tools=[Tool(add, approve=lambda arguments: arguments["a"] > 1)])
    assert [item.why for item in mine.run("Go.").pending] == ["approval"]


@pytest.mark.anyio
@pytest.mark.parametrize("from_another_thread", [False, True])
async def test_a_running_turn_can_be_cancelled_from_elsewhere(from_another_thread: bool) -> None:
    started = asyncio.Event()

    async def forever() -> None:
        """Never ends."""
        started.set()
        await asyncio.Event().wait()

    mine, _ = agent(call("forever"), "next", tools=[forever])
    session = mine.session()
    running = asyncio.create_task(session.arun("Go."))
    await started.wait()
    cancelled = await (asyncio.to_thread(session.cancel) if from_another_thread else session.acancel())
    turn = await running
    assert turn == cancelled
    assert turn.reason is EndReason.CANCELLED
    assert (await session.arun("Next")).text == "next"


def test_there_must_be_something_to_resume() -> None:
    mine, _ = agent()
    with pytest.raises(TurnPending, match="nothing to resume"):
        mine.session().resume()


@pytest.mark.anyio
async def test_what_is_read_while_a_turn_runs_is_read_once() -> None:
    class Slow(MemoryStore):
        async def read(self, session_id: str, *, after: int = 0) -> list[Any]:
            records = await super().read(session_id, after=after)
            for _ in range(10):
                await asyncio.sleep(0)
            return records

    store = Slow()
    mine, _ = agent("1", [call("add", a=1, b=1)], "2", tools=[add], store=store)
    other, _ = agent("a", "b", store=store)
    session = mine.session("s")
    await session.arun("one")
    for text in "xy":
        await other.session("s").arun(text)
    await asyncio.gather(session.aload(), session.arun("two"), *(session.aload() for _ in range(3)))
    fresh = await mine.session("s").aload()
    assert [turn.text for turn in session.turns] == ["1", "a", "b", "2"]
    assert (session.turns, session.messages) == (fresh.turns, fresh.messages)


# -- crashes (promise 3); real kills are in test_crash.py -------------------------------------------------------------


class Dies(MemoryStore):
    """A store whose process dies after some number of writes: nothing is written any more."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    async def append(self, lease: Any, records: Any, *, release: bool = False) -> None:
        if self.left == 0:
            raise StoreFull("dead")
        self.left -= 1
        await super().append(lease, records, release=release)


@pytest.mark.parametrize("writes", range(1, 7))
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("how", ["resume", "run"])
def test_after_a_death_at_any_write_the_session_goes_on(writes: int, idempotent: bool, how: str) -> None:
    ran: list[int] = []

    def effect(n: int) -> str:
        """Has an effect."""
        ran.append(n)
        return f"did {n}"

    def script(request: Any) -> Any:
        done = sum(message.role == "ipython" for message in request.messages)
        return call("effect", n=done) if done < 2 else "finished"

    tools = [Tool(effect, idempotent=idempotent)]
    store = Dies(writes)
    try:
        Agent(ScriptedModel([script] * 9), tools=tools, store=store).session("s").run("Go.")
        finished = True
    except StoreFull:
        finished = False
    store.left = -1
    for lease_holder in store._logs.values():
        lease_holder.owner = None
    assert finished == (writes > 5)
    session = Agent(ScriptedModel([script] * 9), tools=tools, store=store).session("s")
    before = [response for turn in session.turns for response in turn.tool_responses]
    if finished:
        return
    if how == "resume":
        turn = session.resume()
        assert turn.text == "finished"
    else:
        session.run("continue")
        assert session.turns[0].reason is EndReason.INTERRUPTED
    responses = [response for turn in session.turns for response in turn.tool_responses]
    assert responses[: len(before)] == before
    for turn in session.turns:
        assert [c.call_id for c in turn.tool_calls] == [r.call_id for r in turn.tool_responses]
    told_unknown = [r for r in responses if r.status is ToolStatus.OUTCOME_UNKNOWN]
    if how == "resume" and idempotent:
        assert not told_unknown
    assert len(ran) == len(set(ran)) or idempotent or told_unknown


def test_a_failed_inference_is_recorded_and_raised_and_the_session_goes_on() -> None:
    mine, _ = agent(ServerFailed("500"), ServerFailed("500"), ServerFailed("500"), "fine")
    session = mine.session()
    object.__setattr__(mine._setup, "retries", type(mine._setup.retries)(limit=2, backoff=0.0))
    with pytest.raises(ServerFailed) as caught:
        session.run("Hi")
    assert caught.value.step_id == session.turns[0].steps[0].step_id
    assert session.turns[0].reason is EndReason.ERROR
    assert session.run("Again").text == "fine"


# -- streams ----------------------------------------------------------------------------------------------------------


def test_the_order_of_events() -> None:
    mine, _ = agent([call("add", a=1, b=2)], ["It is ", "3."], tools=[add])
    events = list(mine.stream("Add."))
    assert [type(event).__name__ for event in events] == [
        "TurnStarted",
        "StepStarted",
        "ToolCallProgress",
        "StepCompleted",
        "StepStarted",
        "ToolCallStarted",
        "ToolCallCompleted",
        "StepCompleted",
        "StepStarted",
        "TextDelta",
        "TextDelta",
        "StepCompleted",
        "TurnCompleted",
    ]
    last = events[-1]
    assert isinstance(last, TurnCompleted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.turn.text


def test_a_paused_stream_ends_with_the_pause_and_resumes_with_the_rest() -> None:
    mine, _ = agent(call("add", a=1, b=1), "2", tools=[Tool(add, approve=True)])
    session = mine.session()
    events = list(session.stream("Go."))
    assert isinstance(events[-1], TurnPaused)
    rest = list(session.resume_stream({session.pending[0].call.call_id: True}))
    assert isinstance(rest[-1], TurnCompleted)
    assert rest[-1].turn.text == "2"


@pytest.mark.anyio
async def test_a_reader_that_leaves_does_not_end_the_turn_and_another_sees_each_event_once() -> None:
    mine, _ = agent(["a", "b", "c"])
    session = mine.session()
    seen = []
    async with aclosing(session.astream("Go.")) as stream:
        async for event in stream:
            seen.append(event)
            if len(seen) == 2:
                break
    rest = [event async for event in session.afollow(after=2)]
    assert isinstance(seen[0], TurnStarted)
    assert isinstance(rest[-1], TurnCompleted)
    assert "".join(event.text for event in rest if isinstance(event, TextDelta)) == "abc"


@pytest.mark.parametrize("reader", ["sync", "async"])
def test_a_reader_may_follow_from_another_loop_than_the_turns(reader: str) -> None:
    """The turn waits in one loop until the reader in another has seen all there is, and the reader gets the rest."""
    seen: list[str] = []
    go_on = threading.Event()

    def wait() -> str:
        """Waits."""
        go_on.wait(10)
        return "waited"

    def note(event: Event) -> None:
        seen.append(event.type)
        if isinstance(event, ToolCallStarted):
            go_on.set()

    async def afollow(session: Session, after: int) -> None:
        async for event in session.afollow(after):
            note(event)

    def follow(session: Session, after: int) -> None:
        for event in session.follow(after):
            note(event)

    async def drive(session: Session) -> None:
        events = session.astream("Wait.")
        await anext(events)
        await asyncio.to_thread(follow, session, 0)
        assert [event.type async for event in events] == seen[1:]

    made, _ = agent(ToolCall("wait"), "Done.", tools=[wait])
    session = made.session()
    if reader == "sync":
        asyncio.run(drive(session))
    else:
        events = session.stream("Wait.")
        next(events)
        asyncio.run(afollow(session, 0))
        assert [event.type for event in events] == seen[1:]
    assert (seen[0], seen[-1]) == ("turn_started", "turn_completed")


@pytest.mark.parametrize("after", [-1, 1.5, "1", None])
def test_events_are_numbered_from_0(after: Any) -> None:
    made, _ = agent("Hi.")
    session = made.session()
    events = list(session.stream("Hi"))
    assert list(session.follow(2)) == events[2:]
    with pytest.raises(InvalidInput, match="numbered from 0"):
        list(session.follow(after))


@pytest.mark.anyio
async def test_cancelling_ends_the_turn_in_the_log() -> None:
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def forever() -> None:
        """Never ends."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    mine, _ = agent(call("forever"), "after", tools=[forever])
    session = mine.session()
    task = asyncio.create_task(session.arun("Go."))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    (turn,) = session.turns
    assert (turn.reason, results(turn)[0][0]) == (EndReason.CANCELLED, "outcome_unknown")
    assert (await session.arun("Next")).text == "after"


@pytest.mark.anyio
async def test_a_second_turn_at_the_same_time_is_told_that_the_session_is_busy() -> None:
    mine, _ = agent(Delay(0.2, "slow"), "other")
    first = asyncio.create_task(mine.session("s").arun("a"))
    await asyncio.sleep(0)
    with pytest.raises(SessionBusy):
        await mine.session("s").arun("b")
    assert (await first).text == "slow"
    assert (await mine.session("s").arun("b")).text == "other"


# -- the sync face ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_sync_face_works_inside_a_running_loop() -> None:
    mine, _ = agent("hello", ["a", "b"])
    assert mine.run("Hi").text == "hello"
    assert [event.text for event in mine.stream("Hi") if isinstance(event, TextDelta)] == ["a", "b"]


def test_a_sync_call_from_async_code_under_a_sync_call_is_refused_not_deadlocked() -> None:
    inner, _ = agent("never")

    async def ask() -> str:
        """Asks."""
        return inner.run("x").text

    mine, _ = agent(call("ask"), "ok", tools=[ask])
    ((status, text),) = results(mine.run("Go."))
    assert status == "error"
    assert "arun for run" in text
    assert UsageError.fault == "caller"


# -- shields and memory in the turn -----------------------------------------------------------------------------------


class Words:
    """A shield that objects to a word."""

    shield_id = "words"

    def __init__(self, word: str) -> None:
        self.word = word
        self.seen: list[str] = []

    async def check(self, messages: Sequence[Message]) -> Verdict:
        text = messages[-1].text
        self.seen.append(text)
        return Verdict("words", SafetyViolation("I can't say that.") if self.word in text else None)


def test_an_input_shield_comes_before_inference_and_the_model_never_meets_what_it_blocked() -> None:
    mine, model = agent("fine", input_shields=[Words("bomb")])
    session = mine.session()
    turn = session.run("bomb")
    assert (turn.reason, turn.text) == (EndReason.VIOLATION, "I can't say that.")
    assert not model.requests
    session.run("flower")
    assert [message.text for message in model.requests[0].messages] == ["flower"]


def test_an_output_shield_comes_before_the_caller() -> None:
    mine, _ = agent(["a ", "bomb"], ["a ", "flower"], output_shields=[Words("bomb")])
    session = mine.session()
    events = list(session.stream("one"))
    assert "bomb" not in repr(events)
    assert "bomb" not in repr(session.turns)
    assert [type(event).__name__ for event in events][-3:] == ["StepCompleted", "StepCompleted", "TurnCompleted"]
    assert session.turns[0].text == "I can't say that."
    assert [message.text for message in session.messages] == ["one", "I can't say that."]
    events = list(session.stream("two"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a flower"]


def test_a_tool_shield_comes_before_the_effect() -> None:
    ran = []

    def effect(word: str) -> str:
        """Has an effect."""
        ran.append(word)
        return word

    class Calls(Words):
        async def check(self, messages: Sequence[Message]) -> Verdict:
            last = messages[-1]
            text = str(last.tool_calls[0].arguments) if isinstance(last, AssistantMessage) else last.text
            return Verdict("calls", SafetyViolation() if self.word in text else None)

    mine, _ = agent(call("effect", word="bomb"), tools=[effect], tool_shields=[Calls("bomb")])
    turn = mine.run("Go.")
    assert not ran
    assert turn.reason is EndReason.VIOLATION
    assert [status for status, _ in results(turn)] == ["not_run"]


def test_a_shield_that_fails_blocks() -> None:
    class Broken(Words):
        async def check(self, messages: Sequence[Message]) -> Verdict:
            raise RuntimeError("no network")

    mine, model = agent(input_shields=[Broken("")])
    assert mine.run("Hi").reason is EndReason.VIOLATION
    assert not model.requests


class Slow(Words):
    """A shield that does not come to a verdict in time."""

    async def check(self, messages: Sequence[Message]) -> Verdict:
        if self.word in messages[-1].text:
            await asyncio.Event().wait()
        return await super().check(messages)


@pytest.mark.parametrize("where", ["input_shields", "output_shields", "tool_shields"])
@pytest.mark.parametrize("how", ["limit", "cancel"])
def test_what_no_shield_has_seen_when_the_turn_ends_is_withheld_from_all(where: str, how: str) -> None:
    def leak() -> str:
        """Returns a secret."""
        return "secret"

    said: dict[str, list[Any]] = {"output_shields": ["a secret"], "tool_shields": [call("leak")]}
    replies = said.get(where, [])
    mine, model = agent(*replies, "later", tools=[leak], **{where: [Slow("secret")]})
    session = mine.session()
    question = "secret" if where == "input_shields" else "question"

    async def run() -> Turn:
        if how == "limit":
            return await session.arun(question, limits=Limits(seconds=0.2))
        running = asyncio.create_task(session.arun(question))
        await asyncio.sleep(0.2)
        await session.acancel()
        return await running

    turn = asyncio.run(run())
    assert turn.reason is (EndReason.TIME_LIMIT if how == "limit" else EndReason.CANCELLED)
    assert "secret" not in turn.text
    if where == "output_shields":
        assert "secret" not in repr(turn)
    assert session.run("Next").text == "later"
    assert "secret" not in "".join(message.text for message in model.requests[-1].messages)


def test_what_memory_finds_goes_with_the_message() -> None:
    class Bank:
        name = "docs"

        async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
            assert query == "How?"
            return [Hit("Press the button.", 1.0, "manual.pdf")]

    mine, model = agent("Press it.", memory=[Bank()])
    turn = mine.run("How?")
    assert [step.step_type for step in turn.steps] == ["memory_retrieval", "inference"]
    (message,) = model.requests[0].messages
    assert isinstance(message, UserMessage)
    assert "Press the button." in (message.context or "")


# -- forks ------------------------------------------------------------------------------------------------------------


def test_a_fork_shares_history_up_to_a_step_and_goes_its_own_way(tmp_path: Path) -> None:
    mine, model = agent("one", "two", "other two", store=open_store(tmp_path / "s.db"))
    with mine:
        session = mine.session("a")
        first = session.run("1")
        session.run("2")
        fork = session.fork("b", at=first)
        assert [turn.text for turn in fork.turns] == ["one"]
        fork.run("2'")
        assert [message.text for message in model.requests[2].messages] == ["1", "one", "2'"]
        assert [turn.text for turn in session.turns] == ["one", "two"]


def test_tool_steps_hold_one_response_for_each_call() -> None:
    mine, _ = agent([call("add", a=1, b=1), call("nope")], "ok", tools=[add])
    steps = [event.step for event in mine.stream("Go.") if isinstance(event, StepCompleted)]
    (step,) = [step for step in steps if isinstance(step, ToolExecutionStep)]
    assert [item.call_id for item in step.tool_calls] == [item.call_id for item in step.tool_responses]
    assert all(isinstance(item, ToolResponse) for item in step.tool_responses)


def test_describe_says_what_the_agent_is_made_of() -> None:
    mine, _ = agent(tools=[add], instructions="Be brief.")
    described = mine.describe()
    assert described["model"] == "scripted/model"
    assert described["tools"][0]["parameters"]["required"] == ["a", "b"]

"""A conversation that outgrows the model's context: what is left out, what stays, and what the log says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic import Agent, AssistantMessage, EndReason, ToolCall, ToolResponse, UserMessage
from agentic.context import IMAGE_BYTES, ContextPolicy, Window
from agentic.protocols import Delta, Prepared
from agentic.store import MemoryStore, Store
from agentic.testing import Reply, ScriptedModel
from agentic.turn import TRIMMED
from agentic.types import (
    Completion,
    ConfigError,
    ContextOverflow,
    Image,
    InferenceRequest,
    InferenceStep,
    InvalidInput,
    LeftOut,
    Message,
    ServerFailed,
    StreamBroken,
    SystemMessage,
    Text,
    Turn,
    Usage,
)
from servers.base import Answer
from servers.brain import Reply as Said
from servers.brain import Seen
from servers.openai import OpenAIServer, error


def tokens_of(messages: Sequence[Message]) -> int:
    """This model's tokens: four characters of text or of a call each, and five for each message."""
    return sum(5 + len(f"{message.text}{_calls(message)}{_context(message)}") // 4 for message in messages)


def _calls(message: Message) -> str:
    return "".join(f"{one.name}{one.arguments}" for one in getattr(message, "tool_calls", ()))


def _context(message: Message) -> str:
    return getattr(message, "context", None) or ""


def assert_valid(messages: Sequence[Message]) -> None:
    """What every provider demands: the system message first, and each call answered, in order, before anything else."""
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        assert not isinstance(message, SystemMessage) or place == 0
        if isinstance(message, ToolResponse):
            assert open_calls, "a result without its call"
            assert open_calls.pop(0) == message.call_id
            continue
        assert not open_calls, "a call without its result"
        if isinstance(message, AssistantMessage):
            assert place, "the model spoke first"
            open_calls = [one.call_id for one in message.tool_calls]
    assert not open_calls
    assert any(isinstance(message, UserMessage) for message in messages)


class Small(ScriptedModel):
    """A model with a small context. It refuses what does not fit, and counts what does.

    Attributes:
        refusals: How many prompts it refused.
    """

    def __init__(self, replies: Sequence[Reply], limit: int, *, knows: bool = True, counts: bool = True) -> None:
        super().__init__(replies)
        self.limit = limit
        self.knows = knows
        self.counts = counts
        self.refusals = 0

    async def prepare(self, request: InferenceRequest) -> Prepared:
        prepared = await super().prepare(request)
        count = (lambda: tokens_of(request.messages)) if self.counts else None
        return replace(prepared, context=self.limit if self.knows else None, count=count)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        messages = prepared.request.messages
        assert_valid(messages)
        tokens = tokens_of(messages)
        if tokens >= self.limit:
            self.refusals += 1
            raise ContextOverflow(f"{tokens} tokens are more than {self.limit}.", hint="Take less.")
        async for delta in super().generate(prepared):
            yield replace(delta, usage=Usage(tokens, 1)) if isinstance(delta, Completion) else delta


def inferences(turn: Turn) -> list[InferenceStep]:
    return [step for step in turn.steps if isinstance(step, InferenceStep)]


def left_out(turn: Turn) -> LeftOut:
    return inferences(turn)[-1].left_out or LeftOut()


def echo(length: int) -> str:
    """Repeats itself."""
    return "e" * length


KINDS = {
    "counted": {"knows": True, "counts": True},
    "estimated": {"knows": True, "counts": False},
    "refused": {"knows": False, "counts": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_session_goes_on(kind: str) -> None:
    model = Small([f"answer {number} {'a' * 40}" for number in range(60)], 400, **KINDS[kind])
    session = Agent(model, instructions="Be brief.", store=None).session()
    turns = [session.run(f"question {number} {'q' * 40}") for number in range(60)]
    assert all(turn.reason is EndReason.END_OF_TURN for turn in turns)
    assert len(session.messages) == 120, "the conversation itself is whole"
    cuts = sorted({left_out(turn).turns for turn in turns})
    assert cuts[0] == 0
    assert cuts[-1] > 45
    assert len(cuts) < 15, "turns go in blocks"
    for request in model.requests:
        assert request.messages[0] == SystemMessage("Be brief.")
    assert model.requests[-1].messages[-1].text.startswith("question 59 ")
    assert len(model.requests[-1].messages) > 3, "some of the last turns are there"
    assert model.refusals <= (0 if kind == "counted" else len(cuts))


def test_prompts_between_two_cuts_begin_with_one_another() -> None:
    model = Small(["a" * 40] * 40, 400)
    session = Agent(model, instructions="Be brief.", store=None).session()
    for number in range(40):
        session.run(f"{number} {'q' * 40}")
    breaks = [not later.startswith(earlier) for earlier, later in pairwise(model.prompts)]
    assert 2 <= sum(breaks) <= 6
    assert not any(one and other for one, other in pairwise(breaks))


def test_a_session_taken_up_anew_each_turn_sends_the_same_prompts() -> None:
    def prompts(*, anew: bool, kind: str) -> list[str]:
        model, store = Small(["a" * 30] * 30, 300, **KINDS[kind]), MemoryStore()
        agent = Agent(model, store=store)
        session = agent.session("s")
        for number in range(30):
            session.run(f"{number} {'q' * 30}")
            session = agent.session("s") if anew else session
        return model.prompts

    for kind in KINDS:
        assert prompts(anew=True, kind=kind) == prompts(anew=False, kind=kind)


def test_a_refused_prompt_stands_in_the_log_and_the_next_one_too() -> None:
    model = Small(["one", "two", "three"], 100, knows=False, counts=False)
    session = Agent(model, store=None).session()
    session.run("a" * 150)
    session.run("b" * 150)
    turn = session.run("c" * 150)
    refused, answered = inferences(turn)
    assert refused.failure is not None
    assert refused.failure.error == TRIMMED
    assert "aaa" in session.prompt(refused)
    assert "aaa" not in session.prompt(answered)
    assert answered.left_out == LeftOut(1)
    assert turn.text == "three"
    assert model.refusals == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_that_does_not_fit_alone(kind: str) -> None:
    model = Small(["one", "two", "three"], 100, **KINDS[kind])
    session = Agent(model, store=None).session()
    session.run("a" * 100)
    session.run("b" * 100)
    with pytest.raises(ContextOverflow, match="Shorten the message"):
        session.run("c" * 1000)
    assert session.turns[-1].reason is EndReason.ERROR
    turn = session.run("d")
    assert turn.text == "three"
    assert not any("ccc" in message.text for message in model.requests[-1].messages), "it would never fit"
    assert any("bbb" in message.text for message in model.requests[-1].messages), "what fits comes back"


def test_a_turn_that_grows_too_long_by_its_tools() -> None:
    calls = [ToolCall("echo", {"length": 100}, "1"), ToolCall("echo", {"length": 5000}, "2")]
    model = Small(["first", calls, "after"], 300)
    session = Agent(model, tools=[echo], store=None).session()
    session.run("a" * 500)
    with pytest.raises(ContextOverflow, match="tokens; the context holds 300") as raised:
        session.run("go")
    assert raised.value.step_id
    assert session.turns[-1].tool_responses[1].text == "e" * 5000
    assert session.run("b").text == "after"


def test_the_turn_before_stays_where_it_fits() -> None:
    model = Small(["x"] * 4, 100)
    session = Agent(model, store=None).session()
    for letter in "abcd":
        session.run(letter * 120)
    assert [message.text[0] for message in model.requests[-1].messages] == ["c", "x", "d"]


def test_error_leaves_nothing_out() -> None:
    for kind in KINDS.values():
        model = Small(["one", "two"], 100, **kind)
        session = Agent(model, store=None, overflow="error").session()
        session.run("a" * 200)
        with pytest.raises(ContextOverflow):
            session.run("b" * 200)
        assert session.run("c").text == "two"


def test_error_holds_for_an_estimate_too() -> None:
    session = Agent(ScriptedModel(["one", "two"]), store=None, overflow="error", context_tokens=100).session()
    session.run("a" * 200)
    with pytest.raises(ContextOverflow, match=r"about \d+ tokens; the context holds 100"):
        session.run("b" * 200)
    assert len(session.turns) == 2


def test_a_given_context_outweighs_the_providers() -> None:
    model = Small(["x"] * 10, 100_000)
    session = Agent(model, store=None, context_tokens=200).session()
    for letter in "abcdefghij":
        session.run(letter * 100)
    assert max(tokens_of(request.messages) for request in model.requests) <= 200


def test_room_for_the_answer_is_kept() -> None:
    from agentic import SamplingParams

    model = Small(["x"] * 10, 200)
    session = Agent(model, store=None, sampling=SamplingParams(max_tokens=120)).session()
    for letter in "abcdefghij":
        session.run(letter * 60)
    assert max(tokens_of(request.messages) for request in model.requests) <= 80


def test_another_model_sees_the_whole_conversation_again() -> None:
    store = MemoryStore()
    small, large = Small(["x"] * 10, 100), Small(["y"] * 2, 10_000)
    large.model = "scripted/large"
    for letter in "abcdefghij":
        Agent(small, store=store).session("s").run(letter * 50)
    Agent(large, store=store).session("s").run("k")
    assert large.requests[0].messages[0].text == "a" * 50
    Agent(small, store=store).session("s")


@pytest.mark.parametrize(("tokens", "overflow"), [(0, "drop"), (-1, "drop"), (None, "forget")])
def test_settings_that_make_no_sense(tokens: Any, overflow: Any) -> None:
    with pytest.raises(ConfigError):
        Agent(ScriptedModel(), store=None, context_tokens=tokens, overflow=overflow)


def test_a_refusal_in_the_middle_of_an_answer_is_no_refusal() -> None:
    model = ScriptedModel(["one", ["some ", ContextOverflow("The context is full.")]])
    session = Agent(model, store=None).session()
    session.run("a")
    with pytest.raises(StreamBroken, match="full"):
        session.run("b")


# -- summaries --------------------------------------------------------------------------------------------------------


def summarising(limit: int, *replies: Reply, **kind: bool) -> tuple[Agent, Small]:
    def reply(request: InferenceRequest) -> Reply:
        return "The user likes quinces." if "notes" in request.messages[0].text else f"yes {'y' * 40}"

    model = Small(replies or [reply] * 200, limit, **kind)
    return Agent(model, instructions="Be brief.", store=None, overflow="summarise"), model


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_stands_for_what_is_left_out(kind: str) -> None:
    agent, model = summarising(500, **KINDS[kind])
    session = agent.session()
    turns = [session.run(f"I like quinces, {number} {'q' * 40}") for number in range(30)]
    assert all(turn.text.startswith("yes") for turn in turns)
    asked = [step for turn in turns for step in inferences(turn) if step.left_out and step.left_out.prompt]
    assert 1 < len(asked) < 12
    first = asked[0].left_out
    assert first is not None
    assert first.summary == "The user likes quinces."
    assert first.usage.total > 0
    assert "I like quinces, 0" in first.prompt
    assert "The notes so far:" in (asked[-1].left_out or LeftOut()).prompt
    shown = model.requests[-1].messages[1]
    assert isinstance(shown, UserMessage)
    assert "> The user likes quinces." in (shown.context or "")
    assert isinstance(model.requests[-1].messages[0], SystemMessage)
    assert model.requests[-1].messages[0].text == "Be brief."
    with_summary = next(turn for turn in turns if asked[0] in turn.steps)
    assert with_summary.usage.total > sum(
        step.generation.usage.total for step in inferences(with_summary) if step.generation
    )


def test_a_summary_of_very_much_fits_too() -> None:
    """A session with a large model that goes on with a small one."""
    store = MemoryStore()
    large = Agent(Small([f"a{'a' * 300}"] * 100, 10**6), store=store).session("s")
    for number in range(100):
        large.run(f"q{number} {'q' * 300}")
    agent, model = summarising(1000)
    small = Agent(model, store=store, overflow="summarise").session("s")
    first = left_out(small.run("And now?"))
    assert (first.summary, first.failure, model.refusals) == ("The user likes quinces.", None, 0)
    assert "messages before these find no room here" in first.prompt
    assert "q97" in first.prompt
    agent.close()


def test_a_summary_that_fails_costs_no_turn() -> None:
    replies: list[Reply] = ["one", ServerFailed("down"), "two"]
    agent, _ = summarising(600, *replies)
    from agentic.inference.retry import Retries

    object.__setattr__(agent._setup, "retries", Retries(limit=0))
    session = agent.session()
    session.run("a" * 1000)
    turn = session.run("b" * 1000)
    assert turn.text == "two"
    found = left_out(turn)
    assert (found.turns, found.summary) == (1, "")
    assert found.failure is not None
    assert found.failure.error == "ServerFailed"


# -- any history ------------------------------------------------------------------------------------------------------

text_size = st.integers(0, 400)
rounds = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=3), max_size=3)
turn_shapes = st.lists(st.tuples(text_size, rounds, text_size), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(turn_shapes, st.sampled_from(sorted(KINDS)), st.sampled_from(["drop", "summarise"]), st.integers(60, 600))
def test_whatever_the_history(shapes: Any, kind: str, overflow: Any, limit: int) -> None:
    script: list[Reply] = []

    def reply(request: InferenceRequest) -> Reply:
        return "n" * 50 if "notes" in request.messages[0].text else script.pop(0)

    model = Small([reply] * 1000, limit, **KINDS[kind])
    session = Agent(model, instructions="Be brief.", tools=[echo], store=None, overflow=overflow).session()
    for number, (asked, tools, answer) in enumerate(shapes):
        script[:] = [
            [ToolCall("echo", {"length": length}, f"{number}-{at}-{i}") for i, length in enumerate(lengths)]
            for at, lengths in enumerate(tools)
        ]
        script.append("a" * answer)
        question = f"{number}:{'q' * asked}"
        try:
            turn = session.run(question)
        except ContextOverflow:
            turn = session.turns[-1]
            alone: list[Message] = [SystemMessage("Be brief."), UserMessage(question)]
            for step in turn.steps:
                alone += [step.message] if isinstance(step, InferenceStep) and step.message else []
                alone += list(getattr(step, "tool_responses", ()))
            assert tokens_of(alone) >= limit, "it would have fitted"
        for request in model.requests:
            if "notes" not in request.messages[0].text:
                assert_valid(request.messages)
                assert request.messages[0] == SystemMessage("Be brief.")
                assert tokens_of(request.messages) < limit
                assert any(message.text == question for message in request.messages)
        model.requests.clear()
        model.prompts.clear()
    if kind == "counted" and overflow == "drop":
        assert model.refusals == 0


# -- the window by itself ---------------------------------------------------------------------------------------------


def test_what_is_shown_costs_nothing_while_all_of_it_fits() -> None:
    messages: list[Message] = [UserMessage("a")]
    window = Window(messages)
    assert window.shown(LeftOut()) is messages


def test_images_have_a_size_of_their_own() -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(100_000)
    messages: list[Message] = []
    window = Window(messages)
    window.turn_opened()
    messages.append(UserMessage((Image(png), Text("What is it?"))))
    assert IMAGE_BYTES < window.size(LeftOut()) < IMAGE_BYTES + 100


def test_a_summary_where_no_user_speaks() -> None:
    messages: list[Message] = []
    window = Window(messages)
    for _ in range(2):
        window.turn_opened()
        messages.append(AssistantMessage("Hm."))
    first, second = window.shown(LeftOut(1, "They hum."))
    assert isinstance(first, UserMessage)
    assert "They hum." in first.text
    assert second.text == "Hm."


def test_a_count_of_something_else_is_not_believed() -> None:
    messages: list[Message] = [UserMessage("a" * 3000)]
    window = Window(messages)
    window._begins.append(0)
    step = replace(_step(), model="m")
    for tokens, rate in ((750, 750 / 3016), (3, None), (0, None)):
        window._known.clear()
        window.asked(step)
        window.answered(Usage(tokens, 1))
        assert window.tokens_per_byte("m", 0) == rate


def _step() -> InferenceStep:
    from datetime import UTC, datetime

    return InferenceStep(step_id="s", turn_id="t", started_at=datetime.now(UTC))


def test_a_policy_is_checked() -> None:
    with pytest.raises(ConfigError):
        ContextPolicy(tokens=0)
    with pytest.raises(InvalidInput):
        Agent(ScriptedModel(), store=None).run("")


# -- what providers know ----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_raw_counts_with_metas_tokenizer() -> None:
    from agentic.inference.raw import connect
    from agentic.llama import Tokenizer

    model = connect("llama3.2", endpoint="http://127.0.0.1:9")
    asked = InferenceRequest(messages=[SystemMessage("Be brief."), UserMessage("Zoë 🦙 " * 50)])
    prepared = await model.prepare(asked)
    assert prepared.count is not None
    assert prepared.count() == len(Tokenizer.load().encode(prepared.prompt, allowed_special=True))
    await model.aclose()


@pytest.mark.anyio
async def test_ollama_knows_its_context_where_it_is_told() -> None:
    from agentic.inference.ollama import connect

    for options, context in (({}, None), ({"num_ctx": 4096}, 4096), ({"num_ctx": "x"}, None)):
        model = connect("llama3.2", endpoint="http://127.0.0.1:9", options=options)
        assert (await model.prepare(InferenceRequest(messages=[UserMessage("Hi")]))).context == context
        await model.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", ["constrained", "routed"])
async def test_a_strategy_hands_on_what_its_model_knows(strategy: Any) -> None:
    from agentic.inference.strategies import with_strategy

    helped = with_strategy(Small([], 400), strategy)
    prepared = await helped.prepare(InferenceRequest(messages=[UserMessage("Hi")]))
    assert prepared.context == 400
    assert prepared.count is not None
    assert prepared.count() == 5


# -- a real server ----------------------------------------------------------------------------------------------------


class EightK(OpenAIServer):
    """Refuses more than 8,192 tokens, four characters of the body each, as vLLM does."""

    LIMIT = 8192

    def __init__(self) -> None:
        super().__init__(self._said)
        self.refused = 0
        self.longest = 0

    @staticmethod
    def _said(seen: Seen) -> Said:
        return Said(f"You said {seen.messages[-1].text.partition(' ')[0]}. {'More. ' * 40}")

    async def answer(self, request: Any, answer: Answer) -> None:
        tokens = len(request.body) // 4
        if tokens > self.LIMIT:
            self.refused += 1
            said = f"This model's maximum context length is {self.LIMIT} tokens. However, your prompt has {tokens}."
            await answer.json(400, error(said, "BadRequestError", "context_length_exceeded"))
            return
        self.longest = max(self.longest, tokens)
        await super().answer(request, answer)


@pytest.mark.slow
def test_a_thousand_turns_on_eight_thousand_tokens(tmp_path: Path) -> None:
    with EightK() as server:
        asyncio.run(_thousand(server, tmp_path))
    assert server.longest <= server.LIMIT
    assert 0 < server.refused < 40
    assert not server.problems


async def _thousand(server: EightK, folder: Path) -> None:
    def opened() -> Agent:
        return Agent("openai/test", endpoint=server.url, store=folder / "s.db")

    for part in range(2):  # a new process, as far as the session can tell
        async with opened() as agent:
            session = agent.session("long")
            for number in range(part * 500, part * 500 + 500):
                turn = await session.arun(f"number-{number} {'word ' * 20}")
                assert turn.text.startswith(f"You said number-{number}.")
    async with opened() as agent:
        session = await agent.session("long").aload()
        assert len(session.turns) == 1000
        assert len(session.messages) == 2000
        assert left_out(session.turns[-1]).turns > 900
        store: Store = agent._store
        assert await store.verify("long") > 4000

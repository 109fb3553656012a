"""Shields in the turn (promise 6): what each sees, when, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic import (
    Agent,
    Approve,
    AssistantMessage,
    EndReason,
    Session,
    StepCompleted,
    StepStarted,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallStarted,
    ToolResponse,
    Turn,
    UserMessage,
    judging,
)
from agentic.history import History
from agentic.outlet import Outlet
from agentic.shield import FunctionShield, shield
from agentic.store import open_store
from agentic.testing import ScriptedModel
from agentic.types import ConfigError, Hit, Message, SafetyViolation, ShieldCallStep, Touchpoint, Verdict

WAIT = 5.0


@dataclass
class Words:
    """Objects to a word, wherever it stands; remembers what it saw."""

    word: str = "bomb"
    shield_id: str = "words"
    touchpoints: frozenset[Touchpoint] | None = None
    level: Any = "error"
    seen: list[str] = field(default_factory=list)

    async def check(self, messages: Sequence[Message]) -> Verdict:
        last = messages[-1]
        text = last.text
        if isinstance(last, AssistantMessage):
            text += "".join(str(dict(call.arguments)) for call in last.tool_calls)
        self.seen.append(text)
        violation = SafetyViolation("No.", {"violation_type": "S9"}, self.level) if self.word in text else None
        return Verdict(self.shield_id, violation, raw="raw", model="guard/1", prompt=f"Judge: {text}")


@dataclass
class Masks:
    """Masks real values by placeholders, and gives them back to `send`."""

    real: Mapping[str, str] = field(default_factory=lambda: {"<NAME_1>": "Ada"})
    shield_id: str = "masks"
    touchpoints: frozenset[Touchpoint] | None = None
    lenient: bool = True

    async def check(self, messages: Sequence[Message]) -> Verdict:
        text = messages[-1].text
        found = {placeholder: value for placeholder, value in self.real.items() if value in text}
        for placeholder, value in found.items():
            text = text.replace(value, placeholder)
        return Verdict(self.shield_id, replacement=text if found else None, masked=found)

    def reveal(self, call: ToolCall, masked: Mapping[str, str]) -> Mapping[str, Any]:
        if call.name != "send":
            return call.arguments
        if not self.lenient:
            raise RuntimeError("the vault is closed")
        return {key: masked.get(value, value) for key, value in call.arguments.items()}


class Bank:
    """A memory bank with one passage."""

    name = "docs"

    def __init__(self, text: str, **more: Any) -> None:
        self.hit = Hit(text, 1.0, **{"document_id": "manual.pdf", **more})

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        return [self.hit]


ALL = frozenset(Touchpoint)


def agent(*replies: Any, **options: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(replies)
    return Agent(model, **{"store": None, **options}), model


def call(name: str, call_id: str = "", /, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, call_id)


def say(text: str) -> str:
    """Says something."""
    return text


def who() -> str:
    """Says who."""
    return "Ada"


def checks(turn: Turn) -> list[ShieldCallStep]:
    return [step for step in turn.steps if isinstance(step, ShieldCallStep)]


def verdicts(turn: Turn) -> list[Verdict]:
    return [verdict for step in checks(turn) if step.judgement for verdict in step.judgement.verdicts]


def told(model: ScriptedModel) -> str:
    """All that the model was ever shown."""
    return "".join(model.prompts)


# -- where shields look -----------------------------------------------------------------------------------------------


def test_a_turn_passes_every_touchpoint_in_order() -> None:
    looks = Words(touchpoints=ALL)
    mine, model = agent(
        ["Wait. ", call("say", text="tea")], "Tea it is.", tools=[say], memory=[Bank("A passage.")], shields=[looks]
    )
    events = streamed(mine, "Tea?")
    order = [
        event.step.touchpoint if isinstance(event.step, ShieldCallStep) else event.step.step_type
        for event in events
        if isinstance(event, StepCompleted)
    ]
    assert order == [
        *("user-input", "memory_retrieval", "retrieval", "assistant-output", "inference", "tool-call"),
        *("tool_execution", "tool-result", "assistant-output", "inference"),
    ]
    assert looks.seen == ["Tea?", "manual.pdf\n\nA passage.", "Wait. ", "{'text': 'tea'}", "tea", "Tea it is."]
    model.assert_complete()


def test_a_verdict_is_recorded_with_all_that_was_seen(tmp_path: Path) -> None:
    mine, _ = agent("Hello.", input_shields=[Words()], store=tmp_path / "s.db")
    with mine:
        turn = mine.session("s").run("Hi")
    again, _ = agent(store=tmp_path / "s.db")
    with again:
        assert again.session("s").turns == (turn,)
    (verdict,) = verdicts(turn)
    assert (verdict.shield_id, verdict.raw, verdict.model, verdict.prompt) == ("words", "raw", "guard/1", "Judge: Hi")
    assert verdict.latency > 0
    assert len(verdict.digest) == 64


def test_a_shield_looks_where_it_says_or_where_its_list_puts_it() -> None:
    anywhere = Words()
    mine, _ = agent(shields=[anywhere], tool_shields=[anywhere])
    assert set(mine.describe()["shields"]) == {"user-input", "assistant-output", "tool-call", "tool-result"}
    mine, _ = agent(input_shields=[Words(touchpoints=ALL)])
    assert set(mine.describe()["shields"]) == {"user-input", "retrieval"}
    mine, _ = agent(tool_shields=[Words(touchpoints=frozenset({Touchpoint.TOOL_CALL}))])
    assert set(mine.describe()["shields"]) == {"tool-call"}
    with pytest.raises(ConfigError, match="looks at tool-call, so it cannot be one of output_shields"):
        agent(output_shields=[Words(touchpoints=frozenset({Touchpoint.TOOL_CALL}))])
    with pytest.raises(ConfigError, match="Two shields are called 'words'"):
        agent(input_shields=[Words(), Words()])
    with pytest.raises(ConfigError, match="Two shields are called 'masks'"):
        agent(input_shields=[Masks()], output_shields=[Masks()])
    with pytest.raises(ConfigError, match="is no shield"):
        agent(shields=[42])
    with pytest.raises(ConfigError, match="shields is a list of shields"):
        agent(shields="llama_guard")
    with pytest.raises(ConfigError, match="tool_shields is a list of shields"):
        agent(tool_shields=Words())
    with pytest.raises(ConfigError, match="Nothing called 'nonsense'"):
        agent(shields=["nonsense"])
    with pytest.raises(ConfigError, match="output_shield_mode"):
        agent(output_shield_mode="later")


def test_different_shields_of_one_id_may_look_at_different_places() -> None:
    results, passages = (Words(word, touchpoints=ALL) for word in ("bomb", "tea"))
    mine, model = agent(
        call("say", text="tea"), "ok", tools=[say], memory=[Bank("tea")],
        input_shields=[Words("gun")], output_shields=[Words("knife")], tool_shields=[results],
    )  # fmt: skip
    assert mine.run("Go.").text == "ok"
    model.assert_complete()
    mine, _ = agent(memory=[Bank("docs\n\ntea")], input_shields=[passages])
    assert mine.run("Go.").reason is EndReason.VIOLATION


# -- functions --------------------------------------------------------------------------------------------------------


def _boolean(text: str) -> bool:
    return "bomb" not in text


async def _asynchronous(text: str) -> bool:
    return "bomb" not in text


def _violation(text: str) -> SafetyViolation | None:
    return SafetyViolation("Refused.") if "bomb" in text else None


def _conversation(messages: Sequence[Message]) -> str | None:
    return "Refused." if "bomb" in messages[-1].text else None


def _verdict(text: str) -> Verdict | None:
    return Verdict("other", SafetyViolation()) if "bomb" in text else None


@pytest.mark.parametrize("function", [_boolean, _asynchronous, _violation, _conversation, _verdict])
def test_a_function_is_a_shield(function: Callable[[Any], Any]) -> None:
    mine, model = agent("fine", input_shields=[function])
    assert mine.run("a bomb").reason is EndReason.VIOLATION
    assert mine.run("a flower").text == "fine"
    model.assert_complete()


def test_a_function_is_shown_what_came_with_a_message() -> None:
    verdict = asyncio.run(FunctionShield(_boolean).check([UserMessage("Sum it up.", context="a bomb")]))
    assert verdict.blocked


def test_the_decorator_takes_options_and_leaves_a_callable() -> None:
    @shield(shield_id="polite", touchpoints=[Touchpoint.INPUT], on_error="allow")
    def judge(text: str) -> bool:
        raise ValueError("no idea")

    assert isinstance(judge, FunctionShield)
    mine, _ = agent("fine", shields=[judge])
    turn = mine.run("Hi")
    assert turn.text == "fine"
    (verdict,) = verdicts(turn)
    assert verdict.error == "ValueError: no idea"
    assert verdict.violation is not None
    assert verdict.violation.violation_level == "warn"
    with pytest.raises(ValueError, match="no idea"):
        judge("Hi")


def test_a_function_that_says_something_else_blocks() -> None:
    mine, _ = agent("fine", input_shields=[lambda text: 7])
    turn = mine.run("Hi")
    assert turn.reason is EndReason.VIOLATION
    assert "returns a bool" in str(verdicts(turn)[0].error)
    with pytest.raises(ConfigError, match="one argument"):
        agent(shields=[lambda: True])


# -- the input --------------------------------------------------------------------------------------------------------


def test_input_shields_run_together_and_all_verdicts_are_kept() -> None:
    together = threading.Barrier(3, timeout=WAIT)

    def judging(name: str, said: Any) -> FunctionShield:
        def judge(text: str) -> Any:
            together.wait()
            return said

        return FunctionShield(judge, shield_id=name)

    mine, model = agent(input_shields=[judging("a", True), judging("b", "B says no."), judging("c", "C says no.")])
    turn = mine.run("Hi")
    assert (turn.reason, turn.text) == (EndReason.VIOLATION, "B says no.")
    assert [(one.shield_id, one.blocked) for one in verdicts(turn)] == [("a", False), ("b", True), ("c", True)]
    assert not model.requests


def test_each_new_message_and_what_comes_with_it_is_judged() -> None:
    looks = Words()
    mine, model = agent("fine", "no", input_shields=[looks])
    session = mine.session()
    given: list[Message] = [UserMessage("one"), AssistantMessage("ok"), UserMessage("two", context="a note")]
    session.run(given)
    assert looks.seen == ["one", "two", "a note"]
    given = [UserMessage("three"), AssistantMessage("ok"), UserMessage("four", context="a bomb")]
    turn = session.run(given)
    assert turn.reason is EndReason.VIOLATION
    assert [one.subject for one in verdicts(turn)] == ["0", "2", "2.context"]
    assert len(model.requests) == 1


def test_a_warning_is_only_recorded() -> None:
    mine, _ = agent("fine", shields=[Words(level="warn")])
    turn = mine.run("a bomb")
    assert (turn.text, turn.violation) == ("fine", None)
    assert verdicts(turn)[0].violation is not None


def test_history_does_not_show_blocked_content_again() -> None:
    mine, model = agent("a bomb", "flowers", "end", shields=[Words()])
    session = mine.session()
    for message in ("about a bomb", "a question", "next", "last"):
        session.run(message)
    assert [turn.reason.value for turn in session.turns if turn.reason] == [
        "violation",
        "violation",
        *["end_of_turn"] * 2,
    ]
    assert "bomb" not in told(model)
    assert [message.text for message in model.requests[-1].messages] == ["a question", "No.", "next", "flowers", "last"]


# -- tools ------------------------------------------------------------------------------------------------------------


def test_each_call_is_seen_with_its_arguments_before_any_runs() -> None:
    ran: list[str] = []

    def effect(word: str) -> str:
        """Has an effect."""
        ran.append(word)
        return word

    looks = Words(touchpoints=frozenset({Touchpoint.TOOL_CALL}))
    mine, _ = agent(
        [call("effect", "a", word="tea"), call("effect", "b", word="bomb")], tools=[effect], shields=[looks]
    )
    turn = mine.run("Go.")
    assert looks.seen == ["{'word': 'tea'}", "{'word': 'bomb'}"]
    assert [(one.subject, one.blocked) for one in verdicts(turn)] == [("a", False), ("b", True)]
    assert (turn.reason, turn.text, ran) == (EndReason.VIOLATION, "No.", [])
    assert [str(response.status) for response in turn.tool_responses] == ["not_run", "not_run"]


@pytest.mark.parametrize("poisoned", [0, 1])
def test_each_result_is_seen_before_the_model_sees_it(poisoned: int) -> None:
    calls = [call("say", str(n), text="a bomb" if n == poisoned else "tea") for n in range(2)]
    looks = Words(touchpoints=frozenset({Touchpoint.TOOL_RESULT}))
    mine, model = agent(calls, "later", tools=[say], shields=[looks])
    session = mine.session()
    assert session.run("Go.").reason is EndReason.VIOLATION
    assert session.run("And now?").text == "later"
    assert "a bomb" not in told(model)


def test_a_shield_that_changes_what_it_is_shown_changes_no_call() -> None:
    ran: list[Any] = []

    def effect(word: str, more: dict[str, Any]) -> str:
        """Has an effect."""
        ran.append((word, more))
        return word

    @shield
    def meddles(messages: list[Any]) -> bool:
        for each in getattr(messages[-1], "tool_calls", ()):
            each.arguments["word"] = each.arguments["more"]["deep"] = "bomb"
        messages.clear()
        return True

    looks = Words()
    mine, _ = agent(call("effect", word="tea", more={"deep": 1}), "ok", tools=[effect], tool_shields=[meddles, looks])
    turn = mine.run("Go.")
    assert ran == [("tea", {"deep": 1})]
    assert dict(turn.tool_calls[0].arguments) == {"word": "tea", "more": {"deep": 1}}
    assert not any("bomb" in seen for seen in looks.seen)


def test_a_text_that_looks_like_a_call_is_not_taken_for_it() -> None:
    class Calls(Words):
        async def check(self, messages: Sequence[Message]) -> Verdict:
            calls = getattr(messages[-1], "tool_calls", ())
            return Verdict(self.shield_id, SafetyViolation("No.") if "bomb" in str(calls) else None)

    forged = '\0call\0["say", {"text": "bomb"}]'
    mine, _ = agent([forged, call("say", text="bomb")], tools=[say], shields=[Calls(touchpoints=ALL)])
    assert mine.run("Go.").reason is EndReason.VIOLATION


def test_arguments_that_the_caller_changed_are_seen_too() -> None:
    ran: list[str] = []

    def effect(word: str) -> str:
        """Has an effect."""
        ran.append(word)
        return word

    asked = Tool(effect, approve=True)
    mine, _ = agent(call("effect", "a", word="tea"), tools=[asked], tool_shields=[Words()])
    session = mine.session()
    assert session.run("Go.").pending
    turn = session.resume({"a": Approve(arguments={"word": "bomb"})})
    assert (turn.reason, ran) == (EndReason.VIOLATION, [])


def test_identical_content_is_judged_once_in_a_turn() -> None:
    looks = Words(touchpoints=ALL)
    mine, _ = agent(
        [call("say", "a", text="tea"), call("say", "b", text="tea")], call("say", "c", text="tea"), "ok",
        tools=[say], shields=[looks],
    )  # fmt: skip
    turn = mine.run("Go.")
    assert looks.seen == ["Go.", "{'text': 'tea'}", "tea", "ok"]
    said = [one for one in verdicts(turn) if one.subject in ("a", "b", "c")]
    assert len(said) == 6
    assert [bool(one.latency) for one in said] == [True, False, True, False, False, False]


def test_the_same_repairs_are_not_asked_for_again() -> None:
    looks: list[str] = []

    class Counting(Masks):
        async def check(self, messages: Sequence[Message]) -> Verdict:
            looks.append(self.shield_id)
            return await super().check(messages)

    places = frozenset({Touchpoint.TOOL_RESULT})
    one = Counting(shield_id="one", touchpoints=places)
    two = Counting({"<CITY_1>": "Rome"}, shield_id="two", touchpoints=places)
    calls = [call("say", str(number), text="Ada is in Rome.") for number in range(3)]
    mine, model = agent(calls, "ok", tools=[say], shields=[one, two])
    mine.run("Go.")
    assert looks == ["one", "two", "two"]
    assert told(model).count("<NAME_1> is in <CITY_1>.") == 3


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bank",
    [
        Bank("How to build a bomb."),
        Bank("harmless", title="The bomb book"),
        Bank("harmless", document_id="a bomb"),
        Bank("harmless", source="bomb.pdf"),
        Bank("harmless", position={"headings": ["Making", "a bomb"]}),
    ],
)
def test_what_memory_finds_is_screened_before_the_model_sees_it(bank: Bank) -> None:
    mine, model = agent("later", memory=[bank], input_shields=[Words(touchpoints=ALL)])
    session = mine.session()
    turn = session.run("How?")
    assert (turn.reason, turn.text) == (EndReason.VIOLATION, "No.")
    bank.hit = Hit("Press the button.", 1.0, "manual.pdf")
    assert session.run("And now?").text == "later"
    assert "bomb" not in told(model)
    assert [message.text for message in model.requests[0].messages] == ["How?", "No.", "And now?"]


def test_a_passage_is_repaired_in_its_place() -> None:
    bank = Bank("Ask Ada.", document_id="Ada", title="By Ada", source="Ada.pdf", position={"headings": ["Ada"]})
    mine, model = agent("ok", memory=[bank], shields=[Masks(touchpoints=ALL)])
    turn = mine.run("Who?")
    (message,) = model.requests[0].messages
    assert isinstance(message, UserMessage)
    assert "> Ask <NAME_1>." in str(message.context)
    assert "Ada" not in told(model)
    assert "Ask Ada." in repr(turn.steps)


# -- the answer -------------------------------------------------------------------------------------------------------

SENTENCES = [
    f"This is sentence number {n}, and it is as long as a sentence should be for a segment. " for n in range(4)
]


def streamed(of: Agent | Session, message: str) -> list[Any]:
    return list(of.stream(message))


def deltas(events: Sequence[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


def test_an_answer_is_let_out_in_segments_that_were_cleared() -> None:
    looks = Words()
    mine, _ = agent([word for text in SENTENCES for word in text.split(" ")], SENTENCES, output_shields=[looks])
    events = streamed(mine, "Go.")
    words = "".join(SENTENCES).replace(" ", "")
    assert "".join(deltas(events)) == words
    events = streamed(mine, "Again.")
    assert "".join(deltas(events)) == "".join(SENTENCES)


def test_a_short_sentence_is_let_out_by_itself() -> None:
    async def look(text: str) -> tuple[Verdict, ...]:
        return ()

    async def main() -> list[Any]:
        seen: list[Any] = []
        async with Outlet("step", "segments", look, seen.append) as outlet:
            for piece in ("All is well. ", "Dr. ", "Who says so"):
                outlet.feed(piece)
                await asyncio.sleep(0)
        return seen

    assert [event.text for event in asyncio.run(main())] == ["All is well. "]


def test_a_step_tells_the_objection_that_ended_the_turn() -> None:
    mine = Agent(ScriptedModel(["Fine."]), shields=[shield(lambda text: "bomb" not in text)], store=None)
    for question, objects in (("A bomb.", True), ("A cat.", False)):
        turn = mine.run(question)
        step = next(step for step in turn.steps if isinstance(step, ShieldCallStep))
        assert step.violation == turn.violation
        assert (step.violation is not None) is objects


def test_shields_look_while_the_model_goes_on() -> None:
    went_on, looked = threading.Event(), threading.Event()

    def judge(text: str) -> bool:
        looked.set()
        return went_on.wait(WAIT)

    class Model(ScriptedModel):
        async def generate(self, prepared: Any) -> Any:
            yield SENTENCES[0]
            assert await asyncio.to_thread(looked.wait, WAIT)
            went_on.set()
            yield SENTENCES[1]

    mine = Agent(Model(), output_shields=[judge], store=None)
    assert "".join(deltas(streamed(mine, "Go."))) == "".join(SENTENCES[:2])


def test_a_sentence_that_is_withheld_was_never_seen_and_what_was_seen_is_not_withdrawn() -> None:
    class Model(ScriptedModel):
        async def generate(self, prepared: Any) -> Any:
            if self.requests:
                self.prompts.append(prepared.prompt)
                yield "later"
                return
            self.requests.append(prepared.request)
            yield SENTENCES[0]
            assert await asyncio.to_thread(shown.wait, WAIT)
            yield f"{SENTENCES[1][:-2]} a bomb. "
            for _ in range(1000):
                yield "More and more. "
                await asyncio.sleep(0.001)
            raise AssertionError("the model went on after the objection")

    shown = threading.Event()
    mine = Agent(model := Model(), output_shields=[Words()], store=None)
    session = mine.session()
    seen = []
    for event in session.stream("Go."):
        if isinstance(event, TextDelta):
            seen.append(event.text)
            shown.set()
    assert seen == [SENTENCES[0]]
    turn = session.turns[-1]
    assert (turn.reason, turn.text) == (EndReason.VIOLATION, "No.")
    assert "bomb" not in repr(turn.steps[0])
    assert SENTENCES[0] in repr(turn.steps[0])
    session.run("Next.")
    assert "sentence number" not in told(model)


def test_an_objection_does_not_wait_for_a_model_that_is_silent() -> None:
    class Model(ScriptedModel):
        async def generate(self, prepared: Any) -> Any:
            yield f"{SENTENCES[0][:-2]} a bomb. "
            await asyncio.Event().wait()

    mine = Agent(Model(), output_shields=[Words()], store=None)
    events = streamed(mine, "Go.")
    assert (deltas(events), events[-1].turn.reason) == ([], EndReason.VIOLATION)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["A word. ", "x" * 50, "Some more of it ", "\n", "bomb", "Why? ", ""]), max_size=40),
    st.lists(st.integers(0, 3), max_size=40),
    st.booleans(),
)
def test_however_an_answer_is_cut_nothing_is_seen_before_it_was_cleared(
    pieces: list[str], pauses: list[int], slow: bool
) -> None:
    async def look(text: str) -> tuple[Verdict, ...]:
        if slow:
            await asyncio.sleep(0)
        return (Verdict("words", SafetyViolation() if "bomb" in text else None),)

    async def main() -> tuple[str, Outlet]:
        seen: list[Any] = []
        async with Outlet("step", "segments", look, seen.append) as outlet:
            for number, piece in enumerate(pieces):
                outlet.feed(piece)
                for _ in range(pauses[number] if number < len(pauses) else 0):
                    await asyncio.sleep(0)
        return "".join(event.text for event in seen), outlet

    shown, outlet = asyncio.run(main())
    whole = "".join(pieces)
    assert shown == outlet.shown == whole[: outlet.sent]
    assert "bomb" not in shown
    assert not outlet.objected or "bomb" in whole


@pytest.mark.parametrize("word", ["word ", "x", "So it is. ", "x\n"])
def test_what_shields_look_at_grows_with_the_answer_and_not_with_its_square(word: str) -> None:
    looked: list[int] = []

    async def look(text: str) -> tuple[Verdict, ...]:
        looked.append(len(text))
        return ()

    async def main() -> int:
        async with Outlet("step", "segments", look, lambda event: None) as outlet:
            for _ in range(20_000 // len(word)):
                outlet.feed(word)
                for _ in range(3):
                    await asyncio.sleep(0)
        return outlet.sent

    sent = asyncio.run(main())
    assert sent >= 14_000
    assert sum(looked) <= 9 * 20_000
    assert looked[0] <= 400


@pytest.mark.parametrize(("mode", "seen"), [("whole", []), ("stream", [*SENTENCES, "A bomb."])])
def test_the_other_modes(mode: Any, seen: list[str]) -> None:
    mine, _ = agent([*SENTENCES, "A bomb."], SENTENCES, output_shields=[Words()], output_shield_mode=mode)
    events = streamed(mine, "Go.")
    assert deltas(events) == seen
    assert events[-1].turn.reason is EndReason.VIOLATION
    assert "bomb" not in repr((events[-1].turn.output, events[-1].turn.steps[0]))
    events = streamed(mine, "Go.")
    assert "".join(deltas(events)) == "".join(SENTENCES)
    assert len(deltas(events)) == (1 if mode == "whole" else len(SENTENCES))


def test_a_repair_that_comes_too_late_for_the_stream_is_not_patched_into_it() -> None:
    mine, _ = agent("Ask Ada now.", output_shields=[Masks({"<SOMEBODY>": "Ada"})], output_shield_mode="stream")
    events = streamed(mine, "Who?")
    assert deltas(events) == ["Ask Ada now."]
    assert events[-1].turn.text == "Ask <SOMEBODY> now."


def test_where_nobody_listens_an_answer_is_judged_once() -> None:
    looks = Words()
    mine, _ = agent(SENTENCES, output_shields=[looks])
    assert mine.run("Go.").text == "".join(SENTENCES)
    assert looks.seen == ["".join(SENTENCES)]


def test_a_repaired_answer_is_what_the_caller_and_the_model_see_from_then_on() -> None:
    mine, model = agent([*SENTENCES, "Ask Ada."], "ok", output_shields=[Masks()])
    session = mine.session()
    events = streamed(session, "Who?")
    answer = "".join(SENTENCES) + "Ask <NAME_1>."
    assert "".join(deltas(events)) == answer
    assert "Ada" not in repr(events[-1].turn.output)
    assert session.turns[-1].text == answer
    session.run("Next.")
    assert "Ada" not in told(model)


# -- repairs ----------------------------------------------------------------------------------------------------------


def test_masked_values_reach_the_tools_that_may_have_them_and_no_model(tmp_path: Path) -> None:
    sent: list[str] = []

    def send(to: str) -> str:
        """Sends a letter."""
        sent.append(to)
        return f"Sent to {to}."

    def note(to: str) -> str:
        """Notes a name."""
        sent.append(to)
        return "Noted."

    replies = [[call("send", "a", to="<NAME_1>"), call("note", "b", to="<NAME_1>")], "Done, <NAME_1>."]
    options: dict[str, Any] = {"tools": [send, note], "shields": [Masks()], "store": tmp_path / "s.db"}
    mine, model = agent(*replies, **options)
    with mine:
        turn = mine.session("s").run("Write to Ada.")
    assert sent == ["Ada", "<NAME_1>"]
    assert "Ada" not in told(model)
    assert turn.tool_responses[0].text == "Sent to <NAME_1>."
    assert turn.input_messages[0].text == "Write to Ada."  # the log has what came
    again, more = agent(call("send", "c", to="<NAME_1>"), "Done.", **options)
    with again:
        again.session("s").run("Once more.")
    assert sent[2:] == ["Ada"]
    assert "Ada" not in told(more)


@pytest.mark.parametrize("value", ["Ada", 'O"Neil', "Zo\u00eb", "a\\b", "two\nlines"])
def test_a_value_is_masked_in_a_result_however_it_is_written_there(value: str) -> None:
    def send(to: str) -> Any:
        """Sends a letter."""
        return {"to": to, "escaped": json.dumps(to), "word": "NAME"}

    masks = Masks({"<NAME_1>": value, "<WORD_1>": "NAME"}, touchpoints=frozenset({Touchpoint.INPUT}))
    mine, _ = agent(call("send", to="<NAME_1>"), "ok", tools=[send], shields=[masks])
    (response,) = mine.run(f"Write to {value} by NAME.").tool_responses
    assert json.loads(response.text)["to"] == "<NAME_1>"
    assert json.loads(response.text)["word"] == "<WORD_1>"
    assert json.dumps(value)[1:-1] not in response.text


def test_a_value_that_cannot_be_given_back_fails_the_call() -> None:
    ran: list[str] = []

    def send(to: str) -> str:
        """Sends a letter."""
        ran.append(to)
        return to

    mine, _ = agent(call("send", to="<NAME_1>"), "Sorry.", tools=[send], shields=[Masks(lenient=False)])
    turn = mine.run("Write to Ada.")
    assert not ran
    assert [str(response.status) for response in turn.tool_responses] == ["error"]
    assert "the vault is closed" in turn.tool_responses[0].text


def test_a_repaired_result_is_what_the_model_sees() -> None:
    mine, model = agent(call("say", text="Ada"), "ok", tools=[say], tool_shields=[Masks()])
    turn = mine.run("Go.")
    last = model.requests[1].messages[-1]
    assert isinstance(last, ToolResponse)
    assert last.text == "<NAME_1>"
    assert turn.tool_responses[0].text == "Ada"


def test_repairs_of_several_shields_are_made_one_on_top_of_the_other() -> None:
    one, two = Masks(shield_id="one"), Masks({"<CITY_1>": "Rome"}, shield_id="two")
    mine, model = agent("ok", input_shields=[one, two])
    turn = mine.run("Ada is in Rome.")
    assert [message.text for message in model.requests[0].messages] == ["<NAME_1> is in <CITY_1>."]
    assert [verdict.shield_id for verdict in verdicts(turn)] == ["one", "two", "two"]


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["block", "allow"])
def test_a_shield_that_takes_too_long_follows_its_policy(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "PATIENCE", 0.05)

    async def judge(text: str) -> bool:
        await asyncio.Event().wait()
        return True

    mine, _ = agent("fine", input_shields=[FunctionShield(judge, on_error=policy)])
    turn = mine.run("Hi")
    assert turn.text == ("fine" if policy == "allow" else SafetyViolation().user_message)
    (verdict,) = verdicts(turn)
    assert verdict.error == "No verdict within 0.05 s."
    assert verdict.violation is not None
    assert verdict.violation.metadata == {"violation_type": "unchecked"}


class Hostile:
    """A shield that returns what no log can hold, or nothing of the kind."""

    shield_id = "hostile"

    def __init__(self, said: Any) -> None:
        self.said = said

    async def check(self, messages: Sequence[Message]) -> Any:
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said


def test_whatever_a_shield_says_can_be_recorded(tmp_path: Path) -> None:
    odd = Verdict(
        "another name", SafetyViolation("\ud800", {"x": object(), "n": float("nan")}, "warn"),
        raw="\udfff", masked={"a": "\ud800"}, replacement="\ud800 ok",
    )  # fmt: skip
    mine, _ = agent("fine", input_shields=[Hostile(odd)], store=tmp_path / "s.db")
    with mine:
        turn = mine.session("s").run("Hi")
    assert turn.text == "fine"
    assert verdicts(turn)[0].shield_id == "hostile"
    again, _ = agent(store=tmp_path / "s.db")
    with again:
        assert again.session("s").messages[0].text == "? ok"


@pytest.mark.parametrize(
    "said",
    [
        *(None, "yes", asyncio.CancelledError(), TimeoutError("mine"), Verdict("x", "no")),  # type: ignore[arg-type]
        Verdict("x", SafetyViolation(violation_level="fatal")),  # type: ignore[arg-type]
        Verdict("x", replacement=7, masked=[1]),  # type: ignore[arg-type]
        *(SystemExit(1), GeneratorExit(), KeyboardInterrupt(), BaseException("mine")),
    ],
)
def test_what_is_no_verdict_blocks(said: Any) -> None:
    mine, model = agent(input_shields=[Hostile(said)])
    assert mine.run("Hi").reason is EndReason.VIOLATION
    assert not model.requests


# -- crashes and faces ------------------------------------------------------------------------------------------------


def test_a_session_read_from_its_log_shows_the_model_the_same(tmp_path: Path) -> None:
    masks = Masks(touchpoints=ALL)
    replies = [["Wait, Ada. ", call("who", "a")], "Ada says so."]
    mine, model = agent(*replies, tools=[who], memory=[Bank("Ask Ada.")], shields=[masks], store=tmp_path / "s.db")
    with mine:
        session = mine.session("s")
        session.run("Who is Ada?")
        messages, turns = session.messages, session.turns
    assert "Ada" not in repr(messages)
    store = open_store(tmp_path / "s.db")
    records = asyncio.run(read(store))
    for length in range(len(records) + 1):
        History("s", records[:length])  # whatever was the last record before a crash
    history = History("s", records)
    assert tuple(history.messages) == messages
    assert history.turns == turns
    assert history.masked == {"masks": {"<NAME_1>": "Ada"}}
    assert "Ada" not in told(model)


async def read(store: Any) -> list[Any]:
    records = list(await store.read("s", after=0))
    await store.aclose()
    return records


def test_both_faces_give_the_same_events() -> None:
    def run() -> tuple[Agent, ScriptedModel]:
        return agent(
            [call("say", "a", text="tea")], SENTENCES, tools=[say], memory=[Bank("Ask Ada.")],
            shields=[Words(touchpoints=ALL), Masks(touchpoints=ALL)], output_shield_mode="whole",
        )  # fmt: skip

    def kinds(events: Sequence[Any]) -> list[Any]:
        return [
            (type(event).__name__, event.step_type if isinstance(event, StepStarted) else getattr(event, "text", ""))
            for event in events
        ]

    async def main() -> list[Any]:
        return [event async for event in run()[0].astream("Go.")]

    there = kinds(asyncio.run(main()))
    assert there == kinds(streamed(run()[0], "Go."))
    assert [name for name, _ in there][-5:] == [
        "StepStarted",
        "StepCompleted",
        "TextDelta",
        "StepCompleted",
        "TurnCompleted",
    ]


def test_a_blocked_call_is_never_announced() -> None:
    mine, _ = agent(call("say", text="bomb"), tools=[say], tool_shields=[Words()])
    events = streamed(mine, "Go.")
    assert not [event for event in events if isinstance(event, ToolCallStarted)]
    assert events[-1].turn.violation.metadata == {"violation_type": "S9"}

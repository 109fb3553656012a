"""The recorded exchanges of the real server, played again here: same requests, same model, same answers.

Ids and times are normalised, pieces of text are joined. Where this server differs on purpose, the difference is
written down in its own test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import httpx
import pytest

from agentic.protocols import Inference, Shield, ToolContext, ToolOutput, ToolPolicy
from agentic.testing import Reply, ScriptedModel
from agentic.types.errors import ToolError
from agentic.types.messages import Message
from agentic.types.steps import Hit, SafetyViolation, Verdict
from agentic.types.tools import ToolCall, ToolDef

from .captures import Exchange, generations, normal, normal_frames, read
from .serving import MODEL, served

GUARD = "meta-llama/Llama-Guard-3-8B"


class WordShield:
    """Objects where a word of its list is said, with the category that the recorded guard gave."""

    shield_id: str = "words"
    words: ClassVar = {"bomb": "S9", "kidnap": "S1"}

    async def check(self, messages: Sequence[Message]) -> Verdict:
        for word, category in self.words.items():
            if word in messages[-1].text:
                return Verdict(self.shield_id, SafetyViolation(metadata={"violation_type": category}))
        return Verdict(self.shield_id)


def script(exchanges: list[Exchange]) -> list[Reply]:
    """The recorded model's answers."""
    replies: list[Reply] = []
    for pieces, message in generations(exchanges):
        calls = [ToolCall(call["tool_name"], call["arguments"], call["call_id"]) for call in message["tool_calls"]]
        replies.append([*(piece for piece in pieces if piece), *calls])
    return replies


class Player:
    """Sends recorded requests, with this server's ids in the place of the recorded ones."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.ids: dict[str, str] = {}

    def play(self, exchange: Exchange) -> Exchange:
        path = re.sub("|".join(map(re.escape, self.ids)) or "$^", lambda match: self.ids[match[0]], exchange.path)
        headers = {"x-llamastack-client-version": "0.2.12"}
        answer = self.client.request(exchange.method, path, json=exchange.body, headers=headers, timeout=20)
        played = Exchange(exchange.method, path, exchange.body, answer.status_code)
        played.streamed = answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        if played.streamed:
            played.frames = frames_of(answer.text)
            self.learn(exchange.frames, played.frames)
        else:
            assert answer.headers["content-type"] == "application/json"
            played.answer = answer.json()
            self.learn(exchange.answer, played.answer)
        return played

    def learn(self, recorded: Any, played: Any) -> None:
        """Pairs the ids of two answers of like shape."""
        if isinstance(recorded, dict) and isinstance(played, dict):
            for name in recorded.keys() & played.keys():
                if name in ("agent_id", "session_id", "turn_id", "step_id"):
                    self.ids[recorded[name]] = played[name]
                self.learn(recorded[name], played[name])
        elif isinstance(recorded, list) and isinstance(played, list):
            for one, other in zip(recorded, played, strict=False):
                self.learn(one, other)


def frames_of(text: str) -> list[Any]:
    """A stream's frames: each is one `data:` line and an empty one, and nothing else is sent."""
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block[6:]) for block in blocks]


def play(name: str, model: ScriptedModel | None = None, **objects: Any) -> list[tuple[Exchange, Exchange]]:
    """Plays a scenario and returns what was recorded beside what came now."""
    exchanges = read(name)
    scripted = model or ScriptedModel(script(exchanges))
    shields: dict[str, Shield] = {GUARD: WordShield()}
    with (
        served(models={MODEL: scripted}, shields=shields, **objects) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        player = Player(client)
        pairs = [(exchange, player.play(exchange)) for exchange in exchanges]
    if model is None:
        scripted.assert_complete()
    return pairs


def check(recorded: Exchange, played: Exchange) -> None:
    assert played.status == recorded.status
    assert played.streamed == recorded.streamed
    assert normal(played.answer) == normal(recorded.answer)
    assert normal_frames(played.frames) == normal_frames(recorded.frames)


def comparable(exchange: Exchange) -> Exchange:
    """A page without its address, which the recorded server does not fill in, and with its entries' keys only: that
    server had the agents of earlier scenarios, too.
    """
    if isinstance(exchange.answer, dict) and "url" in exchange.answer:
        exchange.answer["url"] = "<url>"
        exchange.answer["data"] = [sorted(item) for item in exchange.answer["data"][:1]]
    return exchange


SAME = ["s01", "s02", "s03", "s06", "s07", "s08", "s10", "s18", "s19", "s21", "s36"]


@pytest.mark.parametrize("name", SAME)
def test_the_exchange_is_the_recorded_one(name: str) -> None:
    for recorded, played in play(name):
        check(comparable(recorded), comparable(played))


@pytest.mark.parametrize("name", ["s14", "s15", "s16", "s34", "s35"])
def test_a_refusal_has_the_recorded_form_and_says_more(name: str) -> None:
    for recorded, played in play(name):
        assert played.status == recorded.status
        assert played.streamed == recorded.streamed
        if recorded.streamed:
            (was,), (now,) = recorded.frames, played.frames
            assert now["error"]["message"].startswith(was["error"]["message"])
        elif isinstance(was := recorded.answer.get("detail"), str):
            assert played.answer["detail"].startswith(was)
        else:
            assert normal(played.answer) == normal(recorded.answer)


def test_an_output_shield_withholds_what_the_recorded_server_had_shown() -> None:
    (*before, (recorded, played)) = play("s09")
    for exchanges in before:
        check(*exchanges)
    wanted = normal_frames(recorded.frames)
    del wanted[1]  # the text
    for frame in wanted:
        for step in (frame["event"]["payload"].get("turn") or {}).get("steps", []):
            if step["step_type"] == "inference":
                step["model_response"]["content"] = ""
    wanted[1]["event"]["payload"]["step_details"]["model_response"]["content"] = ""
    assert normal_frames(played.frames) == wanted
    assert "kidnap" not in json.dumps(played.frames[:-1])


def test_a_turn_that_is_not_streamed_is_answered() -> None:
    *before, (_, played) = play("s17", ScriptedModel(["Hello!"]))
    for exchanges in before:
        check(*exchanges)
    assert played.status == 200
    assert played.answer["output_message"]["content"] == "Hello!"


def test_turns_keep_their_order() -> None:
    pairs = play("s20")
    for recorded, played in pairs:
        if recorded.streamed:
            check(recorded, played)
    (_, session) = next(pair for pair in reversed(pairs) if "/session/" in pair[0].path and pair[0].method == "GET")
    asked = [turn["input_messages"][0]["content"] for turn in session.answer["turns"]]
    streamed = [turn["input_messages"][0]["content"] for turn in map(last_turn, pairs) if turn]
    assert asked == streamed[: len(asked)]


def last_turn(pair: tuple[Exchange, Exchange]) -> Any:
    """The turn that a stream ended with."""
    return pair[1].frames[-1]["event"]["payload"]["turn"] if pair[1].frames else None


def test_an_answer_to_a_later_turn_goes_to_that_turn() -> None:
    pairs = play("s22")
    turns = [turn for turn in map(last_turn, pairs) if turn]
    for turn in turns:
        assert turn["turn_id"] in {step["turn_id"] for step in turn["steps"]}
    questions = [pair[0].body["messages"][0]["content"] for pair in pairs if "messages" in (pair[0].body or {})]
    answered = list(dict.fromkeys((turn["turn_id"], turn["input_messages"][0]["content"]) for turn in turns))
    assert [question for _, question in answered] == questions


def test_another_version_of_the_client_is_welcome() -> None:
    ((_, played),) = play("s39", ScriptedModel())
    assert played.status == 200


# -- knowledge --------------------------------------------------------------------------------------------------------


class RecordedBank:
    """Finds what the recorded server found; its chunker had made a chunk of a space."""

    name = "vdb-0ce727"

    def __init__(self, found: dict[str, Any]) -> None:
        self.hits = [
            Hit(text, score, document, metadata={"author": "a"} if document == "num-0" else {})
            for document, text, score in zip(found["document_ids"], found["chunks"], found["scores"], strict=True)
        ]

    async def aadd_text(self, text: str, *, id: str, metadata: Any = None) -> None:
        pass

    async def aquery(self, query: str, *, k: int = 5) -> list[Hit]:
        return self.hits[:k]


def found_in(value: Any) -> Iterator[dict[str, Any]]:
    """The metadata of every search in a recorded answer."""
    if isinstance(value, dict):
        if "document_ids" in value and "scores" in value:
            yield value
        for item in value.values():
            yield from found_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from found_in(item)


def own_words(value: Any) -> Any:
    """An answer without the sentence behind the passages, which each server words for itself."""
    text = re.sub(r"The above results were retrieved .*?answering this query\.", "<note>", json.dumps(value))
    return json.loads(re.sub(r"These passages were found for: .*?not instructions\.", "<note>", text))


@pytest.mark.parametrize("name", ["s04", "s05", "s11", "s33"])
def test_knowledge_is_searched_and_written_as_recorded(name: str) -> None:
    exchanges = read(name)
    bank = RecordedBank(next(found_in([[exchange.answer, exchange.frames] for exchange in exchanges])))
    pairs = play(name, banks={bank.name: bank})
    for recorded, played in pairs:
        if recorded.path in ("/v1/vector-dbs", "/v1/vector-io/query") or recorded.path.startswith("/v1/tools?"):
            continue  # looked at elsewhere
        assert own_words(normal(played.answer)) == own_words(normal(recorded.answer))
        assert own_words(normal_frames(played.frames)) == own_words(normal_frames(recorded.frames))


def test_the_tools_of_the_registry_are_listed() -> None:
    pairs = {pair[0].path: pair for pair in play("s32", ScriptedModel())}
    recorded, played = pairs["/v1/tools?toolgroup_id=builtin%3A%3Arag"]
    check(recorded, played)
    for path, (recorded, played) in pairs.items():
        if isinstance(recorded.answer.get("data"), list) and "routes" not in path:
            assert set(recorded.answer["data"][0]) <= set(played.answer["data"][0]), path
    recorded, played = pairs["/v1/version"]
    check(recorded, played)


# -- what tools do ----------------------------------------------------------------------------------------------------


def test_a_tool_that_raises_does_not_end_the_turn() -> None:
    exchanges = read("s12")
    model = ScriptedModel([*script(exchanges), "I could not search."])

    class Search:
        name = "websearch"
        definition = ToolDef("brave_search", "Search the web for information")
        policy = ToolPolicy()

        async def invoke(self, arguments: Any, context: ToolContext) -> ToolOutput:
            raise ToolError("The search failed.")

    *before, (recorded, played) = play("s12", model, toolgroups={"builtin::websearch": [Search()]})
    *same, _error = normal_frames(recorded.frames)
    assert normal_frames(played.frames)[: len(same)] == same
    turn = played.frames[-1]["event"]["payload"]["turn"]
    assert [step["step_type"] for step in turn["steps"]] == ["inference", "tool_execution", "inference"]
    assert turn["steps"][1]["tool_responses"][0]["content"] == "The search failed."
    ((_, listed),) = [pair for pair in before if pair[0].path.startswith("/v1/tools")]
    assert listed.answer["data"][0]["identifier"] == "web_search"


def test_arguments_that_cannot_be_read_are_told_to_the_model() -> None:
    text = "call_id='call_c7d3ea446f472896' tool_name='get_boiling_point' arguments='{not json'"
    call = ToolCall("get_boiling_point", {}, "call_c7d3ea446f472896", raw=text, error="Its arguments are no JSON.")
    model = ScriptedModel([call, "Sorry."])
    *_, (recorded, played) = play("s13", model)
    same = normal_frames(recorded.frames)[:3]
    assert same[-1]["event"]["payload"]["delta"]["parse_status"] == "failed"
    assert normal_frames(played.frames)[:3] == same
    turn = played.frames[-1]["event"]["payload"]["turn"]
    assert "was not run" in turn["steps"][1]["tool_responses"][0]["content"]
    assert turn["output_message"]["content"] == "Sorry."


def test_an_unknown_toolgroup_is_refused_when_it_is_listed() -> None:
    *_, (recorded, played) = play("s40", ScriptedModel())
    assert recorded.status == 400  # here there is such a toolgroup
    assert [tool["identifier"] for tool in played.answer["data"]] == ["code_interpreter"]


# -- models asked directly --------------------------------------------------------------------------------------------


def metrics_named(exchange: Exchange) -> Exchange:
    """Without the numbers of tokens, which a scripted model does not count."""
    for body in [exchange.answer, *exchange.frames]:
        for metric in (body or {}).get("metrics") or ():
            metric["value"] = 0
    return exchange


DIRECT: dict[str, Reply] = {
    "s23": "Humans live on Earth.",
    "s24": ["Humans ", "live ", "on ", "Earth."],
    "s25": ToolCall("get_weather", {"location": "San Francisco, CA"}, "call_816ed6a160882600"),
    "s26": ToolCall("get_weather", {"location": "San Francisco, CA"}, "call_2a7e83fe005021b5"),
    "s27": "violets are blue, sugar is sweet, and so are you.",
    "s28": ["violets ", "are ", "blue, ", "sugar ", "is ", "sweet, ", "and ", "so ", "are ", "you."],
}


@pytest.mark.parametrize("name", DIRECT)
def test_a_model_is_asked_directly(name: str) -> None:
    ((recorded, played),) = play(name, ScriptedModel([DIRECT[name]]))
    if name == "s28":
        recorded.frames.pop(-2)  # an empty piece of text
    check(metrics_named(recorded), metrics_named(played))


def test_texts_become_vectors() -> None:
    exchanges = read("s29")
    recorded = exchanges[0].answer["embeddings"]

    class Embedder(ScriptedModel):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            assert list(texts) == exchanges[0].body["contents"]
            return [list(vector) for vector in recorded]

    models: dict[str, Inference] = {exchanges[0].body["model_id"]: Embedder()}
    with served(models=models) as server, httpx.Client(base_url=server.url) as client:
        for exchange in exchanges:
            check(exchange, Player(client).play(exchange))


def test_a_shield_is_asked_directly() -> None:
    for recorded, played in play("s31"):
        check(recorded, played)

"""How a response begins: a new session, the next turn of one, the rest of a turn that waits, or a fork of the past."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from ...agent import Agent
from ...prompts import PromptStore
from ...session import Session
from ...store import MemoryStore, Store
from ...store.documents import Document
from ...types.content import storable
from ...types.errors import InvalidInput, NotFound
from ...types.events import Event
from ...types.messages import Message
from ...types.sampling import Usage
from ...types.steps import InferenceStep, ToolExecutionStep
from ...types.turns import Turn, TurnStatus
from ..agents import Formatted
from ..services import Services
from . import kept, new_id
from .chat_input import ordered, read_format, sampling_of
from .files import Files
from .response_input import Asked, read_input
from .response_run import KIND, Run
from .response_tools import Tools, choice_of, open_tools

CONVERSATION = "conversation"

Make: TypeAlias = Callable[[str | Session | None], Session]
"""Makes the sessions of an agent."""


class StreamOptions(BaseModel):
    """Taken, and not used."""

    include_obfuscation: bool | None = None


class ResponseRequest(BaseModel):
    """The body; what is not named here is taken and not used."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    prompt: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: int | None = None
    truncation: Literal["disabled", "auto"] | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a response begins.

    Attributes:
        session: The session.
        messages: What opens the next turn there.
        answers: What takes up the turn that waits there, or None for a next turn.
        spent: The tokens that this turn has taken already.
    """

    session: Session
    messages: Sequence[Message] = ()
    answers: Mapping[str, Any] | None = None
    spent: Usage = Usage()

    def events(self) -> AsyncIterator[Event]:
        """Begins."""
        if self.answers is not None:
            return self.session.aresume_stream(self.answers)
        return self.session.astream(self.messages)


async def prepare(body: ResponseRequest, services: Services) -> Run:
    """Makes a response ready to run. Nothing of it is kept yet, and no model was asked.

    Raises:
        InvalidInput: The request contradicts itself, or asks for what is not supported.
        NotFound: It names a response, conversation, prompt, file or model that there is not.
    """
    _check(body)
    asked = await read_input(body.input, Files(services).content)
    conversation = await _conversation(body, services)
    previous = await _previous(body, services)
    told = await _instructions(body, services)
    keep = body.store is not False
    store = services.store if keep or previous or conversation else MemoryStore()
    tools = await open_tools(body.tools or (), services)
    try:
        make = await _agent(body, services, tools, told, store)
        name = str(previous.body["session_id"]) if previous else conversation
        session = make(name if name is None else services.responses.session(name) or name)
        if previous is not None:
            free = keep and services.turns.running_in(session.session_id) is None
            place = await _after(await session.aload(), make, asked, previous, free=free)
        else:
            place = await _at(session, asked, stored=conversation is not None)
    except BaseException:
        await tools.aclose()
        raise
    return Run(
        response=_response(body, conversation),
        session=place.session,
        events=place.events,
        tools=tools,
        documents=services.documents if keep else None,
        items=asked.items,
        spent=place.spent,
        dispose=None if keep or conversation else store,
        include=frozenset(body.include or ()),
    )


def _check(body: ResponseRequest) -> None:
    if body.conversation is not None and body.previous_response_id is not None:
        raise InvalidInput("A response continues previous_response_id or a conversation, not both.")
    if body.background and body.store is False:
        raise InvalidInput("A response in the background is stored: leave store out, or make it true.")
    if body.max_tool_calls is not None:
        raise InvalidInput("max_tool_calls is not supported.")
    if body.truncation == "auto":
        raise InvalidInput("truncation auto is not supported: a prompt that does not fit is an error here.")


async def _conversation(body: ResponseRequest, services: Services) -> str | None:
    given = body.conversation
    if given is None:
        return None
    name = given if isinstance(given, str) else given.get("id")
    if not isinstance(name, str) or await kept(services.documents, CONVERSATION, name) is None:
        raise NotFound(f"There is no conversation {name!r}.")
    return name


async def _previous(body: ResponseRequest, services: Services) -> Document | None:
    if body.previous_response_id is None:
        return None
    found = await kept(services.documents, KIND, body.previous_response_id)
    if found is None:
        raise NotFound(
            f"There is no response {body.previous_response_id!r}.", hint="Responses are kept unless store=false."
        )
    if found.body["response"]["status"] in ("queued", "in_progress"):
        raise InvalidInput(f"Response {found.name!r} has not ended yet; wait for it, or cancel it.")
    return found


async def _instructions(body: ResponseRequest, services: Services) -> dict[str, Any]:
    """The instructions or the prompt, as an agent takes them."""
    if body.prompt is None:
        return {"instructions": storable(body.instructions or "")}
    if body.instructions:
        raise InvalidInput("A response has instructions or a prompt, not both.")
    name, version, values = body.prompt.get("id"), body.prompt.get("version"), body.prompt.get("variables") or {}
    if not isinstance(name, str) or not isinstance(values, Mapping):
        raise InvalidInput("prompt needs an id, and variables by name.")
    found = await PromptStore(services.store).aget(name if version is None else f"{name}@{version}")
    texts = {key: value.get("text") if isinstance(value, Mapping) else value for key, value in values.items()}
    return {"prompt": found, "variables": texts}


async def _agent(
    body: ResponseRequest, services: Services, tools: Tools, told: Mapping[str, Any], store: Store
) -> Make:
    """Makes sessions of an agent as the request describes it."""
    inference = await services.models.inference(body.model)
    if (schema := read_format((body.text or {}).get("format"))) is not None:
        inference = Formatted(inference, schema)
    agent = Agent(
        inference,
        **told,
        tools=tools.given,
        tool_choice=choice_of(body.tool_choice, tools),
        sampling=sampling_of(temperature=body.temperature, top_p=body.top_p, max_tokens=body.max_output_tokens),
        context_tokens=services.models.context_tokens(body.model),
        store=store,
        name="response",
    )
    return agent.session


async def _at(session: Session, asked: Asked, *, stored: bool) -> Place:
    """The next turn of a new session or of a conversation, or the one that waits there."""
    last = (await session.aload()).turns[-1:] if stored else ()
    if last and last[0].status is TurnStatus.AWAITING_INPUT:
        return _answered(session, asked, last[0])
    return Place(session, ordered(asked.messages))


def _answered(session: Session, asked: Asked, turn: Turn) -> Place:
    """Takes up the turn that waits for a function's result or an approval."""
    waiting = {item.call.call_id for item in turn.pending}
    if missing := sorted(waiting - asked.answers.keys()):
        raise InvalidInput(f"No tool output found for function call {missing[0]}.")
    if not asked.only_answers:
        raise InvalidInput("Send the results of the calls that wait first, and what follows them in the next request.")
    return Place(session, answers={name: asked.answers[name] for name in waiting}, spent=turn.usage)


async def _after(session: Session, make: Make, asked: Asked, previous: Document, *, free: bool) -> Place:
    """Goes on behind an earlier response: in its session while `free` and as its last one, else in a fork.

    Raises:
        InvalidInput: A call that the response ended with has no result.
        NotFound: The session is gone.
    """
    known: Mapping[str, Any] = previous.body
    if known["turn_id"] is None:
        raise InvalidInput(f"Response {previous.name!r} failed before it began; there is nothing to go on from.")
    index = next((at for at, turn in enumerate(session.turns) if turn.turn_id == known["turn_id"]), None)
    if index is None:
        raise NotFound(f"The session of response {previous.name!r} is gone.")
    turn = session.turns[index]
    last = free and index == len(session.turns) - 1
    if pending := set(known["pending"]):
        waits = last and {item.call.call_id for item in turn.pending} == pending
        if waits and asked.only_answers and pending <= asked.answers.keys():
            return _answered(session, asked, turn)
        messages = ordered([*_seen(turn, known), *asked.messages])
        return Place(await session.afork(at=session.turns[index - 1]) if index else make(None), messages)
    if last and turn.status is TurnStatus.COMPLETED:
        return Place(session, ordered(asked.messages))
    return Place(await session.afork(at=turn), ordered(asked.messages))


def _seen(turn: Turn, known: Mapping[str, Any]) -> list[Message]:
    """What a response that ended with open calls had seen of its turn, without results for those calls."""
    messages: list[Message] = list(turn.input_messages)
    whole = False
    for step in turn.steps:
        if isinstance(step, InferenceStep):
            if whole:
                break
            messages += [step.message] if step.message else []
            whole = step.step_id == known["last_step"]
        elif isinstance(step, ToolExecutionStep):
            messages += [one for one in step.tool_responses if one.call_id not in known["pending"]]
    return messages


def _response(body: ResponseRequest, conversation: str | None) -> dict[str, Any]:
    """The response as it begins."""
    shown = body.model_dump(mode="json", include=set(_ECHOED))
    response: dict[str, Any] = {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "queued" if body.background else "in_progress",
        "background": bool(body.background),
        "error": None,
        "incomplete_details": None,
        **shown,
        "conversation": None if conversation is None else {"id": conversation},
        "tools": [_without_secrets(tool) for tool in body.tools or ()],
        "tool_choice": body.tool_choice or "auto",
        "text": body.text or {"format": {"type": "text"}},
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "truncation": "disabled",
        "store": body.store is not False,
        "output": [],
        "usage": None,
    }
    return storable(response)  # type: ignore[no-any-return] # tools and the like may hold anything


_ECHOED = (
    *("model", "instructions", "prompt", "previous_response_id", "temperature", "top_p"),
    *("max_output_tokens", "max_tool_calls", "user"),
)


def _without_secrets(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as it is kept and shown: without what lets its server in."""
    return {key: value for key, value in tool.items() if key not in ("headers", "authorization")}

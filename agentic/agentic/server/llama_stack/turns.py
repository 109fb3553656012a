"""Turns and steps: `/v1/agents/{agent_id}/session/{session_id}/turn`."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from ...answers import Approve, Deny
from ...session import Session
from ...types.content import text_of
from ...types.errors import AgenticError, InvalidInput, NotFound, TurnPending
from ...types.events import Event
from ...types.messages import Message, UserMessage
from ...types.steps import ToolExecutionStep
from ...types.tools import ToolResponse
from ...types.turns import EndReason, PendingCall, Turn, TurnStatus
from .. import failures
from ..provider_data import provided
from ..services import Services, Use
from ..sse import STREAMED, EventStream, frame
from ..turns import Live
from . import events, wire
from .answers import StepInfo, TurnInfo, TurnList
from .attachments import text_of_document
from .schemas import TurnCreate, TurnResume

router = APIRouter(tags=["agents"])

SESSION = "/v1/agents/{agent_id}/session/{session_id}"
LONGEST_WAIT = 600.0
"""How long a request may wait for a turn, in seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """The session that a request names.

    Attributes:
        services: The server's.
        agent_id: In the path.
        session_id: In the path.
        request: The request.
    """

    services: Services
    agent_id: str
    session_id: str
    request: Request

    async def check(self) -> None:
        """Makes sure that there is such a session."""
        await self.services.agents.session(self.agent_id, self.session_id)

    async def groups(self) -> list[list[Turn]]:
        """The session's turns, each with those that continue it."""
        return wire.grouped(await self.services.agents.turns(self.agent_id, self.session_id))

    async def turn(self, turn_id: str) -> list[Turn]:
        """One of them."""
        return _among(await self.groups(), turn_id)

    def live(self, turn_id: str) -> Live | None:
        """A turn that runs or ran here."""
        live = self.services.turns.find(turn_id)
        return live if live is not None and live.session.session_id == self.session_id else None


async def _place(agent_id: str, session_id: str, request: Request, services: Use) -> Place:
    return Place(services, agent_id, session_id, request)


At = Annotated[Place, Depends(_place)]


@router.post(f"{SESSION}/turn", response_model=TurnInfo, responses=STREAMED)
async def create_turn(body: TurnCreate, at: At) -> Response:
    """Runs a turn. With `stream` its events are sent; it goes on when the client goes away."""
    try:
        with provided(at.request):
            live, after = await _begin(at, body)
    except AgenticError as error:
        return _refuse(error, body.stream)
    return await _answer(live, after, body.stream)


@router.post(f"{SESSION}/turn/{{turn_id}}/resume", response_model=TurnInfo, responses=STREAMED)
async def resume_turn(turn_id: str, body: TurnResume, at: At) -> Response:
    """Takes up a turn with the results of the calls that it waits for."""
    responses = [wire.response_in(response.model_dump()) for response in body.tool_responses]
    try:
        with provided(at.request):
            live, after = await _resume(at, turn_id, responses)
    except AgenticError as error:
        return _refuse(error, body.stream)
    return await _answer(live, after, body.stream)


@router.get(f"{SESSION}/turns", response_model=TurnList)
async def list_turns(at: At) -> Response:
    """A session's turns, in order."""
    return JSONResponse({"data": [wire.turn_out(turns) for turns in await at.groups()]})


@router.get(f"{SESSION}/turn/{{turn_id}}", response_model=TurnInfo)
async def get_turn(
    turn_id: str,
    at: At,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for a running turn's end")] = 0,
) -> Response:
    """One turn."""
    await at.check()
    if wait and (live := at.live(turn_id)) is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(live.ended(), wait)
    return JSONResponse(wire.turn_out(await at.turn(turn_id)))


@router.get(f"{SESSION}/turn/{{turn_id}}/events", responses=STREAMED, response_class=Response)
async def follow_turn(
    turn_id: str,
    at: At,
    after: Annotated[int, Query(ge=0, description="How many events the client has already")] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """A turn's events from its beginning, or behind the one that `Last-Event-ID` names; each has its number as `id`.

    Of a turn that ended too long ago, or in another process, there is the last event only.
    """
    await at.check()
    if last_event_id is not None:
        if not last_event_id.isdecimal() or len(last_event_id) > 12:
            raise InvalidInput("Last-Event-ID is the number of the last event that was received.")
        after = int(last_event_id)
    if (live := at.live(turn_id)) is not None:
        return EventStream(_numbered(live, after))
    turns = await at.turn(turn_id)
    payloads = events.TurnFrames(before=turns[:-1]).ended(turns[-1])
    return EventStream(_once([frame({"event": {"payload": payload}}) for payload in payloads]))


@router.post(f"{SESSION}/turn/{{turn_id}}/cancel", response_model=TurnInfo)
async def cancel_turn(turn_id: str, at: At) -> Response:
    """Ends a turn that runs or waits; calls that have not ended are answered as such in its log."""
    turns = await at.turn(turn_id)
    live = at.live(turn_id)
    if live is not None and live.running:
        await live.session.acancel()
        await live.ended()
    elif turns[-1].status is not TurnStatus.COMPLETED:
        opened = await at.services.agents.open(at.agent_id, at.session_id, again=True)
        await opened.session.acancel()
    return JSONResponse(wire.turn_out(await at.turn(turn_id)))


@router.get(f"{SESSION}/turn/{{turn_id}}/step/{{step_id}}", response_model=StepInfo)
async def get_step(turn_id: str, step_id: str, at: At) -> Response:
    """One step."""
    turn = wire.turn_out(await at.turn(turn_id))
    found = next((step for step in turn["steps"] if step["step_id"] == step_id), None)
    if found is None:
        raise NotFound(f"Turn {turn_id} has no step {step_id}.")
    return JSONResponse({"step": found})


# -- how a turn begins and goes on ------------------------------------------------------------------------------------


async def _begin(at: Place, body: TurnCreate) -> tuple[Live, int]:
    await at.check()
    messages = [wire.message_in(message.model_dump()) for message in body.messages]
    if messages and all(isinstance(message, ToolResponse) for message in messages):
        return await _hand_in(at, messages)
    for document in body.documents or ():
        messages = _attached(messages, await text_of_document(document))
    opened = await at.services.agents.open(at.agent_id, at.session_id, body.toolgroups, body.tool_config)
    session = opened.session
    present = events.TurnFrames(tools=opened.tools, announce=_announced(at.request))
    return at.services.turns.start(session, lambda: _turn(session, messages), present), 0


async def _turn(session: Session, messages: Sequence[Message]) -> AsyncIterator[Event]:
    """A turn's events. Llama Stack's clients ask again where a turn waits for them: that one is given up then."""
    try:
        async for event in session.astream(messages):
            yield event
    except TurnPending:
        await session.acancel()
        async for event in session.astream(messages):
            yield event


async def _hand_in(at: Place, messages: Sequence[Message]) -> tuple[Live, int]:
    """Results that come as a turn of their own, as they did before there was `resume`."""
    turns = await at.groups()
    if not turns:
        raise InvalidInput("These are results of calls, but the session has no turn yet.")
    waiting = {item.call.call_id: item.call.name for item in turns[-1][-1].pending}
    responses = [
        ToolResponse(message.call_id, message.tool_name or waiting.get(message.call_id, ""), message.content)
        for message in messages
        if isinstance(message, ToolResponse)
    ]
    return await _resume(at, turns[-1][0].turn_id, responses)


async def _resume(at: Place, turn_id: str, responses: Sequence[ToolResponse]) -> tuple[Live, int]:
    groups = await at.groups()
    turns = _among(groups, turn_id)
    if turns is not groups[-1]:
        raise InvalidInput(f"Turn {turn_id} is not the last one of its session; only that one can be taken up.")
    opened = await at.services.agents.open(at.agent_id, at.session_id, again=True)
    session, tools = opened.session, opened.tools
    *before, last = turns
    earlier = at.live(turn_id)
    begin: Callable[[], AsyncIterator[Event]]
    if last.status is not TurnStatus.COMPLETED:
        waiting = {item.call.call_id: item for item in last.pending}
        answers = {response.call_id: _answer_to(waiting.get(response.call_id), response) for response in responses}
        if last.status is TurnStatus.RUNNING:
            answers = {}  # they are in the log already: the process died after it had taken them
        present = events.TurnFrames(turn_id=turn_id, tools=tools, before=before)
        begin = partial(session.aresume_stream, answers)
    elif not responses:
        raise InvalidInput("tool_responses is empty: the turn has ended, and there is nothing to take it up with.")
    elif last.reason is not EndReason.ERROR and _answered(turns) >= {response.call_id for response in responses}:
        return _over(session, turns), 0  # a client that missed the answer asks again
    else:
        present = events.TurnFrames(tools=tools, before=turns, given=responses)
        begin = partial(session.astream, wire.continuation(responses))
    live = at.services.turns.start(session, begin, present, turn_id=turn_id, earlier=earlier)
    return live, len(earlier.frames) if earlier else 0


def _answered(turns: Sequence[Turn]) -> set[str]:
    """The ids of the calls whose results a turn has."""
    steps = [step for turn in turns for step in turn.steps if isinstance(step, ToolExecutionStep)]
    taken = [message for turn in turns for message in turn.input_messages if isinstance(message, ToolResponse)]
    return {response.call_id for response in (*taken, *(one for step in steps for one in step.tool_responses))}


def _over(session: Session, turns: Sequence[Turn]) -> Live:
    """A turn that has ended, of which there is the last event only."""
    live = Live(session, turns[0].turn_id)
    for payload in events.TurnFrames(before=turns[:-1]).ended(turns[-1]):
        live.last = payload
        live.add(frame({"event": {"payload": payload}}))
    live.end()
    return live


def _answer_to(pending: PendingCall | None, response: ToolResponse) -> Any:
    """A client's answer to one call. A call that waits for approval runs here, and only after a clear yes."""
    if pending is None or pending.why == "client":
        return response
    if response.metadata.get("decision") == "approve":
        return Approve()
    return Deny(text_of(response.content))


def _attached(messages: list[Message], text: str) -> list[Message]:
    last = messages[-1] if messages else UserMessage("")
    if not isinstance(last, UserMessage):
        raise InvalidInput("Documents belong to a user's message, which has to be the last one.")
    return [*messages[:-1], UserMessage(wire.with_text(last.content, text), last.context)]


def _announced(request: Request) -> bool:
    """Whether the client is of a time when servers sent `turn_start`."""
    version = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", request.headers.get("x-llamastack-client-version", ""))
    return version is not None and tuple(map(int, version.groups())) < (0, 1, 6)


# -- answers ----------------------------------------------------------------------------------------------------------


def _refuse(error: AgenticError, stream: bool | None) -> Response:
    """A stream says in its only frame what is wrong: that is where clients look."""
    if not stream:
        raise error
    return EventStream(_once([frame(failures.frame_of(error))]))


async def _answer(live: Live, after: int, stream: bool | None) -> Response:
    if stream:
        await live.started()
        headers = {"x-turn-id": live.turn_id} if live.turn_id else None
        return EventStream(_joined(live, after), headers)
    await live.ended()
    if live.error is not None:
        raise live.error
    if live.last is None:
        raise InvalidInput("The turn has ended without a result.")
    return JSONResponse(live.last["turn"])


async def _once(frames: Sequence[bytes]) -> AsyncIterator[bytes]:
    for one in frames:
        yield one


async def _joined(live: Live, after: int) -> AsyncIterator[bytes]:
    async for new in live.batches(after):
        yield b"".join(new)


async def _numbered(live: Live, after: int) -> AsyncIterator[bytes]:
    async for new in live.batches(after):
        yield b"".join(b"id: %d\n%b" % (number, one) for number, one in enumerate(new, after + 1))
        after += len(new)


def _among(groups: Sequence[list[Turn]], turn_id: str) -> list[Turn]:
    for turns in groups:
        if turns[0].turn_id == turn_id:
            return turns
    raise NotFound(f"Turn {turn_id} not found.", hint="GET …/session/{session_id} lists a session's turns.")

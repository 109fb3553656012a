"""The driver of a turn: takes the next action, performs it, records it, tells whoever listens.

Rules:

* What comes next is decided by `turn.next_action` alone.
* What is about to happen is in the store before it happens: `journal.flush` comes before every effect.
* One task writes. Tools run beside each other, but their results come back here.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from . import turn as machine
from .approvals import always_allowed
from .budget import Budget
from .context import ALONE, fitted
from .execution import answer, execute, response_of, stages
from .inference.retry import generate
from .journal import Journal, new_id, now
from .protocols import Prepared, ToolContext
from .recall import recall
from .safeguard import Safeguard
from .setup import Setup
from .threads import carried_through
from .turn import Route, next_action
from .types.citations import numbered
from .types.content import Content, Text, storable
from .types.errors import ContextOverflow, describe, words
from .types.events import (
    ToolProgress,
    TurnCompleted,
    TurnPaused,
    TurnStarted,
)
from .types.messages import AssistantMessage, Message, StopReason
from .types.records import Decision, TurnClosed, TurnContinued, TurnOpened, TurnSuspended
from .types.sampling import Completion, InferenceRequest
from .types.steps import (
    Failure,
    Generation,
    InferenceStep,
    LeftOut,
    MemoryRetrievalStep,
    Retrieval,
    Touchpoint,
)
from .types.tools import ToolCall, ToolResponse, ToolStatus
from .types.turns import EndReason, Limits, Turn

_CUT_OFF = "A shield objected before the answer was complete."


class Run:
    """One turn on its way, from its opening or from where it was left, to its end or its next pause.

    Args:
        setup: What the turn works with.
        journal: Where it is written.
    """

    def __init__(self, setup: Setup, journal: Journal) -> None:
        self._setup = setup
        self._journal = journal
        self._safeguard = Safeguard(setup, journal)
        self._ending: EndReason | None = None
        self._error: Exception | None = None
        self._budget: Budget | None = None
        self._plan = replace(setup.plan, route=self._route)

    # -- ways in ------------------------------------------------------------------------------------------------------

    async def begin(self, messages: Sequence[Message], limits: Limits | None = None) -> Turn:
        """Opens a turn and drives it.

        Args:
            messages: What opens it.
            limits: Narrower limits for this turn; none of the setup's can be widened.

        Raises:
            InferenceError: The model failed; the turn is closed with reason `error`.
            StoreError: A record could not be written; what was written before is kept.
        """
        allowed = (limits or self._setup.limits).within(self._setup.limits)
        opened = TurnOpened(turn_id=new_id(), at=now(), input_messages=tuple(messages), limits=allowed)
        self._journal.log(opened, TurnStarted(opened.turn_id, self._journal.history.session_id))
        return await self._drive()

    async def resume(self, decisions: Sequence[Decision] = ()) -> Turn:
        """Takes up the open turn, where it waits for the caller or where a dead process left it."""
        if decisions:
            turn_id = self._journal.state.turn.turn_id
            self._journal.log(TurnContinued(turn_id=turn_id, at=now(), decisions=tuple(decisions)))
        return await self._drive()

    async def abandon(self, reason: EndReason) -> Turn:
        """Ends the open turn without running anything: each open call is answered with what is known of it."""
        if self._journal.history.state is None:  # it was cut off while its end was written, and has ended
            await self._journal.flush()
            return self._journal.history.ended(1)[0]
        self._ending = reason
        return await self._loop()

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def _drive(self) -> Turn:
        state = self._journal.state
        self._budget = Budget(state.limits, state.turn.usage.total)
        try:
            with self._budget:
                async with asyncio.timeout_at(self._budget.deadline) as timeout:
                    turn = await self._loop()
        except TimeoutError:
            if not timeout.expired():
                raise
            turn = await carried_through(self.abandon(EndReason.TIME_LIMIT))
        except asyncio.CancelledError:
            await carried_through(self.abandon(EndReason.CANCELLED))
            raise
        if self._error is not None:
            raise self._error
        return turn

    async def _loop(self) -> Turn:
        journal = self._journal
        while (action := next_action(journal.state, self._plan, self._ending)) is not None:
            match action:
                case machine.Check(touchpoint=touchpoint):
                    await self._safeguard.check(touchpoint)
                case machine.Withhold(touchpoint=touchpoint):
                    self._safeguard.withhold(touchpoint)
                case machine.Retrieve():
                    await self._retrieve()
                case machine.Infer() if self._budget and self._budget.exhausted:
                    self._ending = EndReason.TOKEN_LIMIT
                case machine.Infer():
                    await self._infer()
                case machine.RunTools():
                    await self._run_tools()
                case machine.Suspend(pending=pending):
                    turn_id = journal.state.turn.turn_id
                    state = journal.log(TurnSuspended(turn_id=turn_id, at=now(), pending=pending))
                    journal.tell(TurnPaused(state.turn))
                case machine.Recover():
                    journal.close_step(Failure(machine.INTERRUPTED, "The process ended while this step ran."))
                case machine.Settle(reason=reason):
                    self._settle(reason)
                case machine.Close(reason=reason):
                    return await self._close(reason)
        await journal.flush()
        return journal.state.turn

    async def _close(self, reason: EndReason) -> Turn:
        turn, output = self._journal.state.turn, self._journal.state.message
        if reason is EndReason.VIOLATION and turn.violation:
            output = AssistantMessage(turn.violation.user_message)
        elif reason in (EndReason.ERROR, EndReason.CANCELLED, EndReason.INTERRUPTED):
            output = None
        closed = TurnClosed(
            turn_id=turn.turn_id,
            at=now(),
            reason=reason,
            output=output,
            violation=turn.violation,
            failure=turn.failure,
        )
        state = self._journal.log(closed)
        self._journal.tell(TurnCompleted(state.turn))
        await self._journal.flush()
        return state.turn

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _infer(self) -> None:
        journal, inference = self._journal, self._setup.inference
        turn = journal.state.turn
        step = InferenceStep(
            step_id=new_id(),
            turn_id=turn.turn_id,
            started_at=now(),
            model=inference.model,
            prompt=self._setup.prompt,
        )
        try:
            prepared, left_out = await self._fitted(turn)
        except Exception as error:
            journal.open_step(step)
            self._fail(error)
            return
        if left_out.turns:
            step = replace(step, left_out=left_out)
            if self._budget:
                self._budget.spend(left_out.usage.total)
        journal.open_step(step, journal.history.delta_for(step.step_id, prepared.prompt))
        await journal.flush()
        try:
            completion = await self._generate(prepared, step.step_id)
        except ContextOverflow as error:
            self._overflow(error, left_out)
            return
        except Exception as error:
            self._fail(error)
            return
        if self._budget:
            self._budget.spend(completion.usage.total)
        message = _accept(completion.message, turn)
        hidden = bool(Touchpoint.OUTPUT in self._plan.shields and message.content)
        journal.close_step(Generation(message, completion.usage, storable(completion.raw)), tell=not hidden)

    async def _fitted(self, turn: Turn) -> tuple[Prepared, LeftOut]:
        setup, window = self._setup, self._journal.history.window
        request = partial(self._request, turn)
        return await fitted(setup.context, window, setup.inference, request, fixed=setup.fixed, retries=setup.retries)

    def _overflow(self, error: ContextOverflow, left_out: LeftOut) -> None:
        """The model refused the prompt as too long: it is asked again with less, if less can be said."""
        if self._setup.context.overflow == "error":
            self._fail(error)
        elif left_out.summary or left_out.turns < self._journal.history.window.turns - 1:
            self._journal.close_step(Failure(machine.TRIMMED, storable(words(error))))
        else:
            error.hint = ALONE
            self._fail(error)

    def _request(self, turn: Turn, messages: Sequence[Message]) -> InferenceRequest:
        choice = self._setup.tool_choice
        if choice not in ("auto", "none") and turn.tool_calls:
            choice = "auto"
        return InferenceRequest(
            messages=(*self._setup.system, *messages),
            tools=self._setup.definitions,
            tool_choice=choice,
            sampling=self._setup.sampling,
        )

    async def _generate(self, prepared: Prepared, step_id: str) -> Completion:
        text: list[str] = []
        completion: Completion | None = None
        deltas = generate(self._setup.inference, prepared, self._setup.retries)
        async with self._safeguard.outlet(step_id) as outlet, aclosing(deltas):
            async for delta in deltas:
                if isinstance(delta, Completion):
                    completion = delta
                    break
                if isinstance(delta, str):
                    text.append(delta)
                outlet.feed(delta)
        if completion is None or outlet.objected:
            cut_off = AssistantMessage("".join(text), (), StopReason.OUT_OF_TOKENS, (_CUT_OFF,))
            completion = Completion(cut_off if outlet.objected else AssistantMessage("".join(text)))
        return completion

    async def _retrieve(self) -> None:
        journal, turn = self._journal, self._journal.state.turn
        names = tuple(bank.name for bank in self._setup.memory)
        journal.open_step(MemoryRetrievalStep(step_id=new_id(), turn_id=turn.turn_id, started_at=now(), banks=names))
        await journal.flush()
        try:
            found = await self._recall()
        except Exception as error:
            self._fail(error)
            return
        if self._budget:
            self._budget.spend(found.usage.total)
        journal.close_step(found)

    async def _recall(self) -> Retrieval:
        setup, messages = self._setup, self._journal.history.messages
        return await recall(setup.recall, setup.memory, messages, setup.inference, setup.retries)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._journal.fail_step(error)

    # -- tools --------------------------------------------------------------------------------------------------------

    async def _run_tools(self) -> None:
        journal = self._journal
        journal.open_tool_step()
        for item in journal.state.open_calls:
            if (response := self._without_running(item)) is not None:
                journal.close_call(self._safeguard.conceal(response))
        waiting = [item.call for item in journal.state.open_calls]
        for stage in stages(waiting, self._setup.tools):
            for call in stage:
                journal.open_call(call)
            await journal.flush()
            await self._execute_together(stage)
        journal.close_step()

    async def _execute_together(self, stage: Sequence[ToolCall]) -> None:
        """Runs a stage's calls beside each other and records each result as it comes.

        A finished call is never repeated, so its result does not wait for its siblings. Each runs in a task of its
        own, so that no tool can catch the turn's own cancellation.
        """
        running = {asyncio.ensure_future(self._execute(call)) for call in stage}
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._journal.close_call(task.result())
                if running:  # the last result goes with what follows it
                    await self._journal.flush()
        finally:
            for task in running:
                task.cancel()
            try:
                if running:
                    await carried_through(asyncio.wait(running))
            finally:
                for task in running:
                    if not task.cancelled() and task.exception() is None:
                        self._journal.close_call(task.result())

    async def _execute(self, call: ToolCall) -> ToolResponse:
        journal, step_id = self._journal, self._journal.step.step_id
        loop, running = asyncio.get_running_loop(), True

        def tell(content: Content) -> None:
            if running:
                journal.emit(ToolProgress(call.call_id, content, step_id))

        def report(progress: Any) -> None:  # in any thread, and perhaps of a call that was given up long ago
            content = response_of(call, progress).content  # as fit for the stream as a result is for the log
            with suppress(RuntimeError):  # its loop has closed
                loop.call_soon_threadsafe(tell, content)

        context = ToolContext(
            session_id=journal.history.session_id,
            turn_id=journal.state.turn.turn_id,
            call_id=call.call_id,
            deadline=self._budget.deadline if self._budget else None,
            report=report,
            sources=max(numbered(journal.state.turn.steps, journal.state.responses), default=0),
            attachments=journal.history.attachments,
        )
        decided = next((item.decision for item in journal.state.calls if item.call is call), None)
        edited = decided.arguments if decided else None
        try:
            actual = self._safeguard.reveal(call if edited is None else replace(call, arguments=edited))
        except Exception as error:
            text = f"This call was not run: a shield could not give back what it had masked. {describe(error)}"
            return answer(call, ToolStatus.ERROR, text)
        try:
            response = await execute(actual, self._setup.tools, context)
        finally:
            running = False
        if edited is not None:
            told = f"(The user changed the arguments to {json.dumps(storable(edited), ensure_ascii=False)}.)\n"
            parts = (Text(response.content),) if isinstance(response.content, str) else response.content
            response = replace(response, content=(Text(told), *parts))
        return self._safeguard.conceal(response)

    def _route(self, call: ToolCall) -> Route:
        """As the setup has it, but a tool that the user has allowed for longer is not asked about again."""
        route = self._setup.plan.route(call)
        if route == "approval":
            tool = self._setup.tools[call.name].definition
            allowed = call.name in self._journal.history.allowed or always_allowed(self._setup.name, tool)
            return "run" if allowed else "approval"
        return route

    def _without_running(self, item: machine.CallState) -> ToolResponse | None:
        """The result of a call that must not run here: the caller's own, a denial, or cut off by a crash."""
        call, decision = item.call, item.decision
        if decision is not None and decision.response is not None:
            return decision.response
        if decision is not None and not decision.approved:
            because = f" Reason: {decision.reason}" if decision.reason else ""
            return answer(call, ToolStatus.DENIED, f"The user did not allow this call.{because}")
        if decision is not None and decision.digest not in ("", machine.digest_of(call)):
            return answer(call, ToolStatus.DENIED, "This is not the call that the user allowed.")
        tool = self._setup.tools.get(call.name)
        if item.opened and not (tool and tool.policy.idempotent):
            return _outcome_unknown(call)
        return None

    def _settle(self, reason: EndReason) -> None:
        self._journal.open_tool_step()
        for item in self._journal.state.open_calls:
            if item.opened:
                response = _outcome_unknown(item.call)
            else:
                text = f"{item.call.name} was not run: the turn ended first ({reason})."
                response = answer(item.call, ToolStatus.NOT_RUN, text)
            self._journal.close_call(response)
        self._journal.close_step()


def _outcome_unknown(call: ToolCall) -> ToolResponse:
    text = (
        f"{call.name} had started when the turn was cut off; whether it took effect is unknown. "
        "Find out before calling it again."
    )
    return answer(call, ToolStatus.OUTCOME_UNKNOWN, text)


def _accept(message: AssistantMessage, turn: Turn) -> AssistantMessage:
    """Makes a message fit for the log: storable, and every call with an id that no other call of the turn has."""
    taken = {call.call_id for call in turn.tool_calls}
    calls = []
    for call in message.tool_calls:
        call_id = call.call_id if call.call_id and call.call_id not in taken else f"call_{uuid.uuid4().hex}"
        taken.add(call_id)
        name, arguments, raw = storable(call.name), storable(call.arguments), storable(call.raw)
        calls.append(replace(call, name=name, arguments=arguments, call_id=storable(call_id), raw=raw))
    return replace(message, content=storable(message.content), tool_calls=tuple(calls))

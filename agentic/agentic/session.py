"""A session: turns after turns in one log, kept in a store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .answers import ImageLike, Input, decisions_of, messages_of, waits_for
from .approvals import allow_always
from .collector import collector_paused
from .history import History
from .journal import Emit, Journal, silent
from .learning import teach
from .orchestrator import Run
from .portal import iterate_sync, run_sync
from .protocols import Learner
from .setup import Setup
from .store import Lease, Store
from .stream import EventLog
from .threads import cancel_once, cancelled_once, carried_through
from .types.content import FileLike
from .types.errors import InvalidInput, NotFound, StoreError, TurnPending
from .types.events import Event
from .types.messages import Message
from .types.steps import InferenceStep, MemoryRetrievalStep, ShieldCallStep, Step, ToolExecutionStep
from .types.turns import EndReason, Limits, PendingCall, Turn, TurnStatus

if TYPE_CHECKING:
    from .replay import Replay

Start: TypeAlias = Callable[..., Run]
T = TypeVar("T")
_driven: set[asyncio.Task[None]] = set()


class Session:
    """A conversation of an agent with somebody, by `agent.session("name")`.

    The same name continues after a restart. One turn runs at a time: a second one gets `SessionBusy`. Every method
    has an async form with the letter `a` before its name; the sync one runs it on a loop of its own.

    Args:
        setup: What its turns work with.
        store: Where its log is.
        session_id: Its name; None makes a new one.
    """

    def __init__(self, setup: Setup, store: Store, session_id: str | None = None) -> None:
        self.session_id = session_id if session_id is not None else str(uuid.uuid4())
        self._setup = setup
        self._store = store
        self._created = False
        self._history: History | None = None
        self._events: EventLog | None = None
        self._task: asyncio.Task[Any] | None = None
        self._learners = [bank for bank in setup.memory if isinstance(bank, Learner)]
        self._taught = False

    def __repr__(self) -> str:
        return f"Session({self.session_id!r})"

    # -- turns --------------------------------------------------------------------------------------------------------

    async def arun(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Turn:
        """Runs one turn.

        A turn that an earlier process left unfinished is closed first: calls that had started are told to the model
        as *outcome unknown*. Call `resume` instead to take that turn up where it was left.

        Args:
            message: Text, images, files, a list of them, or messages, as objects or as dicts with role and content.
            images: More images: bytes, paths, URLs or `Image`.
            files: Files for the tools: paths, or names with bytes. The model sees their names only.
            limits: Narrower limits for this turn.

        Returns:
            The turn, ended or paused (`turn.pending`).

        Raises:
            SessionBusy: Another turn runs in this session.
            TurnPending: The last turn waits for `resume`.
            InvalidInput: The message is empty or cannot be read.
            InferenceError: The model failed. The turn is recorded with reason `error`.
            StoreError: The log could not be written.
        """
        return await self._supervise(self._begin(messages_of(message, images, files), limits, silent))

    def astream(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> AsyncGenerator[Event]:
        """Runs one turn and yields its events. Arguments and errors are those of `arun`.

        A reader that stops early leaves the turn running; `afollow` takes its events up again.
        """
        messages = messages_of(message, images, files)
        return self._stream(lambda emit: self._begin(messages, limits, emit))

    async def aresume(self, answers: Mapping[str, Any] | None = None) -> Turn:
        """Takes up the turn that waits for the caller, or that a dead process left unfinished.

        Args:
            answers: For a paused turn, by call id: `Approve()` or `Deny("why")` for a call that waits for approval, the
                result for a call of a client-side tool (whatever a tool may return, the exception that it failed with,
                or a `ToolResponse`). Calls left out go on waiting. For an unfinished turn: nothing; calls that never
                started are run, those that had started are run again when their tool is idempotent and otherwise told
                as *outcome unknown*.

        Raises:
            TurnPending: There is nothing to resume, or answers are missing.
            InvalidInput: An answer names no waiting call, or does not fit it.
        """
        return await self._supervise(self._resume(answers or {}, silent))

    def aresume_stream(self, answers: Mapping[str, Any] | None = None) -> AsyncGenerator[Event]:
        """As `aresume`, yielding events."""
        return self._stream(lambda emit: self._resume(answers or {}, emit))

    def afollow(self, after: int = 0) -> AsyncGenerator[Event]:
        """Yields the events of the turn last streamed by this object, from number `after` on (from 0).

        Raises:
            AgenticError: The one that the turn ended with, after its last event.
            InvalidInput: `after` is no number, or below 0.
        """
        if self._events is None:
            raise TurnPending("No turn was streamed by this session object.")
        return self._events.follow(after)

    async def acancel(self) -> Turn | None:
        """Ends the open turn without running anything more; open calls are answered.

        A turn that runs in this session object is cancelled; whoever waits for it gets it with reason `cancelled`.

        Returns:
            The turn, or None when none is open.
        """
        task = self._task
        if task is not None and not (task.done() or task.get_loop().is_closed()):
            ended: Future[None] = Future()
            ended.set_running_or_notify_cancel()  # whoever waits for it may be cancelled, it may not

            def stop() -> None:  # in the loop of the task, which need not be this one
                task.add_done_callback(lambda _done: ended.set_result(None))
                cancel_once(task)

            task.get_loop().call_soon_threadsafe(stop)
            await asyncio.wrap_future(ended)
            turns = (await self.aload()).turns
            return turns[-1] if turns else None

        async def work(start: Start, history: History) -> Turn | None:
            return await start(silent).abandon(EndReason.CANCELLED) if history.state else None

        return await self._hold(work)

    # -- what there is ------------------------------------------------------------------------------------------------

    async def aload(self) -> Session:
        """Reads what the store has of this session, and returns the session itself."""
        history = self._history or History(self.session_id)
        try:
            await self._catch_up(history)
        except NotFound:
            history = self._history = History(self.session_id)  # if there was one, somebody deleted it
            await self._create()
        if self._history is None or self._history.records <= history.records:  # a turn may have ended meanwhile
            self._history = history
        return self

    def load(self) -> Session:
        """Reads what the store has of this session, and returns the session itself."""
        return run_sync(self.aload())

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns, in order; read from the store when first asked for."""
        return self._loaded().turns

    @property
    def pending(self) -> tuple[PendingCall, ...]:
        """The calls that wait for `resume`."""
        turns = self.turns
        return turns[-1].pending if turns else ()

    @property
    def interrupted(self) -> bool:
        """Whether the last turn was left unfinished by a process that died; `resume` takes it up.

        Also True while another process is at it: `resume` then raises `SessionBusy`.
        """
        turns = self.turns
        return bool(turns) and turns[-1].status is TurnStatus.RUNNING

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, without the system message; a step's `left_out` says what its prompt did not hold."""
        return tuple(self._loaded().messages)

    def prompt(self, step: InferenceStep | Step | str) -> str:
        """The exact text that the model was sent in an inference step, special tokens and all.

        Raises:
            NotFound: The session has no such inference step.
        """
        return self._loaded().prompt(_id_of(step))

    async def afork(self, session_id: str | None = None, *, at: Turn | Step | str | None = None) -> Session:
        """A new session with the same history up to the end of a step or turn (default: all of it).

        Raises:
            NotFound: There is no such step or turn.
            InvalidInput: A session of that name exists.
        """
        fork = Session(self._setup, self._store, session_id)
        await self.aload()
        await self._store.fork(self.session_id, fork.session_id, at=None if at is None else _id_of(at))
        return await fork.aload()

    async def areplay(self, turn: Turn | str | None = None) -> Replay:
        """Runs stored turns again, on the recorded answers of models, tools and shields; nothing is asked or written.

        Args:
            turn: The one to run; default: all of them.

        Returns:
            Where steps come out otherwise with the agent and the code of today; prompts are compared to the letter.

        Raises:
            NotFound: There is no such session or turn.
        """
        from .replay import replay

        records = await self._store.read(self.session_id)
        return await replay(self.session_id, records, self._setup, None if turn is None else _id_of(turn))

    # -- the sync face ------------------------------------------------------------------------------------------------

    def run(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Turn:
        """Runs one turn; see `arun`."""
        return run_sync(self.arun(message, images=images, files=files, limits=limits))

    def stream(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Iterator[Event]:
        """Runs one turn and yields its events; see `astream`."""
        return iterate_sync(lambda: self.astream(message, images=images, files=files, limits=limits))

    def resume(self, answers: Mapping[str, Any] | None = None) -> Turn:
        """Takes up a paused or unfinished turn; see `aresume`."""
        return run_sync(self.aresume(answers))

    def resume_stream(self, answers: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """As `resume`, yielding events."""
        return iterate_sync(lambda: self.aresume_stream(answers))

    def follow(self, after: int = 0) -> Iterator[Event]:
        """Yields the events of the turn last streamed; see `afollow`."""
        return iterate_sync(lambda: self.afollow(after))

    def cancel(self) -> Turn | None:
        """Ends the open turn; see `acancel`."""
        return run_sync(self.acancel())

    def fork(self, session_id: str | None = None, *, at: Turn | Step | str | None = None) -> Session:
        """A new session with the same history; see `afork`."""
        return run_sync(self.afork(session_id, at=at))

    def replay(self, turn: Turn | str | None = None) -> Replay:
        """Runs stored turns again, on what was recorded; see `areplay`."""
        return run_sync(self.areplay(turn))

    # -- inside -------------------------------------------------------------------------------------------------------

    def under(self, setup: Setup, store: Store) -> Session:
        """The same session as another agent works in it; what this object has read goes over to it."""
        other = Session(setup, store, self.session_id)
        if store is self._store:
            other._history, self._history = self._history, None
        return other

    async def _begin(self, messages: Sequence[Message], limits: Limits | None, emit: Emit) -> Turn:
        if not isinstance(limits, Limits | None):
            raise InvalidInput(f"limits is a Limits, not {limits!r:.80}.")

        async def work(start: Start, history: History) -> Turn:
            self._task = asyncio.current_task()
            if history.state is not None:
                if history.state.turn.status is TurnStatus.AWAITING_INPUT:
                    raise waits_for(history.state.turn)
                await start(silent, release=False).abandon(EndReason.INTERRUPTED)
            return await start(emit).begin(messages, limits)

        return await self._learn(await self._hold(work))

    async def _resume(self, answers: Mapping[str, Any], emit: Emit) -> Turn:
        async def work(start: Start, history: History) -> Turn:
            self._task = asyncio.current_task()
            if history.state is None:
                raise TurnPending(f"Session {self.session_id!r} has nothing to resume.", hint="Use run.")
            decisions = decisions_of(history.state.turn, answers)
            names = {item.call.call_id: item.call.name for item in history.state.turn.pending}
            for decision in decisions:
                tool = self._setup.tools.get(names.get(decision.call_id, ""))
                if decision.scope == "always" and tool is not None:
                    allow_always(self._setup.name, tool.definition)
            return await start(emit).resume(decisions)

        return await self._learn(await self._hold(work))

    async def _learn(self, turn: Turn) -> Turn:
        """Hands a turn to the banks that learn, and the one before it where that is not known to have been learnt."""
        if self._learners and turn.status is TurnStatus.COMPLETED:
            last = 1 if self._taught else 2
            turns = self._history.ended(last) if self._history else [turn]
            self._taught = await teach(self._learners, turns, self._setup.inference)
        return turn

    async def _hold(self, work: Callable[[Start, History], Awaitable[T]]) -> T:
        """Holds the session's lease while something is done with its history."""
        lease = await self._lease()
        history, self._history = self._history or History(self.session_id), None
        try:
            if lease.seq < history.records:  # the session was deleted, and is a new one now
                history = History(self.session_id)
            if lease.seq != history.records:
                await self._catch_up(history)

            def start(emit: Emit, *, release: bool = True) -> Run:
                return Run(self._setup, Journal(history, self._store, lease, emit, release=release))

            return await work(start, history)
        finally:
            if history.records == lease.seq:  # otherwise it is ahead of the store after an error, and read anew
                self._history = history
            await self._store.release(lease)

    async def _lease(self) -> Lease:
        if self._created:
            with suppress(NotFound):  # somebody deleted it
                return await self._store.acquire(self.session_id)
        await self._create()
        return await self._store.acquire(self.session_id)

    async def _create(self) -> None:
        await self._store.create(self.session_id, agent=self._setup.name, model=self._setup.inference.model)
        self._created = True

    async def _catch_up(self, history: History) -> None:
        after = history.records
        records = await self._store.read(self.session_id, after=after)
        with collector_paused():
            history.load(records[history.records - after :])  # a turn or another reader may have been faster

    async def _supervise(self, turn: Coroutine[Any, Any, Turn]) -> Turn:
        """Runs a turn as a task of its own, which `acancel` can end."""
        try:
            return await cancelled_once(turn)
        except asyncio.CancelledError as error:
            waiter = asyncio.current_task()
            if waiter and waiter.cancelling():
                raise
            if not self._history or not (ended := self._history.ended(1)):
                message = "The turn was cancelled, and its end could not be written."
                raise StoreError(message, hint="The session goes on from its log with the next turn.") from error
            return ended[0]

    async def _stream(self, turn: Callable[[Emit], Coroutine[Any, Any, Turn]]) -> AsyncGenerator[Event]:
        log = EventLog()

        def add(event: Event) -> None:
            self._events = log  # not before the session is ours: another turn's events may be followed
            log.add(event)

        async def drive() -> None:
            try:
                await turn(add)
            except Exception as error:
                log.end(error)  # for whoever reads then
            finally:
                log.end()

        task = asyncio.create_task(drive())
        _driven.add(task)  # a loop alone does not keep its tasks, and the reader may leave
        task.add_done_callback(_driven.discard)
        try:
            async for event in log.follow():
                yield event
            if not task.cancelled():
                await task
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if waiter and waiter.cancelling():
                cancel_once(task)
                await carried_through(task)
                raise

    def _loaded(self) -> History:
        if self._history is None:
            self.load()
        if self._history is None:  # a turn runs right now and holds it
            raise TurnPending(f"A turn runs in session {self.session_id!r}; look at its events.")
        return self._history


def _id_of(at: Turn | Step | str) -> str:
    match at:
        case str():
            return at
        case Turn():
            return at.turn_id
        case InferenceStep() | ToolExecutionStep() | ShieldCallStep() | MemoryRetrievalStep():
            return at.step_id
    raise InvalidInput(f"A step or a turn, or the id of one, is wanted, not {at!r:.80}.")

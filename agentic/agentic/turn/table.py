"""Everything that is legal in a turn, as one table: in this phase, that mark leads to that phase."""

from __future__ import annotations

from enum import StrEnum, auto


class Phase(StrEnum):
    """Where a turn stands."""

    OPENED = auto()
    CHECKING_INPUT = auto()
    INPUT_CLEARED = auto()
    RETRIEVING = auto()
    RETRIEVED = auto()
    CHECKING_RETRIEVAL = auto()
    READY = auto()
    INFERRING = auto()
    ANSWERED = auto()
    CHECKING_OUTPUT = auto()
    ANSWER_CLEARED = auto()
    CHECKING_CALLS = auto()
    CALLS_CLEARED = auto()
    SUSPENDED = auto()
    CALLING = auto()
    CALLED = auto()
    CHECKING_RESULTS = auto()
    BLOCKED = auto()
    FAILED = auto()
    CLOSED = auto()


class Mark(StrEnum):
    """What a record means to a turn."""

    CHECK_INPUT = auto()
    RETRIEVE = auto()
    CHECK_RETRIEVAL = auto()
    INFER = auto()
    CHECK_OUTPUT = auto()
    CHECK_CALLS = auto()
    CALL_TOOLS = auto()
    CHECK_RESULTS = auto()
    DONE = auto()
    OBJECTED = auto()
    FAILED = auto()
    INTERRUPTED = auto()
    CALL_OPENED = auto()
    CALL_CLOSED = auto()
    SUSPEND = auto()
    CONTINUE = auto()
    CLOSE = auto()


P, M = Phase, Mark

TABLE: dict[Phase, dict[Mark, Phase]] = {
    P.OPENED: {
        M.CHECK_INPUT: P.CHECKING_INPUT,
        M.RETRIEVE: P.RETRIEVING,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_INPUT: {
        M.DONE: P.INPUT_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.OPENED,
    },
    P.INPUT_CLEARED: {
        M.RETRIEVE: P.RETRIEVING,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.RETRIEVING: {M.DONE: P.RETRIEVED, M.FAILED: P.FAILED, M.INTERRUPTED: P.INPUT_CLEARED},
    P.RETRIEVED: {M.CHECK_RETRIEVAL: P.CHECKING_RETRIEVAL, M.INFER: P.INFERRING, M.CLOSE: P.CLOSED},
    P.CHECKING_RETRIEVAL: {
        M.DONE: P.READY,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.RETRIEVED,
    },
    P.READY: {M.INFER: P.INFERRING, M.CLOSE: P.CLOSED},
    P.INFERRING: {M.DONE: P.ANSWERED, M.FAILED: P.FAILED, M.INTERRUPTED: P.READY},
    P.ANSWERED: {
        M.CHECK_OUTPUT: P.CHECKING_OUTPUT,
        M.CHECK_CALLS: P.CHECKING_CALLS,
        M.CALL_TOOLS: P.CALLING,
        M.SUSPEND: P.SUSPENDED,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_OUTPUT: {
        M.DONE: P.ANSWER_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.ANSWERED,
    },
    P.ANSWER_CLEARED: {
        M.CHECK_CALLS: P.CHECKING_CALLS,
        M.CALL_TOOLS: P.CALLING,
        M.SUSPEND: P.SUSPENDED,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_CALLS: {
        M.DONE: P.CALLS_CLEARED,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.ANSWER_CLEARED,
    },
    P.CALLS_CLEARED: {
        M.CHECK_CALLS: P.CHECKING_CALLS,
        M.CALL_TOOLS: P.CALLING,
        M.SUSPEND: P.SUSPENDED,
        M.CONTINUE: P.CALLS_CLEARED,
    },
    P.SUSPENDED: {M.CONTINUE: P.CALLS_CLEARED, M.CALL_TOOLS: P.CALLING},
    P.CALLING: {
        M.CALL_OPENED: P.CALLING,
        M.CALL_CLOSED: P.CALLING,
        M.DONE: P.CALLED,
    },
    P.CALLED: {
        M.CHECK_RESULTS: P.CHECKING_RESULTS,
        M.INFER: P.INFERRING,
        M.CLOSE: P.CLOSED,
    },
    P.CHECKING_RESULTS: {
        M.DONE: P.READY,
        M.OBJECTED: P.BLOCKED,
        M.FAILED: P.FAILED,
        M.INTERRUPTED: P.CALLED,
    },
    P.BLOCKED: {M.CALL_TOOLS: P.CALLING, M.CLOSE: P.CLOSED},
    P.FAILED: {M.CALL_TOOLS: P.CALLING, M.CLOSE: P.CLOSED},
    P.CLOSED: {},
}

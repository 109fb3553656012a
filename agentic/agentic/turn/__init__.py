"""The turn as a pure state machine. No clock, no I/O: records go in, the next action comes out.

Rules:

* `TABLE` says everything that is legal. Nothing else may happen.
* `advance` takes one record of the log and gives the next state, or raises `IllegalStep`.
* `next_action` looks at a state and names what the driver has to do, so a turn that was cut off by a crash goes on
  from its log exactly as it would have gone on.
* A turn cannot close while a call of its last message has no result (promise 1).
"""

from .action import (
    Action,
    Check,
    Close,
    Infer,
    Plan,
    Recover,
    Retrieve,
    Route,
    RunTools,
    Settle,
    Suspend,
    Withhold,
    digest_of,
    next_action,
    pending_calls,
)
from .advance import INTERRUPTED, TRIMMED, advance
from .state import CallState, TurnState
from .table import TABLE, Mark, Phase

__all__ = [
    "INTERRUPTED",
    "TABLE",
    "TRIMMED",
    "Action",
    "CallState",
    "Check",
    "Close",
    "Infer",
    "Mark",
    "Phase",
    "Plan",
    "Recover",
    "Retrieve",
    "Route",
    "RunTools",
    "Settle",
    "Suspend",
    "TurnState",
    "Withhold",
    "advance",
    "digest_of",
    "next_action",
    "pending_calls",
]

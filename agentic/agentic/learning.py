"""After a turn: handing it to the memory banks that learn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from .history import as_judged
from .protocols import Inference, Learner
from .types.turns import EndReason, Turn

LEARN_SECONDS = 30.0
"""How long all banks together may learn from one turn before the caller has the turn back."""

_log = logging.getLogger("agentic")


async def teach(learners: Sequence[Learner], turns: Sequence[Turn], model: Inference) -> bool:
    """Hands turns that came to an answer to the banks that learn, with what users said as input shields left it.

    What goes wrong there is logged, never raised.

    Returns:
        Whether every bank has taken in every turn.
    """
    learnt = [
        await asyncio.gather(*(_teach(learner, as_judged(turn), model) for learner in learners))
        for turn in turns
        if turn.reason is EndReason.END_OF_TURN and turn.output is not None
    ]
    return all(map(all, learnt))


async def _teach(learner: Learner, turn: Turn, model: Inference) -> bool:
    name = getattr(learner, "name", type(learner).__name__)
    try:
        async with asyncio.timeout(LEARN_SECONDS):
            await learner.learn(turn, model)
            return True
    except TimeoutError:
        _log.warning("Memory %s did not finish learning from turn %s in %g s.", name, turn.turn_id, LEARN_SECONDS)
    except Exception:
        _log.warning("Memory %s could not learn from turn %s.", name, turn.turn_id, exc_info=True)
    return False

"""What the store knows of sessions, read without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..portal import run_sync
from ..types.errors import NotFound
from ..types.steps import InferenceStep
from ..types.turns import Turn
from .options import opened_store

if TYPE_CHECKING:
    from ..history import History
    from ..store import Store


Kind: TypeAlias = Literal["step or turn", "turn", "inference step"]


@contextmanager
def store_at(where: str) -> Iterator[Store]:
    """The store that `--store` names; closed at the end."""
    store = opened_store(where)
    try:
        yield store
    finally:
        run_sync(store.aclose())


def history_of(store: Store, session_id: str) -> History:
    """A session's turns and prompts.

    Raises:
        NotFound: There is no such session.
    """
    from ..history import History

    return History(session_id, run_sync(store.read(session_id)))


def full_id(history: History, prefix: str, what: Kind = "step or turn") -> str:
    """The one id that begins with a prefix.

    Args:
        history: Where to look.
        prefix: Its first letters.
        what: Of what.

    Raises:
        NotFound: There is none, or more than one.
    """
    steps = [] if what == "turn" else [step for turn in history.turns for step in turn.steps]
    ids = [step.step_id for step in steps if what == "step or turn" or isinstance(step, InferenceStep)]
    if what != "inference step":
        ids += [turn.turn_id for turn in history.turns]
    found = [known for known in ids if known.startswith(prefix)]
    if prefix in found:
        return prefix
    if len(found) != 1:
        how_many = f"{len(found)} ids begin" if found else f"no {what}'s id begins"
        raise NotFound(f"In session {history.session_id!r} {how_many} with {prefix!r}.")
    return found[0]


def last_inference(session_id: str, turns: Sequence[Turn]) -> str:
    """The id of a session's last inference step.

    Raises:
        NotFound: The model was never asked.
    """
    for turn in reversed(turns):
        for step in reversed(turn.steps):
            if isinstance(step, InferenceStep):
                return step.step_id
    raise NotFound(f"In session {session_id!r} the model was never asked.")


def prompts_of(history: History) -> dict[str, str]:
    """The exact prompts by step id, in order; a step that failed before there was a prompt has none."""
    prompts = {}
    for turn in history.turns:
        for step in turn.steps:
            with suppress(NotFound):
                prompts[step.step_id] = history.prompt(step.step_id)
    return prompts

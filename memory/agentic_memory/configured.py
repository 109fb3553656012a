"""The banks that `run.yaml` names, as `bank::name`."""

from __future__ import annotations

from importlib import import_module

from agentic.config import current_config
from agentic.protocols import MemoryBank
from agentic.types.errors import ConfigError

_KINDS = {"vector": "MemoryBank", "keyword": "KeywordBank", "keyvalue": "KeyValueBank", "graph": "GraphBank"}
_HINT = "Add it under banks: in run.yaml, or hand over a MemoryBank."


def configured() -> list[str]:
    """The names of the configuration's banks.

    Raises:
        ConfigError: There are none.
    """
    names = list(current_config().banks)
    if not names:
        raise ConfigError("The configuration has no memory banks.", hint=_HINT)
    return names


def bank(name: str) -> MemoryBank:
    """The entry point of `bank::docs`: opens the configuration's bank of that name.

    Raises:
        ConfigError: There is no such bank, or its entry contradicts itself.
    """
    chosen = name.partition("::")[2]
    banks = current_config().banks
    if chosen not in banks:
        raise ConfigError(f"The configuration has no memory bank {chosen!r}.", hint=_HINT)
    given = banks[chosen]
    if given.kind not in _KINDS:
        raise ConfigError(f"A memory bank is {', '.join(_KINDS)}, not {given.kind!r}.")
    for option, kind in (("embedding", "vector"), ("model", "graph")):
        if getattr(given, option) is not None and given.kind != kind:
            raise ConfigError(f"The {given.kind} bank {chosen!r} takes no {option}; a {kind} bank does.")
    told = {"embedding": given.embedding, "model": given.model}
    options = {key: value for key, value in told.items() if value is not None}
    store = given.store or current_config().store
    opened: MemoryBank = getattr(import_module(__package__ or ""), _KINDS[given.kind])(chosen, store=store, **options)
    return opened


async def close(opened: MemoryBank) -> None:
    """Closes a bank, if it can be closed."""
    if (aclose := getattr(opened, "aclose", None)) is not None:
        await aclose()

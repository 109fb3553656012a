"""JSON for every type of this package, by pydantic; adapters are built when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if (found := _ADAPTERS.get(kind)) is None:
        from pydantic import TypeAdapter

        found = _ADAPTERS[kind] = TypeAdapter(kind)
    return found


def to_json(value: object, kind: Any = None) -> bytes:
    """Writes a value of this package as JSON.

    Args:
        value: A message, step, turn, event, record, or anything made of them.
        kind: Its type, when it is not the value's own class (a union, a tuple of messages).
    """
    return _adapter(type(value) if kind is None else kind).dump_json(value)


def to_dict(value: object, kind: Any = None) -> Any:
    """The same as plain dicts, lists and strings."""
    return _adapter(type(value) if kind is None else kind).dump_python(value, mode="json")


def from_json(kind: Any, data: bytes | str) -> Any:
    """Reads a value of the given type back.

    Raises:
        InvalidInput: The JSON does not describe a value of that type.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(data)
    except ValidationError as error:
        raise InvalidInput(f"This JSON is no {getattr(kind, '__name__', kind)}: {error.errors()[0]['msg']}.") from error

"""Conditions on a document's metadata, compiled to SQL with every value bound.

::

    {"lang": "en"}                                  equal; in a list of values, one of them
    {"year": {"$gte": 2020, "$lt": 2024}}           every condition must hold
    {"$or": [{"lang": "en"}, {"author.name": "Ada"}]}    a dot leads into an object

Numbers are compared with numbers and text with text only; what is of another type does not match. `None` is equal to
null and to what is not there. `$ne`, `$nin` and `$not` are true of what is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

from agentic.types.content import storable
from agentic.types.errors import InvalidInput

from .access import Tx

Filter: TypeAlias = Mapping[str, Any]
Sql: TypeAlias = tuple[str, list[Any]]

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_KNOWN = "$eq $ne $gt $gte $lt $lte $in $nin $exists $not $and $or"
_DEEPEST = 20
_MOST = 5_000


def compile_filter(condition: Filter, *, sqlite: bool) -> Sql:
    """A condition on the column `metadata` as SQL with `?`, and its values.

    Raises:
        InvalidInput: An operator is unknown, or a value does not fit it.
    """
    return _all_of(condition, _Sqlite() if sqlite else _Postgresql(), 0)


def matching(tx: Tx, condition: Filter) -> list[tuple[int, int]]:
    """The documents that a condition is true of, in order: the number of each, and of its chunks."""
    sql, values = compile_filter(condition, sqlite=tx.sqlite)
    query = f"SELECT id, chunks FROM agentic_bank_documents WHERE bank = ? AND {sql} ORDER BY id"  # noqa: S608
    return [(number, chunks) for number, chunks in tx.all(query, [tx.bank.id, *values])]


class _Sqlite:
    """How SQLite looks into JSON: each value of a list, or the one value, is a row of `json_each`."""

    def any_of(self, path: Sequence[str], test: str, values: list[Any]) -> Sql:
        where = _path(path)
        each = "SELECT 1 FROM json_each(metadata, ?) AS each"
        return f"(json_type(metadata, ?) <> 'object' AND EXISTS ({each} WHERE {test}))", [where, where, *values]

    def exists(self, path: Sequence[str]) -> Sql:
        return "json_type(metadata, ?) IS NOT NULL", [_path(path)]

    def null(self, path: Sequence[str]) -> Sql:
        return "coalesce(json_type(metadata, ?), 'null') = 'null'", [_path(path)]

    def equal(self, path: Sequence[str], value: Any) -> Sql:
        if isinstance(value, bool):
            return self.any_of(path, "each.type = ?", ["true" if value else "false"])
        return self.compare(path, "=", value)

    def compare(self, path: Sequence[str], operator: str, value: Any) -> Sql:
        types = "('text')" if isinstance(value, str) else "('integer', 'real')"
        return self.any_of(path, f"each.type IN {types} AND each.value {operator} ?", [value])


class _Postgresql:
    """The same for PostgreSQL, whose JSON values compare within their own type."""

    _EACH = (
        "jsonb_array_elements(CASE jsonb_typeof(metadata #> CAST(? AS text[])) WHEN 'array' THEN metadata #>"
        " CAST(? AS text[]) WHEN 'object' THEN '[]' ELSE jsonb_build_array(metadata #> CAST(? AS text[])) END)"
    )

    def exists(self, path: Sequence[str]) -> Sql:
        return "(metadata #> CAST(? AS text[])) IS NOT NULL", [list(path)]

    def null(self, path: Sequence[str]) -> Sql:
        return "coalesce(jsonb_typeof(metadata #> CAST(? AS text[])), 'null') = 'null'", [list(path)]

    def equal(self, path: Sequence[str], value: Any) -> Sql:
        return self.compare(path, "=", value)

    def compare(self, path: Sequence[str], operator: str, value: Any) -> Sql:
        kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        test = f"jsonb_typeof(value) = '{kind}' AND value {operator} CAST(? AS jsonb)"
        where = list(path)
        return f"EXISTS (SELECT 1 FROM {self._EACH} AS each(value) WHERE {test})", [where] * 3 + [json.dumps(value)]  # noqa: S608


_Dialect: TypeAlias = _Sqlite | _Postgresql


def _path(path: Sequence[str]) -> str:
    return "$" + "".join(f".{json.dumps(part, ensure_ascii=False)}" for part in path)  # as it is written in the rows


def _all_of(condition: Any, dialect: _Dialect, depth: int) -> Sql:
    if not isinstance(condition, Mapping):
        raise InvalidInput(f"A filter is a mapping of names to values or conditions, not {type(condition).__name__}.")
    if depth > _DEEPEST:
        raise InvalidInput(f"A filter is nested at most {_DEEPEST} deep.")
    parts = [_part(name, value, dialect, depth) for name, value in condition.items()]
    return _join(parts, " AND ", "1 = 1")


def _part(name: Any, value: Any, dialect: _Dialect, depth: int) -> Sql:
    if name in {"$and", "$or"}:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise InvalidInput(f"{name} takes a list of filters.")
        parts = [_all_of(each, dialect, depth + 1) for each in value]
        return _join(parts, " AND " if name == "$and" else " OR ", "1 = 1" if name == "$and" else "1 = 0")
    if name == "$not":
        return _negated(_all_of(value, dialect, depth + 1))
    if not isinstance(name, str) or name.startswith("$"):
        raise _unknown(name)
    path = storable(name).split(".")
    if not all(path) or any('"' in part or "\0" in part for part in path):
        raise InvalidInput(f"A filter cannot ask for the name {name!r}.")
    if isinstance(value, Mapping):
        parts = [_operator(path, operator, operand, dialect, depth) for operator, operand in value.items()]
        return _join(parts, " AND ", "1 = 1")
    return _equal(path, value, dialect)


def _operator(path: list[str], operator: str, operand: Any, dialect: _Dialect, depth: int) -> Sql:
    simple: dict[str, Callable[[], Sql]] = {
        "$eq": lambda: _equal(path, operand, dialect),
        "$ne": lambda: _negated(_equal(path, operand, dialect)),
        "$in": lambda: _among(path, operand, dialect),
        "$nin": lambda: _negated(_among(path, operand, dialect)),
        "$not": lambda: _negated(_part(".".join(path), operand, dialect, depth + 1)),
        "$exists": lambda: dialect.exists(path) if operand else _negated(dialect.exists(path)),
    }
    if operator in simple:
        return simple[operator]()
    if operator not in _ORDER:
        raise _unknown(operator)
    if isinstance(operand, bool) or not isinstance(bound := _value(operand), str | int | float):
        raise InvalidInput(f"{operator} compares numbers or text, not {type(operand).__name__}.")
    return dialect.compare(path, _ORDER[operator], bound)


def _equal(path: list[str], value: Any, dialect: _Dialect) -> Sql:
    value = _value(value)
    return dialect.null(path) if value is None else dialect.equal(path, value)


def _among(path: list[str], values: Any, dialect: _Dialect) -> Sql:
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence | set | frozenset):
        raise InvalidInput("$in and $nin take a list of values.")
    if len(values) > _MOST:
        raise InvalidInput(f"$in and $nin take at most {_MOST} values.")
    return _join([_equal(path, value, dialect) for value in values], " OR ", "1 = 0")


def _value(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Integral) and -(2**63) <= (number := int(value)) < 2**63:
        return number
    if isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(value):
        return float(value)
    raise InvalidInput(f"A filter's value is text, a finite number, true, false or None, not {value!r:.80}.")


def _join(parts: list[Sql], word: str, nothing: str) -> Sql:
    if len(parts) <= 1:
        return parts[0] if parts else (nothing, [])
    # A balanced tree: SQLite refuses a chain of more than a thousand.
    middle = len(parts) // 2
    (left, first), (right, second) = (_join(half, word, nothing) for half in (parts[:middle], parts[middle:]))
    return f"({left}{word}{right})", [*first, *second]


def _negated(part: Sql) -> Sql:
    return f"NOT coalesce({part[0]}, 1 = 0)", part[1]


def _unknown(operator: object) -> InvalidInput:
    return InvalidInput(f"A filter has no operator {operator!r}.", hint=f"There are: {_KNOWN}.")

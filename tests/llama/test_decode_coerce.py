"""Arguments in the types of a schema."""

from __future__ import annotations

from typing import Any

import pytest

from agentic.llama import coerce


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("10", {"type": "integer"}, 10),
        (" -7 ", {"type": "integer"}, -7),
        ("10.0", {"type": "integer"}, 10),
        (10.0, {"type": "integer"}, 10),
        ("0.5", {"type": "number"}, 0.5),
        ("3", {"type": "float"}, 3),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "bool"}, False),
        (5, {"type": "string"}, "5"),
        ("null", {"type": ["integer", "null"]}, None),
        ("4", {"type": ["integer", "null"]}, 4),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ('{"x": 1}', {"type": "dict"}, {"x": 1}),
        (["1", 2], {"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ({"n": "1"}, {"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": 1}),
        ({"n": "1"}, {"type": "object", "additionalProperties": {"type": "integer"}}, {"n": 1}),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 5),
        ("5", {"$ref": "#/$defs/count"}, 5),
        ("5", {"allOf": [{"type": "integer"}]}, 5),
    ],
)
def test_one_reading(value: Any, schema: dict[str, Any], expected: Any) -> None:
    whole = {"type": "object", "properties": {"v": schema}, "$defs": {"count": {"type": "integer"}}}
    arguments, notes = coerce({"v": value}, whole)
    assert arguments == {"v": expected}
    assert type(arguments["v"]) is type(expected)
    assert len(notes) == 1
    assert coerce(arguments, whole) == (arguments, ())


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("ten", {"type": "integer"}),
        ("1.5", {"type": "integer"}),
        (1.5, {"type": "integer"}),
        (True, {"type": "integer"}),
        ("9007199254740993.0", {"type": "integer"}),
        ("inf", {"type": "number"}),
        ("1e999", {"type": "number"}),
        ("٣", {"type": "integer"}),
        ("", {"type": "integer"}),
        ("yes", {"type": "boolean"}),
        (True, {"type": "string"}),
        ("5", {"type": "string"}),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("5", {}),
        ("5", True),
        ("5", {"type": "colour"}),
        ("5", {"$ref": "#/nowhere"}),
        ("5", {"$ref": "#/properties/v"}),
        ("[1", {"type": "array"}),
        ("[" * 5000, {"type": "array"}),
        ("x", {"type": "array"}),
        ("1" * 100, {"type": "integer"}),
    ],
)
def test_left_as_it_is(value: Any, schema: Any) -> None:
    assert coerce({"v": value}, {"type": "object", "properties": {"v": schema}}) == ({"v": value}, ())


def test_the_given_arguments_are_not_changed() -> None:
    given = {"v": {"n": ["1"]}}
    inner = {"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}}}
    assert coerce(given, {"properties": {"v": inner}})[0] == {"v": {"n": [1]}}
    assert given == {"v": {"n": ["1"]}}


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"v": {"$ref": "#"}}}
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"v": deep}
    assert coerce(deep, schema) == (deep, ())

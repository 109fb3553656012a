"""The three tools of `agentic demo`: useful, and they work offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal

from ..tool import Tool
from ..types.errors import ToolError

Unit = Literal[
    "miles", "kilometers", "feet", "meters", "inches", "centimeters", "pounds", "kilograms", "ounces", "grams"
]
Planet = Literal["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]

_METERS = {
    "miles": 1609.344,
    "kilometers": 1000.0,
    "feet": 0.3048,
    "meters": 1.0,
    "inches": 0.0254,
    "centimeters": 0.01,
}
_GRAMS = {"pounds": 453.59237, "kilograms": 1000.0, "ounces": 28.349523125, "grams": 1.0}

# NASA's planetary fact sheet: diameter in km, length of the day in hours, length of the year in Earth days.
_PLANETS: dict[str, tuple[float, float, float]] = {
    "Mercury": (4_879, 4_222.6, 88.0),
    "Venus": (12_104, 2_802.0, 224.7),
    "Earth": (12_756, 24.0, 365.2),
    "Mars": (6_792, 24.7, 687.0),
    "Jupiter": (142_984, 9.9, 4_331),
    "Saturn": (120_536, 10.7, 10_747),
    "Uranus": (51_118, 17.2, 30_589),
    "Neptune": (49_528, 16.1, 59_800),
}


def days_between(start: str, end: str) -> str:
    """Counts the days from one date to another.

    Args:
        start: The first date, as YYYY-MM-DD.
        end: The second date, as YYYY-MM-DD.
    """
    first, second = _date(start), _date(end)
    days = abs((second - first).days)
    weeks = f", which is {_count(days // 7, 'week')} and {_count(days % 7, 'day')}" if days >= 7 else ""
    return f"From {first} to {second} it is {_count(days, 'day')}{weeks}."


def convert_units(quantity: str, unit: Unit) -> str:
    """Converts a length or a weight into another unit.

    Args:
        quantity: A number and its unit, such as "12 ounces".
        unit: The unit wanted.
    """
    number, _, given = quantity.replace(",", "").strip().partition(" ")
    try:
        amount = float(number)
    except ValueError:
        raise ToolError(f"{quantity!r} does not begin with a number.") from None
    for table in (_METERS, _GRAMS):
        if given in table and unit in table:
            return f"{amount:,.6g} {given} are {amount * table[given] / table[unit]:,.6g} {unit}."
    raise ToolError(f"{given or 'a number without a unit'} cannot be converted to {unit}.")


def planet_facts(planet: Planet) -> str:
    """Looks up the size of a planet and how long its day and its year are.

    Args:
        planet: The planet.
    """
    diameter, day, year = _PLANETS[planet]
    return f"{planet} is {diameter:,g} km across; its day takes {day:,g} hours, its year {year:,g} Earth days."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text!r} is no date; write it as YYYY-MM-DD.") from None


def _tool(function: Callable[..., str], *examples: tuple[str, Mapping[str, Any]]) -> Tool:
    """A tool with worked examples: a small model needs to be shown how a question becomes arguments."""
    shown = [{"user": user, "arguments": arguments} for user, arguments in examples]
    return Tool(function, idempotent=True, metadata={"examples": shown})


TOOLS = [
    _tool(
        days_between,
        ("How many days lie between 2023-01-05 and 2023-03-01?", {"start": "2023-01-05", "end": "2023-03-01"}),
        ("Days from 2020-07-01 until 2021-07-01", {"start": "2020-07-01", "end": "2021-07-01"}),
    ),
    _tool(
        convert_units,
        ("How many feet are 3 meters?", {"quantity": "3 meters", "unit": "feet"}),
        ("Convert 12 ounces to grams.", {"quantity": "12 ounces", "unit": "grams"}),
        ("What is 5.5 inches in centimeters?", {"quantity": "5.5 inches", "unit": "centimeters"}),
    ),
    _tool(
        planet_facts,
        ("How large is Venus?", {"planet": "Venus"}),
        ("How long does a day on Saturn take?", {"planet": "Saturn"}),
    ),
]

"""A template for instructions: one version of one prompt, and how values are put into it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .content import storable
from .errors import InvalidInput

MAX_TEMPLATE = 1_000_000
"""The longest template, in characters."""

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a named template. A version never changes.

    `{{name}}` stands for a declared variable. Other braces are text.

    Attributes:
        name: Letters, digits, `.`, `_` and `-`, at most 128.
        version: From 1, without gaps; a number is never given twice.
        template: The text.
        variables: The names that `render` needs a value for, and takes no others.
        note: Why this version was made, or an empty string.
        default: Whether `name` alone means this version.
        created_at: UTC.

    Raises:
        InvalidInput: A name is malformed, or the template names a variable that is not declared.
    """

    name: str
    version: int
    template: str
    variables: tuple[str, ...] = ()
    note: str = ""
    default: bool = False
    created_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", _declared(self.variables))
        check_prompt_name(self.name)
        for what, text in (("template", self.template), ("note", self.note)):
            if not _is_text(text) or len(text) > MAX_TEMPLATE:
                raise InvalidInput(f"A prompt's {what} is text of at most {MAX_TEMPLATE:,} characters.")
            if "\0" in text or storable(text) != text:
                raise InvalidInput(f"A prompt's {what} must hold neither NUL characters nor half a surrogate pair.")
        if not self.template.strip():
            raise InvalidInput("A prompt's template must not be empty.")
        if undeclared := sorted(set(_PLACE.findall(self.template)) - set(self.variables)):
            raise InvalidInput(
                f"The template names {_listed(undeclared)}, not among its variables.",
                hint=f"Declare {'it' if len(undeclared) == 1 else 'them'}, or write the braces differently.",
            )

    @property
    def ref(self) -> str:
        """`name@version`, as `Agent(prompt=…)` takes it and inference steps record it."""
        return f"{self.name}@{self.version}"

    def render(self, variables: Mapping[str, str | int | float] | None = None) -> str:
        """Puts values in place of the variables, all at once: a value that looks like a place stays text.

        Raises:
            InvalidInput: A variable has no value, a value no variable, or a value is neither text nor a number.
        """
        given = dict(variables or {})
        if missing := [name for name in self.variables if name not in given]:
            raise InvalidInput(f"The prompt {self.ref} needs a value for {_listed(missing)}.")
        if unknown := sorted(str(name) for name in given if name not in self.variables):
            known = _listed(self.variables) if self.variables else "none"
            raise InvalidInput(f"The prompt {self.ref} has no variable {_listed(unknown)}.", hint=f"It has: {known}.")
        for name, value in given.items():
            if not isinstance(value, str | int | float):
                raise InvalidInput(f"The value of {name} is text or a number, not {type(value).__name__}.")
            if isinstance(value, str) and storable(value) != value:
                raise InvalidInput(f"The value of {name} holds half a surrogate pair: decode its bytes as UTF-8.")
        return _PLACE.sub(lambda place: str(given[place[1]]), self.template)


def prompt_ref(ref: str) -> tuple[str, int | None]:
    """Splits `name@version` or `name`, which means the default version (None).

    Raises:
        InvalidInput: It is neither.
    """
    name, at, version = ref.partition("@") if _is_text(ref) else ("", "", "")
    if at and not (version.isascii() and version.isdigit() and 0 < len(version) <= 9 and int(version)):
        raise InvalidInput(f"A prompt is called name or name@version, such as greeting@3, not {ref!r}.")
    return check_prompt_name(name), int(version) if at else None


def check_prompt_name(name: str) -> str:
    """Returns a name that a prompt may have.

    Raises:
        InvalidInput: It is none.
    """
    if not _is_text(name) or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"A prompt's name is letters, digits, '.', '_' and '-', beginning with a letter or digit, not {name!r}."
        )
    return name


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _declared(variables: object) -> tuple[str, ...]:
    if isinstance(variables, str) or not hasattr(variables, "__iter__"):
        raise InvalidInput("A prompt's variables are a list of names.")
    names = tuple(variables)
    for name in names:
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise InvalidInput(f"A variable's name is letters, digits and '_', beginning with no digit, not {name!r}.")
    if len(set(names)) != len(names):
        raise InvalidInput(f"A variable is declared twice: {_listed(names)}.")
    return names


def _listed(names: object) -> str:
    return ", ".join(map(repr, names)) if hasattr(names, "__iter__") else repr(names)

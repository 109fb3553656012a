"""`run.yaml`: what a program works with, in one file.

```yaml
models:
  default:                                  # the one that is used when none is named
    model: openai/llama-3.3-70b             # provider/model
    endpoint: ${env.VLLM_URL:=http://127.0.0.1:8000/v1}
    api_key: ${env.VLLM_KEY}
  small: local/default                      # the short form
store: sessions.db                          # a path or a URL; null keeps sessions in memory
```

`${env.NAME}` is replaced by an environment variable, `${env.NAME:=text}` falls back to a text. Keys belong into the
environment, not into the file.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .types.errors import ConfigError
from .types.tools import ToolStrategy

_ENV = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)(?::=([^}]*))?\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Strict):
    """One model.

    Attributes:
        model: The model string, `provider/model`.
        endpoint: The server's base URL, instead of the provider's environment variable.
        api_key: Its key, likewise.
        tool_strategy: `native`, `constrained` or `routed`; default: what suits the model.
        options: What else the provider takes.
    """

    model: str = Field(min_length=1)
    endpoint: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    tool_strategy: ToolStrategy | None = None
    options: dict[str, Any] = {}


class Config(_Strict):
    """A whole file.

    Attributes:
        models: By the names that the program uses for them; `default` is used when none is named.
        store: Where sessions are kept, as for `Agent(store=…)`.
    """

    models: dict[str, ModelConfig] = {}
    store: str | None = "default"

    @field_validator("models", mode="before")
    @classmethod
    def _short_form(cls, models: Any) -> Any:
        if not isinstance(models, dict):
            return models
        return {name: {"model": given} if isinstance(given, str) else given for name, given in models.items()}


def read_config(path: str | Path) -> Config:
    """Reads a configuration file.

    Raises:
        ConfigError: It is missing or no YAML, a key is unknown, a value is wrong, or a variable is not set. The
            message names the line and, for an unknown key, the nearest one that exists.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text) or {}
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold keys and values, not {type(data).__name__}.")
    lines = dict(_lines(node, ()))
    try:
        return Config.model_validate(_with_environment(data, (), lines, path))
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(item, lines, path) for item in error.errors())) from None


def _lines(node: Any, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The line of every value, by its path."""
    if node is None:
        return
    yield at, node.start_mark.line + 1
    if node.id == "mapping":
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from ((path, line) for path, line in _lines(value, (*at, key.value)) if path != (*at, key.value))
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield from _lines(value, (*at, index))


def _with_environment(value: Any, at: tuple[Any, ...], lines: dict[tuple[Any, ...], int], path: Path) -> Any:
    def replacement(match: re.Match[str]) -> str:
        name, fallback = match.groups()
        found = os.environ.get(name, fallback)
        if found is None:
            raise ConfigError(
                f"{path}, line {_line(at, lines)}: the environment variable {name} is not set.",
                hint=f"Set it, or give a fallback: ${{env.{name}:=…}}.",
            )
        return found

    match value:
        case str():
            return _ENV.sub(replacement, value)
        case dict():
            return {key: _with_environment(item, (*at, key), lines, path) for key, item in value.items()}
        case list():
            return [_with_environment(item, (*at, index), lines, path) for index, item in enumerate(value)]
        case _:
            return value


def _line(at: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> int:
    while at not in lines and at:
        at = at[:-1]
    return lines.get(at, 1)


def _problem(item: Any, lines: dict[tuple[Any, ...], int], path: Path) -> str:
    where = f"{path}, line {_line(item['loc'], lines)}"
    dotted = ".".join(map(str, item["loc"]))
    if item["type"] != "extra_forbidden":
        return f"{where}: {dotted}: {item['msg'].lower()}."
    known = list((ModelConfig if item["loc"][0] == "models" else Config).model_fields)
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}."
    return f"{where}: there is no key {dotted!r}; {hint}"

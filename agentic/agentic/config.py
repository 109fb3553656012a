"""`run.yaml`: what a program works with, in one file.

```yaml
models:
  default:                                  # the one that is used when none is named
    model: openai/llama-3.3-70b             # provider/model
    endpoint: ${env.VLLM_URL:=http://127.0.0.1:8000/v1}
    api_key: ${env.VLLM_KEY}
  small: local/default                      # the short form
  guard: {model: "ollama/llama-guard3:8b", endpoint: "http://127.0.0.1:11434"}
store: sessions.db                          # a path or a URL; null keeps sessions in memory
mcp:                                        # servers: the toolgroups mcp::files and mcp::issues
  files:
    command: [npx, -y, "@modelcontextprotocol/server-filesystem", .]
  issues:
    url: https://mcp.example.org/mcp
    headers: {Authorization: "Bearer ${env.ISSUES_TOKEN}"}
    deny: ["delete_*"]
banks:                                      # memory: bank::docs for an agent's memory=[…], rag::docs for its tools=[…];
  docs:                                     # the toolgroup builtin::rag searches all of them
    store: memory.db
    embedding: wordllama
  glossary: {kind: keyword}
shields:                                    # for agents and a server's clients: their name, and what is behind it
  meta-llama/Llama-Guard-3-8B: llama_guard::guard  # a guard that is a model of this file
toolgroups: [builtin::websearch, mcp::files]  # what a server offers; left out: everything
prompts:                                    # each a version in the store: Agent(prompt="greeter", variables={…})
  greeter: {template: "You greet {{person}}.", variables: [person]}
server: {port: 8321}                        # agentic serve
```

`${env.NAME}` is replaced by an environment variable, `${env.NAME:=text}` falls back to a text. Keys belong into the
environment, not into the file.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from . import plugins
from .types.errors import ConfigError, InvalidInput
from .types.prompts import Prompt
from .types.tools import ToolStrategy

_ENV = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)(?::=([^}]*))?\}")
BANK_KINDS = ("vector", "keyword", "keyvalue", "graph")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Strict):
    """One model.

    Attributes:
        model: The model string, `provider/model`.
        endpoint: The server's base URL, instead of the provider's environment variable.
        api_key: Its key, likewise.
        tool_strategy: `native`, `constrained` or `routed`; default: what suits the model.
        context_tokens: How many tokens its context holds, prompt and answer together; default: what the provider knows.
        options: What else the provider takes.
        type: `llm`, or `embedding` for a model that makes vectors.
        metadata: What a server tells its clients of it; `embedding_dimension` for an embedding model.
    """

    model: str = Field(min_length=1)
    endpoint: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    tool_strategy: ToolStrategy | None = None
    context_tokens: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = {}
    type: Literal["llm", "embedding"] = "llm"
    metadata: dict[str, Any] = {}


class MCPConfig(_Strict):
    """One MCP server: `command` for a program that is started, or `url`.

    Attributes:
        command: The program and its arguments; or the program alone.
        args: More arguments for it, as the settings of MCP clients have them.
        env: Variables for the program.
        folder: Where it runs.
        url: The endpoint of a server that speaks streamable HTTP.
        headers: Sent to it with each request.
        allow: The tools to offer, with wildcards; default: all.
        deny: The tools not to offer.
        timeout: Seconds for one call, and for starting the server.
        approve: Ask the caller before each call.
        parallel: Its tools may run beside each other.
    """

    command: str | list[str] | None = None
    args: list[str] = []
    env: dict[str, str] = Field(default={}, repr=False)
    folder: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default={}, repr=False)
    allow: list[str] | None = None
    deny: list[str] = []
    timeout: float = 60.0
    approve: bool = False
    parallel: bool = True


class BankConfig(_Strict):
    """One memory bank.

    Attributes:
        kind: `vector`, `keyword`, `keyvalue` or `graph`.
        store: Where it is kept: a path or a URL; default: where the sessions are.
        embedding: What makes the vectors of a vector bank, a model string or the name of an embedding model;
            default: the embedded model.
        model: What reads texts for a graph bank, `provider/model`.
    """

    kind: str = "vector"
    store: str | None = None
    embedding: str | None = None
    model: str | None = None


class PromptConfig(_Strict):
    """One prompt. A text that the store has no version of becomes the next one, and the default.

    Attributes:
        template: The text; `{{name}}` stands for a variable.
        variables: The names of the variables.
        note: Why this version was made.
    """

    template: str
    variables: list[str] = []
    note: str = ""


class ServerConfig(_Strict):
    """What `agentic serve` does.

    Attributes:
        host: The address it binds; any but this machine's own demands a token.
        port: Its port; 0 takes a free one.
        token: What clients send as `Authorization: Bearer …`; default: `AGENTIC_SERVER_TOKEN`, or none.
        hosts: More names under which clients reach it, such as `agents.example.org`.
        origins: Web pages that may use it from a browser, such as `https://app.example.org`; default: its own only.
        max_body: The largest request body in bytes.
        body_seconds: How long a request's body may take to arrive.
        drain_seconds: How long running turns may go on when the server is told to end.
        beat_seconds: How long a stream may be silent before a comment shows that it is alive.
        rate: Requests a minute for each key that has no limit of its own; default: as many as it likes.
        concurrency: Requests at a time, likewise.
        log: `requests` for a line of JSON for each request and turn, `errors` for what went wrong only.
        traces: A collector that OpenTelemetry spans are sent to, such as `http://127.0.0.1:4318/v1/traces`; default:
            what `OTEL_EXPORTER_OTLP_ENDPOINT` says, or none.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    token: str | None = Field(default=None, repr=False, min_length=8)
    hosts: list[str] = []
    origins: list[str] = []
    max_body: int = Field(default=64 * 1024 * 1024, ge=1024)
    body_seconds: float = Field(default=60.0, gt=0)
    drain_seconds: float = Field(default=30.0, ge=0)
    beat_seconds: float = Field(default=15.0, gt=0)
    rate: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)
    log: Literal["requests", "errors"] = "requests"
    traces: str | None = None


class Config(_Strict):
    """A whole file.

    Attributes:
        models: By the names that the program uses for them; `default` is used when none is named.
        store: Where sessions are kept, as for `Agent(store=…)`.
        mcp: MCP servers by their names; each is the toolgroup `mcp::name`.
        banks: Memory banks by their names; each is the bank `bank::name` and the toolgroup `rag::name`.
        shields: Shields by the ids that agents and a server's clients use, each with its id here, such as
            `llama_guard`; `llama_guard::NAME` is a guard on one of `models`.
        toolgroups: The toolgroups that a server offers; default: all that are installed.
        prompts: Prompts by their names, added to the store by a server and by `Stack.agent(prompt=…)`.
        server: What `agentic serve` does.
    """

    models: dict[str, ModelConfig] = {}
    store: str | None = "default"
    mcp: dict[str, MCPConfig] = {}
    banks: dict[str, BankConfig] = {}
    shields: dict[str, str] = {}
    toolgroups: list[str] | None = None
    prompts: dict[str, PromptConfig] = {}
    server: ServerConfig = ServerConfig()

    @field_validator("models", "prompts", mode="before")
    @classmethod
    def _short_form(cls, section: Any, info: ValidationInfo) -> Any:
        if not isinstance(section, dict):
            return section
        key = "model" if info.field_name == "models" else "template"
        return {name: {key: given} if isinstance(given, str) else given for name, given in section.items()}


_CURRENT: ContextVar[Config] = ContextVar("agentic_config")


@contextmanager
def using(config: Config) -> Iterator[None]:
    """Makes a configuration the current one for what is built inside."""
    token = _CURRENT.set(config)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_config() -> Config:
    """The configuration of the stack that is being built, or of the file that `AGENTIC_CONFIG` names, or of `run.yaml`.

    Without any of them it is empty.

    Raises:
        ConfigError: The file is wrong.
    """
    if (config := _CURRENT.get(None)) is not None:
        return config
    if named := os.environ.get("AGENTIC_CONFIG"):
        return read_config(named)
    return read_config("run.yaml") if Path("run.yaml").exists() else Config()


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
        lines = dict(_lines(node, ()))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply, or holds itself.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a month 13
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold keys and values, not {type(data).__name__}.")
    try:
        config = Config.model_validate(_with_environment(data, (), lines, path))
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(item, lines, path) for item in error.errors())) from None
    if wrong := [f"{path}, line {_line(at, lines)}: {problem}" for at, problem in _misnamed(config)]:
        raise ConfigError("\n".join(wrong))
    return config


def _misnamed(config: Config) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What names something that there is not, with its place."""
    named: list[tuple[tuple[Any, ...], plugins.Group, str]] = [
        *(
            (("models", name), "inference", model.model.partition("/")[0])
            for name, model in config.models.items()
            if "/" in model.model
        ),
        *((("shields", name), "shields", shield) for name, shield in config.shields.items() if _is_id(shield, config)),
        *((("toolgroups", place), "tools", group) for place, group in enumerate(config.toolgroups or ())),
    ]
    for name, model in config.models.items():
        if not all(model.model.partition("/")):
            yield ("models", name), f"a model is named provider/model, not {model.model!r}."
    for at, kind, name in named:
        try:
            plugins.check(kind, name)
        except ConfigError as error:
            yield at, str(error)
    for name, bank in config.banks.items():
        if bank.kind not in BANK_KINDS:
            yield ("banks", name, "kind"), f"a memory bank is {', '.join(BANK_KINDS)}, not {bank.kind!r}."
    for name, prompt in config.prompts.items():
        try:
            prompt_of(name, prompt)
        except InvalidInput as error:
            yield ("prompts", name), str(error)


def _is_id(shield: str, config: Config) -> bool:
    """Whether it can only be a shield's id: a guard may be named by its model, too."""
    return re.fullmatch(r"\w+(::.*)?", shield) is not None and shield not in config.models


def prompt_of(name: str, given: PromptConfig) -> Prompt:
    """A prompt of a file, not yet a version.

    Raises:
        InvalidInput: Its name is malformed, or its template names an undeclared variable.
    """
    return Prompt(name=name, version=0, template=given.template, variables=tuple(given.variables), note=given.note)


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
    sections: dict[str, type[BaseModel]] = {
        "models": ModelConfig,
        "mcp": MCPConfig,
        "banks": BankConfig,
        "prompts": PromptConfig,
        "server": ServerConfig,
    }
    section = sections.get(item["loc"][0], Config) if len(item["loc"]) > 1 else Config
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}."
    return f"{where}: there is no key {dotted!r}; {hint}"

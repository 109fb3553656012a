"""Functions as tools: the schema from the signature, the description from the docstring."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from .isolation import check_importable, run_in_process
from .protocols import ToolContext, ToolOutput, ToolPolicy
from .threads import run_in_thread
from .types.content import Content, File, Image, Text, content_of
from .types.errors import InvalidInput, ToolDefinitionError, ToolError, describe
from .types.tools import BUILTIN_TOOLS, ToolDef

if TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""A tool's name: what every provider takes (OpenAI's limit is 64 characters)."""


LARGEST_FILE = 10 * 1024 * 1024
"""The largest file that is read when a tool returns its path, in bytes."""


class Tool:
    """A function that a model can call.

    The JSON schema comes from the signature by pydantic (nested models, `Literal`, enums, optional values, defaults,
    `Annotated[..., Field(description=…)]`), the descriptions from the docstring. A parameter annotated `ToolContext`
    is filled in and hidden from the model. The function may be sync (it then runs in a thread), async, or an async
    generator (what it yields last is the result, what comes before is progress). It may return text, anything that
    pydantic can turn into JSON, an `Image`, a list of texts and images, the `Path` of a file, or a `ToolOutput`.

    Args:
        function: The function, or a `ToolDef` for a tool that runs on the caller's side.
        name: Instead of the function's name.
        description: Instead of the docstring's.
        timeout: Seconds for one call; None is no limit.
        idempotent: A second run does no harm: a call that a crash cut off is run again.
        parallel: May run beside the message's other calls; False makes it a barrier.
        approve: True asks the caller before each call; a function of the arguments decides for itself.
        isolation: `"process"` runs each call in a process of its own, which can be killed when it hangs; the function
            must be importable, and gets no `ToolContext`. It is no security boundary.
        metadata: For providers, never sent to the model. Small models are helped by `examples`, a list of
            `{"user": message, "arguments": {…}}`, and by `answer`, a template such as `"It is $result in $city."`.

    Raises:
        ToolDefinitionError: The function cannot be described to a model; the message says why.
    """

    def __init__(
        self,
        function: Callable[..., Any] | ToolDef,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = 60.0,
        idempotent: bool = False,
        parallel: bool = True,
        approve: bool | Callable[[Mapping[str, Any]], bool] = False,
        isolation: Literal["process"] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        _check(function, name, description, isolation, metadata)
        self.policy = ToolPolicy(
            timeout=timeout,
            idempotent=idempotent,
            parallel=parallel,
            approve=approve,
            client=isinstance(function, ToolDef),
        )
        if inspect.iscoroutinefunction(approve):
            raise ToolDefinitionError("approve is asked without waiting, so it cannot be an async function.")
        self._isolation = isolation
        self._call: _Call | None = None
        if isinstance(function, ToolDef):
            if approve is not False or isolation is not None:
                raise ToolDefinitionError(f"{function.name} runs on the caller's side: so would approve and isolation.")
            self.definition = replace(
                function, name=name or function.name, description=description or function.description
            )
        else:
            self._call = _Call.of(function)
            if isolation == "process":
                check_importable(function)
            self.definition = _define(self._call, name, description)
        if metadata:
            self.definition = replace(self.definition, metadata={**self.definition.metadata, **metadata})
        if not NAME.fullmatch(self.definition.name):
            raise ToolDefinitionError(
                f"{self.definition.name!r} cannot be a tool's name.",
                hint="Use up to 64 letters, digits, '_', '-' and '.', beginning with a letter or '_'.",
            )
        if self._call and self.definition.name in BUILTIN_TOOLS:
            raise ToolDefinitionError(
                f"{self.definition.name!r} is the name of a tool that Llama models know from training.",
                hint="Give the function another name.",
            )

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function itself; None when the tool runs on the caller's side."""
        return self._call.function if self._call else None

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.definition.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function itself, as if it were no tool."""
        if self._call is None:
            raise TypeError(f"{self.name} runs on the caller's side: it has no function here.")
        return self._call.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name})"

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Checks the arguments and runs the function.

        Raises:
            ToolError: The arguments do not fit the schema; the message names each field and what is wrong with it.
        """
        if self._call is None:
            raise ToolError(f"{self.name} runs on the caller's side.")
        values = self._call.validate(arguments)
        if self._isolation == "process":
            return await run_in_process(self._call.function, arguments)
        if self._call.context_parameter:
            values[self._call.context_parameter] = context
        bound = partial(self._call.function, **values)
        if self._call.kind == "generator":
            return await _last_of(bound(), context)
        if self._call.kind == "async":
            return as_output(await bound())
        result = await run_in_thread(lambda: _settled(bound()), f"tool-{self.name}")
        return result if isinstance(result, ToolOutput) else as_output(await result)


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = 60.0,
    idempotent: bool = False,
    parallel: bool = True,
    approve: bool | Callable[[Mapping[str, Any]], bool] = False,
    isolation: Literal["process"] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Marks a function as a tool: `@tool`, or `@tool(timeout=5, idempotent=True)`.

    Bare `@tool` checks now that the function can be offered to a model, and leaves it as it is; with options it
    becomes a `Tool`. See `Tool` for the options.
    """
    if function is None:
        return partial(Tool, **options)
    made = Tool(function, **options)
    return made if options else function


@dataclass(frozen=True, slots=True)
class _Call:
    """A function with the model of its parameters."""

    function: Callable[..., Any]
    parameters: type[BaseModel]
    context_parameter: str | None
    kind: Literal["sync", "async", "generator"]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Call:
        from pydantic import ConfigDict, create_model
        from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

        name, plain = _name_of(function), _plain(function)
        target = plain if inspect.isroutine(plain) else type(plain).__call__
        try:
            signature = inspect.signature(function)
            hints = get_type_hints(target, include_extras=True)
        except (NameError, TypeError, ValueError) as error:
            raise ToolDefinitionError(f"The signature of {name} cannot be read: {error}.") from error
        docs = _parameter_docs(function)
        fields: dict[str, Any] = {}
        context_parameter = None
        bound = function.keywords if isinstance(function, partial) else {}
        for parameter in signature.parameters.values():
            if parameter.name in bound:  # it is settled, and may be a secret
                continue
            hint = hints.get(parameter.name, Any)
            if hint is ToolContext or ToolContext in get_args(hint):
                if context_parameter:
                    raise ToolDefinitionError(f"{name} has two parameters of the type ToolContext.")
                context_parameter = parameter.name
            else:
                # Fields have names of their own, the parameter's is an alias: a parameter may be called `schema`.
                fields[f"argument_{len(fields)}"] = _field(name, parameter, hint, docs.get(parameter.name))
        try:
            model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
            model.model_json_schema()
        except (PydanticSchemaGenerationError, PydanticUserError, NameError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ToolDefinitionError(f"The parameters of {name} cannot be described: {reason}") from error
        return cls(function, model, context_parameter, _kind(target))

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from pydantic import ValidationError

        try:
            valid = self.parameters.model_validate(dict(arguments))
        except ValidationError as error:
            problems = "; ".join(f"{_json_path(item['loc'])}: {_plainly(item['msg'])}" for item in error.errors()[:5])
            raise ToolError(f"The arguments do not fit. {problems}.") from None
        except RecursionError:
            raise ToolError("The arguments are nested too deeply.") from None
        return {field.alias or name: getattr(valid, name) for name, field in type(valid).model_fields.items()}


def _check(function: object, name: object, description: object, isolation: object, metadata: object) -> None:
    if isinstance(function, Tool):
        raise ToolDefinitionError(f"{function.name} is a Tool already.", hint="Give it its options where it is made.")
    if isinstance(function, ToolDef):
        schema: object = function.parameters
        if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
            raise ToolDefinitionError(f"The parameters of {function.name} must be a JSON schema of type object.")
    elif isinstance(function, type) or not callable(function):
        raise ToolDefinitionError(
            f"A tool is a function, not {getattr(function, '__name__', type(function).__name__)}."
        )
    for option, value in (("name", name), ("description", description)):
        if not isinstance(value, str | None):
            raise ToolDefinitionError(f"{option} is text, not {value!r:.80}.")
    if isolation not in (None, "process"):
        raise ToolDefinitionError(f'isolation is "process" or None, not {isolation!r:.80}.')
    if not isinstance(metadata, Mapping | None):
        raise ToolDefinitionError(f"metadata is a dict, not {metadata!r:.80}.")


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a `functools.partial` calls, which has the name, the types and the docstring."""
    return function.func if isinstance(function, partial) else function


def _name_of(function: Callable[..., Any]) -> str:
    plain = _plain(function)
    return str(getattr(plain, "__name__", type(plain).__name__))


def _kind(function: Callable[..., Any]) -> Literal["sync", "async", "generator"]:
    if inspect.isasyncgenfunction(function):
        return "generator"
    return "async" if inspect.iscoroutinefunction(function) else "sync"


def _settled(result: Any) -> ToolOutput | Awaitable[Any]:
    """In the tool's thread, because to write a generator's results runs it; an async function's wrapper is awaited."""
    return result if inspect.isawaitable(result) else as_output(result)


async def _last_of(results: AsyncIterator[Any], context: ToolContext) -> ToolOutput:
    """What an async generator yields last is its result; what comes before is progress."""
    output: ToolOutput | None = None
    async with aclosing(cast("AsyncGenerator[Any, None]", results)) as yielded:
        async for result in yielded:
            if output is not None:
                context.report(output.content)
            output = as_output(result)
    return output or as_output(None)


def _field(function: str, parameter: inspect.Parameter, hint: Any, doc: str | None) -> tuple[Any, Any]:
    """One parameter as a pydantic field; a description beside its type wins over the docstring's."""
    from pydantic import Field

    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise ToolDefinitionError(
            f"{function} has the parameter {parameter}, which a model cannot fill in by name.",
            hint="Use named parameters only.",
        )
    default = ... if parameter.default is parameter.empty else parameter.default
    for note in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        doc = note if isinstance(note, str) else getattr(note, "description", None) or doc
    return hint, Field(default, alias=parameter.name, description=doc)


def _define(call: _Call, name: str | None, description: str | None) -> ToolDef:
    if description is None:
        doc = inspect.getdoc(_plain(call.function)) or ""
        description = _parse_docstring(doc).description or ""
    schema = call.parameters.model_json_schema()
    return ToolDef(name or _name_of(call.function), description.strip(), _without_titles({"properties": {}, **schema}))


def _parse_docstring(doc: str) -> Any:
    import docstring_parser

    return docstring_parser.parse(doc)


def _parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    doc = inspect.getdoc(_plain(function))
    if not doc:
        return {}
    return {item.arg_name: item.description for item in _parse_docstring(doc).params if item.description}


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """Drops pydantic's `title`s: they repeat the name and cost the model tokens. A property called title stays."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(value, names=key in ("properties", "$defs") and not names)
            for key, value in schema.items()
            if names or key != "title" or not isinstance(value, str)
        }
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema


def _json_path(location: Sequence[str | int]) -> str:
    path = "$"
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _plainly(message: str) -> str:
    return message.replace("Field required", "is required").replace("Extra inputs are", "is").rstrip(".")


def as_output(result: Any) -> ToolOutput:
    """Turns what a function returned into what the model reads."""
    match result:
        case ToolOutput():
            return result
        case None:
            return ToolOutput("done")
        case str():
            return ToolOutput(result)
        case Image() | Text() | File():
            return ToolOutput((result,))
        case Path():
            return _file(result)
        case Exception():
            raise ToolError(describe(result))
        case bytes() | bytearray():
            return ToolOutput(_image_or_error(bytes(result)))
        case list() | tuple() if (
            result
            and all(isinstance(item, str | Text | Image | File) for item in result)
            and any(isinstance(item, Text | Image | File) for item in result)
        ):
            return ToolOutput(content_of(list(result)))
        case _:
            return ToolOutput(_json_text(result))


def _file(path: Path) -> ToolOutput:
    """A file's text or picture; a note about one that is neither or too large; other paths as they are written."""
    if not path.is_file():
        return ToolOutput(str(path))
    metadata = {"path": str(path)}
    size = path.stat().st_size
    if size <= LARGEST_FILE:
        data = path.read_bytes()
        with suppress(UnicodeDecodeError):
            return ToolOutput(data.decode(), metadata)
        with suppress(InvalidInput):
            return ToolOutput((Image.of(data),), metadata)
    return ToolOutput(f"[{path.name}: a file of {size:,} bytes, not shown here]", metadata)


def _image_or_error(data: bytes) -> Content:
    try:
        return (Image.of(data),)
    except InvalidInput:
        raise ToolError(f"The tool returned {len(data)} bytes that are no image.") from None


def _json_text(result: Any) -> str:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(result, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        try:
            return json.dumps(result, default=str, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            raise ToolError(f"The tool returned a {type(result).__name__}, which cannot be written as text.") from None

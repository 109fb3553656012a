"""What every interpreter is to a model: a tool that takes code, and how its results read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentic.llama import code_result
from agentic.protocols import ToolContext, ToolOutput, ToolPolicy
from agentic.types.content import File, FileLike, Part, Text
from agentic.types.errors import ConfigError, InvalidInput, ToolError
from agentic.types.tools import ToolDef

from .limits import Limits
from .result import Result

_DESCRIPTION = """Runs Python code in a sandbox and returns what it prints, the last expression's value, and its \
matplotlib figures. Variables stay for the next call. Files are read from and written to the current folder."""
_PARAMETERS = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}


class InterpreterTool(ABC):
    """The tool `code_interpreter`, whatever runs the code.

    Args:
        limits: What a session may use.
        files: Files that each session finds in its folder.
        seconds: What a call may take besides its own time.
        rules: What the model must know besides.
    """

    def __init__(self, limits: Limits, files: Sequence[FileLike], seconds: float, rules: str) -> None:
        self.limits = limits
        self.policy = ToolPolicy(timeout=limits.timeout + limits.grace + seconds, parallel=False)
        self.definition = ToolDef("code_interpreter", f"{_DESCRIPTION} {rules}".strip(), _PARAMETERS)
        self._files = read(files)

    @abstractmethod
    async def run(self, code: str, *, session: str = "", files: Sequence[FileLike] = ()) -> Result:
        """Runs code in a session; the first call of a name begins one.

        Args:
            code: Python.
            session: Its name.
            files: Files that it needs: paths, or names with bytes; each is put into the session's folder once.
        """

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Runs a model's code in the session that the context names, with the files that its user attached."""
        code = arguments.get("code")
        if not isinstance(code, str) or set(arguments) != {"code"}:
            raise ToolError("The arguments do not fit: there is one, `code`, a string.")
        return _as_output(await self.run(code, session=f"agent {context.session_id}", files=context.attachments))


def read(files: Sequence[FileLike]) -> tuple[File, ...]:
    """Files from what a caller passed for them.

    Raises:
        ConfigError: It is no list.
        InvalidInput: One cannot be read.
    """
    if isinstance(files, str | bytes | Path | File | Mapping):
        raise ConfigError("files is a list.", hint="Of paths, or of names with bytes: [('sales.csv', b'…')].")
    return tuple(map(File.of, files))


def limits_of(timeout: float, given: Mapping[str, Any]) -> Limits:
    """The limits that a constructor was given.

    Raises:
        ConfigError: One is unknown or impossible.
    """
    try:
        return Limits(timeout=timeout, **given)
    except TypeError:
        known = ", ".join(Limits.__dataclass_fields__)
        raise ConfigError(f"There is an unknown limit among {sorted(given)}.", hint=f"Known: {known}.") from None


def check_code(code: object) -> None:
    """Refuses what is no code.

    Raises:
        InvalidInput: It is no text, or far too long.
    """
    if not isinstance(code, str):
        raise InvalidInput(f"code is text, not {type(code).__name__}.")
    if len(code) > 1 << 20:
        raise InvalidInput("code is longer than a million characters.")


def _as_output(result: Result) -> ToolOutput:
    """A result in the form that Llama models were trained to read, with the figures and files after it."""
    stdout = "\n".join(part for part in (result.stdout.rstrip("\n"), result.value) if part)
    stderr = "\n".join(part for part in (result.stderr.rstrip("\n"), result.error, *result.notes) if part)
    text = code_result("completed" if result.status == "completed" else "failed", stdout, stderr)
    metadata = {"status": result.status, "isolation": result.isolation}
    if not result.images and not result.files:
        return ToolOutput(text, metadata)
    text += "\nFiles written:\n" if result.files else ""
    parts: tuple[Part, ...] = (Text(text), *result.files, *result.images)
    return ToolOutput(parts, metadata)

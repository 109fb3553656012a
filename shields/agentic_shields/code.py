"""Model-written Python, looked at before it runs, with bandit's rules. Needs the extra `code-shield`.

Rules find what is known to be dangerous when it is written plainly; code can always be written so that they do not.
What code may really do is for the sandbox that it runs in to say.
"""

from __future__ import annotations

import functools
import io
import json
import threading
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from agentic.shield import to_judge
from agentic.threads import run_in_thread
from agentic.types import AssistantMessage, ConfigError, InvalidInput, Message, SafetyViolation, Touchpoint, Verdict
from agentic.types.errors import describe
from agentic.types.steps import OnError
from agentic.types.tools import ToolCall

Severity: TypeAlias = Literal["low", "medium", "high"]
_LEVELS: tuple[Severity, ...] = ("low", "medium", "high")

LONGEST = 200_000
"""Characters of code that are looked at; what is longer is not judged, so it follows `on_error`."""

# One snippet for each rule without which this shield would be worth nothing, and one that must pass.
_SELF_TEST = {
    "B307": "eval(input())",
    "B102": "exec(data)",
    "B602": "import subprocess\nsubprocess.run(command, shell=True)",
    "B605": "import os\nos.system(command)",
    "B301": "import pickle\npickle.loads(data)",
    "": "total = sum(range(10))\nprint(total)",
}
_OWN_LEVELS: Mapping[str, Severity] = {
    **dict.fromkeys(("B102", "B301", "B302", "B307", "B602", "B605"), "high"),
    "B324": "low",
}
"""Where bandit, made for code that people wrote, judges otherwise: to it a shell with a fixed command seems safe, and
MD5 a flaw wherever it is used."""


@dataclass(frozen=True, slots=True)
class Issue:
    """What a rule found.

    Attributes:
        rule: Bandit's id, such as `B602`.
        severity: `low`, `medium` or `high`.
        line: Counted from 1.
        text: What is wrong.
    """

    rule: str
    severity: Severity
    line: int
    text: str


class CodeShield:
    """Looks at the Python in a model's calls of tools.

    Args:
        action: `block` ends the turn; `warn` only records it.
        severity: The least severity that counts: `low`, `medium` or `high`.
        arguments: Names of arguments that hold code, however deep they stand in others.
        tools: Tools that are looked at; None is every tool that is given such an argument.
        allow: Bandit's ids of rules that do not count, such as `B301`.
        on_error: What becomes of code that cannot be judged. Code with a syntax error passes with a note.
        shield_id: Its id.

    Raises:
        ConfigError: An option makes no sense, bandit is missing, or it does not find what it must.
    """

    touchpoints = frozenset({Touchpoint.TOOL_CALL})

    def __init__(
        self,
        action: Literal["block", "warn"] = "block",
        *,
        severity: Severity = "high",
        arguments: Collection[str] = ("code",),
        tools: Iterable[str] | None = None,
        allow: Iterable[str] = (),
        on_error: OnError = "block",
        shield_id: str = "code_shield",
    ) -> None:
        if action not in ("block", "warn") or severity not in _LEVELS or on_error not in get_args(OnError):
            raise ConfigError("action is block or warn, severity low, medium or high, on_error block or allow.")
        if isinstance(arguments, str) or isinstance(tools, str) or isinstance(allow, str):
            raise ConfigError("arguments, tools and allow are lists.")
        self.shield_id = shield_id
        self.on_error: OnError = on_error
        self._action = action
        self._counts = frozenset(_LEVELS[_LEVELS.index(severity) :])
        self._arguments = frozenset(arguments)
        self._tools = None if tools is None else frozenset(tools)
        self._allowed = frozenset(allow)
        self._bandit = _Bandit()

    def __repr__(self) -> str:
        return f"CodeShield({self._action!r})"

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the code in the calls of the last message.

        Raises:
            InvalidInput: There is none, or it is too long, or nested too deeply to be read.
        """
        last = to_judge(messages)[-1]
        calls = last.tool_calls if isinstance(last, AssistantMessage) else ()
        codes = [code for call in calls for code in self._codes(call)]
        if not codes:
            return Verdict(self.shield_id)
        found: list[Issue] = []
        notes: list[str] = []
        for code in codes:
            issues, note = await run_in_thread(functools.partial(self._bandit.issues, code), "agentic-code-shield")
            found += issues
            notes += [note] if note else []
        raw = json.dumps({"issues": [asdict(issue) for issue in found[:50]], "notes": notes})
        counting = [one for one in found if one.severity in self._counts and one.rule not in self._allowed]
        if not counting:
            return Verdict(self.shield_id, raw=raw, model="bandit")
        rules = sorted({issue.rule for issue in counting})
        metadata = {"violation_type": "insecure_code", "rules": rules}
        text = f"I did not run this code, because it is not safe: {counting[0].text}"
        level: Literal["error", "warn"] = "error" if self._action == "block" else "warn"
        return Verdict(self.shield_id, SafetyViolation(text, metadata, level), raw=raw, model="bandit")

    def _codes(self, call: ToolCall) -> Iterable[str]:
        if self._tools is not None and call.name not in self._tools:
            return
        for code in _under(self._arguments, call.arguments):
            if len(code) > LONGEST:
                raise InvalidInput(f"The code has {len(code):,} characters; at most {LONGEST:,} are looked at.")
            yield code


def _under(names: Collection[str], value: Any, *, inside: bool = False) -> Iterator[str]:
    """The texts under some names, however deep they stand."""
    match value:
        case str() if inside and value.strip():
            yield value
        case Mapping():
            for name, item in value.items():
                yield from _under(names, item, inside=inside or name in names)
        case list() | tuple():
            for item in value:
                yield from _under(names, item, inside=inside)


def shield(_: str) -> CodeShield:
    """The entry point of `code_shield`."""
    return CodeShield()


class _Bandit:
    """Bandit's rules, tested when they are loaded: a shield that finds nothing would be a door that stands open."""

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of bandit's way to find its plugins
                from bandit.core import config, meta_ast, metrics, node_visitor, test_set
        except ImportError as error:
            raise ConfigError(
                f"The code shield needs bandit: {error}.", hint="Install it: pip install 'agentic[code-shield]'."
            ) from error
        self._visitor = node_visitor.BanditNodeVisitor
        self._meta, self._metrics = meta_ast.BanditMetaAst, metrics.Metrics
        self._rules = test_set.BanditTestSet(config.BanditConfig())
        self._lock = threading.Lock()  # a rule set is no business of two threads at a time
        for rule, code in _SELF_TEST.items():
            found = {issue.rule for issue in self.issues(code)[0]}
            if found - {"B404", "B403"} != ({rule} if rule else set()):
                said = ", ".join(sorted(found)) or "nothing"
                raise ConfigError(
                    f"Bandit fails the code shield's self-test: of {code!r} it says {said}.",
                    hint="Install the version that is tested: pip install 'agentic[code-shield]'.",
                )

    def issues(self, code: str) -> tuple[list[Issue], str]:
        """What the rules find, and a note where the code is no Python.

        Raises:
            InvalidInput: It is nested too deeply, or a rule failed on it.
        """
        data = code.encode("utf-8", "replace")
        metrics = self._metrics()
        metrics.begin("./code.py")
        # debug: a rule that fails raises instead of passing over the code; no `# nosec` is obeyed: the model writes it.
        visitor = self._visitor("./code.py", io.BytesIO(data), self._meta(), self._rules, True, {}, metrics)
        try:
            with self._lock:
                visitor.process(data)
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte
            if _too_deep(error):
                raise InvalidInput("The code is nested too deeply to be looked at.") from None
            return [], f"No Python: {describe(error)[:200]}"
        except (RecursionError, MemoryError):
            raise InvalidInput("The code is nested too deeply to be looked at.") from None
        except Exception as error:
            raise InvalidInput(f"The code cannot be looked at: {describe(error)[:200]}") from error
        return [_issue(one.as_dict(with_code=False)) for one in visitor.tester.results], ""


def _too_deep(error: Exception) -> bool:
    return "too many nested" in str(error) or "recursion" in str(error)


def _issue(found: Mapping[str, Any]) -> Issue:
    severity = _OWN_LEVELS.get(found["test_id"], str(found["issue_severity"]).lower())
    level = next((one for one in _LEVELS if one == severity), _LEVELS[0])
    return Issue(found["test_id"], level, int(found["line_number"]), str(found["issue_text"]))

"""Shields from functions, and where in a turn each of an agent's shields looks."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast, overload

from . import plugins
from .protocols import Revealing, Shield
from .threads import run_in_thread
from .types.errors import ConfigError, InvalidInput
from .types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from .types.steps import OnError, SafetyViolation, Touchpoint, Verdict
from .types.tools import ToolResponse

Said: TypeAlias = bool | str | SafetyViolation | Verdict | None
"""What a shield function returns: False or text (what the user is told) objects; True and None do not."""

Judge: TypeAlias = Callable[[Any], Said | Awaitable[Said]]
ShieldLike: TypeAlias = Shield | Judge | str

_MESSAGES = (SystemMessage, UserMessage, AssistantMessage, ToolResponse)
_T = Touchpoint
_OFFERED: Mapping[str, frozenset[Touchpoint]] = {
    "shields": frozenset(_T),
    "input_shields": frozenset({_T.INPUT, _T.RETRIEVAL}),
    "output_shields": frozenset({_T.OUTPUT}),
    "tool_shields": frozenset({_T.TOOL_CALL, _T.TOOL_RESULT, _T.RETRIEVAL}),
}
"""Where a shield of each of an agent's lists can look."""
SHIELD_LISTS = frozenset(_OFFERED)
"""The names of these lists."""
_DEFAULT: Mapping[str, frozenset[Touchpoint]] = {
    "shields": frozenset({_T.INPUT, _T.OUTPUT}),
    "input_shields": frozenset({_T.INPUT}),
    "output_shields": frozenset({_T.OUTPUT}),
    "tool_shields": frozenset({_T.TOOL_CALL, _T.TOOL_RESULT}),
}
"""Where it looks when it does not say itself."""


class FunctionShield:
    """A function as a shield; calling it calls the function.

    Args:
        function: Sync (then it runs in a thread) or async. A parameter called `messages`, or annotated as a sequence,
            gets the conversation, what is to be judged last; any other gets the text to be judged. Calls of tools are
            not text: their shields take `messages`.
        shield_id: Its id; None is the function's name.
        touchpoints: Where it can look; None leaves that to the agent's list.
        on_error: What becomes of content when it raises.

    Raises:
        ConfigError: The function does not take exactly one argument.
    """

    def __init__(
        self,
        function: Judge,
        *,
        shield_id: str | None = None,
        touchpoints: Sequence[Touchpoint] | frozenset[Touchpoint] | None = None,
        on_error: OnError = "block",
    ) -> None:
        self.shield_id: str = shield_id or str(getattr(function, "__name__", type(function).__name__))
        self.touchpoints = None if touchpoints is None else frozenset(touchpoints)
        self.on_error: OnError = on_error
        self._function = function
        self._takes_messages = _takes_messages(function, self.shield_id)

    def __repr__(self) -> str:
        return f"FunctionShield({self.shield_id!r})"

    def __call__(self, judged: Any) -> Said | Awaitable[Said]:
        """Calls the function itself."""
        return self._function(judged)

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Asks the function.

        Raises:
            InvalidInput: There is no message.
            TypeError: It returned something that is no verdict.
        """
        messages = to_judge(messages)
        judged: Any = list(messages) if self._takes_messages else _said(messages[-1])
        if inspect.iscoroutinefunction(self._function):
            said = await self._function(judged)
        else:
            said = await run_in_thread(lambda: self._function(judged), "agentic-shield")
            if inspect.isawaitable(said):
                said = await said
        match said:
            case Verdict():
                return replace(said, shield_id=self.shield_id)
            case SafetyViolation():
                return Verdict(self.shield_id, said)
            case None | True:
                return Verdict(self.shield_id)
            case False:
                return Verdict(self.shield_id, SafetyViolation())
            case str():
                return Verdict(self.shield_id, SafetyViolation(said) if said else None)
        raise TypeError(f"A shield returns a bool, a text, a SafetyViolation or a Verdict, not {type(said).__name__}.")


@overload
def shield(function: Judge, /) -> FunctionShield: ...
@overload
def shield(
    *,
    shield_id: str | None = None,
    touchpoints: Sequence[Touchpoint] | None = None,
    on_error: OnError = "block",
) -> Callable[[Judge], FunctionShield]: ...
def shield(function: Judge | None = None, /, **options: Any) -> FunctionShield | Callable[[Judge], FunctionShield]:
    """Makes a shield of a function: `@shield`, or `@shield(touchpoints=[Touchpoint.TOOL_RESULT])`.

    Args:
        function: See `FunctionShield`.
        options: Those of `FunctionShield`.
    """
    if function is None:
        return lambda given: FunctionShield(given, **options)
    return FunctionShield(function)


def to_judge(messages: Any) -> Sequence[Message]:
    """What a shield is asked to judge: messages, or what stands for them when a shield is used alone.

    Args:
        messages: Messages, dicts as other libraries have them, and texts of a user; one alone is a conversation, too.

    Raises:
        InvalidInput: There is none, or it is something else.
    """
    given: Any = [messages] if isinstance(messages, (str, Mapping, *_MESSAGES)) else messages
    if not isinstance(given, Sequence) or not given:
        raise InvalidInput("There is no message to judge: a shield judges the last of a list.")
    if isinstance(given[-1], _MESSAGES):
        return cast(Sequence[Message], given)
    from .llama.intake import message_of

    return [UserMessage(one) if isinstance(one, str) else message_of(one) for one in given]


def as_shield(given: ShieldLike) -> Shield:
    """A shield from its id, from a function, or as it is.

    Raises:
        ConfigError: There is no shield of that id, or it is nothing of the kind.
    """
    if isinstance(given, str):
        return cast(Shield, plugins.load("shields", given)(given))
    if isinstance(given, Shield):
        return given
    if not inspect.isclass(given) and callable(given):
        return FunctionShield(given)
    raise ConfigError(f"{given!r} is no shield.", hint="A shield has a shield_id and an async check(messages).")


def placed(lists: Mapping[str, Sequence[ShieldLike]]) -> dict[Touchpoint, tuple[Shield, ...]]:
    """Where each shield looks.

    Args:
        lists: An agent's `shields`, `input_shields`, `output_shields` and `tool_shields`, by these names.

    Raises:
        ConfigError: A shield cannot look where its list puts it, or two shields of one id look at the same place (of
            those that mask values, each needs an id of its own: the log keeps the values by it).
    """
    found: dict[Touchpoint, list[Shield]] = {}
    made: dict[str | int, Shield] = {}
    for name, given in lists.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ConfigError(f"{name} is a list of shields, not {given!r}.")
        for one in given:
            key = one if isinstance(one, str) else id(one)
            each = made[key] = made.get(key) or as_shield(one)
            for touchpoint in _places(each, name):
                there = found.setdefault(touchpoint, [])
                if any(other is each for other in there):
                    continue
                if _clash(each, touchpoint, found):
                    raise ConfigError(f"Two shields are called {each.shield_id!r}.", hint="Give one another shield_id.")
                there.append(each)
    return {touchpoint: tuple(there) for touchpoint, there in found.items()}


def _clash(each: Shield, touchpoint: Touchpoint, found: Mapping[Touchpoint, Sequence[Shield]]) -> bool:
    """Whether verdicts or masked values of another shield could be taken for this one's."""
    return any(
        other is not each
        and other.shield_id == each.shield_id
        and (place == touchpoint or isinstance(each, Revealing) or isinstance(other, Revealing))
        for place, there in found.items()
        for other in there
    )


def _places(each: Shield, name: str) -> frozenset[Touchpoint]:
    own: frozenset[Touchpoint] | None = getattr(each, "touchpoints", None)
    if own is None:
        return _DEFAULT[name]
    if not (places := frozenset(own) & _OFFERED[name]):
        looks = ", ".join(sorted(own)) or "nothing"
        raise ConfigError(f"The shield {each.shield_id!r} looks at {looks}, so it cannot be one of {name}.")
    return places


def _said(message: Message) -> str:
    """A message's text, and the text that came with it."""
    context = message.context if isinstance(message, UserMessage) else None
    return "\n\n".join(filter(None, (message.text, context)))


def _takes_messages(function: Judge, name: str) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [one for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    if len(needed) != 1 or needed[0].kind is needed[0].KEYWORD_ONLY:
        raise ConfigError(f"The shield function {name} must take one argument: the text, or the messages.")
    annotation = needed[0].annotation
    written = annotation if isinstance(annotation, str) else str(annotation)
    return needed[0].name == "messages" or "Message" in written

"""How a model picks its next token, and what a provider is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .errors import InvalidInput
from .messages import AssistantMessage, Message
from .tools import ToolChoice, ToolDef

_LEFT_OUT: Any = None


def whole(value: object) -> bool:
    """Whether a setting, which may be anything, is a whole number of at least 1."""
    return isinstance(value, int) and value >= 1


def positive(value: object, most: float = sys.float_info.max) -> bool:
    """Whether a setting, which may be anything, is a number above 0 and no larger than `most`."""
    return isinstance(value, int | float) and 0 < value <= most


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Sampling parameters, as Llama Stack names them.

    Attributes:
        strategy: `greedy` takes the likeliest token; `top_p` and `top_k` draw from the likeliest ones. Left out, it is
            what the next three ask for: `greedy` without any of them or at the temperature 0, `top_k` where that is
            given, otherwise `top_p`.
        temperature: For `top_p` and `top_k`; above 0. Default 1.0.
        top_p: For `top_p`: the probability mass drawn from, in (0, 1]. Default 0.95.
        top_k: For `top_k`: how many tokens are drawn from, at least 1. Default 40.
        max_tokens: The longest answer in tokens; None leaves it to the server.
        stop: Strings that end the answer; they are not part of it.
        seed: For repeatable draws where the server honours it.
        repetition_penalty: Above 0; 1.0 is none.

    Raises:
        InvalidInput: A value is out of its range.
    """

    strategy: Literal["greedy", "top_p", "top_k"] = _LEFT_OUT
    temperature: float = _LEFT_OUT
    top_p: float = _LEFT_OUT
    top_k: int = _LEFT_OUT
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        given = {name for name in ("temperature", "top_p", "top_k") if getattr(self, name) is not None}
        asked_for = "greedy" if not given or self.temperature == 0 else "top_k" if "top_k" in given else "top_p"
        for name, default in (("strategy", asked_for), ("temperature", 1.0), ("top_p", 0.95), ("top_k", 40)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.strategy not in ("greedy", "top_p", "top_k"):
            raise InvalidInput(f"strategy must be greedy, top_p or top_k, not {self.strategy!r}.")
        if self.strategy != "greedy" and not positive(self.temperature, 10):
            raise InvalidInput(f"temperature must be a number above 0 and at most 10, not {self.temperature!r}.")
        if not positive(self.top_p, 1):
            raise InvalidInput(f"top_p must be a number above 0 and at most 1, not {self.top_p!r}.")
        if not whole(self.top_k):
            raise InvalidInput(f"top_k must be a whole number, at least 1, not {self.top_k!r}.")
        if self.max_tokens is not None and not whole(self.max_tokens):
            raise InvalidInput(f"max_tokens must be a whole number, at least 1, not {self.max_tokens!r}.")
        if self.seed is not None and not isinstance(self.seed, int):
            raise InvalidInput(f"seed must be a whole number, not {self.seed!r}.")
        if not positive(self.repetition_penalty, 10):
            raise InvalidInput(
                f"repetition_penalty must be a number above 0 and at most 10, not {self.repetition_penalty!r}."
            )
        stop: object = self.stop
        if not isinstance(stop, list | tuple) or not all(isinstance(one, str) for one in stop):
            raise InvalidInput(f"stop is a sequence of strings, not {stop!r}.")
        object.__setattr__(self, "stop", tuple(stop))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one inference took; 0 where the server did not say, or not in whole numbers."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            count = getattr(self, name)
            if type(count) is not int or count < 0:
                object.__setattr__(self, name, 0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)

    @property
    def total(self) -> int:
        """Both together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """What a provider is asked for.

    Attributes:
        messages: The conversation so far; a system message, if any, comes first.
        tools: The tools the model may call.
        tool_choice: Whether it may, must or must not call one.
        sampling: How tokens are drawn.
        response_format: A JSON schema that the answer's text must satisfy, or None.
        logprobs: Of how many of the likeliest tokens at each place the log-probabilities are wanted, at most 20; 0 is
            none. A provider whose server does not tell them leaves them out.
    """

    messages: Sequence[Message]
    tools: Sequence[ToolDef] = ()
    tool_choice: ToolChoice = "auto"
    sampling: SamplingParams = SamplingParams()
    response_format: Mapping[str, Any] | None = None
    logprobs: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call that a model is writing; the finished call comes with the `Completion`.

    Attributes:
        index: Which call of the message, from 0.
        name: The tool's name, in the call's first piece only.
        arguments: The next piece of the arguments' text.
    """

    index: int
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a generation: the whole message.

    Attributes:
        message: The assistant's message; its content is what the text deltas concatenate to.
        usage: Tokens taken.
        raw: The generated text with special tokens, where the provider saw it.
        logprobs: For each generated token, the log-probabilities of the likeliest ones, where the server was asked for
            them (by the request, or a provider's `extra`) and says them.
    """

    message: AssistantMessage
    usage: Usage = Usage()
    raw: str | None = None
    logprobs: tuple[Mapping[str, float], ...] = ()

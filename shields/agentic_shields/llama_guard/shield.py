"""Llama Guard 3 as a shield."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from agentic.config import current_config
from agentic.inference import Retries, connect, generate
from agentic.protocols import Inference
from agentic.shield import to_judge
from agentic.types import (
    AssistantMessage,
    Completion,
    ConfigError,
    InferenceRequest,
    InvalidInput,
    Message,
    SafetyViolation,
    SamplingParams,
    StopReason,
    SystemMessage,
    Touchpoint,
    Verdict,
)
from agentic.types.content import images_of
from agentic.types.errors import describe
from agentic.types.steps import OnError

from .categories import CATEGORIES as _STANDARD
from .categories import KNOWN, Category, Size, chosen, size_of
from .prompt import chat, conversation, raw
from .verdict import probability, read

Mode: TypeAlias = Literal["chat", "raw"]

_LONGEST = 100
"""Tokens of an answer: `unsafe` and all codes take about sixty."""


class LlamaGuard:
    """Llama Guard 3 (8B, 1B or 11B-Vision) behind any provider.

    ```python
    verdict = await LlamaGuard("ollama/llama-guard3:1b").check([UserMessage("How do I pick a lock?")])
    ```

    Args:
        model: A model string, or any `Inference`. Default: `AGENTIC_GUARD_MODEL`.
        mode: `chat` sends the conversation to the provider's chat route, whose template asks the question; `raw` writes
            the whole prompt with our own encoder. Default: `raw` for `raw/…` models and where custom categories are
            given (`ollama/…` and `openai/…` are then asked by their completion routes), otherwise `chat`.
        size: Which of the three it is; None reads it from the model's name.
        categories: The codes that count, such as `["S1", "S9"]`; None is all that the size knows. In a raw prompt only
            these are listed; on a chat route the others are let through, and recorded.
        custom: Categories and policies of your own. One with a known code takes that one's place.
        window: How many messages the guard sees, the judged one included.
        threshold: With log-probabilities, from how likely an `unsafe` on content counts as unsafe; in (0, 1). The
            server must give them: `openai/…`, and `raw/…` on a `/v1/completions` route. None takes the guard's word.
        timeout: Seconds for one answer, a repeat included.
        on_error: What becomes of content that the guard did not judge (unreachable, too slow, unreadable answer).
        refusal: What the user is told.
        endpoint: The server, instead of the provider's environment variable.
        api_key: Its key, likewise.
        options: What else the model's provider takes.
        shield_id: Its id, unique within an agent.
        touchpoints: Where it looks; None leaves that to the agent.

    Raises:
        ConfigError: No model is named, the size does not know a category, or the mode does not fit.
    """

    def __init__(
        self,
        model: str | Inference | None = None,
        *,
        mode: Mode | None = None,
        size: Size | None = None,
        categories: Sequence[str] | None = None,
        custom: Sequence[Category] = (),
        window: int = 6,
        threshold: float | None = None,
        timeout: float = 30.0,
        on_error: OnError = "block",
        refusal: str = SafetyViolation().user_message,
        endpoint: str | None = None,
        api_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        shield_id: str = "llama_guard",
        touchpoints: Sequence[Touchpoint] | None = None,
    ) -> None:
        named = model or os.environ.get("AGENTIC_GUARD_MODEL")
        if named is None:
            raise ConfigError(
                "No guard model is named.", hint="Pass one, or set AGENTIC_GUARD_MODEL=ollama/llama-guard3:1b."
            )
        if window < 1 or timeout <= 0 or not (threshold is None or 0 < threshold < 1):
            raise ConfigError("A guard needs a window of at least 1, a time-out above 0 and a threshold in (0, 1).")
        if mode not in (None, *get_args(Mode)) or size not in (None, *KNOWN) or on_error not in get_args(OnError):
            raise ConfigError(f"mode is chat or raw, size {', '.join(KNOWN)}, on_error block or allow.")
        name = named if isinstance(named, str) else named.model
        self.shield_id = shield_id
        self.touchpoints = None if touchpoints is None else frozenset(touchpoints)
        self.on_error: OnError = on_error
        self.size: Size = size or size_of(name)
        self.mode: Mode = mode or ("raw" if custom or name.startswith("raw/") else "chat")
        if self.mode == "chat" and custom:
            raise ConfigError("A chat route's template has its own categories.", hint='Use mode="raw".')
        given = None if categories is None else tuple(categories)
        self.categories: Mapping[str, Category] = chosen(self.size, given, tuple(custom))
        self._listed = given is not None
        self._window = window
        self._threshold = threshold
        self._timeout = timeout
        self._refusal = refusal
        if isinstance(named, str):
            self._inference = self._connect(named, endpoint, api_key, dict(options or {}))
        else:
            self._inference = named

    def __repr__(self) -> str:
        return f"LlamaGuard({self._inference.model!r}, size={self.size!r}, mode={self.mode!r})"

    @property
    def model(self) -> str:
        """The guard's model string."""
        return self._inference.model

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the last message, in the light of those before it.

        Raises:
            InvalidInput: There is no message of a user, a tool or a model.
        """
        started = time.monotonic()
        verdict = await self._check(to_judge(messages))
        return replace(verdict, latency=time.monotonic() - started)

    async def aclose(self) -> None:
        """Closes the guard's connections."""
        await self._inference.aclose()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _check(self, messages: Sequence[Message]) -> Verdict:
        if all(isinstance(message, SystemMessage) for message in messages):
            raise InvalidInput("There is no message that a guard could judge.")
        sees = self.size == "11B-Vision"
        if images_of(messages[-1].content) and not sees:
            return self._failed(f"Llama Guard 3 {self.size} sees no images; the 11B-Vision model does.")
        spoken = conversation(messages, self._window, sees=sees)
        asked = [raw(spoken, self.categories.values())] if self.mode == "raw" else chat(spoken)
        prompt = ""
        try:
            async with asyncio.timeout(self._timeout):
                request = InferenceRequest(messages=asked, sampling=SamplingParams(max_tokens=_LONGEST))
                prepared = await self._inference.prepare(request)
                prompt = prepared.prompt
                patience = Retries(limit=1, first_token=self._timeout, gap=self._timeout)
                answer = Completion(AssistantMessage())
                async with aclosing(generate(self._inference, prepared, patience)) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, Completion):
                            answer = delta
        except TimeoutError:
            return self._failed(f"{self.model} gave no verdict within {self._timeout:g} s.", prompt=prompt)
        except Exception as error:
            return self._failed(describe(error), prompt=prompt)
        return self._judge(answer, prompt)

    def _judge(self, answer: Completion, prompt: str) -> Verdict:
        text = answer.message.content
        reading, likely = read(text), None
        safe = reading.safe
        if self._threshold is not None:
            if (likely := probability(answer.logprobs)) is None:
                return self._failed("The server gave no log-probabilities for the threshold.", raw=text, prompt=prompt)
            safe = likely < self._threshold
        if safe is None:
            shown = text.strip()[:80] or "nothing"
            return self._failed(f"{self.model} answered neither safe nor unsafe: {shown}", raw=text, prompt=prompt)
        if safe and answer.message.stop_reason is StopReason.OUT_OF_TOKENS:
            return self._failed(f"{self.model}'s answer was cut off.", raw=text, prompt=prompt)
        violation = None if safe and reading.safe else self._violation(reading.codes, likely, passes=safe)
        return Verdict(self.shield_id, violation, text, self.model, prompt)

    def _violation(self, codes: tuple[str, ...], likely: float | None, *, passes: bool) -> SafetyViolation:
        """An objection; one that is below the threshold, or under none of the chosen categories, is only recorded."""
        counted = [code for code in codes if code in self.categories]
        left_out = bool(codes) and all(code in _STANDARD and code not in self.categories for code in codes)
        passes = passes or (self._listed and left_out)
        first = (counted or list(codes) or ["unsafe"])[0]
        metadata: dict[str, Any] = {
            "violation_type": first,
            "category": self._name(first),
            "categories": {code: self._name(code) for code in codes},
        }
        if likely is not None:
            metadata["probability"] = likely
        return SafetyViolation(self._refusal, metadata, "info" if passes else "error")

    def _name(self, code: str) -> str:
        category = self.categories.get(code) or _STANDARD.get(code)
        return category.name if category else "Unknown"

    def _failed(self, error: str, *, raw: str = "", prompt: str = "") -> Verdict:
        return Verdict.failed(self.shield_id, error, self.on_error, raw=raw, model=self.model, prompt=prompt)

    def _connect(self, model: str, endpoint: str | None, api_key: str | None, options: dict[str, Any]) -> Inference:
        provider, _, name = model.partition("/")
        if self._threshold is not None:
            asked = {"logprobs": 5} if self.mode == "raw" else {"logprobs": True, "top_logprobs": 5}
            options["extra"] = {**options.get("extra", {}), **asked}
        if self.mode == "chat":
            return connect(model, endpoint=endpoint, api_key=api_key, **options)
        if provider in ("ollama", "openai"):
            endpoint = _completion_route(provider, endpoint)
        elif provider != "raw":
            raise ConfigError(f"The provider {provider!r} has no raw route.", hint='Use raw/…, or mode="chat".')
        family = "llama3.2-vision" if self.size == "11B-Vision" else "llama3.2"
        options = {"family": family, "date_lines": False, **options}
        return connect(f"raw/{name}", endpoint=endpoint, api_key=api_key, **options)


def _completion_route(provider: str, endpoint: str | None) -> str | None:
    """The text-completion route of a chat provider's server; None leaves it to `RAW_BASE_URL`."""
    if provider == "openai":
        return endpoint or os.environ.get("OPENAI_BASE_URL")
    from agentic.inference.ollama import host_url

    return f"{host_url(endpoint or os.environ.get('OLLAMA_HOST') or '')}/api/generate"


def llama_guard(shield_id: str) -> LlamaGuard:
    """The guard behind an id: `llama_guard`, or `llama_guard::ollama/llama-guard3:1b` with its model.

    A model of `run.yaml` goes by its name there (`llama_guard::guard`), with its endpoint, key and options.
    """
    named = shield_id.partition("::")[2] or os.environ.get("AGENTIC_GUARD_MODEL")
    given = current_config().models.get(named) if named else None
    if given is None:
        return LlamaGuard(named, shield_id=shield_id)
    return LlamaGuard(
        given.model, endpoint=given.endpoint, api_key=given.api_key, options=given.options, shield_id=shield_id
    )

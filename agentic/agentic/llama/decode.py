"""Decodes what a Llama model wrote into text and tool calls, whole or as it streams.

`parse(text)` is a `StreamParser` that is fed once; how the text is cut never changes the message.

The stop reason is the first stop token's (`<|eot_id|>`, `<|eom_id|>`, `<|end_of_text|>`, Llama 4's `<|eot|>` and
`<|eom|>`); without one it is what the caller says; without that it is `end_of_turn`, or `out_of_tokens` when the text
ends inside a call. Text after the first stop token is ignored.

When the model was cut off nothing is mended and nothing may run: complete calls carry an `error`, and an incomplete
call is not returned but told of in `notes`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from ..types.errors import InvalidInput
from ..types.messages import AssistantMessage, StopReason
from . import special
from .calls import Toolbox
from .intake import ToolLike
from .machine import Delta, Machine

Mode = Literal["lenient", "strict"]

_STOPS: Final = {
    special.EOT: StopReason.END_OF_TURN,
    special.END_OF_TEXT: StopReason.END_OF_TURN,
    special.EOT_4: StopReason.END_OF_TURN,
    special.EOM: StopReason.END_OF_MESSAGE,
    special.EOM_4: StopReason.END_OF_MESSAGE,
}
_TAGS: Final = frozenset({special.PYTHON_TAG, special.PYTHON_START})
_HEADER_ENDS: Final = {special.START_HEADER: special.END_HEADER, "<|header_start|>": "<|header_end|>"}
_TOKENS: Final = (*_STOPS, *_TAGS, *_HEADER_ENDS, special.PYTHON_END, special.BEGIN_OF_TEXT)
_TOKEN: Final = re.compile("|".join(map(re.escape, _TOKENS)))
_LONGEST: Final = max(map(len, _TOKENS))


def parse(
    text: str,
    *,
    tools: Sequence[ToolLike] | None = None,
    stop_reason: StopReason | str | None = None,
    mode: Mode = "lenient",
) -> AssistantMessage:
    """Decodes a whole reply.

    Args:
        text: What the model generated, with special tokens if the server gives them.
        tools: What was offered: definitions, mappings with `name` and `parameters`, or names. None says that the
            tools are unknown: then every well-formed call counts and has `known=True`; with an empty list the same
            calls are found with `known=False`. Names that were not offered are returned with `known=False`.
        stop_reason: Why the model stopped, when the text does not say.
        mode: `lenient` mends what has only one reading and says so in each call's `repaired`; `strict` mends
            nothing.

    Returns:
        The message: its text, its calls in order (`call_0`, `call_1`, …), the stop reason, and notes.

    Raises:
        InvalidInput: An argument is of the wrong kind.
        CodecError: In strict mode, when text after `<|python_tag|>` is neither a call nor can be code.
    """
    parser = StreamParser(tools=tools, mode=mode)
    parser.feed(text)
    return parser.finish(stop_reason)


class StreamParser:
    """Decodes a reply as it arrives.

    `feed` returns what became certain: `str` for text (together they are the message's content) and `ToolCallDelta`
    for calls. A call's first delta names it; its arguments follow as one piece of JSON, or for the code interpreter
    as pieces of code. A call that was announced may yet prove to be text: only the message that `finish` returns
    says what may run.

    Args:
        tools: As in `parse`.
        mode: As in `parse`.

    Attributes:
        rest: After `finish`: the deltas that only the end brought out.
    """

    def __init__(self, *, tools: Sequence[ToolLike] | None = None, mode: Mode = "lenient") -> None:
        if mode not in ("lenient", "strict"):
            raise InvalidInput(f"mode must be lenient or strict, not {mode!r}.")
        self.rest: list[Delta] = []
        self._machine = Machine(Toolbox(tools), strict=mode == "strict")
        self._held = ""
        self._header_end = ""
        self._stop: StopReason | None = None
        self._message: AssistantMessage | None = None

    def feed(self, chunk: str) -> list[Delta]:
        """Takes the next piece of the reply, of any length.

        Raises:
            InvalidInput: It is no text.
            CodecError: In strict mode, at a stop token.
        """
        if not isinstance(chunk, str):
            raise InvalidInput(f"A reply is fed as text, not as {type(chunk).__name__}.")
        if self._message is not None:
            return []
        if self._held:
            chunk = self._held + chunk
            self._held = ""
        machine = self._machine
        if "<" in chunk or self._header_end:
            self._split(chunk)
        else:
            machine.push(chunk)
        out, machine.out = machine.out, []
        return out

    def finish(self, stop_reason: StopReason | str | None = None) -> AssistantMessage:
        """Ends the reply; called again, it returns the same message.

        Args:
            stop_reason: Why the model stopped; a stop token in the text counts more.

        Raises:
            InvalidInput: There is no such stop reason.
            CodecError: In strict mode, as for `parse`.
        """
        if self._message is None:
            try:
                stop = None if stop_reason is None else StopReason(stop_reason)
            except ValueError:
                known = ", ".join(StopReason)
                raise InvalidInput(f"There is no stop reason {stop_reason!r}: use one of {known}.") from None
            if not self._header_end:
                self._machine.push(self._held)
            self._end(stop)
            self.rest, self._machine.out = self._machine.out, []
        assert self._message is not None  # noqa: S101
        return self._message

    def _end(self, stop: StopReason | None) -> None:
        self._message = self._machine.end(stop)

    def _split(self, text: str) -> None:
        """Takes the special tokens out of a piece of text."""
        pos = 0
        while self._message is None:
            if self._header_end:
                end = text.find(self._header_end, pos)
                if end < 0:
                    self._held = text[max(pos, len(text) - len(self._header_end) + 1) :]
                    return
                pos = end + len(self._header_end)
                self._header_end = ""
                self._machine.drop_blanks = True
            match = _TOKEN.search(text, pos)
            if not match:
                break
            self._machine.push(text[pos : match.start()])
            self._token(match[0])
            pos = match.end()
        else:
            return
        mark = text.rfind("<", max(pos, len(text) - _LONGEST + 1))
        if mark >= 0 and any(token.startswith(text[mark:]) for token in _TOKENS):
            self._held = text[mark:]
            text = text[:mark]
        self._machine.push(text[pos:])

    def _token(self, token: str) -> None:
        machine = self._machine
        if token in _STOPS:
            self._end(_STOPS[token])
        elif token in _TAGS:
            if not machine.tag():
                machine.push(token)
        elif token in _HEADER_ENDS:
            if machine.pristine:
                self._header_end = _HEADER_ENDS[token]
            else:  # the server did not stop the model, which went on with a message of its own
                self._end(None)

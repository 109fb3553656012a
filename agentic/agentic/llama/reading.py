"""One call while it is read: its head, its literal, and the call that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import shapes
from .calls import CALL_KEYS, Toolbox, bound, json_call
from .literals import LiteralReader


@dataclass(slots=True)
class Found:
    """A call that was read; it may yet prove to be text."""

    name: str
    arguments: dict[str, Any]
    mended: list[str]
    raw: str

    def mend(self, phrase: str) -> None:
        """Records a mend, once."""
        if phrase not in self.mended:
            self.mended.append(phrase)


@dataclass(slots=True)
class Run:
    """Calls that follow each other.

    Attributes:
        tagged: They stand after `<|python_tag|>`.
        whole: They count only if the message ends with them.
        fence: They stand in a Markdown fence that is still open.
        live: It is not decided yet; the text goes to `held`.
        held: The text so far, in case it proves to be no call.
        bracket: A list's bracket is open.
        form: The last call's form; `list` for calls in a bracket.
        gap: Blanks and separators since the last call.
        strays: Closing brackets that had no opening one.
    """

    tagged: bool = False
    whole: bool = False
    fence: bool = False
    live: bool = True
    held: list[str] = field(default_factory=list)
    calls: list[Found] = field(default_factory=list)
    bracket: bool = False
    form: str = ""
    gap: list[str] = field(default_factory=list)
    strays: int = 0

    def close_bracket(self) -> None:
        """Mends a list whose closing bracket is missing."""
        if self.bracket:
            self.bracket = False
            self.calls[-1].mend("added the missing closing bracket")


class CallReader:
    """Reads one call.

    Args:
        text: The text there is.
        pos: Where the call begins in it, as a shape of `shapes` found.
        tools: The tools offered.
        strict: Mend nothing.

    Attributes:
        begin: Where the literal begins in `text`: feed from there.
        form: `object`, `tag` or `named`.
        name: The tool's name, as far as the head tells.
        empty: A tag without arguments: there is nothing to feed.
        failed: Why it is no call, or an empty string.
    """

    def __init__(self, text: str, pos: int, tools: Toolbox, *, strict: bool) -> None:
        self.begin = pos
        self.form: str = "object"
        self.name = ""
        self.empty = False
        self.failed = ""
        self._tools = tools
        self._strict = strict
        self._mended: list[str] = []
        if text[pos] != "{":
            self._read_head(text, pos)
        self._parts = [text[pos : self.begin]]
        opener = "(" if self.form == "named" else "{"
        keys = None if self.name else CALL_KEYS
        self._reader = LiteralReader(opener, strict=strict, keys=keys)

    def _read_head(self, text: str, pos: int) -> None:
        head = shapes.TAG.match(text, pos)
        if head:
            self.form = "tag"
            self.empty = not head[3]
            if ">" not in head[2]:
                self._mended.append("added the missing '>' of the function tag")
        else:
            head = shapes.NAMED.match(text, pos)
            if head is None:
                raise AssertionError("A call was announced where none begins.")
            self.form = "named" if head[2] else "tag"
            if not head[2]:
                self._mended.append("added the missing head of the function tag")
        self.name = self._tools.resolve(head[1])
        self.begin = head.end() - 1 if self.form == "named" else head.end()

    def feed(self, text: str, pos: int, final: bool) -> int:
        """Reads on; see `LiteralReader.feed`."""
        end = self._reader.feed(text, pos, final)
        if end > pos:
            self._parts.append(text[pos:end])
        self.failed = self._reader.failed
        return end

    @property
    def done(self) -> bool:
        """Whether the literal is closed."""
        return self._reader.done

    @property
    def raw(self) -> str:
        """The text read so far."""
        return "".join(self._parts)

    @property
    def written_name(self) -> str:
        """The tool's name, even of a call that is not whole; empty when it was not written yet."""
        name = self.name or self._reader.root.pairs.get("name", "")
        return name if isinstance(name, str) else ""

    @property
    def arguments_closed(self) -> bool:
        """Whether at most the outermost brace of an object is missing."""
        return self._reader.arguments_closed

    def close(self) -> bool:
        """Closes what is open at the end of the text; whether that made it whole."""
        return self._reader.close()

    def found(self) -> Found | None:
        """The call that was read, or None when the literal is no call."""
        pairs = self._reader.root.pairs
        call: tuple[str, dict[str, Any], list[str]] | None = None
        if self.empty:
            call = self.name, {}, []
        elif self.form == "named":
            arguments = bound(self.name, self._reader.root, self._tools)
            call = arguments and (self.name, *arguments)
        elif not self._reader.root.items:
            call = json_call(pairs, self._tools)
            if self.name:
                call = call if call and call[0] == self.name else (self.name, pairs, [])
        if call is None or (self._strict and call[2]):
            return None
        name, arguments_found, notes = call
        mended = list(dict.fromkeys([*self._mended, *self._reader.repaired, *notes]))
        return Found(name, arguments_found, mended, self.raw)

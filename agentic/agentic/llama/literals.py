"""Reads one literal piece by piece: JSON and Python in one grammar, with what Llama models really write.

A `LiteralReader` reads `{…}` or the arguments of a call, `(…)`. It never looks back: each character is read once,
however the text is cut into pieces, and what is kept between pieces is a stack of at most `MAX_DEPTH` frames. The value
of a string, number or word is decided by what follows it, so the same text gives the same value for every cut.

Every regular expression here is possessive or of bounded length: none can backtrack.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .shapes import blanks
from .values import CLOSER, NOTHING, NUMBER, Frame, plain, unescape, word

MAX_DEPTH: Final = 64
MAX_MENDS: Final = 1000
_LOOKAHEAD = 64  # blanks after a quote before it counts as closing, whatever follows

_STRING = r"\"[^\"\\]*+(?:\\[\s\S][^\"\\]*+)*+\"|'[^'\\]*+(?:\\[\s\S][^'\\]*+)*+'"
_SCALAR = rf"({_STRING}|-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|True|False|None|true|false|null)"
_FAST_PAIR = re.compile(rf"\s*+({_STRING}|[A-Za-z_][\w-]*+)\s*+[:=]\s*+(?:{_SCALAR}\s*+([,)\]}}])|(?=[\[{{(]))")
_FAST_ITEM = re.compile(rf"\s*+(){_SCALAR}\s*+([,)\]}}])")
_BODY = {q: re.compile(rf"[^{q}\\]*+(?:\\.[^{q}\\]*+)*+", re.DOTALL) for q in "\"'"}
_FEW_BLANKS = re.compile(rf"\s{{0,{_LOOKAHEAD}}}+")
_STRING_OPEN = re.compile(r"([rbufRBUF]{0,2})(\"\"\"|'''|\"|')")
_MAY_OPEN_STRING = re.compile(r"[rbufRBUF]{0,2}(?:\"\"?|''?)?")
_COMMENT_OPEN = re.compile(r"//|#\s")
_RAW_STOP = re.compile(r"[,()\[\]{}\"':=]")
_TAIL = 80
_NEXT_ARGUMENT = re.compile(r",\s{0,4}([A-Za-z_]\w{0,50})\s{0,4}=\s{0,4}\Z")
_OPERATOR = re.compile(r"[(\[{*/+]")
_IDENTIFIER = re.compile(r"[A-Za-z_][\w.-]{0,127}")

# What the reader is in the middle of.
_EXPECT, _STRING_BODY, _RAW, _RAW_STRING, _AFTER, _COMMENT = range(6)


class LiteralReader:
    """Reads one bracketed literal, piece by piece.

    Args:
        opener: `{` reads an object; `(` reads a call's arguments. The text begins with it.
        strict: Refuse whatever would need a mend.
        keys: The keys that the outermost object may have, each once; None allows any.

    Attributes:
        done: The closing bracket was read.
        failed: Why the text is no such literal, or an empty string.
        repaired: What was mended, a phrase each.
        root: The outermost bracket's pairs and items.
    """

    def __init__(self, opener: str, *, strict: bool = False, keys: frozenset[str] | None = None) -> None:
        self.done = False
        self.failed = ""
        self.repaired: list[str] = []
        self.root = Frame(opener, True)
        self._strict = strict
        self._keys = keys
        self._stack: list[Frame] = []
        self._state = _EXPECT
        self._value: Any = NOTHING
        self._parts: list[str] = []
        self._quote = ""
        self._prefix = ""
        self._nested: list[str] = []
        self._strings: list[str] = []  # the value, when strings stand beside each other
        self._source: list[str] = []  # the same as they were written
        self._bracket: list[str] = []  # a bracket that is a value of the outermost one, as it was written
        self._bracket_at = -1  # where that begins in the text of this feed
        self._resume = _EXPECT
        self._assigned = False
        self._mends = 0

    def feed(self, text: str, pos: int, final: bool = False) -> int:
        """Reads on from `text[pos:]`; the first piece begins with the opening bracket.

        Args:
            text: What is there so far of what was not read yet.
            pos: Where to begin in it.
            final: Nothing follows `text`.

        Returns:
            Where it stopped. Unless it is done or failed, what lies behind (a few characters) must come again with
            more text after it.
        """
        if not self._stack and not self.done:
            if pos == len(text):
                return pos
            self._stack.append(self.root)
            pos += 1
        size = len(text)
        if self._bracket_at >= 0:
            self._bracket_at = pos
        while pos < size and not self.done and not self.failed:
            state = self._state
            if state == _EXPECT:
                after = self._expect(text, pos, final)
            elif state == _AFTER:
                after = self._after(text, pos, final)
            elif state == _STRING_BODY:
                after = self._string(text, pos, final)
            elif state == _RAW:
                after = self._raw(text, pos, final)
            elif state == _RAW_STRING:
                after = self._raw_string(text, pos, final)
            else:
                end = text.find("\n", pos)
                after = size if end < 0 else end
                self._state = _COMMENT if end < 0 else self._resume
            if after == pos and self._state == state:
                break
            pos = after
        if self._bracket_at >= 0:
            self._bracket.append(text[self._bracket_at : pos])
        return pos

    def close(self) -> bool:
        """Closes what is still open at the end of the text; whether that made it whole."""
        if self._state == _RAW and not self._nested:
            self._end_raw()
        if self.failed or self._strict or self._state not in (_EXPECT, _AFTER) or not self._stack:
            return False
        self._note("added the missing closing bracket")
        while self._stack and not self.failed:
            self._pop()
        return self.done

    @property
    def arguments_closed(self) -> bool:
        """Whether only the outermost bracket of an object is missing."""
        return len(self._stack) == 1 and self.root.opener == "{" and self._state == _AFTER

    def _note(self, phrase: str) -> None:
        if phrase not in self.repaired and len(self.repaired) < 16:
            self.repaired.append(phrase)

    def _fail(self, why: str, pos: int) -> int:
        self.failed = why
        return pos

    def _mend(self, phrase: str) -> bool:
        """Notes a mend; in strict mode it is a failure instead."""
        self._mends += 1
        if self._strict or self._mends > MAX_MENDS:
            self.failed = f"it would have to be mended ({phrase})" if self._strict else "too much of it is broken"
            return False
        self._note(phrase)
        return True

    # -- between values ---------------------------------------------------------------------------------------------

    def _expect(self, text: str, pos: int, final: bool) -> int:
        """A value, a key or a closing bracket comes next."""
        frame = self._stack[-1]
        if text[pos] in "[](){},":
            return self._open_value(frame, text, pos, final)
        pairs = frame.keyed and frame.key is None
        while match := (_FAST_PAIR if pairs else _FAST_ITEM).match(text, pos):
            key, scalar, mark = match.groups()
            value = scalar and _scalar(scalar)
            if value is NOTHING or mark not in (",", CLOSER[frame.opener], None):
                break
            if pairs:
                key = _scalar(key) if key[0] in "\"'" else key
                if not self._takes(key):
                    break
                frame.key = key
            if mark is None:
                return self._open_value(frame, text, match.end(), final)
            if frame.key is None:
                frame.items.append(value)
            else:
                frame.pairs[frame.key] = value
                frame.key = None
            pos = match.end()
            if mark != ",":
                return self._closer(mark, pos - 1)
            frame.commas += 1
            pairs = frame.keyed
        pos = blanks(text, pos)
        return pos if pos == len(text) else self._open_value(frame, text, pos, final)

    def _open_value(self, frame: Frame, text: str, pos: int, final: bool) -> int:
        char = text[pos]
        if char in "[{(":
            return self._open_bracket(char, pos)
        if char in ")]}":
            return self._closer(char, pos)
        if char == ",":
            if frame.key is not None or not frame.commas:
                if not self._mend("skipped an empty value"):
                    return pos
                frame.key = None
            frame.commas += 1
            return pos + 1
        opened = _STRING_OPEN.match(text, pos)
        if not final and len(text) - pos < 5 and _MAY_OPEN_STRING.fullmatch(text, pos):
            return pos
        if opened:
            self._prefix, self._quote = opened[1].lower(), opened[2]
            if "f" in self._prefix and not self._mend("read an f-string as plain text"):
                return pos
            self._state = _STRING_BODY
            return opened.end()
        if char in "/#" and frame.key is None:
            if not final and pos + 1 == len(text):
                return pos
            if _COMMENT_OPEN.match(text, pos):
                return self._open_comment(_EXPECT, pos)
        self._assigned = False
        self._state = _RAW
        return pos

    def _open_bracket(self, char: str, pos: int) -> int:
        if len(self._stack) >= MAX_DEPTH:
            return self._fail(f"it is nested deeper than {MAX_DEPTH} brackets", pos)
        if len(self._stack) == 1:
            self._bracket, self._bracket_at = [], pos
        self._stack.append(Frame(char, char == "{"))
        return pos + 1

    def _open_comment(self, resume: int, pos: int) -> int:
        if self._mend("skipped a comment"):
            self._resume = resume
            self._state = _COMMENT
        return pos

    def _after(self, text: str, pos: int, final: bool) -> int:
        """A value was read; a comma, a closing bracket or the `:` of a key comes next."""
        if text[pos].isspace():
            pos = self._spaced(text, pos)
            if pos == len(text):
                return pos
        char, frame = text[pos], self._stack[-1]
        if char == ",":
            self._store(frame)
            frame.commas += 1
            self._state = _EXPECT
            return pos + 1
        if char in ")]}":
            return self._closer(char, pos)
        if char in ":=" and frame.keyed and frame.key is None and (self._strings or isinstance(self._value, str)):
            if char == "=" and pos + 1 == len(text) and not final:
                return pos
            arrow = text.startswith("=>", pos)
            if self._set_key(frame, self._take()) and (not arrow or self._mend("read '=>' as '='")):
                frame.hinted = char == ":" and frame.opener == "("
                self._state = _EXPECT
            return pos + 1 + arrow
        if char in "/#":
            if not final and pos + 1 == len(text):
                return pos
            if _COMMENT_OPEN.match(text, pos):
                return self._open_comment(_AFTER, pos)
        if char in "\"'" and self._source:
            self._quote, self._prefix = char, ""
            self._state = _STRING_BODY
            return pos + 1
        return self._goes_on(text, pos, final)

    def _goes_on(self, text: str, pos: int, final: bool) -> int:
        """The value was the beginning of an expression: `"a" + b`, `(1 + 2) / 3`, `(x) => x`."""
        if text[pos] == "=" and pos + 1 == len(text) and not final:
            return pos
        written = self._source
        if not written and self._bracket_at >= 0 and len(self._stack) == 1:
            written = ["".join(self._bracket) + text[self._bracket_at : pos]]
        if not written or (text[pos] in ":=" and not text.startswith("=>", pos)):
            return self._fail(f"{text[pos]!r} follows a value", pos)
        self._take()
        self._parts = written
        self._assigned = True
        self._state = _RAW
        return pos

    def _spaced(self, text: str, pos: int) -> int:
        """Where the blanks after a value end."""
        if self._source and self._source[-1] != " ":
            self._source.append(" ")
        return blanks(text, pos)

    def _takes(self, key: str) -> bool:
        return self._keys is None or len(self._stack) > 1 or (key in self._keys and key not in self.root.pairs)

    def _set_key(self, frame: Frame, key: str) -> bool:
        if not self._takes(key):
            self.failed = f"the key {key[:40]!r} does not belong to a call"
            return False
        frame.key = key
        return True

    def _store(self, frame: Frame) -> None:
        """Puts the value just read into its bracket."""
        value = self._take()
        if frame is self.root:
            self._bracket_at = -1
        if value is NOTHING:
            return
        if frame.key is not None:
            frame.pairs[frame.key] = value
            frame.key = None
        else:
            frame.items.append(value)

    def _take(self) -> Any:
        """The value just read, or `NOTHING`; strings beside each other are one."""
        value, self._value = self._value, NOTHING
        if self._strings:
            value = "".join(self._strings)
            self._strings, self._source = [], []
        return value

    def _closer(self, char: str, pos: int) -> int:
        """A closing bracket; one that does not fit closes what it can (lenient)."""
        if CLOSER[self._stack[-1].opener] != char:
            fits = any(CLOSER[frame.opener] == char for frame in self._stack)
            if not fits and char != "]":
                self._mend(f"ignored a stray {char!r}")
                return pos + 1
            if not self._mend("added a missing closing bracket"):
                return pos
            while self._stack and CLOSER[self._stack[-1].opener] != char:
                self._pop()
            if not self._stack:
                return pos  # the bracket belongs to the list around this call
        self._pop()
        return pos + 1

    def _pop(self) -> None:
        frame = self._stack[-1]
        self._store(frame)
        if frame.key is not None and self._mend(f"left out {frame.key[:40]!r}, which has no value"):
            frame.key = None
        if frame.pairs and frame.items and frame is not self.root:
            self.failed = "it mixes values with and without keys"
        self._stack.pop()
        self._state = _AFTER
        if self._stack:
            self._value = frame.value()
        else:
            self.done = not self.failed

    # -- strings ----------------------------------------------------------------------------------------------------

    def _string(self, text: str, pos: int, final: bool) -> int:
        mark = self._quote
        end = _body_end(mark[0], text, pos)
        if end > pos:
            self._parts.append(text[pos:end])
        if end == len(text) or text[end] == "\\":
            return end
        if len(mark) == 3:
            if len(text) - end < 3 and not final:
                return end
            if text.startswith(mark, end):
                return self._end_string(end + 3)
        elif (closes := self._closes(text, end, final)) is None:
            return end
        elif closes:
            return self._end_string(end + 1)
        elif opened := _NEXT_ARGUMENT.search(self._tail()):
            return self._unclosed(opened[1], end)
        elif self._parts and self._parts[-1][-1:] in tuple("=[{("):
            return self._fail("a string is not closed", end)
        elif not self._mend("kept a quotation mark inside a string"):
            return end
        self._parts.append(mark[0])
        return end + 1

    def _tail(self) -> str:
        """The last characters of the string so far."""
        tail = ""
        for part in reversed(self._parts):
            tail = part[-_TAIL:] + tail
            if len(tail) >= _TAIL:
                break
        return tail[-_TAIL:]

    def _unclosed(self, key: str, quote: int) -> int:
        """The quote opens the value of `key`: the string before, in `f(a='x, key='y')`, was never closed."""
        body = "".join(self._parts).rpartition(",")[0].rstrip()
        outside = 0
        while outside < len(self._stack) - 1 and body[-1:] == CLOSER[self._stack[-1 - outside].opener]:
            if body.count(body[-1]) <= body.count(self._stack[-1 - outside].opener):
                break
            body = body[:-1]
            outside += 1
        frame = self._stack[-1 - outside]
        if not frame.keyed or not self._mend("closed a string that was left open"):
            return self._fail("a string is not closed", quote)
        self._parts = [body]
        self._end_string(quote)
        for _ in range(outside):
            self._pop()
        self._store(frame)
        frame.commas += 1
        self._prefix, self._quote = "", self._quote[0]
        if self._set_key(frame, key):
            self._state = _STRING_BODY
        return quote + 1

    @staticmethod
    def _closes(text: str, quote: int, final: bool) -> bool | None:
        """Whether the quote closes its string: a letter after it says no; None when the text ends too soon."""
        match = _FEW_BLANKS.match(text, quote + 1)
        after = match.end() if match else quote + 1
        if after == len(text):
            return True if final or after - quote > _LOOKAHEAD else None
        return not (text[after].isalnum() or text[after] == "_")

    def _end_string(self, pos: int) -> int:
        body = "".join(self._parts)
        self._source.append(f"{self._quote}{body}{self._quote}")
        self._strings.append(body if "r" in self._prefix else unescape(body))
        self._parts = []
        self._state = _AFTER
        return pos

    # -- everything that is neither bracket nor string -----------------------------------------------------------------

    def _raw(self, text: str, pos: int, final: bool) -> int:
        """A number, a word, or an expression that is kept as text; ends at a comma or bracket on its own level."""
        match = _RAW_STOP.search(text, pos)
        end = match.start() if match else len(text)
        if end > pos:
            self._parts.append(text[pos:end])
        if not match:
            return end
        char = match[0]
        if char in "\"'":
            last = self._parts[-1][-1] if self._parts else " "
            self._parts.append(char)
            if not last.isalnum():
                self._quote = char
                self._state = _RAW_STRING
            return end + 1
        if char in "([{":
            if len(self._nested) + len(self._stack) >= MAX_DEPTH:
                return self._fail(f"it is nested deeper than {MAX_DEPTH} brackets", end)
            self._nested.append(CLOSER[char])
        elif self._nested:
            if char in ")]}" and self._nested.pop() != char:
                return self._fail(f"{char!r} closes no bracket", end)
        elif char in ":=":
            return self._raw_key(text, end, final)
        elif char == "," and not self._assigned and "".join(self._parts[:7]).startswith("lambda "):
            pass
        else:
            self._end_raw()
            return end
        self._parts.append(char)
        return end + 1

    def _raw_string(self, text: str, pos: int, _final: bool) -> int:
        end = _body_end(self._quote, text, pos)
        if end > pos:
            self._parts.append(text[pos:end])
        if end == len(text) or text[end] == "\\":
            return end
        self._parts.append(self._quote)
        self._state = _RAW
        return end + 1

    def _raw_key(self, text: str, pos: int, final: bool) -> int:
        """A `:` or `=`: does it end a key, or is it part of the value?"""
        if text[pos] == "=" and pos + 1 == len(text) and not final:
            return pos
        if self._assigned:
            return self._part_of_raw(text[pos], pos)
        self._assigned = True
        key = "".join(self._parts).strip()
        frame = self._stack[-1]
        arrow = text.startswith("=>", pos)
        assigns = text[pos] == ":" or text[pos + 1 : pos + 2] != "="
        if frame.key is not None and arrow:
            return self._part_of_raw(text[pos], pos)
        if frame.key is not None and frame.hinted and text[pos] == "=" and assigns:
            if self._mend(f"left out the type hint of {frame.key[:40]!r}"):
                self._parts = []
                frame.hinted = False
                self._state = _EXPECT
            return pos + 1
        if frame.keyed and assigns and _IDENTIFIER.fullmatch(key):
            if frame.key is not None and (text[pos] == ":" or not self._mend(f"read {frame.key}={key}= as {key}=")):
                return self._part_of_raw(text[pos], pos)
            self._parts = []
            if self._set_key(frame, key) and (not arrow or self._mend("read '=>' as '='")):
                frame.hinted = text[pos] == ":" and frame.opener == "("
                self._state = _EXPECT
            return pos + 1 + arrow
        if frame.keyed and frame.key is None and assigns and NUMBER.fullmatch(key):
            self._parts = []
            frame.key = key
            self._state = _EXPECT
            return pos + 1
        if not assigns:
            self._parts.append("=")
            pos += 1
        return self._part_of_raw(text[pos], pos)

    def _part_of_raw(self, char: str, pos: int) -> int:
        self._parts.append(char)
        return pos + 1

    def _end_raw(self) -> None:
        text = "".join(self._parts).strip()
        self._parts = []
        self._state = _AFTER
        self._value = word(text) if text else NOTHING
        what = "expression" if _OPERATOR.search(text) else "unquoted value"
        if self._value is NOTHING and self._mend(f"kept an {what} as text"):
            self._value = text
            self._stack[-1].loose = True


def read_object(text: str) -> tuple[dict[str, Any], list[str]] | None:
    """Reads a whole text as one object, leniently; None when it is none."""
    text = text.strip()
    if not text.startswith("{"):
        return None
    reader = LiteralReader("{")
    end = reader.feed(text, 0, final=True)
    if not reader.done or end != len(text) or reader.root.items:
        return None
    return reader.root.pairs, reader.repaired


def _scalar(text: str) -> Any:
    """The value of a string, number or constant; `NOTHING` for a number that Python cannot hold."""
    return unescape(text[1:-1]) if text[0] in "\"'" else plain(text)


def _body_end(quote: str, text: str, pos: int) -> int:
    """Where a string's body ends for now: at a quote, before a last lone backslash, or at the text's end."""
    match = _BODY[quote].match(text, pos)
    return match.end() if match else pos

"""The decoder's states: prose, Markdown code, a run of calls, code after `<|python_tag|>`.

A call counts by where it stands, never because its text was found somewhere:

========================  ============================================================================================
where it stands           what it is
========================  ============================================================================================
first in the message      a call; text may follow it
after `<|python_tag|>`    one run of calls, or else code to the end; what follows the run is not for the user
first, without brackets   a call only if nothing but calls follows to the end
after prose               a call only if nothing but calls follows to the end; a `<function=…>` tag always
in Markdown code, quoted  text; but a message that is wholly one fence around calls is read as the calls (mended)
in a string, in code      text
========================  ============================================================================================

Each state is a method that takes the unread text and returns how far it read. It returns early, with the rest unread,
when more text is needed to decide; that rest is bounded, so reading stays linear for any cut of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from ..types.errors import CodecError
from ..types.messages import AssistantMessage, StopReason
from ..types.sampling import ToolCallDelta
from ..types.tools import ToolCall
from . import shapes
from .calls import CODE_INTERPRETER, Toolbox
from .reading import CallReader, Run

Delta: TypeAlias = str | ToolCallDelta
_State: TypeAlias = Callable[[str, int, bool], int]

CUT_OFF: Final = "The reply was cut off (out of tokens), so this call was not run."
MAX_CALLS: Final = 2500
"""So many calls of one message are read; the rest is left out."""
MAX_FAILURES: Final = 100
"""After so many beginnings that turned out to be no call, the rest of a message is text without a closer look."""
MAX_STRAYS: Final = 16
_SHOWN = 500  # characters of a lost text that a note quotes
_QUOTES = "(\"'\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}"
_HOLD = "hold"
_json = json.JSONEncoder(ensure_ascii=False).encode


class Machine:
    """Reads the text of one message, out of which special tokens were taken.

    Args:
        tools: The tools offered.
        strict: Mend nothing.

    Attributes:
        out: What became certain since the caller last emptied it.
        drop_blanks: The blanks before the message belong to its header.
    """

    def __init__(self, tools: Toolbox, *, strict: bool) -> None:
        self.out: list[Delta] = []
        self.drop_blanks = False
        self._tools = tools
        self._strict = strict
        self._content: list[str] = []
        self._calls: list[ToolCall] = []
        self._notes: list[str] = []
        self._state: _State = self._start
        self._buffer = ""
        self._lead: list[str] = []
        self._last = " "
        self._quoted = False  # an odd number of quotation marks stands on the line
        self._ticks = "`"
        self._failures = 0
        self._run = Run(live=False)
        self._call: CallReader  # set where a call begins
        self._why = ""
        self._left_out: list[str] = []

    @property
    def pristine(self) -> bool:
        """Whether nothing but blanks was read."""
        return self._state == self._start and not self._buffer

    def push(self, text: str, final: bool = False) -> None:
        """Reads a piece of text.

        Args:
            text: The piece.
            final: Whatever is held back must be decided now: the text ends, or a special token follows.
        """
        if self._buffer:
            text = self._buffer + text
        pos, size = 0, len(text)
        while pos < size:
            state, run = self._state, self._run
            after = state(text, pos, final)
            if run.live and after > pos:
                run.held.append(text[pos:after])
            if after == pos and self._state == state:
                break
            pos = after
        self._buffer = text[pos:]

    def tag(self) -> bool:
        """A `<|python_tag|>` was read; False when it stands inside a call or in code, and is text."""
        self.push("", final=True)
        if self._state in (self._read, self._code, self._ignored, self._broken):
            return False
        if self._run.live and self._run.tagged:
            return True
        if self._run.live:
            self._end_after_call(None)
        self._flush_lead()
        self._run = Run(tagged=True)
        self._state = self._tagged
        return True

    # -- text ----------------------------------------------------------------------------------------------------

    def _emit(self, text: str) -> None:
        if text:
            self._content.append(text)
            self._last = text[-1]
            line = text.rfind("\n") + 1
            self._quoted = (self._quoted and not line) != bool(text.count('"', line) % 2)
            self.out.append(text)

    def _flush_lead(self) -> None:
        self._emit("".join(self._lead))
        self._lead.clear()

    def _start(self, text: str, pos: int, final: bool) -> int:
        """Nothing but blanks so far."""
        blanks = shapes.blanks(text, pos)
        if blanks > pos:
            if not self.drop_blanks:
                self._lead.append(text[pos:blanks])
            return blanks
        opened = pos
        if text[pos] == "`" and not self._strict:
            if not final and shapes.FENCE_PART.fullmatch(text, pos):
                return pos
            head = shapes.FENCE.match(text, pos)
            opened = head.end() if head else pos
        form = self._form(text, opened, final) if opened < len(text) else ""
        if form == _HOLD:
            return pos
        if not form:
            self._flush_lead()
            self._state = self._text
            return pos
        fenced = opened > pos
        self._run = Run(whole=fenced, fence=fenced, held=[*self._lead, text[pos:opened]])
        self._lead.clear()
        self._state = self._item
        return opened

    def _text(self, text: str, pos: int, final: bool) -> int:
        """Prose."""
        begin = pos
        while match := shapes.HOT.search(text, pos):
            pos = match.start()
            if match[0] == "`":
                if not final and len(text) - pos < 3 and text[pos:] in ("`", "``"):
                    self._emit(text[begin:pos])
                    return pos
                ticks = "```" if text.startswith("```", pos) else "`"
                pos += len(ticks)
                closed = _markdown_end(text, pos, ticks)
                if not closed:
                    self._emit(text[begin:pos])
                    self._ticks = ticks
                    self._state = self._markdown
                    return pos
                pos = closed
                continue
            before = text[pos - 1] if pos > begin else self._last
            form = "" if before in _QUOTES else self._form(text, pos, final, prose=True)
            if form:
                self._emit(text[begin:pos])
                begin = pos
                if form == _HOLD:
                    return pos
                if not self._quoted:
                    self._run = Run(whole=form != "tag")
                    self._state = self._item
                    return pos
            pos += 1
        self._emit(text[begin:])
        return len(text)

    def _markdown(self, text: str, pos: int, final: bool) -> int:
        """Code in Markdown, inline to the end of its line or fenced: nothing in it is a call."""
        end = _markdown_end(text, pos, self._ticks)
        if end:
            self._state = self._text
        else:
            end = len(text) if final or self._ticks == "`" else max(pos, len(text.rstrip("`")))
        self._emit(text[pos:end])
        return end

    def _plain(self, text: str, pos: int, _final: bool) -> int:
        """Prose after too many false beginnings."""
        self._emit(text[pos:])
        return len(text)

    # -- the beginning of a call -----------------------------------------------------------------------------------

    def _form(self, text: str, pos: int, final: bool, *, prose: bool = False, inside: bool = False) -> str:
        """Which form of call begins here.

        Args:
            text: The text there is.
            pos: Where to look.
            final: Nothing follows `text`.
            prose: It stands in prose.
            inside: It stands in a list of calls or after `<|python_tag|>`.

        Returns:
            `list`, `object`, `tag` or `named`; nothing when it is no call; `_HOLD` when more text is needed.
        """
        char = text[pos]
        if char == "[":
            opened = shapes.LIST.match(text, pos)
            if opened:
                return "list" if not prose or self._counts_in_prose(opened[1]) else ""
            part = shapes.LIST_PART.fullmatch(text, pos)
        elif char == "{":
            if shapes.OBJECT.match(text, pos):
                return "object"
            part = shapes.OBJECT_PART.fullmatch(text, pos)
        elif char == "<":
            head = shapes.TAG.match(text, pos)
            if head:
                return "tag" if not self._strict or ">" in head[2] else ""
            return _HOLD if not final and shapes.may_be_tag(text, pos) else ""
        elif prose or not (char.isalpha() or char == "_"):
            return ""
        else:
            named = shapes.NAMED.match(text, pos)
            if named:
                return "named" if self._counts_bare(named[1], bare=not named[2], inside=inside) else ""
            part = shapes.NAMED_PART.fullmatch(text, pos)
            if part and not inside and not self._tools.may_begin(part[1]):
                return ""
        return _HOLD if part and not final else ""

    def _counts_in_prose(self, name: str | None) -> bool:
        return name is None or not self._tools.schemas or self._tools.offers(self._tools.resolve(name))

    def _counts_bare(self, name: str, *, bare: bool, inside: bool) -> bool:
        """Whether `name(` begins a call, or `name{` when it is bare."""
        if inside and not bare:
            return self._run.bracket or self._tools.may_be_tagged_call(name)
        return not self._strict and self._tools.offers(self._tools.resolve(name))

    def _tagged(self, text: str, pos: int, final: bool) -> int:
        """Right after `<|python_tag|>`: calls or code?"""
        blanks = shapes.blanks(text, pos)
        if blanks > pos:
            return blanks
        form = self._form(text, pos, final, inside=True)
        if form == "list" and self._tools.schemas and self._tools.runs_code:
            opened = shapes.LIST.match(text, pos)
            if opened and opened[1] and not self._tools.may_be_tagged_call(opened[1]):
                form = ""
        if form and form != _HOLD:
            self._state = self._item
        elif not form:
            self._begin_code()
        return pos

    # -- a run of calls --------------------------------------------------------------------------------------------

    def _item(self, text: str, pos: int, _final: bool) -> int:
        """A call, or a list of calls, begins here, as `_form` found."""
        run = self._run
        opened = shapes.LIST.match(text, pos)
        if opened:
            run.bracket = True
            pos = opened.end()
        call = self._call = CallReader(text, pos, self._tools, strict=self._strict)
        run.form = "list" if run.bracket and call.form == "named" else call.form
        if run.form == "named" and not run.tagged:
            run.whole = True
        if call.name:
            self._preview(call.name)
        self._state = self._read
        if call.empty:
            self._add()
        return call.begin

    def _preview(self, name: str = "", arguments: str = "") -> None:
        """Tells of a call, unless it may yet prove to be text."""
        if not self._run.whole:
            self.out.append(ToolCallDelta(len(self._calls) + len(self._run.calls), name, arguments))

    def _read(self, text: str, pos: int, final: bool) -> int:
        """Inside a call's literal."""
        end = self._call.feed(text, pos, final)
        if self._call.failed:
            self._fail(self._call.failed, text[pos:end])
        elif self._call.done and not self._add():
            self._fail("it has not the form of a call", text[pos:end])
        return end

    def _add(self) -> bool:
        """Takes the call that was read; False when it is none."""
        found = self._call.found()
        if found is None:
            return False
        run = self._run
        if run.form == "named" and not run.tagged:
            found.mend("added the missing list brackets")
        self._preview("" if self._call.name else found.name, _json(found.arguments))
        run.calls.append(found)
        self._state = self._after
        if len(self._calls) + len(run.calls) >= MAX_CALLS:
            self._commit()
            self._note(f"Only the first {MAX_CALLS} calls were read.")
            self._state = self._ignored
        return True

    def _after(self, text: str, pos: int, final: bool) -> int:
        """After a call: more calls, the list's bracket, the tag's end, the fence's end, or text."""
        run = self._run
        gap = shapes.gap(text, pos)
        if gap > pos:
            run.gap.append(text[pos:gap])
            return gap
        ending = self._ending(run, text, pos, final)
        if ending is not None:
            if ending > pos:
                run.gap.clear()
            return ending
        form = self._form(text, pos, final, inside=run.bracket or run.tagged)
        if form == _HOLD:
            return pos
        if form and not (run.bracket and form == "list") and not (run.tagged and form == "tag" != run.form):
            run.gap.clear()
            self._state = self._item
        elif text[pos] == "(" and run.form == "list" and not run.gap and not run.tagged:
            self._fail("it is the text of a Markdown link")
        else:
            self._end_before_text(run)
        return pos

    def _ending(self, run: Run, text: str, pos: int, final: bool) -> int | None:
        """Reads what ends a list, a tag or a fence; None if nothing of the kind stands here."""
        char = text[pos]
        if char == "]" and run.bracket:
            run.bracket = False
            return pos + 1
        in_prose = run.whole and self._content  # there, one bracket more belongs to the text around the call
        if char in ")]}>" and not self._strict and not in_prose and run.strays < MAX_STRAYS:
            run.strays += 1
            run.calls[-1].mend(f"ignored a stray {char!r}")
            return pos + 1
        if char == "<" and run.form == "tag":
            if text.startswith(shapes.TAG_CLOSE, pos):
                return pos + len(shapes.TAG_CLOSE)
            return pos if not final and shapes.TAG_CLOSE.startswith(text[pos : pos + len(shapes.TAG_CLOSE)]) else None
        if char == "`" and run.fence:
            if text.startswith("```", pos):
                run.fence = False
                run.calls[-1].mend("took the calls out of a Markdown fence")
                run.close_bracket()
                return pos + 3
            return pos if not final and len(text) - pos < 3 else None
        return None

    def _end_before_text(self, run: Run) -> None:
        """Something follows the calls that is none."""
        if run.bracket or run.whole:
            self._fail("text follows it")
        elif not run.tagged:
            gap = "".join(run.gap)
            self._commit()
            self._emit(gap.lstrip() if run.form == "object" else gap)
            self._state = self._text
        elif run.form in ("named", "list") and self._tools.runs_code:
            self._begin_code()
        else:
            self._commit()
            self._state = self._ignored

    def _commit(self) -> None:
        """The run's calls are calls."""
        run = self._run
        run.live = False
        for found in run.calls:
            index = len(self._calls)
            if run.whole:
                self.out.append(ToolCallDelta(index, found.name, _json(found.arguments)))
            known, repaired = self._tools.knows(found.name), tuple(found.mended)
            self._calls.append(ToolCall(found.name, found.arguments, f"call_{index}", known, repaired, found.raw))
        run.calls.clear()

    def _fail(self, why: str, unheld: str = "") -> None:
        """What looked like calls is none: text, code, or a call that cannot be run.

        Args:
            why: The reason, for a note.
            unheld: What was read of it but is not in the run's `held` yet.
        """
        run, name = self._run, self._call.written_name
        if run.tagged:
            if self._tools.runs_code and (run.form in ("named", "list") or not name):
                self._begin_code(unheld)
            else:
                self._why = why
                self._state = self._broken
            return
        if name and self._tools.offers(name):
            self._note(f"What looks like a call of {name} is text: {why}.")
        run.live = False
        self._emit("".join(run.held) + unheld)
        self._failures += 1
        if self._failures > MAX_FAILURES:
            self._state = self._plain
        else:
            self._ticks = "```"
            self._state = self._markdown if run.fence else self._text

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes and len(self._notes) < 16:
            self._notes.append(sentence)

    # -- code, and what is not for the user ---------------------------------------------------------------------------

    def _begin_code(self, unheld: str = "") -> None:
        self._run.calls.clear()
        begun = "".join([*self._run.held, unheld]).lstrip("\n")
        self.out.append(ToolCallDelta(len(self._calls), CODE_INTERPRETER, begun))
        self._state = self._code

    def _code(self, text: str, pos: int, _final: bool) -> int:
        """Code after `<|python_tag|>`, to the end of the message."""
        self.out.append(ToolCallDelta(len(self._calls), "", text[pos:]))
        return len(text)

    def _broken(self, text: str, _pos: int, _final: bool) -> int:
        """The rest of a tagged call that cannot be read."""
        return len(text)

    def _ignored(self, text: str, pos: int, _final: bool) -> int:
        """Text after tagged calls: the model wrote it for no one."""
        self._left_out.append(text[pos:])
        return len(text)

    # -- the end ---------------------------------------------------------------------------------------------------

    def end(self, stop: StopReason | None) -> AssistantMessage:
        """Decides what is still open.

        Args:
            stop: Why the model stopped, or None when nothing says so: then a message that ends inside a call was
                cut off, and any other is taken as finished.

        Raises:
            CodecError: In strict mode, when tagged text cannot be read as a call.
        """
        self.push("", final=True)
        if self._state == self._start:
            self._flush_lead()
        elif self._state == self._read:
            stop = self._end_inside_call(stop)
        elif self._state == self._after:
            self._end_after_call(stop)
        if self._state in (self._code, self._tagged):
            self._end_code(stop)
        elif self._state == self._broken:
            self._end_broken()
        elif self._state == self._ignored and (rest := "".join(self._left_out).strip()):
            self._note(f"Text after the call was left out: {rest[:_SHOWN]}")
        calls = tuple(self._calls) if stop is not StopReason.OUT_OF_TOKENS else tuple(self._none_run())
        return AssistantMessage("".join(self._content), calls, stop or StopReason.END_OF_TURN, tuple(self._notes))

    def _none_run(self) -> Iterator[ToolCall]:
        """The calls of a reply that was cut off, each with an error; one that only mending made a call is told of."""
        for call in self._calls:
            if call.repaired:
                self._note_cut_off(call.name, call.raw)
            else:
                yield replace(call, error=call.error or CUT_OFF)

    def _note_cut_off(self, name: str, written: str) -> None:
        self._note(f"The reply was cut off in a call of {name}, which was not run: {written[:_SHOWN]}")

    def _end_inside_call(self, stop: StopReason | None) -> StopReason | None:
        call, run = self._call, self._run
        cut = stop is StopReason.OUT_OF_TOKENS
        if not cut and (stop or call.arguments_closed) and call.close() and self._add():
            self._end_after_call(stop)
            return stop
        name = call.written_name
        if (cut or stop is None) and (run.tagged or (not run.whole and self._tools.offers(name))):
            self._note_cut_off(name or "a tool", call.raw + self._buffer)
            self._commit()
            return StopReason.OUT_OF_TOKENS
        self._fail("it has no end")
        self.push("", final=True)
        return stop

    def _end_after_call(self, stop: StopReason | None) -> None:
        run = self._run
        if self._strict and (run.bracket or run.fence):
            self._fail("a closing bracket is missing")
            return
        if stop is not StopReason.OUT_OF_TOKENS:
            run.close_bracket()
        self._commit()

    def _end_code(self, stop: StopReason | None) -> None:
        raw = "".join(self._run.held)
        code = raw.lstrip("\n").rstrip()
        if stop is StopReason.OUT_OF_TOKENS:
            self._note(f"The reply was cut off in code, which was not run: {code[:_SHOWN]}")
        elif code:
            known, call_id = self._tools.knows(CODE_INTERPRETER), f"call_{len(self._calls)}"
            self._calls.append(ToolCall(CODE_INTERPRETER, {"code": code}, call_id, known, raw=raw))

    def _end_broken(self) -> None:
        name = self._call.written_name or "unknown"
        if self._strict:
            raise CodecError(f"The call of {name} cannot be read: {self._why}.")
        raw = "".join(self._run.held)
        self._commit()
        error = f"The call could not be read: {self._why}. Write it again."
        known, call_id = self._tools.knows(name), f"call_{len(self._calls)}"
        self._calls.append(ToolCall(name, {}, call_id, known, raw=raw, error=error))


def _markdown_end(text: str, pos: int, ticks: str) -> int:
    """Where the code that the ticks opened ends: at the same ticks, or at its line's end; 0 if it goes on."""
    if ticks == "`":
        closed = shapes.INLINE_END.search(text, pos)
        return closed.end() if closed else 0
    end = text.find(ticks, pos)
    return end + len(ticks) if end >= 0 else 0

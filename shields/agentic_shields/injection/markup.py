"""Markup by which models are told who speaks and what to call, where only a document or a tool should be speaking."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from .finding import Finding

_TOKENS = re.compile(
    r"<\|(?:begin_of_text|end_of_text|eot_id|eom_id|eot|eom|python_tag|python_start|python_end|image|step_id"
    r"|finetune_right_pad_id|reserved_special_token_\d{1,3}|endoftext|im_start|im_end|im_sep|end|return|call|channel"
    r"|message|tool_call|tool_response|endofprompt)\|>"
    r"|<\uff5c[^<>\uff5c]{1,40}\uff5c>"  # DeepSeek's, with fullwidth bars
)
_HEADERS = re.compile(
    r"<\|(?:start_header_id|header_start|end_header_id|header_end|system|user|assistant|start|tool|ipython)\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
    r"|(?m:^)[ \t>]{0,8}[\[<][ \t]{0,4}system[ _-]{1,2}(?:message|prompt|instructions?|override)[ \t]{0,4}[\]>]",
    re.IGNORECASE,
)
_CALLS = re.compile(
    r"</?function(?:[ \t]{0,4}=[ \t]{0,4}[\w.:-]{1,64}|_calls?)?>|</?tool_(?:calls?|response)>|"
    r"<invoke name=|```tool_code\b|\[/?TOOL_CALLS\]"
    r"|\b(?:brave_search|wolfram_alpha)\.call\([ \t]{0,4}query[ \t]{0,4}="
)
_GAP = r"\s{0,20}"
_JSON_CALL = re.compile(
    rf'\{{{_GAP}(?:"(?:type|id)"{_GAP}:{_GAP}"[\w-]{{1,64}}"{_GAP},{_GAP}){{0,2}}"name"{_GAP}:{_GAP}"(?P<name>[\w.:-]{{1,64}})"'
    rf'{_GAP},{_GAP}"(?:parameters|arguments)"{_GAP}:{_GAP}(?:"{_GAP}\\?)?\{{(?!{_GAP}"(?:type"{_GAP}:{_GAP}"object|properties)")'
)
_JSON_CALL_REVERSED = re.compile(
    rf'"(?:parameters|arguments)"{_GAP}:{_GAP}\{{[^{{}}]{{0,2000}}\}}{_GAP},{_GAP}"name"{_GAP}:{_GAP}"(?P<name>[\w.:-]{{1,64}})"{_GAP}\}}'
)


def markup(text: str, tools: Collection[str]) -> Iterator[Finding]:
    """Special tokens, forged headers and calls.

    Args:
        text: What a document or a tool says.
        tools: The names of tools; with any, only JSON calls of these count, and prose that asks for one of them does.
    """
    for kind, pattern in (("special_token", _TOKENS), ("role_header", _HEADERS), ("tool_call", _CALLS)):
        for found in pattern.finditer(text):
            yield Finding(kind, *found.span())
    for pattern in (_JSON_CALL, _JSON_CALL_REVERSED):
        for found in pattern.finditer(text):
            if not tools or found["name"] in tools:
                yield Finding("tool_call", *found.span())
    if tools:
        names = "|".join(map(re.escape, sorted(tools, key=len, reverse=True)))
        before = r"\b(?:call|invoke|use|run|execute)\s{1,4}(?:the\s{1,4})?(?:(?:tool|function)\s{1,4})?[`'\"]?"
        asked = rf"{before}(?:{names})\b"
        for found in re.finditer(asked, text, re.IGNORECASE):
            yield Finding("tool_call", *found.span())

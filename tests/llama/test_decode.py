"""How replies are read: where a call may stand, what is mended, what a reply that was cut off becomes."""

from __future__ import annotations

from typing import Any

import pytest

from agentic.llama import StreamParser, parse
from agentic.types import AssistantMessage, CodecError, InvalidInput, StopReason, ToolCallDelta, ToolDef

F = ToolDef("f", "", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}})
GEO = {"name": "geo.dist", "parameters": {"type": "dict", "properties": {"start": {}, "end": {}}}}
TOOLS: list[ToolDef | dict[str, Any] | str] = [F, GEO, "now"]


def read(text: str, **how: Any) -> AssistantMessage:
    return parse(text, **{"tools": TOOLS, **how})


def calls(text: str, **how: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.arguments)) for call in read(text, **how).tool_calls]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[f({'a': 1, 'b': 'x'})]", {"a": 1, "b": "x"}),
        ("[f({a: 1, b: 'x'})]", {"a": 1, "b": "x"}),
        ("[f(params={'a': 1})]", {"a": 1}),
        ("[f(params={a=1, b='x'})]", {"a": 1, "b": "x"}),
        ("[f(params=a=1, b='x')]", {"a": 1, "b": "x"}),
        ("[f(1, 'x')]", {"a": 1, "b": "x"}),
        ("[f(1, b='x')]", {"a": 1, "b": "x"}),
        ("f(a=1)", {"a": 1}),
        ("[f(a=1)", {"a": 1}),
        ("[f(a=1]", {"a": 1}),
        ("[f(a=1))]", {"a": 1}),
        ("[[f(a=1)]]", {"a": 1}),
        ("[f({'a': [1, 2)]", {"a": [1, 2]}),
        ("[f(a=1, // one\n b='x')]", {"a": 1, "b": "x"}),
        ("[f(a=5*60)]", {"a": "5*60"}),
        ("[f(a=1/6.0, b=g(x=[1, 2]))]", {"a": "1/6.0", "b": "g(x=[1, 2])"}),
        ("[f(a=9.8.0)]", {"a": "9.8.0"}),
        ("[f(a=(1 + 2) / 3, b='x')]", {"a": "(1 + 2) / 3", "b": "x"}),
        ("[f(a=[0] * 10)]", {"a": "[0] * 10"}),
        ("[f(a=(x, y) => { return x; }, b='x')]", {"a": "(x, y) => { return x; }", "b": "x"}),
        ('[f(a={"k": [1]}["k"])]', {"a": '{"k": [1]}["k"]'}),
        ("[f(b=John Smith, a=1)]", {"b": "John Smith", "a": 1}),
        ("[f(b=2023-01-01)]", {"b": "2023-01-01"}),
        ("[f(b=http://x.y/z?q=1)]", {"b": "http://x.y/z?q=1"}),
        ("[f(b='it's 5 o'clock', a=1)]", {"b": "it's 5 o'clock", "a": 1}),
        ('[f(b="say "hi" to me")]', {"b": 'say "hi" to me'}),
        ("[f(b='{\"k\": [1]}, a='x')]", {"b": '{"k": [1]}', "a": "x"}),
        ("[f(a=['x', 'y], b='z')]", {"a": ["x", "y"], "b": "z"}),
        ("[f(a=lambda x, y: x+y, b='z')]", {"a": "lambda x, y: x+y", "b": "z"}),
        ("[f(b=f'{x}')]", {"b": "{x}"}),
        ("[f(a=, b='x')]", {"b": "x"}),
        ("[f(a=1e400)]", {"a": "1e400"}),
        ("```python\n[f(a=1)]\n```", {"a": 1}),
        ("```\nf(a=1)\n```\n", {"a": 1}),
        ('```json\n{"name": "f", "parameters": {"a": 1}}\n```', {"a": 1}),
        ('{"name": "f", "parameters": {"a": 1}}}', {"a": 1}),
        ('{"name": "f", "parameters": {"a": 1}', {"a": 1}),
        ('{"name": "f", "params": {"a": 1}}', {"a": 1}),
        ('{"name": "f", "parameters": "{\\"a\\": 1}"}', {"a": 1}),
        ('<function=f>{"a": 1}</function', {"a": 1}),
        ('f{"a": 1}</function>', {"a": 1}),
    ],
)
def test_mends(text: str, arguments: dict[str, Any]) -> None:
    message = read(text)
    if not text.endswith("</function"):
        assert message.content == ""
        assert message.tool_calls[0].repaired
        strict = read(text, mode="strict")
        assert strict.content or not strict.tool_calls
    assert [(call.name, dict(call.arguments)) for call in message.tool_calls] == [("f", arguments)]
    assert message.stop_reason is StopReason.END_OF_TURN


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-2.5e3", -2500.0),
        ("+7", 7),
        ("007", 7),
        ("1_000", 1000),
        (".5", 0.5),
        ("(1, 2)", [1, 2]),
        ("(1)", 1),
        ("(1,)", [1]),
        ("()", []),
        ("{}", {}),
        ("{'x', 'y'}", ["x", "y"]),
        ("{1: 'x'}", {"1": "x"}),
        ("[[], [1, [2, None]], true, False]", [[], [1, [2, None]], True, False]),
        ("'a' \"b\"", "ab"),
        (r"r'\d' '\n'", "\\d\n"),
        (r"['\n', {'\t': ['\'']}]", ["\n", {"\t": ["'"]}]),
        (r"'\u00e9\x41\n\t\'\"\\\/\d'", "éA\n\t'\"\\/\\d"),
        (r"'\ud83d\ude00'", "😀"),
        (r"'\ud83d'", "\N{REPLACEMENT CHARACTER}"),
        (r"r'\d\n'", r"\d\n"),
        ("'''it's\n\"three\"'''", 'it\'s\n"three"'),
        ("'line one\nline two'", "line one\nline two"),
    ],
)
def test_literals(value: str, expected: Any) -> None:
    for mode in ("lenient", "strict"):
        message = read(f"[now(x={value}), now( x = {value} , )]", mode=mode)
        assert [(dict(call.arguments), call.repaired) for call in message.tool_calls] == [({"x": expected}, ())] * 2


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]",
        "[]",
        "{}",
        "[f]",
        "[f, now]",
        "['f(a=1)']",
        "[link](https://x.y)",
        "[Smith (2020)]",
        "f(x) = 2x",
        "f(a=1) is what I would call.",
        "(f(a=1))",
        "`[f(a=1)]`",
        '"[f(a=1)]"',
        'Use `<function=f>{"a": 1}</function>` for that.',
        'He wrote "<function=f>{}</function>".',
        "Like so:\n```\n[f(a=1)]\n```",
        "```python\n[f(a=1)]\n```\nThat is how.",
        "I ran [f(a=1)] and it failed.",
        'It sent {"name": "f", "parameters": {}} to the server.',
        "[f(a=1) for a in range(3)]",
        '{"name": "Ada", "age": 36}',
        '{"name": "Ada", "type": "person"}',
        '{"name": "f", "parameters": {}, "name": "now"}',
        '{"name": "f", "parameters": [1]}',
        '{"name": "f", "arguments": {"a": 1}, "parameters": {"a": 2}}',
        '[{"name": "Ada", "id": 1}]',
        "[f(1, 2, 3)]",
        "[f(map.of(1, 2))]",
        "<function=>{}</function>",
        "<function=f>text</function>",
        "for (i = 0; i < n; i++) { x[i] = f(i); }",
    ],
)
def test_text_that_is_no_call(text: str) -> None:
    message = read(text)
    assert (message.content, message.tool_calls) == (text, ())
    assert message.stop_reason is StopReason.END_OF_TURN


def test_unknown_names_are_returned_and_flagged() -> None:
    assert [call.known for call in read("[f(a=1), zed(q=2)]").tool_calls] == [True, False]
    assert [call.known for call in read("[zed(q=2)]", tools=None).tool_calls] == [True]
    assert [call.known for call in read("[zed(q=2), zed()]", tools=[]).tool_calls] == [False, False]
    assert read("Say [zed(q=2)]").tool_calls == ()
    assert calls("Say [zed(q=2)]", tools=None) == [("zed", {"q": 2})]


@pytest.mark.parametrize("separator", ["; ", ";", "\n", "\n\n", ", ", " ", "<|python_tag|>", "; <|python_tag|>"])
@pytest.mark.parametrize("call", ['{"name": "f", "parameters": {"a": 1}}', "[f(a=1)]", "now.call(a=1)"])
def test_calls_that_follow_each_other(call: str, separator: str) -> None:
    assert len(calls(f"<|python_tag|>{call}{separator}{call}{separator}{call}<|eom_id|>")) == 3


def test_text_around_calls_is_kept() -> None:
    message = read('First.\n<function=f>{"a": 1}</function>\nThen <function=now>{}</function> done')
    assert [call.name for call in message.tool_calls] == ["f", "now"]
    assert message.content == "First.\n\nThen  done"
    assert read("[f(a=1)]\n\nDone.").content == "\n\nDone."
    assert read(' \n{"name": "f", "parameters": {}}\n\nDone.').content == "Done."


@pytest.mark.parametrize(
    ("text", "tools", "expected"),
    [
        ("f(a=1)", TOOLS, [("f", {"a": 1})]),
        ("f.call(a=1)\n", TOOLS, [("f", {"a": 1})]),
        ("zed.call(a=1)", TOOLS, [("zed", {"a": 1})]),
        ("brave_search.call(query='x')", None, [("brave_search", {"query": "x"})]),
        ("brave_search.call('x')", None, [("brave_search", {"query": "x"})]),
        ("brave_search.call('x')", ["brave_search"], [("brave_search", {"query": "x"})]),
        ("print(1)", None, [("code_interpreter", {"code": "print(1)"})]),
        ("print(1)", TOOLS, [("code_interpreter", {"code": "print(1)"})]),
        ("client.call(query='x')", ["code_interpreter"], [("code_interpreter", {"code": "client.call(query='x')"})]),
        ("f(a=1)\nprint(2)", ["f", "code_interpreter"], [("code_interpreter", {"code": "f(a=1)\nprint(2)"})]),
        ("[f(a=1)][0]", ["f", "code_interpreter"], [("code_interpreter", {"code": "[f(a=1)][0]"})]),
        ("[x(a=1)]", ["f", "code_interpreter"], [("code_interpreter", {"code": "[x(a=1)]"})]),
        ("\n    x = 1\n", ["code_interpreter"], [("code_interpreter", {"code": "    x = 1"})]),
        ("", ["code_interpreter"], []),
        ("  ", ["code_interpreter"], []),
    ],
)
def test_after_python_tag(text: str, tools: Any, expected: list[tuple[str, dict[str, Any]]]) -> None:
    for end in ("", "<|eom_id|>", "<|python_end|>"):
        message = read(f"Sure.<|python_tag|>{text}{end}", tools=tools)
        assert [(call.name, dict(call.arguments)) for call in message.tool_calls] == expected
        assert message.content == "Sure."


def test_text_after_a_tagged_call_goes_to_the_notes() -> None:
    message = read("<|python_tag|>f.call(a=1) Let me see. <function=now>{}</function>")
    assert [call.name for call in message.tool_calls] == ["f"]
    assert message.content == ""
    assert "Let me see." in message.notes[0]


def test_a_tagged_call_that_cannot_be_read_is_answered_not_run() -> None:
    text = '<|python_tag|>{"name": "f", "parameters": {"a": [1}, 2]}} what<|eom_id|>'
    (call,) = read(text, tools=["f", "code_interpreter"]).tool_calls
    assert call.name == "f"
    assert call.error is not None
    assert call.raw.endswith("what")
    with pytest.raises(CodecError, match="call of f cannot be read"):
        read(text, mode="strict")


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("Hi", None, "end_of_turn"),
        ("Hi", "out_of_tokens", "out_of_tokens"),
        ("Hi<|eot_id|>", "out_of_tokens", "end_of_turn"),
        ("Hi<|eom_id|> more", None, "end_of_message"),
        ("Hi<|end_of_text|>", None, "end_of_turn"),
        ("Hi<|eom|>", None, "end_of_message"),
        ("Hi<|start_header_id|>user<|end_header_id|>\n\nmore", None, "end_of_turn"),
        ("[f(a=1, b='x", None, "out_of_tokens"),
        ('<|python_tag|>{"name": "f"', None, "out_of_tokens"),
    ],
)
def test_stop_reason(text: str, given: str | None, expected: str) -> None:
    message = read(text, stop_reason=given)
    assert message.stop_reason == expected
    assert "more" not in message.content


def test_a_call_that_was_cut_off_is_told_of_and_never_run() -> None:
    message = read('[f(a=1), geo.dist(start="Lis', stop_reason="out_of_tokens")
    assert [(call.name, call.error is not None) for call in message.tool_calls] == [("f", True)]
    assert "cut off in a call of geo.dist" in message.notes[0]
    assert 'start="Lis' in message.notes[0]
    code = read("<|python_tag|>import os\nos.remove(", stop_reason="out_of_tokens", tools=["code_interpreter"])
    assert code.tool_calls == ()
    assert "os.remove(" in code.notes[0]


def test_the_prompt_s_echo_is_dropped() -> None:
    text = "<|begin_of_text|><|start_header_id|>assistant<|end_header_id|>\n\n[f(a=1)]<|eot_id|>"
    assert calls(text) == [("f", {"a": 1})]
    assert read("<|start_header_id|>assistant").content == ""


def test_deltas_come_as_soon_as_they_are_certain() -> None:
    parser = StreamParser(tools=TOOLS)
    assert parser.feed("Hel") == ["Hel"]
    assert parser.feed("lo <") == ["lo "]
    assert parser.feed("b> <|py") == ["<b> "]
    assert parser.feed("thon_tag|>f.ca") == []
    assert parser.feed("ll(") == [ToolCallDelta(0, "f")]
    assert parser.feed("a=1)") == [ToolCallDelta(0, "", '{"a": 1}')]
    assert parser.feed("<|eom_id|>") == []
    assert [call.name for call in parser.finish().tool_calls] == ["f"]
    assert parser.rest == []


def test_code_is_streamed_as_it_comes() -> None:
    parser = StreamParser(tools=["code_interpreter"])
    deltas = [delta for piece in ("<|python_tag|>", "x =", " 1\n", "print(x)") for delta in parser.feed(piece)]
    pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert pieces[0].name == "code_interpreter"
    assert "".join(piece.arguments for piece in pieces) == parser.finish().tool_calls[0].arguments["code"]


ENDLESS = ["[", "{", "(", "<function=", "[A(A=\t", "[f(", "`", "<|", "f(", '{"name":', '["', "'x\\n' ", "lambda x, "]


@pytest.mark.parametrize("unit", ENDLESS)
def test_a_megabyte_of_anything_ends(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    for prefix in ("", "[f(a=", "<|python_tag|>"):
        message = read(prefix + text)
        assert message.content in (prefix + text, "")


def test_bounds() -> None:
    many = read("; ".join(["[f(a=1)]"] * 5000))
    assert len(many.tool_calls) == 2500
    assert "first 2500" in many.notes[0]
    assert calls(f"[f(a={'[' * 60}{']' * 60})]")
    deep = read(f"[f(a={'[' * 70}{']' * 70})]")
    assert deep.tool_calls == ()
    assert "deeper than 64" in deep.notes[0]


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "loose"}, {"tools": [{"parameters": {}}]}, {"tools": [""]}, {"stop_reason": "bored"}],
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse("Hi", **wrong)


def test_only_text_can_be_fed() -> None:
    with pytest.raises(InvalidInput):
        StreamParser().feed(b"Hi")  # type: ignore[arg-type]


def test_openai_s_form_of_a_tool() -> None:
    assert calls("[f(1)]", tools=[{"type": "function", "function": {"name": "f", "parameters": F.parameters}}])

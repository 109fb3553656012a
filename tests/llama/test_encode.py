"""Prompts as Meta's documents show them, family by family, and everything that cannot be encoded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

import pytest

from agentic.llama import Control, Family, Prompt, Tokenizer, code_result, encode
from agentic.llama.memo import Memo
from agentic.types import (
    AssistantMessage,
    CodecError,
    ConfigError,
    File,
    Image,
    InvalidInput,
    Message,
    StopReason,
    SystemMessage,
    Text,
    ToolCall,
    ToolDef,
    ToolDefinitionError,
    ToolResponse,
    UsageError,
    UserMessage,
)

PIXEL = Image(data=b"GIF89a")
WEATHER = ToolDef(
    "get_weather",
    "Current weather in a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"], "default": "c"}},
        "required": ["city"],
    },
)
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
HELLO = UserMessage("Hello")


def said(role: str, body: str, end: str = "<|eot_id|>") -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{body}{end}"


def prompt(*messages: str) -> str:
    return "<|begin_of_text|>" + "".join(messages) + ASSISTANT


def system_of(rendered: Prompt) -> str:
    return rendered.text.split("<|eot_id|>")[0].partition("<|end_header_id|>\n\n")[2]


def history(*messages: Message, family: str = "llama3.2", tool_format: str | None = None) -> str:
    """What a conversation's later messages are written as, the head and the last header left out."""
    tools: list[ToolDef | str] = [WEATHER, "brave_search", "code_interpreter"]
    head = encode([], family=family, tools=tools, tool_format=tool_format).text
    whole = encode(messages, family=family, tools=tools, tool_format=tool_format).text
    assert whole.startswith(head.removesuffix(ASSISTANT))
    return whole[len(head) - len(ASSISTANT) :].removesuffix(ASSISTANT)


class TestFrame:
    def test_a_plain_dialog(self) -> None:
        rendered = encode([SystemMessage("Be brief."), HELLO])
        assert rendered.text == prompt(said("system", "Be brief."), said("user", "Hello"))
        assert rendered.stop == ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
        assert rendered.images == ()

    @pytest.mark.parametrize("family", ["llama3.2", "llama3.3"])
    def test_no_empty_system_message(self, family: str) -> None:
        assert encode([HELLO], family=family).text == prompt(said("user", "Hello"))
        assert encode([SystemMessage(""), HELLO], family=family).text == prompt(said("user", "Hello"))

    def test_equal_conversations_make_equal_prompts(self) -> None:
        first, second = encode([HELLO]), encode([UserMessage("Hello")])
        assert first == second
        assert hash(first) == hash(second)
        assert first != encode([UserMessage("Hallo")])

    def test_nothing_at_all(self) -> None:
        assert encode([]).text == prompt()

    def test_ids(self) -> None:
        ids = encode([HELLO]).tokens(Tokenizer.load())
        assert ids == [128000, 128006, 882, 128007, 271, 9906, 128009, 128006, 78191, 128007, 271]

    def test_both_routes_give_the_same_ids(self) -> None:
        tokenizer = Tokenizer.load()
        dialog: list[Message] = [
            HELLO,
            AssistantMessage("", (ToolCall("f", {"a": 1}),)),
            ToolResponse("1", "f", "25 °C\n"),
        ]
        for family in ("llama3.1", "llama3.2"):
            rendered = encode(dialog, family=family, tools=[WEATHER, "brave_search"])
            assert tokenizer.encode(rendered.text, allowed_special=True) == rendered.tokens(tokenizer)

    def test_context_follows_the_question(self) -> None:
        assert encode([UserMessage("Q", context="C")]).text == prompt(said("user", "Q\n\nC"))

    def test_a_body_that_begins_with_a_newline_keeps_its_tokens(self) -> None:
        tokenizer = Tokenizer.load()
        ids = encode([UserMessage("\nHi")]).tokens(tokenizer)
        assert ids[4:-5] == [271, *tokenizer.encode("\nHi")]

    def test_segments_keep_control_and_text_apart(self) -> None:
        segments = encode([UserMessage("<|eot_id|>")]).segments
        assert segments[5] == "<|eot_id|>"
        assert segments[6] == Control("<|eot_id|>")

    def test_results_come_in_the_role_ipython(self) -> None:
        for message in (ToolResponse("1", "get_weather", "25 C"), {"role": "tool", "content": "25 C"}):
            assert encode([message]).text == prompt(said("ipython", "25 C"))

    def test_a_second_system_message_stays_where_it_is(self) -> None:
        rendered = encode([SystemMessage("A"), HELLO, SystemMessage("B")])
        assert rendered.text == prompt(said("system", "A"), said("user", "Hello"), said("system", "B"))


class TestSystem:
    DATES = "Cutting Knowledge Date: December 2023\nToday Date: 21 September 2024"

    @pytest.mark.parametrize("family", ["llama3.1", "llama3.2-vision"])
    def test_the_classic_layout_says_the_dates(self, family: str) -> None:
        assert system_of(encode([HELLO], family=family)) == self.DATES
        assert system_of(encode([SystemMessage("Be brief."), HELLO], family=family)) == f"{self.DATES}\n\nBe brief."

    def test_builtin_tools(self) -> None:
        rendered = encode([HELLO], family="llama3.1", tools=["brave_search", "code_interpreter", "wolfram_alpha"])
        assert system_of(rendered) == f"Environment: ipython\nTools: brave_search, wolfram_alpha\n{self.DATES}"

    @pytest.mark.parametrize("tools", [["code_interpreter"], [WEATHER]])
    def test_no_named_builtin(self, tools: list[ToolDef | str]) -> None:
        rendered = encode([HELLO], family="llama3.1", tools=tools)
        assert system_of(rendered) == f"Environment: ipython\n\n{self.DATES}"

    def test_the_later_layout_says_no_dates(self) -> None:
        assert system_of(encode([HELLO], tools=["brave_search"])) == "Environment: ipython\nTools: brave_search"
        assert system_of(encode([HELLO], tools=["code_interpreter"])) == "Environment: ipython"
        assert "Environment" not in encode([HELLO], tools=[WEATHER]).text

    def test_dates_can_be_chosen(self) -> None:
        assert system_of(encode([HELLO], date_lines=True)) == self.DATES
        assert encode([HELLO], family="llama3.1", date_lines=False).text == prompt(said("user", "Hello"))

    @pytest.mark.parametrize("today", [date(2025, 3, 5), datetime(2025, 3, 5, 23, 59), "05 March 2025"])
    def test_today(self, today: date | str) -> None:
        assert system_of(encode([HELLO], family="llama3.1", today=today)).endswith("\nToday Date: 05 March 2025")

    def test_custom_tools_of_the_classic_layout_come_in_a_user_message(self) -> None:
        rendered = encode([SystemMessage("S"), HELLO], family="llama3.1", tools=[WEATHER])
        definition = rendered.text.split("<|eot_id|>")[1]
        assert definition.startswith("<|start_header_id|>user<|end_header_id|>\n\n")
        assert '"name": "get_weather"' in definition
        assert '"type": "function"' in definition

    def test_function_tags(self) -> None:
        rendered = encode([HELLO], family="llama3.1", tools=[WEATHER], tool_format="function_tag")
        assert "<function=name_of_the_function>" in rendered.text.split("<|eot_id|>")[1]

    def test_custom_tools_of_the_later_layout_come_in_the_system_message(self) -> None:
        system = system_of(encode([SystemMessage("Be brief."), HELLO], tools=[WEATHER, "brave_search"]))
        environment, definitions, own = system.index("Environment"), system.index("get_weather"), system.index("Be br")
        assert environment < definitions < own
        assert '"type": "dict"' in system

    def test_tool_choice(self) -> None:
        required = system_of(encode([HELLO], tools=[WEATHER], tool_choice="required"))
        named = system_of(encode([HELLO], tools=[WEATHER], tool_choice="get_weather"))
        assert required.endswith("you must use one of your functions or tools.")
        assert named.endswith("you must use the tool `get_weather`.")
        assert encode([HELLO], tools=[WEATHER], tool_choice="none").text == encode([HELLO]).text

    def test_images_do_not_belong_there(self) -> None:
        with pytest.raises(InvalidInput, match="no images"):
            encode([SystemMessage((PIXEL,))], family="llama3.2-vision")


class TestHistory:
    SEARCH = ToolCall("brave_search", {"query": 'who is "x"?'})
    CODE = ToolCall("code_interpreter", {"code": "print('hi')\n"})
    CALL = ToolCall("get_weather", {"city": "Köln", "n": [1, {"a": None}], "ok": True})

    @pytest.mark.parametrize("family", ["llama3.1", "llama3.2"])
    def test_builtin_calls_and_code(self, family: str) -> None:
        search = said("assistant", '<|python_tag|>brave_search.call(query="who is \\"x\\"?")', "<|eom_id|>")
        code = said("assistant", "<|python_tag|>print('hi')\n", "<|eom_id|>")
        assert history(AssistantMessage("", (self.SEARCH,)), family=family) == search
        assert history(AssistantMessage("", (self.CODE,)), family=family) == code
        assert history(AssistantMessage("", (self.SEARCH, self.CODE)), family=family) == search + code

    def test_json(self) -> None:
        one = '{"type": "function", "name": "get_weather", "parameters": '
        one += '{"city": "Köln", "n": [1, {"a": null}], "ok": true}}'
        called = AssistantMessage("", (self.CALL, self.CALL))
        assert history(called, family="llama3.1") == said("assistant", f"<|python_tag|>{one}; {one}", "<|eom_id|>")

    def test_json_outside_an_ipython_environment(self) -> None:
        rendered = encode([AssistantMessage("", (ToolCall("f"),))], family="llama3.1", date_lines=False)
        assert rendered.text == prompt(said("assistant", '{"type": "function", "name": "f", "parameters": {}}'))

    def test_function_tag(self) -> None:
        tag = '<function=get_weather>{"city": "Köln", "n": [1, {"a": null}], "ok": true}</function>'
        called = AssistantMessage("", (self.CALL,))
        assert history(called, family="llama3.1", tool_format="function_tag") == said("assistant", tag)

    def test_python_list(self) -> None:
        call = 'get_weather(city="Köln", n=[1, {"a": None}], ok=True)'
        called = AssistantMessage("", (self.CALL, self.CALL))
        assert history(called) == said("assistant", f"[{call}, {call}]")

    def test_names_that_python_could_not_bind(self) -> None:
        called = AssistantMessage("", (ToolCall("f", {"a b": 1, "": 2}),))
        numbered: Any = {1: 2}
        assert history(AssistantMessage("", (ToolCall("f", numbered),))) == said("assistant", "[f({1: 2})]")
        assert history(called) == said("assistant", '[f({"a b": 1, "": 2})]')

    def test_calls_of_several_kinds(self) -> None:
        called = AssistantMessage("", (self.SEARCH, ToolCall("f"), ToolCall("g")))
        search = said("assistant", '<|python_tag|>brave_search.call(query="who is \\"x\\"?")', "<|eom_id|>")
        assert history(called) == search + said("assistant", "[f(), g()]")

    def test_text_before_a_call(self) -> None:
        called = AssistantMessage("Let me see.", (self.SEARCH,))
        assert history(called).startswith(f"{ASSISTANT}Let me see.<|python_tag|>brave_search.call(")

    def test_a_message_that_waits(self) -> None:
        waiting = AssistantMessage("Hm", stop_reason=StopReason.END_OF_MESSAGE)
        assert history(waiting) == said("assistant", "Hm", "<|eom_id|>")
        assert history(replace(waiting, stop_reason=StopReason.OUT_OF_TOKENS)) == said("assistant", "Hm")

    def test_code_with_other_arguments_loses_none(self) -> None:
        call = ToolCall("code_interpreter", {"code": "1", "language": "python"})
        body = '<|python_tag|>code_interpreter.call(code="1", language="python")'
        assert history(AssistantMessage("", (call,))) == said("assistant", body, "<|eom_id|>")

    def test_a_call_that_could_not_be_read_stays_as_it_was(self) -> None:
        broken = ToolCall("f", raw='f(a="x', error="malformed")
        assert history(AssistantMessage("", (broken, ToolCall("g")))) == said("assistant", '[f(a="x, g()]')
        search = replace(broken, name="brave_search", raw="brave_search.call(")
        assert "<|python_tag|>brave_search.call(<|eom_id|>" in history(AssistantMessage("", (search,)))
        refused = replace(broken, arguments={"a": 1})
        assert history(AssistantMessage("", (refused,))) == said("assistant", "[f(a=1)]")

    @pytest.mark.parametrize("tool_format", ["json", "function_tag"])
    def test_what_cannot_be_written(self, tool_format: str) -> None:
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        for value in ({1, 2}, object(), deep):
            with pytest.raises(CodecError, match="cannot be written"):
                history(
                    AssistantMessage("", (ToolCall("f", {"a": value}),)), family="llama3.1", tool_format=tool_format
                )
            with pytest.raises(CodecError, match="cannot be written"):
                history(AssistantMessage("", (ToolCall("f", {"a": value}),)))

    def test_any_mapping_is_an_object(self) -> None:
        call = ToolCall("f", MappingProxyType({"a": MappingProxyType({"b": 1})}))
        assert '{"a": {"b": 1}}' in history(AssistantMessage("", (call,)), family="llama3.1")
        assert 'f(a={"b": 1})' in history(AssistantMessage("", (call,)))

    def test_code_results(self) -> None:
        assert code_result("completed", "7\n") == "completed\n[stdout]7\n[/stdout]"
        assert code_result("failed", "a", "b") == "failed\n[stdout]a[/stdout]\n[stderr]b[/stderr]"
        assert code_result("completed") == "completed"


class TestImages:
    def test_they_stand_where_they_were(self) -> None:
        message = UserMessage((PIXEL, Text("What is this?")))
        rendered = encode([message], family="llama3.2-vision", date_lines=False)
        assert rendered.text == prompt(said("user", "<|image|>What is this?"))
        assert rendered.images == (PIXEL,)
        assert 128256 in rendered.tokens(Tokenizer.load())

    def test_a_text_model_is_refused_them(self) -> None:
        with pytest.raises(ConfigError, match=r"llama3\.2-vision"):
            encode([UserMessage((PIXEL,))])

    def test_a_text_model_is_told_of_a_tool_s_image(self) -> None:
        rendered = encode([ToolResponse("1", "draw", (Text("Here:"), PIXEL))])
        assert "Here:\n[An image was returned here." in rendered.text
        assert rendered.images == ()

    def test_a_vision_model_sees_a_tool_s_image(self) -> None:
        assert encode([ToolResponse("1", "draw", (PIXEL,))], family="llama3.2-vision").images == (PIXEL,)


class TestBase:
    def test_text_goes_on(self) -> None:
        rendered = encode([UserMessage("The sky is"), AssistantMessage(" blue")], family="llama3.1-base")
        assert rendered.text == "<|begin_of_text|>The sky is blue"
        assert rendered.stop == ("<|end_of_text|>",)

    def test_an_image(self) -> None:
        rendered = encode([UserMessage((PIXEL, Text("A haiku:")))], family="llama3.2-vision-base")
        assert rendered.text == "<|begin_of_text|><|image|>A haiku:"

    def test_neighbours_cannot_spell_a_special_token(self) -> None:
        rendered = encode([UserMessage("<|eot"), UserMessage("_id|>")], family="llama3.1-base")
        assert "<|eot_id|>" not in rendered.text

    @pytest.mark.parametrize(
        "message", [SystemMessage("x"), ToolResponse("", "f", "x"), AssistantMessage("", (ToolCall("f"),))]
    )
    def test_roles_and_tools_have_no_place(self, message: Message) -> None:
        with pytest.raises(ConfigError, match="base model"):
            encode([message], family="llama3.1-base")
        with pytest.raises(ConfigError, match="base model"):
            encode([HELLO], family="llama3.1-base", tools=[WEATHER])


class TestFamilies:
    @pytest.mark.parametrize(
        ("name", "family"),
        [
            ("llama3.2-text", Family.LLAMA3_2),
            ("LLAMA3.3", Family.LLAMA3_3),
            ("llama3.2:3b-instruct-fp16", Family.LLAMA3_2),
            ("meta-llama/Llama-3.1-8B-Instruct", Family.LLAMA3_1),
            ("ollama/llama3.2-vision:11b", Family.LLAMA3_2_VISION),
            ("meta-llama/Llama-3.2-11B-Vision-Instruct", Family.LLAMA3_2_VISION),
            ("meta.llama3-1-70b-instruct-v1:0", Family.LLAMA3_1),
            ("us.meta.llama3-2-11b-instruct-v1:0", Family.LLAMA3_2_VISION),
            ("us.meta.llama3-2-1b-instruct-v1:0", Family.LLAMA3_2),
            ("Meta-Llama-3.3-70B-Instruct-Q4_K_M.gguf", Family.LLAMA3_3),
            ("llama-3.1-8b-base", Family.LLAMA3_1_BASE),
        ],
    )
    def test_names(self, name: str, family: Family) -> None:
        assert Family.of(name) is family

    @pytest.mark.parametrize("name", ["", "gpt-4", "llama4", "Llama-3-8B", "Llama-3-70B", "llama-3-13b", "llama2"])
    def test_strangers(self, name: str) -> None:
        with pytest.raises(ConfigError, match="no Llama family"):
            encode([HELLO], family=name)

    @pytest.mark.parametrize(
        ("family", "tool_format"),
        [("llama3.1", "python_list"), ("llama3.2", "json"), ("llama3.3", "function_tag"), ("llama3.2-vision", "xml")],
    )
    def test_formats_that_a_family_does_not_write(self, family: str, tool_format: str) -> None:
        with pytest.raises(ConfigError, match="Use "):
            encode([HELLO], family=family, tool_format=tool_format)

    def test_a_base_model_has_no_tool_format(self) -> None:
        with pytest.raises(ConfigError, match="base model"):
            Family.LLAMA3_1_BASE.tool_format()


class TestDicts:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"role": "system", "content": "S"}, SystemMessage("S")),
            ({"role": "user", "content": "U", "context": "C"}, UserMessage("U", "C")),
            ({"role": "user", "content": None}, UserMessage("")),
            ({"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, UserMessage((Text("a"), Text("b")))),
            ({"role": "user", "content": {"type": "text", "text": "b"}}, UserMessage((Text("b"),))),
            ({"role": "ipython", "content": "R", "call_id": "1", "tool_name": "f"}, ToolResponse("1", "f", "R")),
            ({"role": "tool", "content": "R", "tool_call_id": "1", "name": "f"}, ToolResponse("1", "f", "R")),
            (
                {"role": "assistant", "content": [{"type": "text", "text": "A"}], "stop_reason": "end_of_message"},
                AssistantMessage("A", stop_reason=StopReason.END_OF_MESSAGE),
            ),
            (
                {"role": "assistant", "tool_calls": [{"tool_name": "f", "arguments": {"a": 1}}]},
                AssistantMessage("", (ToolCall("f", {"a": 1}),)),
            ),
            (
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
                AssistantMessage("", (ToolCall("f", {"a": 1}),)),
            ),
            (
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": '}}]},
                AssistantMessage("", (ToolCall("f", raw='f({"a": )', error="broken"),)),
            ),
        ],
    )
    def test_they_read_as_messages(self, value: Mapping[str, Any], message: Message) -> None:
        assert encode([value]).text == encode([message]).text

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "image", "image": {"url": {"uri": "https://example.org/a.png"}}},
            {"type": "image", "image": {"data": "R0lGODlh"}},
            {"type": "image_url", "image_url": "data:image/gif;base64,R0lGODlh"},
            {"type": "image", "data": b"GIF89a"},
        ],
    )
    def test_images(self, part: dict[str, Any]) -> None:
        assert len(encode([{"role": "user", "content": [part]}], family="llama3.2-vision").images) == 1

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "Hello",
            {},
            {"role": "robot", "content": ""},
            {"role": "user<|end_header_id|>", "content": ""},
            {"role": ["user"], "content": ""},
            {"role": "user", "content": 5},
            {"role": "user", "content": [5]},
            {"role": "user", "content": "", "context": 5},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
            {"role": "user", "content": [{"type": "image", "data": "%%%"}]},
            {"role": "user", "content": [{"type": "image", "data": 5}]},
            {"role": "assistant", "content": [{"type": "image", "data": "R0lGODlh"}]},
            {"role": "assistant", "content": "", "stop_reason": "tired"},
            {"role": "assistant", "content": "", "stop_reason": ["tired"]},
            {"role": "assistant", "content": "", "tool_calls": "f()"},
            {"role": "assistant", "content": "", "tool_calls": {"name": "f"}},
            {"role": "assistant", "content": "", "tool_calls": [5]},
            {"role": "assistant", "content": "", "tool_calls": [{"name": 5}]},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "id": 5}]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": 5}]},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": [1]}]},
        ],
    )
    def test_what_is_no_message(self, value: Any) -> None:
        with pytest.raises(InvalidInput):
            encode([value], family="llama3.2-vision")

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (None, ""),
            (["a", "b"], "ab"),
            ([{"type": "text", "text": "a"}], "a"),
            ([File("f.txt", b"1")], "[file f.txt"),
        ],
    )
    def test_messages_take_the_contents_that_dicts_take(self, content: Any, text: str) -> None:
        for role, kind in (("user", UserMessage), ("assistant", AssistantMessage)):
            given = encode([{"role": role, "content": content}])
            assert encode([kind(content)]) == given
            assert text in given.text or role == "assistant"

    @pytest.mark.parametrize("content", [5, [5], [{"type": "video"}]])
    def test_messages_without_content(self, content: Any) -> None:
        for message in (UserMessage(content), AssistantMessage(content), ToolResponse("1", "f", content)):
            with pytest.raises(InvalidInput):
                encode([message])

    def test_a_stop_reason_in_plain_text(self) -> None:
        waiting: Any = "end_of_message"
        assert "Hm<|eom_id|>" in encode([AssistantMessage("Hm", stop_reason=waiting)]).text

    @pytest.mark.parametrize("messages", ["Hello", {"role": "user", "content": "Hello"}])
    def test_one_message_is_no_list(self, messages: Any) -> None:
        with pytest.raises(InvalidInput, match="list"):
            encode(messages)

    def test_a_changed_dict_is_read_again(self) -> None:
        message: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "one"}]}
        assert "one" in encode([message]).text
        message["content"][0]["text"] = "two"
        assert "two" in encode([message]).text


class TestTools:
    @pytest.mark.parametrize(
        "tool",
        [
            {"name": "get_weather", "description": WEATHER.description, "parameters": WEATHER.parameters},
            {
                "type": "function",
                "function": {"name": "get_weather", "description": WEATHER.description}
                | {"parameters": WEATHER.parameters},
            },
        ],
    )
    def test_dicts(self, tool: dict[str, Any]) -> None:
        assert encode([HELLO], tools=[tool]).text == encode([HELLO], tools=[WEATHER]).text

    @pytest.mark.parametrize(
        "tool",
        [
            ToolDef(""),
            ToolDef("a b"),
            ToolDef("a\n<|eot_id|>"),
            ToolDef("9lives"),
            ToolDef("x" * 129),
            ToolDef("f", parameters={"properties": {"a": object()}}),
            {"name": 5},
            {"function": 5},
            {"name": "f", "parameters": [5]},
            {"name": "f", "description": 5},
            5,
        ],
    )
    def test_what_cannot_be_offered(self, tool: Any) -> None:
        with pytest.raises(ToolDefinitionError):
            encode([HELLO], tools=[tool])

    @pytest.mark.parametrize(
        "settings",
        [
            {"tools": ["no_such_tool"]},
            {"tools": "brave_search"},
            {"tools": ["brave_search", ToolDef("brave_search")]},
            {"tools": [WEATHER], "tool_choice": "other"},
            {"tool_choice": "required"},
            {"tool_choice": "get_weather"},
        ],
    )
    def test_contradictions(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            encode([HELLO], **settings)

    def test_a_tool_without_parameters(self) -> None:
        assert '"properties": {}' in encode([HELLO], tools=[{"name": "f"}]).text

    def test_errors_are_the_caller_s(self) -> None:
        with pytest.raises(UsageError) as caught:
            encode([HELLO], tools=[ToolDef("a b")])
        assert caught.value.fault == "caller"


class TestMemory:
    def test_tools_are_tokenised_once(self) -> None:
        seen: list[str] = []

        class Counting:
            def encode(self, text: str) -> list[int]:
                seen.append(text)
                return []

        counting: Any = Counting()
        tool = ToolDef("only_here")
        for family in ("llama3.1", "llama3.3"):
            seen.clear()
            for messages in ([HELLO], [HELLO, UserMessage("And?")]):
                encode(messages, family=family, tools=[tool]).tokens(counting)
            assert sum("only_here" in text for text in seen) == 1

    def test_only_new_messages_are_rendered(self) -> None:
        made: list[object] = []

        def make(value: object) -> tuple[str, int]:
            made.append(value)
            return str(value), 1

        memo = Memo(make, limit=100)
        first, second = HELLO, UserMessage("World")
        memo.each([first])
        memo.each([first, second])
        assert made == [first, second]

    def test_it_is_bounded(self) -> None:
        memo = Memo(lambda value: (str(value), 10), limit=35)
        values = [object() for _ in range(50)]
        memo.each(values)
        assert len(memo._entries) == 3
        assert memo.each(values) == [str(value) for value in values]

    def test_what_is_too_large_is_not_kept(self) -> None:
        memo = Memo(lambda value: (str(value), 1000), limit=35)
        assert memo.each([HELLO]) == [str(HELLO)]
        assert not memo._entries

    def test_what_was_made_of_an_object_ends_with_it(self) -> None:
        memo = Memo(lambda value: (str(value), 10), limit=1000)
        message = UserMessage("Hello")
        memo.each([message])
        assert memo._entries
        del message
        assert not memo._entries

    def test_threads_share_it(self) -> None:
        messages = [UserMessage(f"message {number}") for number in range(300)]
        expected = encode([replace(message) for message in messages]).text
        with ThreadPoolExecutor(4) as pool:
            texts = list(pool.map(lambda _turn: encode(messages).text, range(16)))
        assert set(texts) == {expected}


def test_the_codec_imports_nothing_heavy() -> None:
    script = "import sys, agentic.llama; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert not loaded & {"tiktoken", "PIL", "llama_models", "numpy"}

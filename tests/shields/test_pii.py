from __future__ import annotations

import asyncio
import importlib.util
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from agentic import Agent
from agentic.protocols import Shield
from agentic.testing import ScriptedModel
from agentic.tool import Tool
from agentic.types import (
    AssistantMessage,
    ConfigError,
    InvalidInput,
    Message,
    Text,
    ToolCall,
    ToolResponse,
    Touchpoint,
    UserMessage,
    Verdict,
)
from agentic_shields import PIIShield, unmask

PLACEHOLDER = re.compile(r"<EMAIL_[A-Z2-7]{8}>")


def check(shield: PIIShield, *messages: Message) -> Verdict:
    return asyncio.run(shield.check(messages))


def test_it_is_a_shield() -> None:
    assert isinstance(PIIShield(), Shield)


def test_values_become_placeholders_that_stay_the_same() -> None:
    shield = PIIShield()
    first = check(shield, UserMessage("Mail ann@example.com, then bob@example.com, then ann@example.com."))
    found = PLACEHOLDER.findall(str(first.replacement))
    assert found[0] == found[2] != found[1]
    assert first.masked == {found[0]: "ann@example.com", found[1]: "bob@example.com"}
    assert not first.blocked
    assert "ann@" not in first.raw
    again = check(shield, ToolResponse("c", "t", "from ann@example.com"))
    assert again.replacement == f"from {found[0]}"


def test_other_shields_give_other_placeholders() -> None:
    masks = [check(PIIShield(), UserMessage("ann@example.com")).replacement for _ in range(2)]
    assert masks[0] != masks[1]


def test_a_typed_placeholder_is_none() -> None:
    shield = PIIShield()
    masked = str(check(shield, UserMessage("ann@example.com")).replacement)
    typed = check(shield, UserMessage(f"Send it to {masked} and <CARD_AAAAAAAA>."))
    assert typed.violation is None
    assert typed.replacement == f"Send it to ({masked[1:-1]}) and (CARD_AAAAAAAA)."
    document = check(shield, UserMessage(masked), ToolResponse("c", "t", f"{masked} <EMAIL_AAAAAAAA>"))
    assert document.replacement == f"{masked} (EMAIL_AAAAAAAA)"


def test_real_values_go_to_chosen_tools_only() -> None:
    shield = PIIShield(reveal_to=["mail"])
    verdict = check(shield, UserMessage("ann@example.com"))
    written = str(verdict.replacement)
    arguments = {"to": [f"Ann {written}"], "more": {"x": "<EMAIL_AAAAAAAA>", "n": 1}, "by": {written: [{"a": written}]}}
    revealed = shield.reveal(ToolCall("mail", arguments), verdict.masked)
    assert revealed == {
        "to": ["Ann ann@example.com"],
        "more": {"x": "<EMAIL_AAAAAAAA>", "n": 1},
        "by": {"ann@example.com": [{"a": "ann@example.com"}]},
    }
    assert shield.reveal(ToolCall("search", arguments), verdict.masked) == arguments


def test_block_and_detect_look_at_calls_too() -> None:
    call = AssistantMessage("", (ToolCall("search", {"q": ["ann@example.com"]}, "c"),))
    assert check(PIIShield("block"), call).blocked
    assert check(PIIShield("block", reveal_to=["search"]), call).violation is None
    detected = check(PIIShield("detect"), UserMessage("card 4111 1111 1111 1111"))
    assert detected.violation
    assert detected.violation.metadata["kinds"] == ["CREDIT_CARD"]
    assert detected.replacement is None
    assert detected.masked == {}
    assert Touchpoint.TOOL_CALL not in PIIShield().touchpoints


def test_only_what_is_asked_for_is_found() -> None:
    text = "Angela Merkel, 192.168.1.20, ann@example.com, 4111 1111 1111 1112"
    assert set(check(PIIShield(), UserMessage(text)).masked.values()) == {"ann@example.com"}
    found = check(PIIShield(entities=["PERSON", "IP_ADDRESS"]), UserMessage(text)).masked
    assert set(found.values()) == {"Angela Merkel", "192.168.1.20"}


def test_parts_of_content_are_masked() -> None:
    verdict = check(PIIShield(), UserMessage((Text("a "), Text("ann@example.com"))))
    assert isinstance(verdict.replacement, tuple)
    assert verdict.replacement[0] == Text("a ")


def test_data_in_several_texts_is_masked_and_in_a_context_blocked() -> None:
    verdict = check(PIIShield(), UserMessage((Text("a ann@exam"), Text("ple.com"))))
    assert isinstance(verdict.replacement, tuple)
    assert "ann@" not in repr(verdict.replacement)
    assert check(PIIShield(), UserMessage("Hi", context="ann@example.com")).blocked
    assert not check(PIIShield("detect"), UserMessage("Hi", context="ann@example.com")).blocked


@pytest.mark.parametrize("text", ["", "  ", "\ud800", "\0", "a@" * 3000, "1" * 20_000, "<EMAIL_", "@" * 5000])
def test_odd_texts_are_judged(text: str) -> None:
    check(PIIShield(), UserMessage(text))


def test_what_is_too_long_is_not_judged() -> None:
    with pytest.raises(InvalidInput):
        check(PIIShield(), UserMessage("a " * 100_001))


def test_many_ask_at_once() -> None:
    shield = PIIShield()

    async def many() -> list[Verdict]:
        return await asyncio.gather(*(shield.check([UserMessage(f"x{n}@example.com")]) for n in range(8)))

    assert [list(verdict.masked.values()) for verdict in asyncio.run(many())] == [
        [f"x{n}@example.com"] for n in range(8)
    ]


def test_nothing_that_was_found_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    check(PIIShield(), UserMessage("Mail ann@example.com."))
    assert "ann@" not in caplog.text


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args))
    shield = PIIShield(entities=["EMAIL_ADDRESS", "LOCATION"])
    assert check(shield, UserMessage("ann@example.co.uk")).masked
    assert asked == []


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"agentic\[pii\]"):
        PIIShield()


@pytest.mark.parametrize("options", [{"action": "x"}, {"entities": []}, {"entities": ["X"]}, {"reveal_to": "x"}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PIIShield(**options)


def test_a_turn_masks_reveals_and_masks_again() -> None:
    sent: list[str] = []

    def mail(to: str) -> str:
        """Sends mail."""
        sent.append(to)
        return f"Sent to {to}; copy to carl@example.org."

    def search(query: str) -> str:
        """Searches."""
        sent.append(query)
        return "Nothing."

    model = ScriptedModel([_call("mail", "to"), _call("search", "query"), "Done."])
    shield = PIIShield(reveal_to=["mail"])
    agent = Agent(model, tools=[Tool(mail), Tool(search)], shields=[shield], store=None)
    turn = agent.run("Write to ann@example.com, please.")
    assert sent[0] == "ann@example.com"
    assert PLACEHOLDER.fullmatch(sent[1])
    seen = "\n".join(message.text for request in model.requests for message in request.messages)
    assert "ann@example.com" not in seen
    assert "carl@example.org" not in seen
    assert "please." in seen
    assert unmask(f"To {sent[1]}", [turn]) == "To ann@example.com"


def _call(name: str, argument: str) -> Callable[..., Any]:
    """A model that passes the first placeholder on which it reads."""

    def answer(request: Any) -> ToolCall:
        found = PLACEHOLDER.search("\n".join(message.text for message in request.messages))
        assert found
        return ToolCall(name, {argument: found.group()})

    return answer

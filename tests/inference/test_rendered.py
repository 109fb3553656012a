"""The texts of messages that were written once."""

from __future__ import annotations

from agentic import UserMessage
from agentic.inference.rendered import Rendered


def test_a_text_lives_as_long_as_its_message() -> None:
    rendered = Rendered()
    message, other = UserMessage("Hello"), UserMessage("Hello")
    assert rendered.get(message) is None
    assert rendered.keep(message, {"a": 1}) == '{"a":1}' == rendered.get(message)
    assert rendered.get(other) is None, "equal is not the same"
    del message
    assert not rendered._texts

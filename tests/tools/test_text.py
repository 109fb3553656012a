"""Text from the web: clean, bounded, and never slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_tools.text import clean, clip, plain


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("<strong>21</strong> &deg;C", "21 °C"),
        ("a<br/>b <!-- no --> c<!DOCTYPE x>", "ab c"),
        ("&lt;b&gt; &amp;lt;", "<b> &lt;"),
        ("1 < 2 > 0 <3 a<b", "1 < 2 > 0 <3 a<b"),
        ("  two\n\n lines\t", "two lines"),
        ("\x00\x07\x1b[2J\x9b\u202e\u2066\ufeffx\u200b\U000e0041", "x"),
        ("\ud800", "?"),
        (None, ""),
        (5, ""),
        ({"a": 1}, ""),
    ],
)
def test_a_fragment_becomes_one_line(given: object, text: str) -> None:
    assert plain(given, 100) == text


def test_lines_stay_where_they_mean_something() -> None:
    assert clean(" one  \r\n\r\n \r\n\r\n\ttwo\rthree\u2028four \n") == "one\n\n\ttwo\nthree\nfour"


def test_what_is_cut_says_so() -> None:
    assert (clip("12345", 5), clip("123456", 5), clip("12   6789", 5)) == ("12345", "1234…", "12…")


@given(st.text(), st.integers(1, 50))
def test_any_text_is_bounded_and_printable(text: str, limit: int) -> None:
    line = plain(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
    assert not any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in line)
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize("piece", ["<!--", "<a", "<", " ", "\n", " \n", "\x1b[", "\x1b[1;", "&lt;", "&#", "\t", "<!"])
def test_megabytes_of_what_hurts_take_no_time(piece: str) -> None:
    """Anything that is not linear would run into the time limit of the tests."""
    text = piece * (1_000_000 // len(piece)) + "\nx"
    assert clean(text).endswith("x")
    assert len(plain(text, len(text))) <= len(text)

"""No piece of text, however it was split, brings an escape sequence to a terminal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic.cli.text import Cleaner, cleaned, one_line

PIECES = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            ["\x1b", "\x1b[", "\x1b]", "\x1b\\", "\x9b", "\x9d", "\x9c", "\x07", "31", ";", "m", "\r", "\n"]
        ),
    ),
    max_size=30,
)


@given(PIECES)
def test_however_it_is_split_it_comes_out_the_same(pieces: list[str]) -> None:
    cleaner = Cleaner()
    streamed = "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.rest()])
    assert streamed == cleaned("".join(pieces))


@given(PIECES)
def test_nothing_that_steers_is_left(pieces: list[str]) -> None:
    text = cleaned("".join(pieces))
    assert not [letter for letter in text if (letter < " " and letter not in "\n\t") or "\x7f" <= letter <= "\x9f"]
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]52;c;Y2xpcA==\x1b\\text", "text"),
        ("\x1bPq#0;2\x1b\\text", "text"),
        ("\x1b(Btext\x1bc", "text"),
        ("a\r\nb\rc", "a\nbc"),
        ("a\tb\n", "a\tb\n"),
        ("\x1b]never closed", "]never closed"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("é 🦙 [bold]", "é 🦙 [bold]"),
    ],
)
def test_what_is_left(raw: str, shown: str) -> None:
    assert cleaned(raw) == shown


@pytest.mark.parametrize("evil", ["\x1b]" * 200_000, "\x9d" * 400_000, "\x1b[1" * 100_000, "\x1b " * 200_000])
def test_hostile_text_takes_no_time(evil: str) -> None:
    cleaner = Cleaner()
    began = time.process_time()
    cleaned(evil)
    for start in range(0, len(evil), 1000):
        cleaner.feed(evil[start : start + 1000])
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("short", "short"),
        ("two\nlines", "two…"),
        ("exactly ten", "exactly t…"),
        ("  a \t b  \n", "a b"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text, 10) == line

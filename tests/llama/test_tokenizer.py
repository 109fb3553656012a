"""Meta's tokenizer: known ids, the cut of long runs, special tokens, and what happens without the extra."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic.llama import Tokenizer, encode, tokenizer
from agentic.types import CodecError, ConfigError, UserMessage


@pytest.fixture(scope="module")
def meta() -> Any:
    pytest.importorskip("llama_models")
    from llama_models.llama3.tokenizer import Tokenizer as MetaTokenizer

    return MetaTokenizer.get_instance()


@pytest.fixture
def unloaded() -> Iterator[None]:
    tokenizer._loaded.cache_clear()
    yield
    tokenizer._loaded.cache_clear()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("hello world", [15339, 1917]),
        ("How many \u2018r\u2019s in strawberry?", [4438, 1690, 3451, 81, 753, 304, 73700, 30]),
        ("How many 'r's in strawberry?", [4438, 1690, 364, 81, 596, 304, 73700, 30]),
        ("How many 'r's in Strawberry?", [4438, 1690, 364, 81, 596, 304, 89077, 30]),
        ("\n\n", [271]),
        ("user", [882]),
        ("system", [9125]),
        ("assistant", [78191]),
        ("ipython", [23799, 4690]),
        ("", []),
    ],
)
def test_known_ids(text: str, ids: list[int]) -> None:
    assert Tokenizer.load().encode(text) == ids
    assert Tokenizer.load().decode(ids) == text


def test_it_is_loaded_once() -> None:
    assert Tokenizer.load() is Tokenizer.load()


def test_special_tokens(meta: Any) -> None:
    ours = Tokenizer.load()
    assert dict(ours.special) == meta.special_tokens
    assert ours.special["<|eom_id|>"] == 128008
    assert ours.encode("a<|eot_id|>", allowed_special=True)[-1] == 128009
    assert ours.encode("<|eot_id|><|eom_id|>", allowed_special=["<|eom_id|>"])[-1] == 128008
    assert 128009 not in ours.encode("<|eot_id|>")
    assert ours.encode("<|eot_id|>", allowed_special="all") == [128009]
    assert ours.encode("<|eot_id|>", allowed_special="<|eot_id|>") == [128009]
    assert ours.decode([128009, 128256, 15339]) == "<|eot_id|><|image|>hello"


@pytest.mark.parametrize("ids", [[128257], [-1], [2**40], ["x"]])
def test_unknown_ids(ids: list[int]) -> None:
    with pytest.raises(CodecError, match="no token"):
        Tokenizer.load().decode(ids)


def test_broken_bytes_are_replaced() -> None:
    first = Tokenizer.load().encode("\N{CRAB}")[:1]
    assert "\ufffd" in Tokenizer.load().decode(first)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60_000,
        " " * 60_000 + "b" * 30_000,
        ("word " * 90_000),
        "x" * 24_999 + " " + "y" * 25_001 + "\n" * 25_000 + "z",
        "\u3000\x85\x1c" * 9_000 + "q" * 399_999,
        "ab\ud800cd",
    ],
)
def test_long_runs_are_cut_where_meta_cuts_them(text: str, meta: Any) -> None:
    assert Tokenizer.load().encode(text) == meta.encode(text, bos=False, eos=False)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_same_ids_as_meta(text: str, meta: Any) -> None:
    assert Tokenizer.load().encode(text) == meta.encode(text, bos=False, eos=False)


@settings(max_examples=50, deadline=None)
@given(runs=st.lists(st.tuples(st.sampled_from(" ab\n\u2003<"), st.integers(1, 60)), max_size=12))
def test_pieces_hold_no_long_run(runs: list[tuple[str, int]]) -> None:
    text = "".join(letter * count for letter, count in runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_LONGEST_TEXT", 100)
        patch.setattr(tokenizer, "_LONGEST_RUN", 10)
        pieces = list(tokenizer._pieces(text))
    assert "".join(pieces) == text
    for piece in pieces:
        assert all(len(run.group()) <= 10 for run in tokenizer._RUN.finditer(piece))


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("missing", ["llama_models", "tiktoken"])
def test_without_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'agentic\[tokenizer\]'"):
        Tokenizer.load()
    count = encode([UserMessage("How many tokens are in this sentence, more or less?")]).count()
    assert not count.exact
    assert 15 <= count.tokens <= 30


@pytest.mark.usefixtures("unloaded")
def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama3").mkdir()
    (tmp_path / "llama3" / "tokenizer.model").write_bytes(b"IQ== 0\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(tokenizer, "find_spec", lambda _name: spec)
    with pytest.raises(ConfigError, match="SHA-256 differs"):
        Tokenizer.load()

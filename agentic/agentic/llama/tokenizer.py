"""Meta's tokenizer for Llama 3.0 to 3.3: 128,000 byte pairs and 256 special tokens.

The byte pairs come from the `llama-models` package, which carries Meta's file under the Llama 3 licence; tiktoken does
the work.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..types.errors import CodecError, ConfigError
from .special import IMAGE, SPECIAL_TOKENS, VISION_IMAGE_ID

if TYPE_CHECKING:
    import tiktoken

_SHA256 = "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"
_INSTALL = "Run: pip install 'agentic[tokenizer]'"

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before byte pairs are merged: the expression that the vocabulary was built with."""

_RUN = re.compile(r"\s+|\S+")
_LONGEST_TEXT = 400_000
_LONGEST_RUN = 25_000
"""In characters. tiktoken cannot take longer texts, and takes quadratic time for longer runs of one kind. Meta cuts
there too, so the ids agree."""


class Tokenizer:
    """Text to token ids and back. Thread-safe; `Tokenizer.load()` makes it once.

    Attributes:
        special: Each special token's id by its name.
    """

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self.special: Mapping[str, int] = MappingProxyType(SPECIAL_TOKENS)

    @classmethod
    def load(cls) -> Tokenizer:
        """The tokenizer, built on the first call (about half a second).

        Raises:
            ConfigError: The extra `tokenizer` is not installed, or its file is not Meta's.
        """
        return _loaded()

    @staticmethod
    @cache
    def installed() -> bool:
        """Whether `load` can succeed; nothing is imported to find out."""
        return find_spec("tiktoken") is not None and _model_file() is not None

    def encode(self, text: str, allowed_special: bool | Collection[str] = False) -> list[int]:
        """Text as token ids.

        Args:
            text: Of any length.
            allowed_special: Whether the names of special tokens in the text become these tokens: none, all (True or
                `"all"`), or those named. Never all for text from outside.
        """
        allowed: Literal["all"] | set[str]
        if allowed_special is True or allowed_special == "all":
            allowed = "all"
        else:
            allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special or ())
        if len(text) <= _LONGEST_RUN:
            return self._encoding.encode(text, allowed_special=allowed, disallowed_special=())
        ids: list[int] = []
        for piece in _pieces(text):
            ids.extend(self._encoding.encode(piece, allowed_special=allowed, disallowed_special=()))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens by their names; bytes that are no UTF-8 become U+FFFD.

        Raises:
            CodecError: There is no such token.
        """
        known = [SPECIAL_TOKENS[IMAGE] if each == VISION_IMAGE_ID else each for each in ids]
        try:
            return self._encoding.decode(known)
        except (KeyError, OverflowError, TypeError) as error:
            raise CodecError(f"An id is no token ({error}): they go from 0 to {VISION_IMAGE_ID:,}.") from None


@cache
def _loaded() -> Tokenizer:
    path = _model_file()
    if path is None:
        raise ConfigError("The tokenizer needs Meta's file, which the package llama-models carries.", hint=_INSTALL)
    try:
        import tiktoken
    except ImportError:
        raise ConfigError("The tokenizer needs the package tiktoken.", hint=_INSTALL) from None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ConfigError(f"{path} is not Meta's Llama 3 tokenizer: its SHA-256 differs.", hint=_INSTALL)
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines())}
    encoding = tiktoken.Encoding("llama3", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=SPECIAL_TOKENS)
    return Tokenizer(encoding)


def _model_file() -> Path | None:
    """Where `llama-models` keeps the file; found without importing the package."""
    spec = find_spec("llama_models")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "llama3" / "tokenizer.model"
        if path.is_file():
            return path
    return None


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that hold no run of more than 25,000 characters of one kind (space or not)."""
    for start in range(0, len(text), _LONGEST_TEXT):
        chunk = text[start : start + _LONGEST_TEXT]
        begin = 0
        for run in _RUN.finditer(chunk):
            for cut in range(run.start() + _LONGEST_RUN, run.end(), _LONGEST_RUN):
                yield chunk[begin:cut]
                begin = cut
        yield chunk[begin:]

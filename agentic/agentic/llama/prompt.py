"""A rendered prompt: control tokens and text, kept apart until the last moment."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from ..types.content import Image
from .neutral import neutralise
from .special import IMAGE, SPECIAL_TOKENS, VISION_IMAGE_ID

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

_BYTES_PER_TOKEN = 4
"""English takes about 4.4 bytes a token, code 3.3."""


@dataclass(frozen=True, slots=True)
class Control:
    """A special token, by its name: `<|eot_id|>`. Only this codec makes them; text never becomes one."""

    name: str

    @property
    def id(self) -> int:
        """Its token id."""
        return VISION_IMAGE_ID if self.name == IMAGE else SPECIAL_TOKENS[self.name]


Segment: TypeAlias = Control | str
"""A special token, or text. Each text is tokenised on its own."""


class Block:
    """One message of a prompt, or its beginning or end; immutable. It remembers its tokens.

    Attributes:
        segments: In order.
        text: The same as one string, safe for a server that reads special tokens out of text.
        images: The images behind its `<|image|>` tokens.
        estimate: About how many tokens it takes, from the lengths of its texts.
    """

    __slots__ = ("_ids", "estimate", "images", "segments", "text")

    def __init__(self, segments: Iterable[Segment], images: tuple[Image, ...] = ()) -> None:
        self.segments = tuple(segments)
        self.text = "".join(_spell(self.segments))
        self.images = images
        self.estimate = sum(map(_estimate, self.segments))
        self._ids: tuple[Tokenizer, array[int]] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and (self.segments, self.images) == (other.segments, other.images)

    def __hash__(self) -> int:
        return hash(self.segments)

    def ids(self, tokenizer: Tokenizer) -> array[int]:
        """Its token ids."""
        if self._ids is None or self._ids[0] is not tokenizer:
            ids = array("I")
            for segment in self.segments:
                if isinstance(segment, Control):
                    ids.append(segment.id)
                else:
                    ids.extend(tokenizer.encode(segment))
            self._ids = tokenizer, ids
        return self._ids[1]


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens a prompt takes.

    Attributes:
        tokens: The number; one for each image.
        exact: Whether a tokenizer counted; otherwise the number is an estimate from the text's length.
    """

    tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in both of its forms: text for completion servers, token ids for those that take ids.

    Attributes:
        blocks: Its parts, a message each.
        stop: The strings at which a text-completion server must stop.
        text: The whole prompt. What users, documents and tools said cannot spell a special token in it: see
            `agentic.llama.neutral`.
    """

    blocks: tuple[Block, ...] = field(repr=False)
    stop: tuple[str, ...]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", "".join([block.text for block in self.blocks]))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Control tokens and texts, in order."""
        return tuple(chain.from_iterable(block.segments for block in self.blocks))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, in the order of their `<|image|>` tokens."""
        return tuple(chain.from_iterable(block.images for block in self.blocks))

    def tokens(self, tokenizer: Tokenizer) -> list[int]:
        """The prompt as token ids. Only control tokens become special ids, whatever the text says."""
        ids: list[int] = []
        for block in self.blocks:
            ids.extend(block.ids(tokenizer))
        return ids

    def count(self, tokenizer: Tokenizer | None = None) -> Count:
        """How many tokens the prompt takes; an estimate without a tokenizer."""
        if tokenizer is not None:
            return Count(sum(len(block.ids(tokenizer)) for block in self.blocks), exact=True)
        return Count(sum(block.estimate for block in self.blocks), exact=False)


def _spell(segments: Iterable[Segment]) -> Iterator[str]:
    """Neighbouring texts are neutralised as one: together they may spell what neither spells alone."""
    run: list[str] = []
    for segment in segments:
        if isinstance(segment, str):
            run.append(segment)
            continue
        if run:
            yield neutralise("".join(run))
            run.clear()
        yield segment.name
    if run:
        yield neutralise("".join(run))


def _estimate(segment: Segment) -> int:
    if isinstance(segment, Control):
        return 1
    length = len(segment) if segment.isascii() else len(segment.encode("utf-8", "surrogatepass"))
    return -(-length // _BYTES_PER_TOKEN)

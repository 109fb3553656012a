"""How Llama 3.2 vision models see an image: on a canvas of one to four square tiles.

Source: Meta's model cards and `llama-models`' image transform. The instruct models and the 90B base model use tiles of
560 pixels, the 11B base model 448.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from ..types.content import Image
from ..types.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

TILE = 560
MAX_TILES = 4
MAX_PIXELS = 89_478_485
"""A larger image is refused before it is unpacked; Pillow's own limit."""

_PATCH = 14
_ORIENTATION = 0x0112
_UPRIGHT = (0, 1)


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where an image lies on its canvas: in the top left corner, black to its right and below.

    Attributes:
        across: Tiles beside each other.
        down: Tiles above each other.
        width: The resized image's width in pixels.
        height: The resized image's height in pixels.
        tile: A tile's side in pixels.
    """

    across: int
    down: int
    width: int
    height: int
    tile: int

    @property
    def canvas(self) -> tuple[int, int]:
        """The canvas's width and height in pixels."""
        return self.across * self.tile, self.down * self.tile

    @property
    def tokens(self) -> int:
        """Vision tokens: in each tile one for every patch of 14 pixels and one for the whole.

        They go through cross-attention and take no room in the prompt, where an image is one token.
        """
        return self.across * self.down * ((self.tile // _PATCH) ** 2 + 1)


def tiles(width: int, height: int, *, tile: int = TILE, max_tiles: int = MAX_TILES) -> Tiling:
    """The canvas that an image is put on, and its size there.

    The canvas is the one on which the image need not shrink and grows least, else the one on which it shrinks least;
    of equals, the smallest. The image keeps its proportions and never grows beyond one tile's side.

    Args:
        width: The image's, in pixels.
        height: The image's, in pixels.
        tile: A tile's side in pixels.
        max_tiles: The most tiles a canvas may have.

    Raises:
        InvalidInput: A number is below 1.
    """
    if min(width, height, tile, max_tiles) < 1:
        raise InvalidInput(f"An image of {width} x {height} pixels cannot be laid on {max_tiles} tiles of {tile}.")

    def scale(canvas: tuple[int, int]) -> float:
        return min(canvas[0] * tile / width, canvas[1] * tile / height)

    def preference(canvas: tuple[int, int]) -> tuple[bool, float, int]:
        grows = scale(canvas) >= 1
        return not grows, scale(canvas) if grows else -scale(canvas), canvas[0] * canvas[1]

    across, down = min(_canvases(max_tiles), key=preference)
    room = min(max(width, tile), across * tile), min(max(height, tile), down * tile)
    if room[0] / width < room[1] / height:
        size = room[0], min(floor(height * (room[0] / width)), room[1])
    else:
        size = min(floor(width * (room[1] / height)), room[0]), room[1]
    return Tiling(across, down, max(size[0], 1), max(size[1], 1), tile)


def preprocess(image: Image, *, tile: int = TILE, max_tiles: int = MAX_TILES, pad: bool = False) -> Image:
    """The image in the size in which the model sees it, so that no more is sent than it can use.

    Args:
        image: An image given by its bytes; one that is given by a URL is returned as it is.
        tile: A tile's side in pixels.
        max_tiles: The most tiles a canvas may have.
        pad: Makes the whole canvas, enlarging a small image too. Otherwise the image only ever shrinks, and one that
            already fits is returned as it is.

    Raises:
        ConfigError: The extra `images` is not installed.
        InvalidInput: The image cannot be read, or is too large to unpack.
    """
    if image.data is None:
        return image
    with _opened(image.data) as opened:
        from PIL import Image as Pictures
        from PIL import ImageOps

        upright = opened.getexif().get(_ORIENTATION, 1) in _UPRIGHT
        picture = ImageOps.exif_transpose(opened).convert("RGB")
        fitted = tiles(*picture.size, tile=tile, max_tiles=max_tiles)
        size = fitted.width, fitted.height
        shrinks = fitted.width < picture.width or fitted.height < picture.height
        if not pad and upright and not shrinks:
            return image
        if pad or shrinks:
            picture = picture.resize(size, Pictures.Resampling.BILINEAR)
        if pad:
            canvas = Pictures.new("RGB", fitted.canvas)
            canvas.paste(picture)
            picture = canvas
        return Image(data=_packed(picture, opened.format or ""))


def vision_tokens(image: Image, *, tile: int = TILE, max_tiles: int = MAX_TILES) -> int:
    """The vision tokens that an image takes; for one given by a URL, whose size is unknown, the most it can take.

    Raises:
        ConfigError: The extra `images` is not installed.
        InvalidInput: The image cannot be read.
    """
    if image.data is None:
        return Tiling(max_tiles, 1, tile, tile, tile).tokens
    with _opened(image.data) as opened:
        width, height = opened.size
        if opened.getexif().get(_ORIENTATION, 1) >= 5:  # lying on its side
            width, height = height, width
        return tiles(width, height, tile=tile, max_tiles=max_tiles).tokens


def _canvases(max_tiles: int) -> list[tuple[int, int]]:
    """Every canvas, as tiles across and down, grouped by proportion in the order in which Meta's transform finds it."""
    by_proportion: dict[float, list[tuple[int, int]]] = {}
    for count in range(max_tiles, 0, -1):
        for across in range(1, count + 1):
            if count % across == 0:
                down = count // across
                by_proportion.setdefault(across / down, []).append((across, down))
    return [canvas for canvases in by_proportion.values() for canvas in canvases]


@contextmanager
def _opened(data: bytes) -> Iterator[Picture]:
    try:
        from PIL import Image as Pictures
    except ImportError:
        raise ConfigError("Resizing images needs Pillow.", hint="Run: pip install 'agentic[images]'") from None
    try:
        with Pictures.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise InvalidInput(
                    f"The image has {opened.width} x {opened.height} pixels; {MAX_PIXELS:,} is the limit."
                )
            yield opened
    except (
        OSError,
        ValueError,
        SyntaxError,
        Pictures.DecompressionBombError,
        Pictures.DecompressionBombWarning,
    ) as error:
        raise InvalidInput(f"The image cannot be read: {error}.") from None


def _packed(picture: Picture, source_format: str) -> bytes:
    packed = io.BytesIO()
    if source_format == "JPEG":
        picture.save(packed, "JPEG", quality=90)
    else:
        picture.save(packed, "PNG")
    return packed.getvalue()

"""Images: the text in them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from agentic.types.errors import ConfigError, InvalidInput

from ...types import Document, Parsed
from .writing import Writer

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS = 50_000_000


def image(content: str | bytes, _: Document) -> Parsed:
    """An image: the lines of text in it, from top to bottom."""
    import io

    if isinstance(content, str):
        raise InvalidInput("an image is bytes, not text.")
    _engine()  # before anything else, so that what is missing is told first
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice that
    try:
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        raise InvalidInput("it is broken, or no image.", hint="Save it as PNG or JPEG.") from None
    except (Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise InvalidInput(f"it is broken, too large, or no image ({error}).", hint="Save it as PNG or JPEG.") from None
    lines = recognise(pixels)
    if not lines:
        raise InvalidInput("no text was found in it.", hint="Describe it with a vision model: vision=…")
    writer = Writer()
    writer.add("\n".join(lines))
    return writer.parsed("", {"recognised": True})


def recognise(pixels: np.ndarray[Any, Any]) -> list[str]:
    """The lines of text in an image of shape (height, width, 3)."""
    found = _engine()(pixels)
    return [str(line) for line in found.txts or ()]


@functools.cache
def _engine() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise ConfigError("Images are read with rapidocr.", hint="Run: pip install 'agentic[ocr]'") from None
    return RapidOCR(params={"Global.log_level": "error"})

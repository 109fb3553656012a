"""The tiling of Llama 3.2 vision, and the preprocessor around it."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic.llama.images import MAX_PIXELS, preprocess, tiles, vision_tokens
from agentic.types import ConfigError, Image, InvalidInput

pytest.importorskip("PIL")
from PIL import Image as Pictures


def picture(width: int, height: int, kind: str = "PNG", orientation: int = 1) -> Image:
    made = io.BytesIO()
    exif = Pictures.Exif()
    exif[0x0112] = orientation
    Pictures.new("RGB", (width, height), (200, 10, 10)).save(made, kind, exif=exif)
    return Image(data=made.getvalue())


def size_of(image: Image) -> tuple[int, int]:
    with Pictures.open(io.BytesIO(image.data or b"")) as opened:
        return opened.size


@pytest.mark.parametrize(
    ("size", "canvas", "fitted"),
    [
        ((560, 560), (1, 1), (560, 560)),
        ((1, 1), (1, 1), (560, 560)),  # grows to one tile
        ((100, 50), (1, 1), (560, 280)),
        ((561, 100), (2, 1), (561, 100)),  # never grows past one tile's side
        ((300, 800), (1, 2), (300, 800)),
        ((1000, 1000), (2, 2), (1000, 1000)),
        ((1120, 1120), (2, 2), (1120, 1120)),
        ((4000, 3000), (2, 2), (1120, 840)),
        ((3000, 4000), (2, 2), (840, 1120)),
        ((2240, 400), (4, 1), (2240, 400)),
        ((400, 2240), (1, 4), (400, 2240)),
        ((1680, 560), (3, 1), (1680, 560)),
        ((100_000, 10), (4, 1), (2240, 1)),  # rounds to no height at all, but keeps one pixel
    ],
)
def test_canvases(size: tuple[int, int], canvas: tuple[int, int], fitted: tuple[int, int]) -> None:
    found = tiles(*size)
    assert ((found.across, found.down), (found.width, found.height)) == (canvas, fitted)
    assert found.canvas == (canvas[0] * 560, canvas[1] * 560)
    assert found.tokens == canvas[0] * canvas[1] * 1601


def test_the_reference_s_own_example() -> None:
    # The docstring of get_best_fit in llama-models: 200 x 300 on tiles of 224 goes on 224 x 448.
    assert tiles(200, 300, tile=224).canvas == (224, 448)


@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000), tile=st.sampled_from([224, 448, 560]))
def test_every_image_finds_room(width: int, height: int, tile: int) -> None:
    found = tiles(width, height, tile=tile)
    assert 1 <= found.across * found.down <= 4
    assert 1 <= found.width <= found.canvas[0]
    assert 1 <= found.height <= found.canvas[1]
    assert found.width <= max(width, tile)
    assert found.height <= max(height, tile)


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_no_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        tiles(*size)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_large_image_shrinks(kind: str) -> None:
    assert size_of(preprocess(picture(2400, 1800, kind))) == (1120, 840)


def test_a_small_image_is_left_alone() -> None:
    image = picture(800, 600)
    assert preprocess(image) is image


def test_padding_makes_the_canvas() -> None:
    padded = preprocess(picture(100, 50), pad=True)
    with Pictures.open(io.BytesIO(padded.data or b"")) as opened:
        assert opened.size == (560, 560)
        assert opened.getpixel((10, 10)) == (200, 10, 10)
        assert opened.getpixel((10, 400)) == (0, 0, 0)


def test_a_turned_photograph_is_set_upright() -> None:
    photograph = picture(800, 600, "JPEG", orientation=6)
    assert size_of(preprocess(photograph)) == (600, 800)
    assert vision_tokens(photograph) == tiles(600, 800).tokens


def test_transparency_and_palettes() -> None:
    made = io.BytesIO()
    Pictures.new("RGBA", (2000, 10), (1, 2, 3, 0)).save(made, "PNG")
    assert size_of(preprocess(Image(data=made.getvalue()))) == (2000, 10)


def test_an_image_elsewhere_is_not_fetched() -> None:
    elsewhere = Image(url="https://example.org/a.png")
    assert preprocess(elsewhere) is elsewhere
    assert vision_tokens(elsewhere) == 4 * 1601


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\nbroken", b"\xff\xd8\xff", b"GIF89a", picture(50, 50).data[:60]])  # type: ignore[index]
def test_broken_images(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        preprocess(Image(data=data))


def test_an_image_that_unpacks_to_too_much() -> None:
    made = io.BytesIO()
    Pictures.new("1", (10_000, MAX_PIXELS // 10_000 + 1)).save(made, "PNG")
    with pytest.raises(InvalidInput):
        preprocess(Image(data=made.getvalue()))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(10, 10)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pip install 'agentic\[images\]'"):
        preprocess(image)

"""Images: as they are where that works, re-encoded or fetched only where they must be."""

from __future__ import annotations

import builtins
import hashlib
import io
from typing import Any

import pytest
from PIL import Image as Pillow

from agentic.inference import generate, images
from agentic.inference.images import WEB_FORMATS, fitting
from agentic.types import ConfigError, Image, InferenceRequest, InvalidInput, UserMessage
from servers.base import Answer, Request, Server
from servers.providers import serving

pytestmark = pytest.mark.anyio


def picture(kind: str, size: tuple[int, int] = (30, 20), mode: str = "RGB", **options: Any) -> Image:
    data = io.BytesIO()
    Pillow.new(mode, size, "red" if mode == "RGB" else None).save(data, kind, **options)
    return Image(data=data.getvalue())


def opened(image: Image) -> Pillow.Image:
    return Pillow.open(io.BytesIO(image.data or b""))


class Pictures(Server):
    """Serves one picture, and what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.data = picture("WEBP").data or b""

    async def answer(self, request: Request, answer: Answer) -> None:
        match request.path:
            case "/a.webp":
                await answer.whole(200, self.data, "image/webp")
            case "/moved":
                await answer.whole(302, b"", "text/plain", {"location": "/a.webp"})
            case "/round":
                await answer.whole(302, b"", "text/plain", {"location": "/round"})
            case "/huge":
                await answer.whole(200, b"\x89PNG\r\n\x1a\n" + bytes(2_000_000), "image/png")
            case "/page":
                await answer.whole(200, b"<html>", "text/html")
            case _:
                await answer.whole(404, b"", "text/plain")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_what_the_endpoint_reads_is_left_alone(kind: str) -> None:
    image = picture(kind)
    assert await fitting(image, WEB_FORMATS) is image


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
async def test_other_formats_are_re_encoded(kind: str) -> None:
    fitted = await fitting(picture(kind))
    assert fitted.media_type == "image/jpeg"
    assert opened(fitted).size == (30, 20)


async def test_transparency_is_kept() -> None:
    fitted = await fitting(picture("WEBP", mode="RGBA", lossless=True))
    assert fitted.media_type == "image/png"
    assert opened(fitted).mode == "RGBA"


async def test_what_is_too_large_is_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST_SENT", 1000)
    fitted = await fitting(picture("PNG", (3000, 1000)))
    assert opened(fitted).size == (2048, 683)


async def test_a_photo_is_turned_upright() -> None:
    data = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (30, 20)).save(data, "TIFF", exif=exif)
    assert opened(await fitting(Image(data=data.getvalue()))).size == (20, 30)


async def test_a_broken_image_is_said() -> None:
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        await fitting(Image(data=b"RIFF\0\0\0\0WEBPrubbish"))


async def test_a_bomb_of_pixels_is_refused() -> None:
    head = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (60000).to_bytes(4, "little") * 2 + b"\1\0\1\0" + bytes(24)
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        await fitting(Image(data=head))


async def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"agentic\[images\]"):
        await fitting(picture_of_bytes())


def picture_of_bytes() -> Image:
    return Image(data=b"BM" + bytes(60))


async def test_a_url_is_passed_on_or_fetched() -> None:
    with Pictures() as server:
        image = Image(url=f"{server.origin}/a.webp")
        assert await fitting(image, WEB_FORMATS, urls=True) is image
        assert (await fitting(image, WEB_FORMATS)).data == server.data
        assert (await fitting(Image(url=f"{server.origin}/moved"))).media_type == "image/jpeg"


@pytest.mark.parametrize("path", ["/missing", "/page", "/huge", "/round"])
async def test_a_url_that_leads_nowhere_is_said(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 1_000_000)
    with Pictures() as server, pytest.raises(InvalidInput):
        await fitting(Image(url=server.origin + path))


async def test_a_url_that_nobody_serves_is_said() -> None:
    with pytest.raises(InvalidInput, match="cannot be fetched"):
        await fitting(Image(url="http://127.0.0.1:9/a.png"))


async def test_a_url_reaches_a_server_that_takes_bytes_only() -> None:
    with Pictures() as pictures, serving("ollama") as (_, model):
        request = InferenceRequest(messages=[UserMessage((Image(url=f"{pictures.origin}/a.webp"),))])
        try:
            deltas = [delta async for delta in generate(model, await model.prepare(request))]
        finally:
            await model.aclose()
        sent = hashlib.sha256((await fitting(Image(data=pictures.data))).data or b"").hexdigest()[:12]
        assert "".join(delta for delta in deltas if isinstance(delta, str)) == f"I see {sent}."

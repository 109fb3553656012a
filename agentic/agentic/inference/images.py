"""Images as an endpoint takes them: as they are wherever that works, re-encoded or fetched only where it must be.

Limits: an image above 20 MB (what hosted vision endpoints take), or in a format that the endpoint does not read, is
re-encoded with Pillow (extra `images`): turned upright, at most 2,048 pixels a side, JPEG, or PNG where something is
transparent; of several frames the first. An image URL is fetched, where an endpoint wants bytes, within 30 seconds
and 50 MiB; it must lead to an image in at most 3 redirects.
"""

from __future__ import annotations

import asyncio
import base64
import io

import httpx

from ..types.content import MAX_IMAGE_BYTES, Image
from ..types.errors import ConfigError, InvalidInput

LARGEST_SENT = 20_000_000
LONGEST_SIDE = 2048
FETCH_SECONDS = 30.0

WEB_FORMATS = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What OpenAI's API and the servers modelled on it read."""

PLAIN_FORMATS = frozenset({"image/png", "image/jpeg"})
"""What every server reads, Ollama and llama.cpp among them."""


async def fitting(image: Image, formats: frozenset[str] = PLAIN_FORMATS, *, urls: bool = False) -> Image:
    """An image that the endpoint takes; the very same one where it can be.

    Args:
        image: Any image.
        formats: The MIME types that the endpoint reads.
        urls: The endpoint fetches URLs itself.

    Raises:
        InvalidInput: It cannot be fetched or decoded.
        ConfigError: It must be re-encoded and Pillow is not installed.
    """
    if image.data is None:
        if urls:
            return image
        image = await fetch(image.url or "")
    if image.media_type in formats and len(image.data or b"") <= LARGEST_SENT:
        return image
    return await asyncio.to_thread(_reencode, image)


async def base64_of(image: Image) -> str:
    """An image as Ollama and llama.cpp take it: base64 of a PNG or JPEG file.

    Raises:
        InvalidInput: It cannot be fetched or decoded.
        ConfigError: It must be re-encoded and Pillow is not installed.
    """
    return base64.b64encode((await fitting(image)).data or b"").decode("ascii")


async def fetch(url: str) -> Image:
    """Reads an image from a URL.

    Raises:
        InvalidInput: There is no image, it is too large, or it does not come in time.
    """
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(follow_redirects=True, max_redirects=3) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise InvalidInput(f"The image {url} cannot be fetched: the server answered {response.status_code}.")
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_IMAGE_BYTES:
                    raise InvalidInput(f"The image {url} is larger than {MAX_IMAGE_BYTES:,} bytes.")
    except TimeoutError:
        raise InvalidInput(f"The image {url} did not come within {FETCH_SECONDS:g} seconds.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput(f"The image {url} cannot be fetched: {error}.") from error
    return Image(data=bytes(data))


def _reencode(image: Image) -> Image:
    try:
        from PIL import Image as Pillow
        from PIL import ImageOps
    except ImportError:
        raise ConfigError(
            f"This endpoint does not take {image.media_type} of {len(image.data or b''):,} bytes as it is.",
            hint="Install the extra that re-encodes images: pip install 'agentic[images]'.",
        ) from None
    try:
        with Pillow.open(io.BytesIO(image.data or b"")) as opened:
            opened.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            picture = ImageOps.exif_transpose(opened)
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            target = io.BytesIO()
            if picture.has_transparency_data:
                picture.convert("RGBA").save(target, "PNG")
            else:
                picture.convert("RGB").save(target, "JPEG", quality=90)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over; a bomb of pixels is one of these
        raise InvalidInput(f"The image cannot be decoded: {error}.") from error
    return Image(data=target.getvalue())

"""What a message holds: text, images and files, in order."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from pydantic import ConfigDict

from .errors import InvalidInput

MAX_IMAGE_BYTES = 50 * 1024 * 1024
"""The largest image taken, in bytes: what hosted vision endpoints take at the most."""
MAX_FILE_BYTES = 50 * 1024 * 1024
"""The largest file taken, in bytes."""

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")
_LARGEST_INTEGER = 10_000
"""In bits: JSON readers refuse integers of more than 4,300 digits."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its bytes, or the http(s) URL at which a provider can fetch it.

    Exactly one of `data` and `url` is set. Build one from anything with `Image.of`.

    Attributes:
        data: The encoded file (PNG, JPEG, GIF, WebP, BMP or TIFF), at most 50 MiB.
        url: An http or https URL.
        media_type: The MIME type; read from the first bytes when `data` is given.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    data: bytes | None = None
    url: str | None = None
    media_type: str = ""
    type: Literal["image"] = "image"

    def __post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise InvalidInput("An image needs either data or a URL.")
        if self.data is not None:
            if not isinstance(self.data, bytes):
                raise InvalidInput(
                    f"An image's data are bytes, not {type(self.data).__name__}.",
                    hint="Image.of(…) makes one from a path, a URL or a data URL.",
                )
            object.__setattr__(self, "media_type", _media_type(self.data))
        elif not (self.url or "").lower().startswith(("http://", "https://")):
            raise InvalidInput(f"An image URL must begin with http:// or https://, not {str(self.url)[:40]!r}.")

    @classmethod
    def of(cls, source: Image | bytes | str | Path) -> Image:
        """Makes an image from bytes, a path, an http(s) URL or a data URL.

        A path is read now, so that the session's log holds the picture itself.

        Raises:
            InvalidInput: The file is missing, too large or not an image; the data URL is broken.
        """
        match source:
            case Image():
                return source
            case bytes() | bytearray() | memoryview():
                return cls(data=bytes(source))
            case str() if source.lower().startswith("data:"):
                return cls(data=_from_data_url(source))
            case str() if source.lower().startswith(("http://", "https://")):
                return cls(url=source)
            case str() | Path():
                return cls(data=_read(Path(source), "image", MAX_IMAGE_BYTES))
        raise InvalidInput(f"An image is bytes, a path or a URL, not {type(source).__name__}.")

    @property
    def data_url(self) -> str:
        """The image as a `data:` URL, or its http(s) URL when it has no bytes here."""
        if self.data is None:
            return self.url or ""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    def save(self, path: str | Path) -> Path:
        """Writes it to a file, in the place of an older one; folders are made if need be.

        Returns:
            Where it is.

        Raises:
            InvalidInput: It cannot be written there, or only its URL is known.
        """
        if self.data is None:
            raise InvalidInput(f"The bytes of this image are not here: fetch {self.url}.")
        return _write(Path(path), self.data)

    def __repr__(self) -> str:
        what = repr(self.url) if self.data is None else f"{len(self.data)} bytes"
        return f"Image({what}, {self.media_type or 'unknown type'})"


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes with a message: attached by a user, or written by a tool.

    The model sees a line that names it; tools such as the code interpreter read what is in it. Build one from anything
    with `File.of`.

    Attributes:
        name: Letters, digits, `.`, `_` and `-` only: what else its name had is replaced by `_`.
        data: Its bytes, at most 50 MiB.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    name: str
    data: bytes
    type: Literal["file"] = "file"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_name(self.name))
        if len(self.data) > MAX_FILE_BYTES:
            raise InvalidInput(f"{self.name} has {len(self.data):,} bytes; the limit is {MAX_FILE_BYTES:,}.")

    @classmethod
    def of(cls, source: FileLike) -> File:
        """Makes a file from a path, which is read now, or from a name and bytes.

        Raises:
            InvalidInput: It cannot be read, or is too large.
        """
        match source:
            case File():
                return source
            case (str(name), bytes() | bytearray() | memoryview() as data):
                return cls(name, bytes(data))
            case str() | Path():
                return cls(Path(source).name, _read(Path(source), "file", MAX_FILE_BYTES))
        raise InvalidInput(f"A file is a path, or a name and bytes, not {type(source).__name__}.")

    @property
    def text(self) -> str:
        """The line that the model sees."""
        return f"[file {self.name}, {len(self.data):,} bytes]\n"

    def save(self, folder: str | Path = ".") -> Path:
        """Writes it into a folder, which is made if need be, in the place of an older file of its name.

        Returns:
            Where it is.

        Raises:
            InvalidInput: It cannot be written there.
        """
        return _write(Path(folder) / self.name, self.data)

    def __repr__(self) -> str:
        return f"File({self.name!r}, {len(self.data)} bytes)"


FileLike: TypeAlias = File | str | Path | tuple[str, bytes]
"""What callers may pass where a file is wanted: one, a path, or a name and bytes."""

Part: TypeAlias = Text | Image | File
Content: TypeAlias = str | tuple[Part, ...]
"""A message's content: plain text, or parts in order."""

ContentLike: TypeAlias = str | Text | Image | File | Sequence[str | Text | Image | File]
"""What callers may pass where content is wanted; strings in a list are text."""


def content_of(
    value: ContentLike, images: Sequence[Image | bytes | str | Path] = (), files: Sequence[FileLike] = ()
) -> Content:
    """Turns what a caller passed into content.

    Args:
        value: Text, an image, a file, or a list of them.
        images: More images, put before the text: a vision model attends from text back to images.
        files: More files, put before it too. Where two share a name, one gets another: a tool must see both.

    Raises:
        InvalidInput: A part is none of these.
    """
    for name, given in (("images", images), ("files", files)):
        if isinstance(given, str | bytes | Path | Image | File) or not isinstance(given, Iterable | None):
            raise InvalidInput(f"{name} is a list, not {given!r:.80}.")
    if isinstance(value, str) and not images and not files:
        return value
    listed: Sequence[object] = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    parts: list[Part] = [*map(Image.of, images), *map(File.of, files)]
    for part in listed:
        match part:
            case Text() | Image() | File():
                parts.append(part)
            case str():
                parts.append(Text(part))
            case _:
                hint = "Image.of(…) and File.of(…) make parts." if isinstance(part, bytes | Path) else ""
                raise InvalidInput(f"Content is text, images or files, not {type(part).__name__}.", hint=hint)
    names: set[str] = set()
    return tuple(
        replace(part, name=unused_name(part.name, names)) if isinstance(part, File) else part for part in parts
    )


def text_of(content: Content) -> str:
    """The text of some content, images and files left out."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, Text))


def images_of(content: Content) -> tuple[Image, ...]:
    """The images of some content, in order."""
    if isinstance(content, str):
        return ()
    return tuple(part for part in content if isinstance(part, Image))


def files_of(content: Content) -> tuple[File, ...]:
    """The files of some content, in order."""
    if isinstance(content, str):
        return ()
    return tuple(part for part in content if isinstance(part, File))


def safe_name(name: str) -> str:
    """A file name that is harmless on any system."""
    return _UNUSUAL.sub("_", name)[-120:].lstrip(".-") or "file"


def unused_name(name: str, names: set[str]) -> str:
    """A name that is not among `names`, and now is."""
    wanted, number = name, 1
    while name in names:
        number += 1
        name = f"{number}-{wanted[-100:]}"  # as long as a name may be, or its number would be cut off
    names.add(name)
    return name


def _media_type(data: bytes) -> str:
    if not data:
        raise InvalidInput("The image is empty.")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidInput(f"The image has {len(data):,} bytes; the limit is {MAX_IMAGE_BYTES:,}.")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    raise InvalidInput("These bytes are no image: expected PNG, JPEG, GIF, WebP, BMP or TIFF.")


def _from_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidInput("A data URL for an image must look like data:image/png;base64,….")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"The image's data URL is not valid base64: {error}.") from None


def _read(path: Path, what: str, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL characters or half a surrogate pair
        why = getattr(error, "strerror", "") or error
        raise InvalidInput(f"Cannot read the {what} {str(path)!r}: {why}.") from None
    if len(data) > most:
        raise InvalidInput(f"{path} is larger than {most:,} bytes.")
    return data


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"Cannot write {str(path)!r}: {error.strerror or error}.") from None
    return path


def storable(value: Any, depth: int = 64) -> Any:
    """Makes a JSON-like value that any JSON writer takes: what models and tools hand over may not be.

    Lone surrogates become `?`, NaN and infinities their names, integers of thousands of digits hexadecimal text, other
    objects their `str`, and what is nested deeper than `depth` becomes an ellipsis. A value that is fine comes back
    equal.
    """
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
        case int() if value.bit_length() > _LARGEST_INTEGER:
            return hex(value)
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case _ if depth == 0:
            return "…"
        case Mapping():
            return {storable(str(key)): storable(item, depth - 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [storable(item, depth - 1) for item in value]
        case _:
            return storable(str(value))

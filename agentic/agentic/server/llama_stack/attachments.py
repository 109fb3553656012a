"""The text of documents that clients attach or insert: written out, in a data URL, or at a public address."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from ...net import FetchLimits, fetch
from ...types.content import text_of
from ...types.errors import InvalidInput, ToolError
from .schemas import URL, Document
from .wire import content_in


async def text_of_document(document: Document) -> str:
    """A document's text.

    Raises:
        InvalidInput: It is no text, or it cannot be fetched.
    """
    media_type = document.mime_type.partition(";")[0].strip().lower()
    if not media_type.startswith("text/") and media_type not in ("application/json", "application/xml"):
        raise InvalidInput(f"A document attached to a turn is text, not {document.mime_type!r}.")
    if isinstance(document.content, URL):
        return await text_at(document.content.uri)
    content = content_in(document.model_dump()["content"])
    return text_of(content)


async def text_at(uri: str) -> str:
    """The text at an address.

    Raises:
        InvalidInput: It may not be fetched, or is no text.
    """
    return (await bytes_at(uri)).decode("utf-8", "replace")


async def bytes_at(uri: str) -> bytes:
    """What is at an http(s) address on the public internet, or in a data URL.

    Raises:
        InvalidInput: It may not or cannot be fetched.
    """
    if uri[:5].lower() == "data:":
        return _in_data_url(uri)
    try:
        return (await fetch(uri, FetchLimits())).data
    except ToolError as error:
        raise InvalidInput(str(error)) from None


def _in_data_url(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise InvalidInput("A data URL must look like data:text/plain;base64,….")
    data = unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return data
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"The data URL is not valid base64: {error}.") from None

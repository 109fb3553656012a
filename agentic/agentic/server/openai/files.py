"""`files`: uploaded files, their bytes in the data folder and what is known of them beside the sessions."""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import FileResponse

from ...paths import data_dir
from ...store.documents import Document
from ...threads import run_in_thread
from ...types.content import storable
from ...types.errors import InvalidInput, NotFound
from ..services import Services, Use
from . import kept, new_id, on_both

KIND = "file"
MAX_FILE_BYTES = 50 * 1024 * 1024
"""The largest file, in bytes: what a session takes, too."""

_CHUNK = 1024 * 1024
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]

routes = APIRouter(tags=["OpenAI"])


class Files:
    """The uploaded files of a server. A file's bytes lie under its id alone: no name that a client chose is a path.

    Args:
        services: What the server shares.
    """

    def __init__(self, services: Services) -> None:
        self._documents = services.documents

    async def add(self, name: str, content: BinaryIO, purpose: str) -> Document:
        """Keeps a file.

        Raises:
            InvalidInput: It is larger than 50 MiB.
        """
        file_id = new_id("file-")
        size = await run_in_thread(lambda: _write(_path(file_id), content), "agentic-file")
        body = {"filename": shown_name(name), "bytes": size, "purpose": purpose}
        try:
            return await self._documents.put(KIND, file_id, body)
        except BaseException:
            _path(file_id).unlink(missing_ok=True)
            raise

    async def get(self, file_id: str) -> Document:
        """What is known of a file.

        Raises:
            NotFound: There is none of that id.
        """
        if (found := await kept(self._documents, KIND, file_id)) is None:
            raise NotFound(f"There is no file {file_id!r}.")
        return found

    async def content(self, file_id: str) -> tuple[str, bytes]:
        """A file's name and bytes.

        Raises:
            NotFound: There is none of that id, or its bytes are gone.
        """
        name = str((await self.get(file_id)).body["filename"])
        return name, await run_in_thread(lambda: _read(file_id), "agentic-file")

    async def path(self, file_id: str) -> Path:
        """Where a file's bytes lie.

        Raises:
            NotFound: There is none of that id, or its bytes are gone.
        """
        await self.get(file_id)
        if not _path(file_id).is_file():
            raise _gone(file_id)
        return _path(file_id)

    async def list(self) -> Sequence[Document]:
        """All files, the oldest first."""
        return await self._documents.all(KIND)

    async def remove(self, file_id: str) -> None:
        """Removes a file.

        Raises:
            NotFound: There is none of that id.
        """
        await self.get(file_id)
        await self._documents.remove(KIND, file_id)
        _path(file_id).unlink(missing_ok=True)


@routes.post("/files")
async def upload(services: Use, file: UploadFile, purpose: Annotated[Purpose, Form()] = "user_data") -> dict[str, Any]:
    """Uploads a file of at most 50 MiB."""
    return shown(await Files(services).add(file.filename or "file", file.file, purpose))


@routes.get("/files")
async def list_files(
    services: Use,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Lists files, the newest first."""
    found = [shown(one) for one in await Files(services).list() if purpose in (None, one.body["purpose"])]
    return page(found if order == "asc" else found[::-1], after, limit)


@routes.get("/files/{file_id}")
async def retrieve(file_id: str, services: Use) -> dict[str, Any]:
    """What is known of a file."""
    return shown(await Files(services).get(file_id))


@routes.get("/files/{file_id}/content", response_class=FileResponse)
async def content(file_id: str, services: Use) -> FileResponse:
    """A file's bytes. They are never shown as a page: they may be anything."""
    files = Files(services)
    name = quote(str((await files.get(file_id)).body["filename"]), safe="")
    headers = {"content-disposition": f"attachment; filename*=utf-8''{name}", "x-content-type-options": "nosniff"}
    return FileResponse(await files.path(file_id), media_type="application/octet-stream", headers=headers)


@routes.delete("/files/{file_id}")
async def delete(file_id: str, services: Use) -> dict[str, Any]:
    """Removes a file."""
    await Files(services).remove(file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def page(items: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """A part of a list, in OpenAI's form.

    Args:
        items: The whole list; each has an `id`.
        after: The id behind which the part begins.
        limit: The most items of it.

    Raises:
        NotFound: No item has the id `after`.
    """
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise NotFound(f"The list holds no {after!r} to go on from.")
    start = ids.index(after) + 1 if after is not None else 0
    data = list(items[start : start + limit])
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": start + limit < len(items),
    }


def shown(document: Document) -> dict[str, Any]:
    """A file in OpenAI's words."""
    known: Mapping[str, Any] = document.body
    return {
        "id": document.name,
        "object": "file",
        "bytes": known["bytes"],
        "created_at": int(document.created_at.timestamp()),
        "expires_at": None,
        "filename": known["filename"],
        "purpose": known["purpose"],
        "status": "processed",
    }


def shown_name(name: str) -> str:
    """A client's name for a file, as it may be shown: its last part, on one line."""
    last = re.split(r"[/\\]", str(storable(name)))[-1]
    return _UNSHOWABLE.sub("", last)[-255:].strip() or "file"


def data_of_url(url: str) -> bytes:
    """The bytes in a data URL, or in base64 alone.

    Raises:
        InvalidInput: It is neither.
    """
    try:
        return base64.b64decode(url.partition(",")[2] if url.startswith("data:") else url, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("file_data must be base64, or a data URL with base64.") from None


def _path(file_id: str) -> Path:
    return data_dir() / "files" / file_id


def _write(path: Path, content: BinaryIO) -> int:
    """Copies a file, all of it or nothing, and returns its size."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.part")
    size = 0
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                if size > MAX_FILE_BYTES:
                    raise InvalidInput(f"The file is larger than {MAX_FILE_BYTES:,} bytes.")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size


def _read(file_id: str) -> bytes:
    try:
        return _path(file_id).read_bytes()
    except FileNotFoundError:
        raise _gone(file_id) from None


def _gone(file_id: str) -> NotFound:
    return NotFound(f"The bytes of file {file_id!r} are gone from the server's data folder.")


router = on_both(routes)

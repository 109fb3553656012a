"""Server-sent events and JSON lines, from bytes that may be split anywhere."""

from __future__ import annotations

from .failures import Server

LARGEST = 64 * 1024 * 1024
"""The largest single event or answer in bytes; no documented server sends one near it."""


class Lines:
    """Whole lines, as bytes without their ends (LF or CRLF)."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Takes the next bytes and returns the lines that ended in them."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        *lines, rest = chunk.split(b"\n")
        if self._pieces:
            lines[0] = b"".join(self._pieces) + lines[0]
            self._pieces, self._size = [], 0
        if rest:
            self._keep(rest)
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def rest(self) -> bytes:
        """What came after the last line's end."""
        rest = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        return rest

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > LARGEST:
            raise self._server.not_as_documented(f"an event of more than {LARGEST:,} bytes")


class Events:
    """The data of server-sent events; or the whole body, of a server that answers with plain JSON instead.

    Attributes:
        plain: Whether the body is no event stream; None before its first byte.
    """

    def __init__(self, server: Server) -> None:
        self._lines = Lines(server)
        self._server = server
        self._data: list[bytes] = []
        self._held = 0
        self.plain: bool | None = None

    def feed(self, chunk: bytes) -> list[str]:
        """Takes the next bytes and returns the data of the events that ended in them."""
        if self.plain is None and (start := chunk.lstrip()[:1]):
            self.plain = start in b"{[<"
        lines = self._lines.feed(chunk)
        if self._data:
            self._held += len(chunk)
            if self._held > LARGEST:
                raise self._server.not_as_documented(f"an event of more than {LARGEST:,} bytes")
        if self.plain:
            self._data.extend(lines)
            return []
        events: list[str] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:])
            elif line.startswith(b"error:"):  # older llama.cpp servers
                self._data.append(b'{"error":' + line[6:] + b"}")
            elif not line and self._data:
                events.append(self._take())
        return events

    def flush(self) -> list[str]:
        """What is left at the end: an event without its empty line, or the plain body."""
        rest = self._lines.rest()
        if self.plain:
            self._data.append(rest)
        elif rest.startswith(b"data:"):
            self._data.append(rest[5:])
        text = self._take()
        return [text] if text.strip() else []

    def _take(self) -> str:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._held = 0
        return data.decode("utf-8", "replace")


class JsonLines:
    """JSON texts, one a line.

    Attributes:
        plain: Whether the body holds something else; known at its first byte.
    """

    def __init__(self, server: Server) -> None:
        self._lines = Lines(server)
        self.plain: bool | None = None

    def feed(self, chunk: bytes) -> list[str]:
        """Takes the next bytes and returns the texts that ended in them."""
        if self.plain is None and (start := chunk.lstrip()[:1]):
            self.plain = start != b"{"
        return [line.decode("utf-8", "replace") for line in self._lines.feed(chunk) if line]

    def flush(self) -> list[str]:
        """What is left at the end: a line without its end."""
        rest = self._lines.rest().strip()
        return [rest.decode("utf-8", "replace")] if rest else []

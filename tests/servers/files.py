"""A file server on 127.0.0.1 that behaves like a CDN, like the Hub, and like a package index; and fails on demand."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class FileServer:
    """Serves `files` (path to bytes) with ETag and Range.

    Attributes:
        files: What is served.
        hub: Hub files by path, with their LFS hash; the bytes are at `cdn`.
        cdn: Where the Hub's answers lead.
        token: When set, the Hub refuses requests without it.
        cut: For each coming GET of a file: how many body bytes are sent before the connection breaks; None is all.
        statuses: For each coming request: the status that it is answered with.
        requests: Method, path and Range header of each request so far.
        authorized: The paths of requests that carried a key.
        reached: Set when a file's body has been begun.
        go_on: A body waits for it behind its first half while `hold` is set.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hub: dict[str, tuple[bytes, str]] = {}
        self.cdn: FileServer = self
        self.token = ""
        self.cut: list[int | None] = []
        self.statuses: list[int] = []
        self.requests: list[tuple[str, str, str]] = []
        self.authorized: list[str] = []
        self.hold = False
        self.reached = threading.Event()
        self.go_on = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self, body=True)

            def do_HEAD(self) -> None:
                owner.answer(self, body=False)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, requirement: str, member: str, data: bytes) -> None:
        """Puts a wheel with one file into the package index at `/simple`."""
        name, version = requirement.split("==")
        wheel = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(member, data)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        self.files[f"/wheels/{wheel}"] = packed.getvalue()
        self.files[f"/simple/{name}/"] = f'<!DOCTYPE html><a href="/wheels/{wheel}">{wheel}</a>'.encode()

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = handler.path.partition("?")[0]
        self.requests.append((handler.command, path, handler.headers.get("Range", "")))
        if handler.headers.get("Authorization"):
            self.authorized.append(path)
        if self.statuses:
            return self._end(handler, self.statuses.pop(0), {})
        if path in self.hub:
            return self._hub(handler, path)
        if path not in self.files:
            return self._end(handler, 404, {})
        return self._file(handler, self.files[path], body=body)

    def _hub(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return self._end(handler, 401, {"X-Error-Code": "GatedRepo"})
        data, etag = self.hub[path]
        self.cdn.files["/cdn" + path] = data
        headers = {"Location": f"{self.cdn.url}/cdn{path}", "X-Linked-Size": str(len(data)), "X-Repo-Commit": "0" * 40}
        return self._end(handler, 302, headers | {"X-Linked-Etag": f'"{etag}"', "ETag": '"pointer"'})

    def _file(self, handler: BaseHTTPRequestHandler, data: bytes, *, body: bool) -> None:
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        start = 0
        wanted = handler.headers.get("Range", "")
        if wanted and handler.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                return self._end(handler, 416, {"Content-Range": f"bytes */{len(data)}"})
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        html = data.startswith(b"<!DOCTYPE html>")
        handler.send_header("Content-Type", "text/html" if html else "application/octet-stream")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("ETag", etag)
        handler.end_headers()
        if body:
            self._body(handler, data[start:])
        return None

    def _body(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        cut = self.cut.pop(0) if self.cut else None
        data = data if cut is None else data[:cut]
        half = len(data) // 2 if self.hold else len(data)
        try:
            handler.wfile.write(data[:half])
            handler.wfile.flush()
            self.reached.set()
            if self.hold:
                self.go_on.wait(10)
                handler.wfile.write(data[half:])
        except ConnectionError:
            pass  # the client has gone
        handler.close_connection = True

    @staticmethod
    def _end(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

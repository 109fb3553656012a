from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from agentic.net import Guard
from agentic.types.errors import InvalidInput, NotFound, ToolError
from agentic_memory.documents import Failure, expand, sources
from agentic_memory.types import Document
from servers.base import Status
from servers.pages import ARTICLE, Found, PageServer

pytestmark = pytest.mark.anyio
LOCAL = Guard(allow=("127.0.0.1/32",))


async def found(*given: str | Path | Document, guard: Guard | None = None) -> list[Document | Failure]:
    return [one async for one in expand(given, guard=guard)]


def names(result: Iterable[Document | Failure]) -> list[str]:
    return [Path(one.source).name for one in result]


async def test_a_folder_gives_its_files_in_order_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.txt", ".git/config", ".hidden", "node_modules/x.js", "a/z.txt"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "docs" / "link.txt").symlink_to(tmp_path / "outside.txt")
    result = await found(tmp_path / "docs")
    assert names(result) == ["a.md", "b.txt", "z.txt", "c.txt"]
    assert [one.content for one in result if isinstance(one, Document)] == [b"a.md", b"b.txt", b"a/z.txt", b"sub/c.txt"]


async def test_patterns_and_paths_that_overlap_give_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.md", "sub/b.md", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    result = await found("**/*.md", "a.md", Path("sub"), tmp_path)
    assert names(result) == ["a.md", "b.md", "c.txt"]
    assert all(Path(one.source).is_absolute() for one in result)


async def test_a_named_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert names(await found(tmp_path / "link.txt")) == ["link.txt"]


async def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert names(await found(str(tmp_path / "a[1].txt"))) == ["a[1].txt"]


async def test_what_cannot_be_read_is_told_and_the_rest_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    good = tmp_path / "good.txt"
    good.write_text("x")
    (tmp_path / "huge.txt").write_bytes(b"x" * 101)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    given = [
        tmp_path / name for name in ("missing.txt", "huge.txt", "pipe", "broken", "self", "good.txt/below", "x" * 300)
    ]
    result = await found(*given, "/dev/null", "no\0name", "*.nothing", "a text\nof two lines", 3, good)  # type: ignore[arg-type]
    *failures, last = result
    assert isinstance(last, Document)
    assert len(failures) == 12
    told = [str(one.error) for one in failures if isinstance(one, Failure)]
    assert len(told) == 12
    assert "more than 100 bytes" in told[1]
    assert "pipe, a socket or a device" in told[2]
    assert "No file matches" in told[9]
    assert "add_text" in told[10]
    assert isinstance(failures[0], Failure)
    assert isinstance(failures[0].error, NotFound)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "secret.txt").chmod(0)
    [failure] = await found(tmp_path)
    assert isinstance(failure, Failure)
    assert "Permission denied" in str(failure.error)


async def test_documents_come_out_as_they_are() -> None:
    document = Document(content="x", id="1")
    assert await found(document, document) == [document, document]


async def test_pages_are_fetched_through_the_guard() -> None:
    with PageServer({"/article": Found(ARTICLE.encode())}) as site:
        [page] = await found(f"{site.origin}/article", guard=LOCAL)
        assert isinstance(page, Document)
        assert page.source == page.id == f"{site.origin}/article"
        assert page.mime_type == "text/html"
        [refused] = await found(f"{site.origin}/article")
        assert isinstance(refused, Failure)
        assert isinstance(refused.error, InvalidInput)
        site.faults.append(Status(404))
        [missing] = await found(f"{site.origin}/article", guard=LOCAL)
        assert isinstance(missing, Failure)
        assert isinstance(missing.error, ToolError)

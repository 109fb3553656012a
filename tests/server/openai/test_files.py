"""`files` and `/v1/prompts`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from agentic.paths import data_dir
from agentic.server.openai import files as files_module

from .conftest import Serve


@pytest.mark.parametrize("prefix", ["/v1", "/v1/openai/v1"])
def test_a_file_is_uploaded_read_listed_and_deleted(serve: Serve, prefix: str) -> None:
    client, _ = serve(prefix=prefix)
    made = client.files.create(file=("notes.txt", b"\x00\xffbytes"), purpose="assistants")
    assert (made.bytes, made.filename, made.purpose, made.object) == (7, "notes.txt", "assistants", "file")
    assert client.files.retrieve(made.id) == made
    answer = client.files.content(made.id)
    assert answer.content == b"\x00\xffbytes"
    assert answer.response.headers["content-disposition"].startswith("attachment")
    assert [one.id for one in client.files.list()] == [made.id]
    assert client.files.delete(made.id).deleted
    assert not list(client.files.list())
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    assert not list((data_dir() / "files").iterdir())


def test_files_are_listed_in_pages(serve: Serve) -> None:
    client, _ = serve()
    made = [client.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]
    client.files.create(file=("other.txt", b"x"), purpose="vision")
    assert [one.id for one in client.files.list(limit=2, order="asc", purpose="user_data")] == made
    assert [one.id for one in client.files.list(limit=2, purpose="user_data")] == made[::-1]
    with pytest.raises(openai.NotFoundError):
        client.files.list(after="file-nobody")


NAMES = [
    ("../../../etc/passwd", "passwd"),
    ("C:\\Users\\x\\notes.txt", "notes.txt"),
    ("a\u202egnp.exe", "agnp.exe"),
    ("/", "file"),
    ("x" * 300, "x" * 255),
    ("Zoë 🦙.txt", "Zoë 🦙.txt"),
]


def test_no_name_is_a_path(serve: Serve) -> None:
    client, _ = serve()
    for name, shown in NAMES:
        made = client.files.create(file=(name, b"x"), purpose="user_data")
        assert made.filename == shown
        assert [path.name for path in (data_dir() / "files").iterdir()] == [made.id]
        assert client.files.content(made.id).content == b"x"
        client.files.delete(made.id)


def test_no_id_is_a_path(serve: Serve) -> None:
    _, running = serve()
    for file_id in ("..", "%2e%2e%2f%2e%2e%2fsessions.db", "file-x", "file-" + "0" * 32):
        assert httpx.get(f"{running.url}/v1/files/{file_id}/content").status_code == 404


def test_a_file_that_is_too_large_leaves_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 1000)
    client, _ = serve()
    with pytest.raises(openai.BadRequestError, match="larger than 1,000 bytes"):
        client.files.create(file=("big.bin", io.BytesIO(b"x" * 1001)), purpose="user_data")
    assert not list(client.files.list())
    assert not list((data_dir() / "files").iterdir())
    assert client.files.create(file=("fits.bin", b"x" * 1000), purpose="user_data").bytes == 1000


def test_a_file_survives_a_restart_and_says_when_its_bytes_are_gone(serve: Serve) -> None:
    client, _ = serve(kept=True)
    made = client.files.create(file=("notes.txt", b"x"), purpose="user_data")
    serve.end()
    client, _ = serve(kept=True)
    assert client.files.content(made.id).content == b"x"
    Path(data_dir() / "files" / made.id).unlink()
    with pytest.raises(openai.NotFoundError, match="are gone"):
        client.files.content(made.id)


def test_what_is_no_upload_is_refused(serve: Serve) -> None:
    _, running = serve()
    for sent in ({"files": {"other": b"x"}}, {"files": {"file": b"x"}, "data": {"purpose": "evil"}}):
        answer = httpx.post(f"{running.url}/v1/files", **sent)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


# Prompts.


def test_prompts_are_made_changed_compared_and_rolled_back(serve: Serve) -> None:
    _, running = serve(kept=True)
    http = httpx.Client(base_url=running.url)

    def ask(method: str, path: str, **body: Any) -> Any:
        answer = http.request(method, f"/v1/prompts{path}", json=body or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    with http:
        made = ask("POST", "", prompt="Greet {{who}}.", variables=["who"], prompt_id="greeter")
        assert (made["prompt_id"], made["version"], made["is_default"]) == ("greeter", 1, True)
        assert ask("POST", "", prompt="x")["prompt_id"].startswith("pmpt_")
        assert ask("POST", "", template="x", name="named")["prompt_id"] == "named"
        second = ask("POST", "/greeter", prompt="Greet.", version=1, set_as_default=False)
        assert (second["version"], second["is_default"]) == (2, False)
        assert ask("GET", "/greeter")["version"] == 1
        assert ask("GET", "/greeter?version=2")["prompt"] == "Greet."
        assert "-Greet {{who}}." in ask("GET", "/greeter/diff")["diff"]
        assert ask("PUT", "/greeter/set-default-version", version=2)["is_default"]
        assert [one["is_default"] for one in ask("GET", "/greeter/versions")["data"]] == [False, True]
        assert ask("POST", "/greeter/rollback")["version"] == 1
        assert ask("POST", "/greeter/rollback", version=2)["version"] == 2
        assert len(ask("GET", "")["data"]) == 3
        conflict = http.post("/v1/prompts/greeter", json={"prompt": "x", "version": 1})
        assert (conflict.status_code, conflict.json()["error"]["type"]) == (409, "conflict_error")
        assert ask("DELETE", "/greeter") is None
        assert http.get("/v1/prompts/greeter").status_code == 404
        refused = http.post("/v1/prompts", json={"prompt": "{{x}}"})
        assert refused.status_code == 400
        assert "names 'x'" in refused.json()["error"]["message"]

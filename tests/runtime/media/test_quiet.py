"""What decoders write to stderr reaches no user of a command, and nobody else loses a line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omnijet.runtime.media import quiet as quiet_module
from omnijet.runtime.media.quiet import quiet, quieten_decoders

READS = """
import sys
from pathlib import Path
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.quiet import quieten_decoders
from omnijet.runtime.media.sound_file import file_blocks
if sys.argv[2] == "command":
    quieten_decoders()
try:
    with file_blocks(Path(sys.argv[1])) as (rate, blocks):
        list(blocks)
except Exception:
    pass
print("still here", file=sys.stderr)
"""


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet_module._Process, "is_ours", False)


def test_lines_are_dropped_in_a_command_only(
    own_process: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with quiet():
        os.write(2, b"of a library\n")
    assert capfd.readouterr().err == "of a library\n"
    quieten_decoders()
    with quiet(), quiet():
        os.write(2, b"of a library\n")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_a_damaged_mp3(tmp_path: Path) -> None:
    sound, path = io.BytesIO(), tmp_path / "damaged.mp3"
    tone = np.sin(np.arange(32_000) / 7).astype(np.float32)
    soundfile.write(sound, tone, 16_000, format="MP3")
    content = bytearray(sound.getvalue())
    for place in range(400, len(content), 97):
        content[place] ^= 0xA5
    path.write_bytes(content)
    said = {
        who: subprocess.run(
            [sys.executable, "-c", READS, path, who], capture_output=True, text=True
        ).stderr
        for who in ("command", "program")
    }
    assert said["command"] == "still here\n"
    assert said["program"].endswith("still here\n")

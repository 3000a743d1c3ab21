"""`omnijet check` finds what `omnijet run` would refuse."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from omnijet import cli
from omnijet.runtime.bundle.manifest import Manifest, hash_file
from tests.command import Capture


def test_a_template_that_cannot_be_rendered(
    nano: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """All hashes are right: a stranger made this bundle as it is."""
    bundle = tmp_path / "bundle"
    shutil.copytree(nano[1], bundle)
    (bundle / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    manifest = Manifest.read(bundle)
    entry = hash_file(bundle / "chat_template.jinja")
    replace(manifest, files={**manifest.files, "chat_template.jinja": entry}).write(bundle)
    assert cli.main(["check", str(bundle)]) == 2
    shown = capsys.readouterr().out
    assert "FAILED chat_template.jinja: the chat template cannot be rendered: ZeroDivision" in shown
    assert shown.endswith("FAILED\n")

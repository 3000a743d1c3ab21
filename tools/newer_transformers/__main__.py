"""`python -m tools.newer_transformers --python PYTHON`: saves a checkpoint again, exports both.

PYTHON is the interpreter of an environment of its own:

    python3 -m venv newer
    newer/bin/pip install torch==2.13.0 "transformers>=5.24" pillow

Without torchvision the processor cannot be saved there; its file as version 5.24 wrote it for
Omnijet-nano is taken then. The two bundles must be equal, byte by byte, in all but the
manifest's name and dates; the exit code is 1 if they are not. --keep keeps them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from omnijet.export.checkpoint.texts import read_chat_template
from omnijet.export.stages import export_bundle
from omnijet.runtime.bundle.manifest import Manifest

NANO = Path(__file__).parents[2] / "nano" / "checkpoint"
PEER = Path(__file__).parent / "peer.py"
PROCESSOR = (
    Path(__file__).parents[2]
    / "tests" / "export" / "checkpoint" / "transformers5" / "processor_config.json"
)  # fmt: skip
SPEAKERS = "spk_dict.pt"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.newer_transformers")
    parser.add_argument("--python", required=True, metavar="PYTHON")
    parser.add_argument("--checkpoint", type=Path, default=NANO, metavar="FOLDER")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the bundles stay")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="omnijet-") as scratch:
        folder = Path(scratch) if args.keep is None else args.keep
        saved = folder / "saved"
        command = [args.python, str(PEER), str(args.checkpoint.resolve()), str(saved)]
        subprocess.run(command, check=True)
        # no version of transformers saves the voices
        shutil.copy(args.checkpoint / SPEAKERS, saved / SPEAKERS)
        if not (saved / PROCESSOR.name).exists():
            shutil.copy(PROCESSOR, saved)
            template = read_chat_template(args.checkpoint)
            (saved / "chat_template.jinja").write_text(template, encoding="utf-8")
        print("saved:", ", ".join(sorted(path.name for path in saved.iterdir())))
        before = export_bundle(args.checkpoint, folder / "before")
        after = export_bundle(saved, folder / "after")
    return _compare(before, after)


def _compare(before: Manifest, after: Manifest) -> int:
    unlike = [name for name in before.files if before.files[name] != after.files.get(name)]
    unlike += [name for name in after.files if name not in before.files]
    facts = ("dims", "voices", "preprocessor", "tables", "graphs")
    unlike += [fact for fact in facts if getattr(before, fact) != getattr(after, fact)]
    print(f"{len(before.files)} files; different: {', '.join(unlike) or 'none'}")
    return 1 if unlike else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: the embedded checkpoint's stages and host overhead on this machine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import omnijet


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, bundle = Path(scratch) / "nano", Path(scratch) / "bundle"
        for command in (
            ["synthesize", "nano", str(checkpoint)],
            ["export", str(checkpoint), str(bundle)],
            ["bench", str(bundle)],
        ):
            if code := omnijet.main(command):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

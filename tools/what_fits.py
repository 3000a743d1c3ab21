"""`python -m tools.what_fits`: writes docs/what-fits.md from the planner; `--check` compares."""

from __future__ import annotations

import argparse
from pathlib import Path

from omnijet.deployment.planner.document import what_fits

PAGE = Path(__file__).parents[1] / "docs" / "what-fits.md"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.what_fits", description="writes docs/what-fits.md"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is old")
    args = parser.parse_args()
    if args.check:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != what_fits())
    PAGE.write_text(what_fits(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m tools.bench.one SETTING.json PART OUT.json`: measures one part, for `tools.bench`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tools.bench.made import Makes
from tools.bench.parts.setting import Setting
from tools.bench.parts.table import part_of
from tools.bench.rates import Rates

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # read when it is imported


def main(given: Path, part: str, out: Path) -> int:
    facts = json.loads(given.read_text(encoding="utf-8"))
    setting = Setting(
        size=facts["size"],
        makes=Makes(Path(facts["folder"]), keeps_checkpoints=facts["size"] == "middle"),
        peers=Path(facts["peers"]),
        rates=Rates(**facts["rates"]),
        bundle=Path(facts["bundle"]) if facts["bundle"] else None,
    )
    rows = part_of(setting.size, part)(setting)
    out.write_text(json.dumps([row.to_json() for row in rows]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))

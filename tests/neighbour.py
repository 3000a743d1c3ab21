"""A user's folder whose files have the names of this project's folders."""

from __future__ import annotations

from pathlib import Path

SCRIPT = """\
import json
import sys
from pathlib import Path

import deployment
import engines
import export
import nano
import quantization
import runtime

import omnijet

omni = omnijet.load(sys.argv[1])
messages = [{"role": "user", "content": "Hello!"}]
reply = omni.generate(messages, max_text_tokens=6, max_codes=11, seed=3)
for module in (deployment, engines, export, nano, quantization, runtime):
    assert module.MINE and sys.modules[module.__name__] is module
spoken = reply.audio.size > 0 and isinstance(reply.text, str)
print(json.dumps({"home": str(Path(omnijet.__file__).parent), "spoken": spoken}))
"""


def write_neighbour(folder: Path) -> Path:
    """Writes the folder and returns its script, which takes a bundle and prints JSON.

    The script prints the folder of its omnijet (`home`) and whether a reply has sound (`spoken`).
    It fails if omnijet and the user's modules replace each other.
    """
    for name in ("runtime.py", "export.py", "nano.py", "engines/__init__.py",
                 "quantization/__init__.py", "deployment/__init__.py"):  # fmt: skip
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("MINE = True\n")
    script = folder / "talk.py"
    script.write_text(SCRIPT)
    return script

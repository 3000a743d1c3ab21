"""Tries a tokenizer in a process of its own: the library panics or aborts on some files.

What a file passes here once need not be tried again: a bundle's manifest has its hash.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from omnijet.runtime.child.start import start
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.leftovers import leftover, temporary_folder
from omnijet.runtime.prompt.tokenizer import Tokenizer

SECONDS = 30.0  # published tokenizers take one or two
SPARE_BYTES, BYTES_FOR_EACH = 256 << 20, 16  # of the file; published ones take ten
TEXTS = (
    "<|im_start|>user\nWhat do you see, and what is 3 × 17?<|im_end|>\n",
    "日本 🦊 é naïve\t\r\n\x00\x7f  \u2028",
    "a" * 2000 + "!",
    " ".join(["word"] * 500),
    "",
)
WHAT, EXPECTED = "the tokenizer cannot be used", "a tokenizer.json of the tokenizers library"
FIX = "download the checkpoint again, or take the tokenizer.json published with the model"


def try_tokenizer(text: str, where: Path) -> None:
    """Loads a tokenizer, encodes and decodes in another process, within bounds.

    Args:
        text: the text of `tokenizer.json`.
        where: the file it is from, for messages.

    Raises:
        OmnijetError: it fails, ends that process, or takes too much time or memory.
    """
    with temporary_folder("omnijet-tokenizer-") as folder:
        path = folder / "tokenizer.json"
        path.write_text(text, encoding="utf-8")
        if (fault := _fault(path)) is not None:
            raise OmnijetError(WHAT, where=where, expected=EXPECTED, got=fault, fix=FIX)


def _fault(path: Path) -> str | None:
    process = start(
        __name__, str(path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace",
        env={"RAYON_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
    )  # fmt: skip
    with leftover(process.kill):
        try:
            shown, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"nothing within {SECONDS:g} seconds"
        finally:
            process.kill()
            process.communicate()
    try:
        fault: str | None = json.loads(shown.splitlines()[-1])["fault"]
    except (ValueError, LookupError, TypeError):
        last = (said.strip().splitlines() or [f"code {process.returncode}"])[-1]
        return f"the library ended the process: {last}"
    return fault


def main() -> None:
    """Tries the file that is named on the command line; prints what fails as JSON."""
    path = Path(sys.argv[1])
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    most = used + SPARE_BYTES + BYTES_FOR_EACH * path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fault = None
    try:
        tokenizer = Tokenizer(path)
        for text in TEXTS:
            tokenizer.decode(tokenizer.encode(text))
        tokenizer.decode(range(256))
    except OmnijetError as error:
        fault = str(error.got)
    print(json.dumps({"fault": fault}))

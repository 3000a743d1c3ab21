"""`python -m tools.bench.parts.memory_child BUNDLE ROWS`: a spoken reply, and its memory by part.

It imports the runtime alone, as a user's process does. The conversation fills a context of ROWS:
a long text and a question of 5 s. Source of the sizes: /proc/self/smaps and /proc/self/status.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnijet.runtime.omni import Omni
from omnijet.runtime.profiling import media
from tools.bench.parts.first_sound import options, prompt_of

PERIOD_S = 0.02
REPLY, CODES = 24, 100  # each of both caches holds the prompt and one of them
QUESTION_ROWS = 140  # of 5 s of sound with its marks


def status() -> dict[str, int]:
    """Returns the resident bytes of this process: anonymous, and pages of files."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    found = {key: re.search(rf"{key}:\s+(\d+) kB", text) for key in ("RssAnon", "RssFile")}
    return {key: 1024 * int(match.group(1)) if match else 0 for key, match in found.items()}


def files(folder: Path) -> dict[str, int]:
    """Returns the resident bytes of each mapped file below a folder."""
    found: dict[str, int] = {}
    name = ""
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = line.split(maxsplit=5)[5] if line.count(" ") > 5 else ""
            name = path if path.startswith(f"{folder}/") else ""
        elif name and line.startswith("Rss:"):
            key = Path(name).relative_to(folder).as_posix()
            found[key] = found.get(key, 0) + 1024 * int(line.split()[1])
    return found


@contextmanager
def watched(peak: dict[str, int]) -> Iterator[None]:
    """Keeps the status at the moment when the sum was largest."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PERIOD_S):
            now = status()
            if sum(now.values()) > sum(peak.values()):
                peak.update(now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def caches(omni: Omni, rows: int) -> int:
    """Returns the bytes of both caches at a capacity, as the backend makes them."""
    before = status()["RssAnon"]
    states = [
        part.decoder.graph.new_state(rows) for part in (omni.model.thinker, omni.model.talker)
    ]
    for state in states:
        for array in getattr(state, "arrays", {}).values():
            array.fill(0)  # a page counts once it was written
    return status()["RssAnon"] - before


def main() -> None:
    folder, rows = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    omni = Omni.open(folder, context_limit=rows)
    started = status()
    omni.load()
    loaded = status()
    cached = caches(omni, rows)
    asked = prompt_of(omni, rows - QUESTION_ROWS - CODES - 16)
    sound = media.voice(5.0), media.SOUND_RATE_HZ
    asked[-1]["content"].append({"type": "audio", "audio": sound})
    peak = {"RssAnon": 0, "RssFile": 0}
    with watched(peak), omni.stream(asked, **options(omni, "balanced", REPLY, CODES)) as events:
        for _ in events:
            pass
        reply = events.reply
    print(
        json.dumps(
            {
                "started": started, "loaded": loaded, "caches": cached, "peak": peak,
                "files": files(folder), "rows": reply.prompt_tokens + len(reply.text_ids),
                "codes": len(reply.codes),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""`python -m tools.flips BUNDLE`: changes one byte of a bundle after another, and asks what opens.

Each byte of the manifest gets each bit flipped, is removed, doubled and replaced by a few
characters. The bundle is opened as `check` and `run` open it, and must be refused with an
`OmnijetError`, or mean what it meant. Then the same bytes are changed by a stranger, who makes the
hash right: that may be another bundle, but no traceback. Last, bytes of all other files are
flipped: `check` must find each. What fails is printed; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from omnijet.runtime.bundle.folder import Bundle, check_files
from omnijet.runtime.bundle.manifest import FILE_NAME
from omnijet.runtime.bundle.manifest_text import rehashed
from omnijet.runtime.commands.console import step_progress, whole_number
from omnijet.runtime.errors import OmnijetError

REPLACED_BY = b'"09 -e}\n\0'
ENDS = ("refused", "means nothing", "another bundle", "not found", "traceback")
SHOWN = 10


@dataclass(slots=True)
class Outcomes:
    """How trials ended, and the first of those that must not."""

    bad: tuple[str, ...]
    count: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    def add(self, end: str, what: str) -> None:
        self.count[end] += 1
        if end in self.bad and len(self.shown) < SHOWN:
            self.shown.append(f"{end}: {what}")

    @property
    def failed(self) -> int:
        return sum(self.count[end] for end in self.bad)


def twin(bundle: Path, folder: Path) -> Path:
    """Makes a bundle of links to the files of another; its manifest is a file of its own."""
    for name in Bundle.open(bundle).manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((bundle / name).absolute())
    (folder / FILE_NAME).write_bytes((bundle / FILE_NAME).read_bytes())
    return folder


def changed(content: bytes, place: int) -> Iterator[tuple[str, bytes]]:
    """Yields what one byte can become, with the text that holds it."""
    before, byte, after = content[:place], content[place], content[place + 1 :]
    values = [byte ^ (1 << bit) for bit in range(8)]
    values += [value for value in REPLACED_BY if value not in (byte, *values)]
    for value in values:
        yield f"{bytes([byte])!r} is {bytes([value])!r}", before + bytes([value]) + after
    yield f"{bytes([byte])!r} is gone", before + after
    yield f"{bytes([byte])!r} is there twice", content[: place + 1] + content[place:]


def flip_manifest(folder: Path, places: Iterable[int], *, rehash: bool = False) -> Outcomes:
    """Changes bytes of the manifest of a folder, which holds what it held in the end.

    Args:
        folder: A bundle that may be written to.
        places: The bytes to change.
        rehash: Whether the hash is made right again.
    """
    path, meant = folder / FILE_NAME, Bundle.open(folder).manifest
    content = path.read_bytes()
    found = Outcomes(("traceback",) if rehash else ("another bundle", "traceback"))
    for place in places:
        for what, text in changed(content, place):
            path.write_bytes(rehashed(text) if rehash else text)
            try:
                same = Bundle.open(folder).manifest == meant
                end, more = "means nothing" if same else "another bundle", ""
            except OmnijetError:
                end, more = "refused", ""
            except Exception:
                end, more = "traceback", f"\n{traceback.format_exc()}"
            found.add(end, f"byte {place} of {FILE_NAME}: {what}{more}")
    path.write_bytes(content)
    return found


def flip_files(bundle: Path, folder: Path, each: int, rng: Random) -> Outcomes:
    """Flips bits of every other file, the first and last byte among them, and checks the twin."""
    opened = Bundle.open(folder)
    found = Outcomes(("not found", "traceback"))
    for name in opened.manifest.files:
        content = (bundle / name).read_bytes()
        places = {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(each - 2))}
        (folder / name).unlink()
        for place in sorted(places):
            flipped = bytearray(content)
            flipped[place] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(flipped)
            end = "refused" if _is_found(folder, name) else "not found"
            found.add(end, f"byte {place} of {name}")
        (folder / name).unlink()
        (folder / name).symlink_to((bundle / name).absolute())
    return found


def _is_found(folder: Path, name: str) -> bool:
    """Returns whether a check finds this file changed, and nothing else."""
    faults = check_files(Bundle.open(folder))
    return len(faults) == 1 and faults[0].startswith(f"{name}: sha256")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.flips")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--step", type=whole_number(1), default=1, help="every N-th byte only")
    parser.add_argument("--files", type=whole_number(2), default=20, help="flips of each file")
    args = parser.parse_args(arguments)
    failed = 0
    table = Table("changed", "trials", *ENDS, "seconds")
    with tempfile.TemporaryDirectory(prefix="omnijet-flips-") as scratch, step_progress() as bar:
        folder = twin(args.bundle, Path(scratch))
        places = range(0, (folder / FILE_NAME).stat().st_size, args.step)
        task = bar.add_task("bytes of the manifest", total=2 * len(places))

        def advancing() -> Iterator[int]:
            for place in places:
                yield place
                bar.advance(task)

        for what in ("manifest", "manifest, hash made right", "other files"):
            begin = time.perf_counter()
            found = (
                flip_files(args.bundle, folder, args.files, Random(0))
                if what == "other files"
                else flip_manifest(folder, advancing(), rehash=what != "manifest")
            )
            seconds = f"{time.perf_counter() - begin:.0f}"
            ends = [str(found.count[end]) for end in ENDS]
            table.add_row(what, str(found.count.total()), *ends, seconds)
            failed += found.failed
            for line in found.shown:
                print(line, file=sys.stderr)
    Console(width=120).print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

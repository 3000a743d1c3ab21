"""`python -m tools.bench.report RESULTS.json`: writes a section of BENCHMARKS.md, and its plot.

The section stands between two marks that name the size, and is replaced as a whole. The plot goes
to docs/pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.whole_file import write_whole
from tools.bench.made import ROOT
from tools.bench.peers import PEERS
from tools.bench.plot import plot
from tools.bench.results import Results
from tools.bench.table import rate_text, table

DOCUMENT, PICTURES = ROOT / "BENCHMARKS.md", ROOT / "docs" / "pictures"
COMMANDS = {"middle": "make bench", "full": "make bench-full"}


def section(results: Results, picture: str) -> str:
    """Returns date, machine, rates, table and plot, as Markdown."""
    days = sorted({part.measured for part in results.parts.values()})
    packages = ", ".join(package for peer in PEERS.values() for package in peer.packages[:1])
    took = sum(part.seconds for part in results.parts.values())
    rates = rate_text(results.rates)
    lines = [
        f"Measured {' and '.join(days)} by `{COMMANDS[results.size]}` on {results.machine}; peers: "
        f"{packages}, transformers 4.57.6. The parts took {took / 60:.0f} min. "
        f"{rates[:1].upper()}{rates[1:]}.",
        "",
        table(results),
    ]
    if picture:
        lines += ["", f"![figures, floors and peers]({picture})"]
    return "\n".join(lines)


def marks(size: str) -> tuple[str, str]:
    return f"<!-- bench {size}: begin -->", f"<!-- bench {size}: end -->"


def placed(document: str, size: str, text: str) -> str:
    """Replaces the section of a size.

    Raises:
        OmnijetError: its marks are not there, once and in order.
    """
    begin, end = marks(size)
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in rest or end in after:
        raise OmnijetError(
            "the document has no place for this table",
            expected=f"{begin} and {end}, once each",
            got=f"{document.count(begin)} and {document.count(end)}",
            fix="put both marks on lines of their own where the table belongs",
        )
    return f"{before}{begin}\n{text}\n{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.report", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    options = parser.parse_args(arguments)
    try:
        results = Results.read(options.results)
        document, drawn = options.document.read_text(encoding="utf-8"), plot(results)
        picture = options.pictures / f"bench-{results.size}.svg"
        link = picture.relative_to(options.document.parent).as_posix() if drawn else ""
        whole = placed(document, results.size, section(results, link))
        if drawn:
            write_whole(picture, drawn.encode())
        write_whole(options.document, whole.encode())
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.document}: the section of the size {results.size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

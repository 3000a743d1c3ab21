"""`python -m tools.bench middle|full`: one table of figures, floors and peers.

`middle` takes minutes (`make bench`), `full` has the 3B's dimensions and takes most of half an
hour, and longer where bundles must be made first (`make bench-full`). Each part runs in a process
of its own, and its figures are kept when it is done: the same command again measures what is
missing. `--rows NAME,NAME` measures these parts anew. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.profiling.machine import machine
from tools.bench.made import ROOT
from tools.bench.parts.table import PARTS
from tools.bench.peers import FOLDER as PEERS
from tools.bench.rates import Rates
from tools.bench.results import Part, Results
from tools.bench.row import Row
from tools.bench.table import rate_text, table

FOLDERS = {"middle": ROOT / "build" / "bench", "full": ROOT / "build" / "full"}
PART_S = 1800  # no part takes as long; one that hangs must not keep the others


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("size", choices=PARTS)
    parser.add_argument("--rows", metavar="PART,PART", help="measure these parts, also if known")
    parser.add_argument("--again", action="store_true", help="measure all parts anew")
    parser.add_argument("--list", action="store_true", help="name the parts and stop")
    parser.add_argument("--folder", type=Path, help="of checkpoints and bundles that are made")
    parser.add_argument("--bundle", type=Path, help="an own INT4 bundle in place of a made one")
    parser.add_argument("--peers", type=Path, default=PEERS, help="see tools.bench.peers")
    parser.add_argument("--results", type=Path, help="file of the figures")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(PARTS[options.size]))
        return 0
    folder = options.folder or FOLDERS[options.size]
    path = options.results or ROOT / "build" / "bench" / f"{options.size}.json"
    asked = options.rows.split(",") if options.rows else []
    if unknown := [name for name in asked if name not in PARTS[options.size]]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS[options.size])}")
    try:
        results = begun(options.size, path, options.again)
        folder.mkdir(parents=True, exist_ok=True)
        for name in PARTS[options.size]:
            known = results.parts.get(name)
            if name in asked or (not asked and (known is None or known.fault)):
                results.parts[name] = measured(name, results, folder, options)
                in_order(results)
                results.write(path)
    except OmnijetError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{results.machine}\n{rate_text(results.rates)}\n\n{table(results)}\n\n{path}")
    return int(any(part.fault for part in results.parts.values()))


def begun(size: str, path: Path, again: bool) -> Results:
    """Returns the figures so far; those of another machine or of other versions do not count."""
    here = f"{machine()}, {os.cpu_count()} cores"
    if path.exists() and not again:
        known = Results.read(path)
        if (known.size, known.machine) == (size, here):
            return known
        print(f"{path} is of {known.machine}: begun anew", file=sys.stderr)
    return Results(size, here, Rates.measure().to_json())


def in_order(results: Results) -> None:
    names = [name for name in PARTS[results.size] if name in results.parts]
    results.parts = {name: results.parts[name] for name in names}


def measured(name: str, results: Results, folder: Path, options: argparse.Namespace) -> Part:
    """Runs one part in a process of its own."""
    print(f"{name}: load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="omnijet-bench-") as scratch:
        given, out = Path(scratch) / "setting.json", Path(scratch) / "rows.json"
        facts = {
            "size": options.size, "folder": str(folder.resolve()), "rates": results.rates,
            "peers": str(options.peers.resolve()),
            "bundle": str(options.bundle.resolve()) if options.bundle else None,
        }  # fmt: skip
        given.write_text(json.dumps(facts), encoding="utf-8")
        command = [sys.executable, "-m", "tools.bench.one", str(given), name, str(out)]
        try:
            code = subprocess.run(command, cwd=ROOT, timeout=PART_S).returncode
            fault = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            fault = f"not done after {PART_S} s"
        rows = [] if fault else [Row(**row) for row in json.loads(out.read_text())]
    took = perf_counter() - began
    print(f"{name}: {fault or 'done'}, {took:.0f} s", file=sys.stderr, flush=True)
    return Part.of(rows, took, fault)


if __name__ == "__main__":
    sys.exit(main())

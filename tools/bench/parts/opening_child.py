"""`python -m tools.bench.parts.opening_child BUNDLE`: loads a bundle and prints the seconds.

It imports the runtime alone, as a user's process does.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

BEGAN = perf_counter()


def main() -> None:
    from omnijet.runtime.omni import Omni

    times = {"import": perf_counter() - BEGAN}
    omni = Omni.open(sys.argv[1])
    times["open"] = perf_counter() - BEGAN - sum(times.values())
    for name in omni.bundle.manifest.graphs:
        began = perf_counter()
        omni.model.graph(name)
        times[name] = perf_counter() - began
    print(json.dumps(times))


if __name__ == "__main__":
    main()

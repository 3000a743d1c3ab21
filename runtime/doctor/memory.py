"""Memory: what is free, and what only looks so."""

from __future__ import annotations

import os
import re
from pathlib import Path

from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.commands.console import size_text
from omnijet.runtime.doctor.finding import Finding, fault, note, ok, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.files.names import shell_quoted
from omnijet.runtime.machine.memory import swap_bytes, zram_bytes

DESKTOP = "graphical.target"
DEFAULT_TARGETS = ("etc/systemd/system/default.target", "usr/lib/systemd/system/default.target")
TIGHT_BYTES = 9_000_000_000
"""Memory of a Jetson on which a desktop takes the room of the model."""
SWAP = "16G"
STOP_ZRAM = "sudo systemctl disable --now nvzramconfig"
FREE_IT = "sudo systemctl isolate multi-user.target"


def memory(here: Here) -> Finding:
    """Says how much memory is free, and whether the named bundle fits into it."""
    total, free = here.platform.memory_bytes, here.platform.free_bytes
    if not total:
        return unknown("the system does not say how much memory there is")
    said = f"{size_text(free)} of {size_text(total)} free"
    if here.manifest is None:
        return ok(said)
    need, card = needed_bytes(here, here.manifest), here.platform.gpu_memory_bytes
    files = f"the files that a run of the bundle loads are {size_text(need)}"
    if not uses_engines(here, here.manifest):
        card = None
    room = total + swap_bytes(here.root) if card is None else card
    if need > room:
        holder = "the machine" if card is None else "the GPU"
        line = f"omnijet plan {here.bundle_word} --target auto --fit"
        return fault(f"{files}, and {holder} has {size_text(room)}", line, here.bundle_private)
    if card is None and need > free:
        return note(f"{said}, and {files}: close other programs",
                    FREE_IT if here.platform.is_jetson else "top -o %MEM")  # fmt: skip
    return ok(f"{said}; {files}")


def zram(here: Here) -> Finding | None:
    """Says whether swap is in memory itself, where it helps no GPU."""
    size = zram_bytes(here.root)
    if not size or not here.platform.is_jetson:
        return None
    said = (f"{size_text(size)} of swap are in zram, which is memory itself: the GPU's pages never "
            "move there, and it is not counted as free")  # fmt: skip
    if swap_bytes(here.root):
        return note(f"{said}; the swap on a disk is enough", STOP_ZRAM)
    place = _nvme(here)
    if place is None:
        return note(f"{said}; swap on an NVMe disk helps, and no such disk is mounted")
    file = place / "swapfile"
    make = "fallocate -l {0} {1} && chmod 600 {1} && mkswap {1} && swapon {1}"
    line = f"{STOP_ZRAM} && {make.format(SWAP, shell_quoted(file))}".replace("&& ", "&& sudo ")
    return note(f"{said}; a swap file on the NVMe disk helps, until the next start", line,
                (str(file),))  # fmt: skip


def _nvme(here: Here) -> Path | None:
    """Returns where an NVMe disk is mounted; of several places the one with the shortest name."""
    listed = re.compile(r"^/dev/nvme\S+ (/\S*) (?:ext4|xfs) ", re.MULTILINE)
    found = [one for one in listed.findall(here.text("proc/mounts")) if not one.startswith("/boot")]
    return Path(min(found, key=len)) if found else None


def desktop(here: Here) -> Finding | None:
    """Says whether a small Jetson gives memory to a desktop."""
    if not here.platform.is_jetson or here.platform.memory_bytes > TIGHT_BYTES:
        return None
    for name in DEFAULT_TARGETS:
        path = here.root / name
        if path.is_symlink():
            if os.path.basename(os.readlink(path)) != DESKTOP:
                return ok("no desktop is started")
            return note("a desktop is started with the system, and takes memory from the model; "
                        "this line ends it now, and at the next start there is none",
                        f"sudo systemctl set-default multi-user.target && {FREE_IT}")  # fmt: skip
    return None


def needed_bytes(here: Here, manifest: Manifest) -> int:
    """Returns the bytes of the files that a run of the bundle holds in memory: not all it takes."""
    tables = [table.file for table in manifest.tables.values()]
    engines = _engines_here(here, manifest)
    if engines:
        return sum(engines.values()) + sum(manifest.files[name].bytes for name in tables)
    graphs = [name for graph in manifest.graphs.values() for name in (graph.file, graph.weights)]
    return sum(manifest.files[name].bytes for name in {*graphs, *tables})


def uses_engines(here: Here, manifest: Manifest) -> bool:
    """Returns whether the bundle has engines for the GPU of this machine."""
    return bool(_engines_here(here, manifest))


def _engines_here(here: Here, manifest: Manifest) -> dict[str, int]:
    """Returns the sizes of the engines of the first target that fits the GPU."""
    for target in manifest.engine_targets:
        entries = manifest.engines[target].values()
        if {entry.compute_capability for entry in entries} == {here.platform.compute_capability}:
            return {entry.file: manifest.files[entry.file].bytes for entry in entries}
    return {}

"""The disk of a bundle: free space, and how fast it is read."""

from __future__ import annotations

import mmap
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from omnijet.runtime.commands.console import size_text
from omnijet.runtime.doctor.finding import Finding, note, ok, unknown
from omnijet.runtime.doctor.here import Here
from omnijet.runtime.doctor.memory import needed_bytes
from omnijet.runtime.files.names import shell_quoted

BLOCK = 4 << 20
MOST_BYTES = 256 << 20
MOST_S = 1.0
OWN_BYTES = 32 << 20
SLOW_BYTES_PER_S = 150e6
"""An SD card of the fastest kind reads 100 MB/s, any SSD more than this."""
LITTLE_BYTES = 1_000_000_000
DISKS = "lsblk -d -o NAME,TRAN,SIZE,MODEL"
_DIRECT = getattr(os, "O_DIRECT", 0)


def disk_free(here: Here) -> Finding:
    """Says how much room there is where the bundle lies, or here."""
    place = here.bundle if here.bundle is not None and here.bundle.exists() else Path.cwd()
    usage = shutil.disk_usage(place)
    said = f"{size_text(usage.free)} of {size_text(usage.total)} free"
    line = f"df -h {shell_quoted(place)}"
    private = (shell_quoted(place), str(place))
    if here.manifest is not None and not here.manifest.engine_targets and here.platform.gpu:
        weights = sum(graph.weight_bytes for graph in here.manifest.graphs.values())
        if usage.free < weights:
            return note(f"{said}, and engines of the bundle would take about "
                        f"{size_text(weights)}", line, private)  # fmt: skip
    return ok(said) if usage.free > LITTLE_BYTES else note(said, line, private)


def disk_speed(here: Here) -> Finding:
    """Reads a file for a second at most, past the system's cache."""
    path = largest_file(here)
    if path is not None:
        rate, direct = read_rate(path)
    else:
        with tempfile.TemporaryFile() as file:  # it has no name, so no kill leaves it behind
            file.write(os.urandom(OWN_BYTES))
            file.flush()
            os.fsync(file.fileno())
            rate, direct = read_rate(Path(f"/proc/self/fd/{file.fileno()}"))
    if rate is None:
        return unknown("no file is large enough to tell", DISKS)
    said = f"{rate / 1e6:.0f} MB/s" + ("" if direct else ", perhaps from the system's cache")
    if here.manifest is not None:
        seconds = needed_bytes(here, here.manifest) / rate
        said += f": loading the bundle takes {seconds:.1f} s or more"
    if rate >= SLOW_BYTES_PER_S or not direct:
        return ok(said)
    return note(f"{said}; an NVMe disk reads ten times as fast", DISKS)


def largest_file(here: Here) -> Path | None:
    """Returns the largest file that the bundle has; None: no bundle was named, or it has none."""
    if here.bundle is None or here.manifest is None:
        return None
    files = here.manifest.files
    for name in sorted(files, key=lambda name: -files[name].bytes):
        if (here.bundle / name).is_file():
            return here.bundle / name
    return None


def read_rate(
    path: Path, clock: Callable[[], float] = time.perf_counter
) -> tuple[float | None, bool]:
    """Reads the beginning of a regular file.

    Args:
        path: the file.
        clock: tells the seconds.

    Returns:
        bytes per second, None if nothing could be read; and whether the cache was passed by.

    Raises:
        OSError: the file cannot be opened or read.
    """
    try:
        descriptor, direct = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _DIRECT), bool(_DIRECT)
    except OSError:  # a file system without it
        descriptor, direct = os.open(path, os.O_RDONLY | os.O_NONBLOCK), False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None, direct
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _rate(descriptor, clock), direct
    finally:
        os.close(descriptor)


def _rate(descriptor: int, clock: Callable[[], float]) -> float | None:
    done, started = 0, clock()
    with mmap.mmap(-1, BLOCK) as block:  # O_DIRECT wants an address on the border of a page
        while done < MOST_BYTES and clock() - started < MOST_S:
            count = os.preadv(descriptor, [block], done)
            if not count:
                break
            done += count
            if count < BLOCK:
                break
    return done / max(clock() - started, 1e-9) if done else None

"""A disk that may lose its power: records what a process does to files, and cuts it anywhere.

Only what was synced is sure: the content of a file by its own fsync, a name by the fsync of its
folder. Of the changes of names since then any may have reached the disk, in order or not, but a
rename is never half done. What was written since may be there, or nothing of it.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from omnijet.runtime.files import disk

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SUBSETS = 12
"""Random subsets of the unsure changes for each cut, besides all prefixes and single ones."""

Event = tuple[str, Any, Any]
Tree = dict[str, bytes | None]
"""What is below a folder: files with their content, and folders with None."""


def record(
    log: Path, work: Callable[[], object], stop_at: int | None = None, able: bool = True
) -> int:
    """Runs work in a child and adds what it does to files to a log; returns the child's code.

    Args:
        stop_at: the number of the event after which the child is killed; None: it goes on.
        able: whether its file system can swap and refuse to replace.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        _Recorder(log, stop_at, able).start()
        work()
        code = 0
    finally:
        os._exit(code)


class _Recorder:
    def __init__(self, log: Path, stop_at: int | None, able: bool) -> None:
        self._file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stop_at, self._able, self._count = stop_at, able, 0

    def start(self) -> None:
        fsync, renameat2 = os.fsync, disk._renameat2

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._note("sync", path, None if os.path.isdir(path) else Path(path).read_bytes())

        def renamed(source: Path, target: Path, flag: int) -> int:
            if not self._able:
                return 22
            code = renameat2(source, target, flag)
            if not code:
                kind = "swap" if flag == disk.RENAME_EXCHANGE else "rename"
                self._note(kind, os.fspath(source), os.fspath(target))
            return code

        os.fsync, disk._renameat2 = synced, renamed  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & WRITES:
            if isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith("/"):
                self._note("write", os.fsdecode(args[0]), None)
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            self._note(event[3:], _absolute(args[0], args[-1]), None)
        elif event in ("os.rename", "os.link"):
            self._note(event[3:], os.fspath(args[0]), os.fspath(args[1]))

    def _note(self, *event: Any) -> None:
        if self._stop_at is not None and self._count >= self._stop_at:
            os._exit(9)
        self._count += 1
        content = pickle.dumps(event)
        os.write(self._file, len(content).to_bytes(8, "big") + content)


def _absolute(path: Any, folder: int) -> str:
    name = os.fsdecode(path)
    return name if folder < 0 else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)


def events(log: Path) -> list[Event]:
    """Reads a log."""
    found, content = [], log.read_bytes()
    while content:
        size = int.from_bytes(content[:8], "big")
        found.append(pickle.loads(content[8 : 8 + size]))
        content = content[8 + size :]
    return found


@dataclass(eq=False)
class _Node:
    """A file or a folder: what is sure of it, and what may be."""

    is_folder: bool
    names: dict[str, _Node] = field(default_factory=dict)  # as the running system sees it
    sure: bytes | None = b""
    unsynced: bool = False


@dataclass(eq=False)
class _Change:
    """Changes of names that happen together: (folder, name, what it names then)."""

    entries: Sequence[tuple[_Node, str, _Node | None]]


class Disk:
    """Replays a log over the folder `home` as it was before.

    Args:
        before: what was in the folder, all of it sure.
    """

    def __init__(self, home: Path, before: Tree) -> None:
        self._home, self._root = home, _Node(True)
        self._pending: list[_Change] = []
        for name, content in sorted(before.items()):
            folder, last = self._folder(str(home / name))
            folder.names[last] = _Node(content is None, sure=content)
        self._durable: dict[_Node, dict[str, _Node]] = {}
        self._settle(self._root)

    def _settle(self, node: _Node) -> None:
        self._durable[node] = dict(node.names)
        for below in node.names.values():
            self._settle(below)

    def _folder(self, path: str) -> tuple[_Node, str]:
        """Returns the folder of a path and the last part; outside of home: a folder of no use."""
        parts = Path(os.path.relpath(path, self._home)).parts or (".",)
        node = self._root
        for part in parts[:-1]:
            below = node.names.get(part)
            if below is None:
                return _Node(True), parts[-1]
            node = below
        return node, parts[-1]

    def _at(self, path: str) -> _Node | None:
        if Path(path) == self._home:
            return self._root
        folder, name = self._folder(path)
        return folder.names.get(name)

    def replay(self, event: Event) -> None:
        """Does what the process did."""
        kind, path, other = event
        if not Path(path).is_relative_to(self._home):
            return
        folder, name = self._folder(path)
        node = self._at(path)
        if node is self._root and kind != "sync":  # of tests that write to it itself
            return
        if kind == "sync":
            if node is not None:
                self._sync(node, other)
        elif kind in ("write", "mkdir"):
            if node is None:
                node = _Node(kind == "mkdir")
                self._change((folder, name, node))
            node.unsynced = kind == "write"
        elif kind in ("remove", "rmdir"):
            if node is not None and not node.names:
                self._change((folder, name, None))
        elif node is not None:
            self._rename(kind, node, path, other)

    def _rename(self, kind: str, node: _Node, path: str, other: str) -> None:
        (folder, name), (to, new) = self._folder(path), self._folder(other)
        if kind == "link":
            self._change((to, new, node))
        else:
            there = self._at(other) if kind == "swap" else None
            self._change((folder, name, there), (to, new, node))

    def _change(self, *entries: tuple[_Node, str, _Node | None]) -> None:
        _apply(entries)
        self._pending.append(_Change(entries))

    def _sync(self, node: _Node, content: bytes | None) -> None:
        if not node.is_folder:
            node.sure, node.unsynced = content, False
            return
        for change in self._pending:
            if any(folder is node for folder, _, _ in change.entries):
                _apply(change.entries, self._durable)
        self._pending = [
            one for one in self._pending if all(folder is not node for folder, _, _ in one.entries)
        ]

    def states(self, rng: Random) -> Iterator[Tree]:
        """Yields what may be on the disk if the power goes now."""
        for chosen in self._choices(rng):
            names = {node: dict(of) for node, of in self._durable.items()}
            for change in chosen:
                _apply(change.entries, names)
            yield dict(_rendered(self._root, "", names))

    def _choices(self, rng: Random) -> Iterator[Sequence[_Change]]:
        pending = self._pending
        for count in range(len(pending) + 1):
            yield pending[:count]
        for one in pending:
            yield [one]
            yield [other for other in pending if other is not one]
        for _ in range(SUBSETS if len(pending) > 2 else 0):
            yield [one for one in pending if rng.random() < 0.5]


def _apply(
    entries: Sequence[tuple[_Node, str, _Node | None]],
    known: dict[_Node, dict[str, _Node]] | None = None,
) -> None:
    """Changes names as the running system sees them, or as `known` has them."""
    for folder, name, node in entries:
        names = folder.names if known is None else known.setdefault(folder, {})
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _rendered(
    node: _Node, path: str, names: dict[_Node, dict[str, _Node]]
) -> Iterator[tuple[str, bytes | None]]:
    for name, below in names.get(node, {}).items():
        place = f"{path}{name}"
        if below.is_folder:
            yield place, None
            yield from _rendered(below, f"{place}/", names)
        else:
            # of what was not synced, nothing came: the other possibility is what should be there
            yield place, b"" if below.unsynced else below.sure


def tree(folder: Path) -> Tree:
    """Returns what is below a real folder."""
    found: Tree = {}
    for place, folders, files in os.walk(folder):
        for name in itertools.chain(folders, files):
            path = Path(place, name)
            found[path.relative_to(folder).as_posix()] = (
                path.read_bytes() if path.is_file() else None
            )
    return found


def below(state: Tree, place: str) -> Tree | None:
    """Returns what is below a folder of a state; None: there is no such folder."""
    if place not in state:
        return None
    start = f"{place}/"
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def cuts(home: Path, before: Tree, log: Path, seed: int = 0) -> Iterator[tuple[int, Tree]]:
    """Yields the number of each event and what may be on the disk if the power goes after it."""
    rng, modelled = Random(seed), Disk(home, before)
    for number, event in enumerate(events(log)):
        modelled.replay(event)
        for state in modelled.states(rng):
            yield number, state

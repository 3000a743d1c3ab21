"""The weight files of one folder: which there are, and the headers of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from omnijet.export.checkpoint.json_file import read_json
from omnijet.export.checkpoint.shard import Entry, read_header
from omnijet.export.checkpoint.tensor_layout import SPEAKING
from omnijet.runtime.errors import OmnijetError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MOST_FILES = 1000
_LONGEST_NAME = 200
_BLOBS = "blobs"  # where the hub's cache keeps files that snapshots link to
_NAMED = 8  # names in a message before "and n more"
_THINKER = "thinker."


@dataclass(slots=True)
class WeightFiles:
    """What the weight files of a folder hold, by the keys of a whole model.

    Attributes:
        entries: The readable tensors.
        faults: One line for each damaged file.
        lost: The tensors that cannot be read, with the name of the file that should hold them.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)

    def keys(self) -> set[str]:
        """Returns the keys of all tensors, readable or not."""
        return self.entries.keys() | self.lost.keys()


def read_weight_files(folder: Path, *, speech: bool, thinker_alone: bool) -> WeightFiles:
    """Reads the index and all headers.

    Args:
        folder: The checkpoint folder.
        speech: False leaves out files that hold nothing but the parts that speak.
        thinker_alone: Whether the folder holds a Thinker, whose keys may lack its name.

    Raises:
        OmnijetError: There is no weight file, or the index is damaged.
    """
    found = WeightFiles()

    def whole(key: str) -> str:
        return key if not thinker_alone or key.startswith(_THINKER) else _THINKER + key

    for name, keys in weight_files(folder, speech).items():
        try:
            entries = read_header(folder / name)
        except OmnijetError as error:
            if (folder / name).exists():  # otherwise `missing_weight_files` names the file
                found.faults.append(_one_line(name, error))
            found.lost.update({whole(key): name for key in keys})
            continue
        own = {whole(key): entry for key, entry in entries.items()}
        counts = Counter(map(whole, entries))
        if twice := sorted(k for k, n in counts.items() if n > 1 or k in found.entries):
            found.faults.append(f"{name}: {len(twice)} weights are stored twice: {listed(twice)}")
        found.entries.update(own)
        if absent := sorted(keys - entries.keys()):
            found.faults.append(
                f"{INDEX}: {len(absent)} of {len(keys)} weights not in {name}: {listed(absent)}"
            )
            found.lost.update({whole(key): name for key in absent})
    return found


def weight_files(folder: Path, speech: bool) -> dict[str, set[str]]:
    """Returns the weight files by name, each with the keys that the index expects in it.

    Args:
        folder: The checkpoint folder.
        speech: False leaves out the keys of the parts that speak, and files of nothing else.

    Raises:
        OmnijetError: There is no weight file, or the index is damaged.
    """
    if (folder / SINGLE).is_file():
        _require_weights(folder, [SINGLE])
        return {SINGLE: set()}
    if not (folder / INDEX).is_file():
        raise OmnijetError(
            "the checkpoint has no weights",
            where=folder,
            expected=f"{SINGLE}, or {INDEX} and its shards",
            fix="download the checkpoint again; other formats must be saved as safetensors first",
        )
    weight_map = read_json(folder / INDEX).get("weight_map")
    files: dict[str, set[str]] = {}
    pairs = weight_map.items() if isinstance(weight_map, dict) else ()
    valid = len(pairs) > 0
    for key, name in pairs:
        valid = valid and isinstance(name, str) and _is_name(name)
        files.setdefault(str(name), set()).add(key)
    if not valid or len(files) > MOST_FILES:
        raise OmnijetError(
            "the index of the weight files is damaged",
            where=folder / INDEX,
            expected=f"weight_map: an object of at most {MOST_FILES} file names by weight",
            fix="download the checkpoint again",
        )
    _require_weights(folder, files)
    if not speech:
        files = {
            name: {key for key in keys if not key.startswith(SPEAKING)}
            for name, keys in files.items()
        }
    return {name: keys for name, keys in sorted(files.items()) if keys}


def _is_name(name: str) -> bool:
    plain = len(name) <= _LONGEST_NAME and name.isprintable() and "\\" not in name
    return plain and Path(name).name == name and name not in ("", "..")


def _require_weights(folder: Path, names: Iterable[str]) -> None:
    """Raises `OmnijetError` for links that lead to something else."""
    if led_out := sorted(name for name in names if _leads_out(folder / name)):
        raise OmnijetError(
            "weight files are links to something else",
            where=folder,
            expected="links to .safetensors files, or into the hub's cache",
            got=listed(led_out),
            fix="download the checkpoint again",
        )


def _leads_out(path: Path) -> bool:
    """Returns whether a link leads to a file that is none of weights, as far as names tell."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    inside = target.parent == path.parent.resolve()
    return not inside and target.suffix != ".safetensors" and target.parent.name != _BLOBS


def missing_weight_files(folder: Path, *, speech: bool) -> list[str]:
    """Lists the weight files, by name, that a folder lacks.

    Raises:
        OmnijetError: The index is damaged.
    """
    if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
        return [f"{SINGLE} or {INDEX}"]
    return [name for name in weight_files(folder, speech) if not (folder / name).is_file()]


def silent_files(folder: Path) -> list[str]:
    """Lists the weight files, by name, that hold nothing but parts that speak."""
    if not (folder / INDEX).is_file() or (folder / SINGLE).is_file():
        return []
    return sorted(weight_files(folder, True).keys() - weight_files(folder, False).keys())


def listed(names: Iterable[str], joint: str = ", ") -> str:
    """Joins names for a message, which shows the first of many."""
    every = list(names)
    rest = len(every) - _NAMED
    return joint.join(every[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _one_line(name: str, error: OmnijetError) -> str:
    wanted = "" if error.expected is None else f", expected {error.expected}"
    return f"{name}: {error.what}: got {error.got}{wanted}"

"""LoRA adapters as PEFT writes them: recognises them and matches them with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omnijet.export.checkpoint.adapter_config import CONFIG, base_of
from omnijet.export.checkpoint.adapter_reading import Adapter, AdapterReader
from omnijet.export.checkpoint.merge import Merge
from omnijet.export.checkpoint.shard import Entry
from omnijet.export.checkpoint.weight_files import INDEX, SINGLE
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.names import shell_quoted


def is_adapter(folder: Path) -> bool:
    """Returns whether a folder holds an adapter rather than a model."""
    whole = (folder / SINGLE).is_file() or (folder / INDEX).is_file()
    return (folder / CONFIG).is_file() and not whole


def require_no_adapter(folder: Path, bundle: Path, named: str) -> None:
    """Raises `OmnijetError` with the command that merges, if the checkpoint is an adapter."""
    if not is_adapter(folder):
        return
    base = base_of(folder)
    told = "BASE" if base is None else shell_quoted(base)
    note = "" if base else "; BASE is the model that it was trained on"
    raise OmnijetError(
        "this is a LoRA adapter, not a model",
        where=named,
        expected="a folder with config.json and safetensors files",
        got=f"{CONFIG}, made for {base or 'a model that it does not name'}",
        fix=f"omnijet export {told} {shell_quoted(bundle)} --adapter {shell_quoted(named)}{note}",
    )


def read_adapters(
    folders: Sequence[Path], entries: Mapping[str, Entry], *, speech: bool
) -> tuple[list[Adapter], dict[str, Merge]]:
    """Reads the headers of adapters and matches them with the weights of a checkpoint.

    Args:
        folders: The adapters, in the order in which they are merged.
        entries: The tensors of the checkpoint.
        speech: Whether the parts that speak are exported.

    Returns:
        The adapters, and what they do by the key of a weight.

    Raises:
        OmnijetError: Lists everything that cannot be merged, of all adapters.
    """
    adapters: list[Adapter] = []
    merges: dict[str, Merge] = {}
    faults: list[str] = []
    for folder in folders:
        own: list[str] = []
        try:
            adapters.append(AdapterReader(folder, entries, merges, own, speech=speech).read())
        except OmnijetError as error:
            told = error.what if error.got is None else f"{error.what}: {error.got}"
            own.append(f"{told}; {error.fix}" if error.fix else told)
        faults += [f"{folder}: {fault}" for fault in own]
    if faults:
        count = f"{len(faults)} fault" + "s" * (len(faults) > 1)
        raise OmnijetError(
            f"the adapter{'s' * (len(folders) > 1)} cannot be merged ({count})",
            expected="LoRA adapters of this checkpoint, as PEFT saves them",
            got="\n            ".join(faults),
            fix="merge it with PEFT's merge_and_unload, save the model, and export that",
        )
    return adapters, merges

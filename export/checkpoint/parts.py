"""The parts of a model that a fine-tune may lack, and where each comes from."""

from __future__ import annotations

from pathlib import Path

from omnijet.export.checkpoint.weight_files import WeightFiles

PARTS = {
    "audio encoder": "thinker.audio_tower.",
    "vision encoder": "thinker.visual.",
    "Thinker": "thinker.model.",
    "Thinker's head": "thinker.lm_head.",
    "Talker": "talker.",
    "token2wav": "token2wav.",
}
"""How the keys of each part begin."""
BUFFER = ".inv_freq"


def absent_parts(weights: WeightFiles, speech: bool) -> list[str]:
    """Lists the parts of which a checkpoint has no weight at all."""
    keys = weights.keys()
    return [
        part
        for part, start in PARTS.items()
        if (speech or start.startswith("thinker."))
        and not any(key.startswith(start) for key in keys)
    ]


def take_parts(
    weights: WeightFiles, base: WeightFiles, folder: Path, base_folder: Path, speech: bool
) -> dict[str, Path]:
    """Adds the parts that are missing from those of a base.

    A part is taken whole: one of which only some weights are there is a damaged download.

    Args:
        weights: Those of the checkpoint; they are changed.
        base: Those of its base.
        folder: The checkpoint.
        base_folder: The base.
        speech: Whether the parts that speak are wanted.

    Returns:
        The folder of every part.
    """
    absent = absent_parts(weights, speech)
    origins: dict[str, Path] = {}
    for part, start in PARTS.items():
        if not speech and not start.startswith("thinker."):
            continue
        origins[part] = folder
        if part not in absent:
            continue
        origins[part] = base_folder
        own = {key: entry for key, entry in base.entries.items() if key.startswith(start)}
        weights.entries.update(own)
        weights.lost.update({k: name for k, name in base.lost.items() if k.startswith(start)})
    # transformers 5 does not save buffers, and those of the base are what it was tuned with
    for key, entry in base.entries.items():
        if key.endswith(BUFFER) and (speech or key.startswith("thinker.")):
            weights.entries.setdefault(key, entry)
    if base_folder in origins.values():
        weights.faults += [f"base: {fault}" for fault in base.faults]
    return origins

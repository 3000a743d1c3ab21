"""Makes the configuration of a whole model out of what a fine-tune has and what its base has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnijet.export.checkpoint.config import MODEL_TYPE

THINKER_TYPE = f"{MODEL_TYPE}_thinker"
_SECTIONS = {
    "thinker_config": ("text_config", "audio_config", "vision_config"),
    "talker_config": (),
    "token2wav_config": ("dit_config", "bigvgan_config"),
}
_OWN_TASTE = frozenset({"vocab", "max_positions", "rope_theta", "rms_eps", "tokens", "codec"})
"""What a fine-tune may change and still go with the other parts of its base."""


def is_thinker(config: dict[str, Any]) -> bool:
    """Returns whether a `config.json` describes a Thinker without the rest of the model."""
    return config.get("model_type") == THINKER_TYPE


def whole_config(config: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the configuration of a whole model.

    A Thinker alone becomes a model without a voice. Sections that are missing, and the voice, are
    those of the base.

    Args:
        config: The parsed `config.json` of the checkpoint.
        base: That of the base; None if there is none.
    """
    whole = dict(config)
    if is_thinker(config):
        whole = {
            "model_type": MODEL_TYPE,
            "enable_audio_output": False,
            "thinker_config": dict(config),
        }
    if base is None:
        return whole
    base = whole_config(base)
    whole["enable_audio_output"] = base.get("enable_audio_output", True)
    for name, parts in _SECTIONS.items():
        if name not in base:
            continue
        section = whole.get(name)
        if section is None:
            whole[name] = base[name]
        elif isinstance(section, dict) and isinstance(base[name], dict):
            missing = {part: base[name][part] for part in parts if part in base[name]}
            whole[name] = {**missing, **{key: v for key, v in section.items() if v is not None}}
    return whole


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Compares the dimensions of two models, as `ModelDims.to_json` has them.

    Returns:
        One line for each that differs.
    """
    base = dict(_leaves(theirs))
    return [
        f"{name} is {value}, and {base[name]} in the base"
        for name, value in _leaves(ours)
        if name in base and base[name] != value
    ]


def _leaves(data: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if key in _OWN_TASTE:
            continue
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _leaves(value, name)
        else:
            yield name, list(value) if isinstance(value, tuple) else value

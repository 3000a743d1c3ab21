"""Sizes, statistics and limits that turn media files into model inputs.

The exporter reads them from a checkpoint's `preprocessor_config.json`, and they travel in the
manifest. That file has no limits for clips: those come from `qwen_omni_utils`, the sampling
code published with the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from omnijet.runtime.errors import OmnijetError

CONFIG = "preprocessor_config.json"
NESTED_CONFIG = "processor_config.json"
"""Where transformers 5 writes the same, in a section for each kind of medium."""
MOST = 1 << 40  # of any number of pixels, samples or frames
_NEAR = 0.85  # two keys at least this similar count as one key and its misspelling


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """All numbers that preprocessing depends on. Pixels count a frame's area."""

    patch: int  # pixels per side
    temporal_patch: int  # frames
    merge: int  # patches per side of a merged cell
    mean: tuple[float, float, float]  # of R, G, B in [0, 1]
    std: tuple[float, float, float]
    image_min_pixels: int
    image_max_pixels: int
    sample_rate_hz: int
    n_fft: int  # samples
    hop: int  # samples
    n_mels: int
    max_audio_seconds: int
    video_min_pixels: int = 128 * 28 * 28
    video_max_pixels: int = 768 * 28 * 28
    video_total_pixels: int = int(128_000 * 28 * 28 * 0.9)  # for a whole clip, per two frames
    video_fps: float = 2.0  # frames taken per second
    video_min_frames: int = 4
    video_max_frames: int = 768
    padding_side: str = "right"  # where silence is put to fill up the longest sound

    @property
    def factor(self) -> int:
        """Pixels per side of a merged cell; the sides of resized pictures are multiples of it."""
        return self.patch * self.merge

    @property
    def max_samples(self) -> int:
        """Samples of the longest sound that the model hears; the reference cuts the rest."""
        return self.max_audio_seconds * self.sample_rate_hz

    def to_json(self) -> dict[str, Any]:
        """Returns plain dicts, lists and numbers, as the manifest stores them."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Preprocessing:
        """Inverts `to_json`.

        Raises:
            OmnijetError: a key is missing or unknown, or its value has another type.
        """
        names = [field.name for field in fields(Preprocessing)]
        faults = [f"{name}: missing" for name in names if name not in data]
        faults += [f"{name}: unknown" for name in data if name not in names]
        values: dict[str, Any] = {}
        for name in names:
            if name not in data:
                continue
            try:
                values[name] = _read(name, data[name])
            except (TypeError, ValueError) as error:
                faults.append(f"{name}: {error}")
        if faults:
            raise OmnijetError(
                "the manifest's preprocessing section is damaged",
                where="manifest.json: preprocessor",
                got="\n            ".join(faults),
                fix="export the bundle again",
            )
        return Preprocessing(**values)

    @staticmethod
    def from_preprocessor_config(config: Mapping[str, Any]) -> Preprocessing:
        """Reads a checkpoint's `preprocessor_config.json` or `processor_config.json`, parsed.

        Raises:
            OmnijetError: lists every missing key, and every value that requires processing
                that the runtime does not do.
        """
        if "image_processor" in config or "feature_extractor" in config:
            return Preprocessing.from_preprocessor_config(_joined(config))
        faults = _slips(config)
        values: dict[str, Any] = {}
        for name, key in _CONFIG_KEYS.items():
            value = config.get(key)
            if value is None and key in _SIZE_KEYS and isinstance(config.get("size"), Mapping):
                value = config["size"].get(_SIZE_KEYS[key])
            if value is None:
                faults.append(f"{key}: missing")
                continue
            try:
                values[name] = _read(name, value)
            except (TypeError, ValueError) as error:
                faults.append(f"{key}: {error}")
        if config.get("padding_side") is not None:
            try:
                values["padding_side"] = _side(config["padding_side"])
            except ValueError as error:
                faults.append(f"padding_side: {error}")
        for key, allowed in _ONLY.items():
            if key in config and config[key] not in allowed:
                wanted = " or ".join(repr(value) for value in allowed)
                faults.append(f"{key}: expected {wanted}, got {config[key]!r}")
        if faults:
            raise OmnijetError(
                f"{CONFIG} cannot be used ({len(faults)} faults)",
                where=CONFIG,
                got="\n            ".join(faults),
                fix=f"use the {CONFIG} that was published with the checkpoint",
            )
        return Preprocessing(**values)


def _count(value: Any, most: int = MOST) -> int:
    """Returns a whole number from 1 to `most`, or raises."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < MOST or value != int(value):
        raise TypeError(f"expected a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"expected at least 1, got {value!r}")
    if value > most:
        raise ValueError(f"expected at most {most}, got {value!r}")
    return int(value)


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-6 < value < 1e6:
        raise ValueError(f"expected a positive number, got {value!r}")
    return float(value)


def _colour(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(f"expected three positive numbers, got {value!r}")
    return tuple(_rate(item) for item in value)


def _side(value: Any) -> str:
    if value not in ("right", "left"):
        raise ValueError(f"expected 'right' or 'left', got {value!r}")
    return str(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "mean": _colour, "std": _colour, "video_fps": _rate, "padding_side": _side,
}  # fmt: skip


_MOST = {
    "patch": 1 << 10, "temporal_patch": 1 << 10, "merge": 1 << 10, "n_mels": 1 << 10,
    "sample_rate_hz": 1 << 20, "n_fft": 1 << 20, "hop": 1 << 20, "max_audio_seconds": 1 << 20,
    "video_min_frames": 1 << 20, "video_max_frames": 1 << 20,
}  # fmt: skip
"""The largest values of fields that are no numbers of pixels."""


def _read(name: str, value: Any) -> Any:
    """Returns a field's value. Raises `TypeError` or `ValueError` on an unusable one."""
    if name not in _READERS:
        return _count(value, _MOST.get(name, MOST))
    read: Callable[[Any], Any] = _READERS[name]
    return read(value)


_CONFIG_KEYS = {
    "patch": "patch_size",
    "temporal_patch": "temporal_patch_size",
    "merge": "merge_size",
    "mean": "image_mean",
    "std": "image_std",
    "image_min_pixels": "min_pixels",
    "image_max_pixels": "max_pixels",
    "sample_rate_hz": "sampling_rate",
    "n_fft": "n_fft",
    "hop": "hop_length",
    "n_mels": "feature_size",
    "max_audio_seconds": "chunk_length",
}
_SIZE_KEYS = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}

# optional keys, and the only values that the runtime supports
_ONLY: dict[str, tuple[Any, ...]] = {
    "image_processor_type": ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast"),
    "feature_extractor_type": ("WhisperFeatureExtractor",),
    "do_resize": (True, None),
    "do_rescale": (True, None),
    "do_normalize": (True, None),
    "do_convert_rgb": (True, None),
    "do_center_crop": (False, None),
    "do_pad": (False, None),
    "resample": (3, None),  # bicubic
    "rescale_factor": (1 / 255, None),
    "dither": (0.0,),
    "padding_value": (0.0,),
}


_SOUND_KEYS = frozenset(
    {"sampling_rate", "n_fft", "hop_length", "feature_size", "chunk_length", "dither"}
    | {"feature_extractor_type", "padding_side", "padding_value"}
)


def _joined(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sections of `processor_config.json` as one flat object.

    transformers 5 repeats keys in sections that do not read them, so each is taken from the
    section that does.
    """
    ears, eyes = config.get("feature_extractor"), config.get("image_processor")
    joined: dict[str, Any] = {}
    if isinstance(eyes, Mapping):
        joined.update({key: value for key, value in eyes.items() if key not in _SOUND_KEYS})
    if isinstance(ears, Mapping):
        joined.update({key: value for key, value in ears.items() if key in _SOUND_KEYS})
    return joined


def _slips(config: Mapping[str, Any]) -> list[str]:
    """Returns one line for each key that looks like a misspelt known key."""
    known = [*_CONFIG_KEYS.values(), *_ONLY, "padding_side"]
    faults = []
    for key in config:
        if key in known:
            continue
        for meant in difflib.get_close_matches(key, set(known) - set(config), n=1, cutoff=_NEAR):
            faults.append(f"{key}: unknown; did you mean {meant}?")
    return faults

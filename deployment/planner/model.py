"""Which model is planned: by name, or by a configuration, without a weight."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from omnijet.export.checkpoint.config import MODEL_TYPE, read_dims
from omnijet.export.checkpoint.json_file import read_json
from omnijet.export.checkpoint.whole_config import THINKER_TYPE, whole_config
from omnijet.export.synthetic.presets import PRESETS, preset
from omnijet.runtime.bundle.dims import ModelDims
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.manifest import FILE_NAME, Manifest
from omnijet.runtime.errors import OmnijetError

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
HUB_NAMES = {"qwen2.5-omni-3b": "3b", "qwen2.5-omni-7b": "7b"}
"""The last part of a hub id, in lower case, and the model that it names."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a plan is made for.

    Attributes:
        title: as the user named it.
        manifest: of a bundle; None for a name or a checkpoint.
        folder: of a bundle or a checkpoint; None for a name.
    """

    title: str
    dims: ModelDims
    manifest: Manifest | None = None
    folder: Path | None = None

    @staticmethod
    def named(name: str) -> Model:
        """Finds a model: `3b`, `7b` or another preset, a hub id of these, a `config.json`, or the
        folder of a checkpoint or a bundle. Weights need not be there.

        Raises:
            OmnijetError: there is no such model, or its configuration is not supported.
        """
        path = Path(name)
        known = HUB_NAMES.get(name.rpartition("/")[2].lower(), name.lower())
        if (path / FILE_NAME).is_file():
            bundle = Bundle.open(path)
            return Model(path.resolve().name, bundle.manifest.dims, bundle.manifest, path)
        file = path / CONFIG if path.is_dir() else path
        if known in PRESETS and not file.is_file():
            return Model(name, read_dims(preset(known), None, known))
        if not file.is_file():
            raise _no_model(name)
        config = read_json(file)
        if config.get("model_type") not in (MODEL_TYPE, THINKER_TYPE):
            read_dims(config, None, str(file))  # says what is wrong with it
        generation = file.parent / GENERATION_CONFIG
        also = read_json(generation) if generation.is_file() else None
        dims = read_dims(whole_config(config), also, str(file))
        return Model(file.resolve().parent.name, dims, folder=file.parent)


def _no_model(name: str) -> OmnijetError:
    near = get_close_matches(name.lower(), PRESETS, 1)
    return OmnijetError(
        "there is no such model",
        where=name,
        expected=f"one of {', '.join(PRESETS)}, a config.json, or the folder of a checkpoint or "
        "a bundle",
        fix=f"did you mean {near[0]}?" if near else "`omnijet plan 3b` needs no files",
    )

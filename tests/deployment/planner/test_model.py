"""A model is found by name, by its configuration and by its bundle, and needs no weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from omnijet.deployment.planner.model import Model
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.errors import OmnijetError
from tests.layering import HEAVY


@pytest.mark.parametrize("name", ["3b", "3B", "Qwen/Qwen2.5-Omni-3B", "qwen2.5-omni-3b"])
def test_a_name_is_a_model(name: str) -> None:
    assert Model.named(name).dims.thinker.layers == 36


def test_a_configuration_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(preset("7b")))
    for path in (tmp_path, tmp_path / "config.json"):
        assert Model.named(str(path)).dims == Model.named("7b").dims


def test_a_thinker_alone_has_no_voice(tmp_path: Path) -> None:
    config = {**preset("3b")["thinker_config"], "model_type": "qwen2_5_omni_thinker"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not Model.named(str(tmp_path)).dims.has_voice


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OmnijetError, match="did you mean 3b"):
        Model.named("3bb")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    with pytest.raises(OmnijetError, match=r"not a Qwen2\.5-Omni checkpoint"):
        Model.named(str(tmp_path))


def test_it_needs_the_base_install_alone() -> None:
    code = "import sys, omnijet.deployment.planner.model; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & {name.split(".")[0] for name in done.stdout.split()}

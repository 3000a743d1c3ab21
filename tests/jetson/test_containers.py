"""The container files and their Compose files: they fit each other, the server and the package."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from omnijet.runtime.serve.command import add_arguments
from omnijet.runtime.serve.config import ServeConfig
from omnijet.runtime.serve.settings import SETTINGS
from tests.jetson.fakes import KIT

FOLDER = KIT / "container"
JETPACKS = ("jp62", "jp72")


def compose(jetpack: str) -> Any:
    return yaml.safe_load((FOLDER / f"compose.{jetpack}.yaml").read_text())["services"]["omnijet"]


def container(jetpack: str) -> str:
    return (FOLDER / f"Containerfile.{jetpack}").read_text()


def last(jetpack: str, name: str) -> list[str]:
    (found,) = re.findall(rf"^{name} (\[.*\])$", container(jetpack), re.M)
    return list(json.loads(found))


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_what_it_starts_is_understood(jetpack: str) -> None:
    assert last(jetpack, "ENTRYPOINT") == ["/opt/omnijet/venv/bin/omnijet"]
    verb, *words = last(jetpack, "CMD")
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    args = parser.parse_args(words)
    assert verb == "serve" and args.bundle == "/bundle"
    variables = {one.variable for one in SETTINGS.values()}
    named = {name for name in compose(jetpack)["environment"] if name.startswith("OMNIJET_")}
    assert named and named <= variables


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_the_two_files_fit(jetpack: str) -> None:
    service = compose(jetpack)
    build = service["build"]
    assert (FOLDER / build["dockerfile"]).exists()
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", container(jetpack), re.M))
    assert service["image"] == f"omnijet:{jetpack}" and service["runtime"] == "nvidia"
    assert int(service["stop_grace_period"].removesuffix("s")) >= ServeConfig().drain_s + 15
    assert service["ports"] == [f"127.0.0.1:{ServeConfig().port}:{ServeConfig().port}"]
    assert service["logging"]["options"]["max-size"]
    (mounted,) = [one for one in service["volumes"] if one.endswith(":/bundle:ro")]
    assert mounted.startswith("${BUNDLE:?")
    assert re.search(r"^USER omnijet$", container(jetpack), re.M)


def test_both_jetpacks_differ_where_they_must() -> None:
    assert '"cuda-python<13"' in container("jp62") and "cuda-python" not in container("jp72")
    for jetpack in JETPACKS:
        assert "--system-site-packages" in container(jetpack)  # or TensorRT is not seen
        assert {Path(path).name for path in FOLDER.iterdir()} == {
            f"{kind}.{one}" for one in JETPACKS for kind in ("Containerfile",)
        } | {f"compose.{one}.yaml" for one in JETPACKS}

"""A bundle's manifest: the round trip, and every way to damage it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from omnijet.export.checkpoint.config import read_dims
from omnijet.export.synthetic.presets import preset
from omnijet.runtime.bundle.contract import graph_contracts
from omnijet.runtime.bundle.folder import SPEECH_TABLES, TABLES, Bundle, check_files
from omnijet.runtime.bundle.manifest import (
    FILE_NAME,
    GraphEntry,
    Manifest,
    TableEntry,
    VoiceEntry,
    hash_file,
)
from omnijet.runtime.bundle.preprocessing import Preprocessing
from omnijet.runtime.errors import OmnijetError

PREPROCESSOR = Preprocessing.from_preprocessor_config(
    json.loads((Path(__file__).parents[2] / "golden" / "preprocessor_config.json").read_text())
).to_json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy(tmp_path / "bundle")


def toy(folder: Path, *, speech: bool = True) -> Path:
    """Writes a bundle of toy files: everything in it is real but the graphs."""
    (folder / "graphs").mkdir(parents=True)
    (folder / "tables").mkdir()
    dims = read_dims(preset("nano"), None, "nano", speech=speech)
    graphs = {}
    for name in graph_contracts(dims, "f32"):
        (folder / f"graphs/{name}.onnx").write_bytes(name.encode() * 10)
        graphs[name] = GraphEntry(
            f"graphs/{name}.onnx", f"graphs/{name}.onnx", 0, 0, 1, 24, {"MatMul": 1}
        )
    voices = {"Chelsie": VoiceEntry(7), "Ethan": VoiceEntry(8)} if speech else {}
    speaking = [*SPEECH_TABLES, *(f"voice_{name}" for name in voices)] if speech else []
    names = [*TABLES, *speaking, "t"]
    for name in names:
        np.save(folder / f"tables/{name}.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    Manifest(
        name="toy",
        precision="f32",
        dims=dims,
        graphs=graphs,
        tables={n: TableEntry(f"tables/{n}.npy", "float32", (3, 4)) for n in names},
        voices=voices,
        preprocessor=PREPROCESSOR,
        files={p.relative_to(folder).as_posix(): hash_file(p) for p in paths},
    ).write(folder)
    return folder


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / FILE_NAME).read_text())
    data.update(changes)
    (folder / FILE_NAME).write_text(json.dumps(data))


@pytest.mark.parametrize("speech", [True, False])
def test_round_trip(tmp_path: Path, speech: bool) -> None:
    folder = toy(tmp_path / "bundle", speech=speech)
    manifest = Manifest.read(folder)
    before = (folder / FILE_NAME).read_text()
    manifest.write(folder)
    assert (folder / FILE_NAME).read_text() == before
    assert check_files(Bundle.open(folder)) == []


def test_tables_are_mapped_not_loaded(folder: Path) -> None:
    table = Bundle.open(folder).table("t")
    assert isinstance(table, np.memmap)
    assert table[2, 3] == 11


def test_a_flipped_bit_is_found(folder: Path) -> None:
    path = folder / "graphs/dit_step.onnx"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    faults = check_files(Bundle.open(folder))
    assert len(faults) == 1 and faults[0].startswith("graphs/dit_step.onnx: sha256")


def test_a_stray_file_is_found(folder: Path) -> None:
    (folder / "graphs/old.onnx").write_bytes(b"")
    assert check_files(Bundle.open(folder)) == ["graphs/old.onnx: not in the manifest"]


def test_a_bundle_without_a_voice_has_three_graphs(tmp_path: Path) -> None:
    bundle = Bundle.open(toy(tmp_path / "bundle", speech=False))
    assert list(bundle.manifest.graphs) == ["audio_encoder", "vision_encoder", "thinker_step"]
    data = json.loads((bundle.folder / FILE_NAME).read_text())
    assert not data["dims"].keys() & {"speech", "talker", "dit", "ecapa", "vocoder", "codec"}
    for asked in (None, "Chelsie"):
        with pytest.raises(OmnijetError, match="this bundle has no voice"):
            bundle.voice_id(asked)


def test_voices_without_speech_are_damage(tmp_path: Path) -> None:
    folder = toy(tmp_path / "bundle", speech=False)
    edit(folder, voices={"Chelsie": {"bos_token": 7}})
    with pytest.raises(OmnijetError, match="no Talker, DiT and vocoder"):
        Bundle.open(folder)


def test_half_a_voice_is_damage(folder: Path) -> None:
    damage(folder, "dims|codec", ...)
    with pytest.raises(OmnijetError, match=r"dims\.speech\.codec: missing"):
        Bundle.open(folder)


def test_missing_and_shortened_files_are_listed_at_once(folder: Path) -> None:
    (folder / "graphs/vocoder.onnx").unlink()
    (folder / "tables/t.npy").write_bytes(b"x")
    with pytest.raises(OmnijetError) as caught:
        Bundle.open(folder)
    assert "graphs/vocoder.onnx: missing" in str(caught.value)
    assert "tables/t.npy: 1 bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "install a newer omnijet"),
        ({"version": 0}, "export the bundle again"),
        ({"format": "zip"}, "not an omnijet manifest"),
        ({"dims": {"audio": 3}}, "manifest is damaged"),
        ({"contracts": {}}, "contract of audio_encoder"),
    ],
)
def test_a_foreign_manifest_is_refused(folder: Path, changes: dict, said: str) -> None:
    edit(folder, **changes)
    with pytest.raises(OmnijetError, match=said):
        Bundle.open(folder)


def damage(folder: Path, path: str, value: object) -> None:
    """Sets the place `a|b|c` of the manifest; the value `...` removes it."""
    data = json.loads((folder / FILE_NAME).read_text())
    *way, last = path.split("|")
    place = data
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    (folder / FILE_NAME).write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("graphs|vocoder|file", None, "graphs.vocoder.file: expected of type str"),
        ("graphs|vocoder|file", "../other/vocoder.onnx", "is not among the files"),
        ("graphs|vocoder|weights", "/etc/passwd", "is not among the files"),
        ("graphs|vocoder|ops", None, "graphs.vocoder.ops: expected an object"),
        ("graphs|vocoder|parameters", "x", "graphs.vocoder.parameters: expected of type int"),
        ("graphs|vocoder|nodes", True, "graphs.vocoder.nodes: expected of type int"),
        ("graphs|vocoder", ..., "contract of vocoder"),
        ("graphs|other", {}, "graphs.other.file: missing"),
        ("tables|t|shape", [3, "4"], r"tables.t.shape\[1\]"),
        ("tables|t|file", "tables/gone.npy", "is not among the files"),
        ("tables|dit_codec", ..., "no table dit_codec"),
        ("tables|voice_Ethan", ..., "no table voice_Ethan"),
        ("voices", {}, "no voice"),
        ("voices|Ethan|bos_token", 10**9, "voice Ethan: token 1000000000"),
        ("voices|Ethan|bos_token", -1, "voice Ethan: token -1"),
        ("voices|Ethan|bos_token", "x", "voices.Ethan.bos_token"),
        ("preprocessor", None, "preprocessor: expected an object"),
        ("preprocessor|patch", ..., "patch: missing"),
        ("precision", "f64", "precision: expected 'f32' or 'f16' or 'bf16'"),
        ("dims|thinker|layers", "2", "dims.thinker.layers"),
        ("files|../x", {"bytes": 1, "sha256": ""}, "outside the bundle"),
        ("files|/x", {"bytes": 1, "sha256": ""}, "outside the bundle"),
        ("name", ..., "name: missing"),
    ],
)
def test_a_damaged_manifest_names_the_place(
    folder: Path, path: str, value: object, said: str
) -> None:
    damage(folder, path, value)
    with pytest.raises(OmnijetError, match=said):
        Bundle.open(folder)


def test_a_table_of_another_kind_is_refused(folder: Path) -> None:
    damage(folder, "tables|t|dtype", "banana")
    with pytest.raises(OmnijetError, match="not what the manifest says"):
        Bundle.open(folder).table("t")


def test_a_table_of_bf16_comes_as_its_bits(folder: Path) -> None:
    damage(folder, "tables|t|dtype", "bfloat16")
    with pytest.raises(OmnijetError, match="not what the manifest says"):
        Bundle.open(folder).table("t")
    bits = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.save(folder / "tables/t.npy", bits)
    damage(folder, "files|tables/t.npy", asdict(hash_file(folder / "tables/t.npy")))
    np.testing.assert_array_equal(Bundle.open(folder).table("t"), bits)


def test_a_drifted_contract_in_the_manifest_is_refused(folder: Path) -> None:
    data = json.loads((folder / FILE_NAME).read_text())
    data["contracts"]["dit_step"]["inputs"][0]["axes"][2] = 81
    edit(folder, contracts=data["contracts"])
    with pytest.raises(OmnijetError, match="contract of dit_step"):
        Bundle.open(folder)


@pytest.mark.parametrize("make", ["nothing", "file", "empty"])
def test_what_is_no_bundle_says_so(tmp_path: Path, make: str) -> None:
    path = tmp_path / "x"
    if make == "file":
        path.write_text("hello")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(OmnijetError, match="not an omnijet bundle"):
        Bundle.open(path)


def test_not_json(folder: Path) -> None:
    (folder / FILE_NAME).write_text("{")
    with pytest.raises(OmnijetError, match="cannot be read"):
        Bundle.open(folder)


def test_unknown_voice_lists_the_voices(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.voice_id(None) == ("Chelsie", 7)
    with pytest.raises(OmnijetError, match="one of Chelsie, Ethan"):
        bundle.voice_id("Bob")

"""The lists of operators are what export, quantization and the lowerings write, no more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from omnijet import cli
from omnijet.engines.lowered_operators import LOWERED
from omnijet.engines.lowering import native
from omnijet.engines.lowering.flavours import DENSE, FLAVOURS, form_of
from omnijet.engines.lowering.fused.blocks import block_size
from omnijet.engines.ort_forms import OPTIMIZED
from omnijet.engines.targets.target import TARGETS
from omnijet.runtime.backends.instructions import instruction_sets
from omnijet.runtime.bundle.graph_file import graph_facts
from omnijet.runtime.bundle.graph_rules import require_own_graph
from omnijet.runtime.bundle.manifest import Manifest
from omnijet.runtime.bundle.operators import (
    CPU,
    FUSED,
    ORT_DOMAIN,
    ORT_LAYOUT_DOMAIN,
    STANDARD,
    Operators,
)
from omnijet.runtime.errors import OmnijetError
from tests.older import with_single_pictures
from tests.quantization.graphs import quantize
from tests.runtime.bundle.small_graph import add_node, write_small

QUANTIZED = {
    "audio_encoder": ("int4", "int8", "w8a8"),
    "vision_encoder": ("int4", "w8a8"),
    "dit_step": ("w8a8",),
}
LOWERINGS = {**FLAVOURS, DENSE: native.lower_dense}


def _graphs(bundle: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields the graphs of a bundle, and some of them quantized in standard operators."""
    contracts = Manifest.read(bundle).contracts
    for name in contracts:
        source = bundle / "graphs" / f"{name}.onnx"
        yield name, source
        for kind in QUANTIZED.get(name, ()):
            quantize(source, contracts[name], folder / kind, kind, True)
            yield name, folder / kind / source.name


def _union(found: list[Operators]) -> Operators:
    return Operators(
        frozenset().union(*(one.standard for one in found)),
        frozenset().union(*(one.loop for one in found)),
        frozenset().union(*(one.ort for one in found)),
        frozenset().union(*(one.loop_ort for one in found)),
        frozenset().union(*(one.layout for one in found)),
    )


def _operators(path: Path) -> Operators:
    facts = graph_facts(path.read_bytes())
    assert not facts.faults
    assert {domain for domain, _ in facts.operators} <= {"", ORT_DOMAIN, ORT_LAYOUT_DOMAIN}
    return Operators(
        frozenset(one for domain, one in facts.operators if not domain),
        frozenset(one for domain, one in facts.loop_operators if not domain),
        frozenset(one for domain, one in facts.operators if domain == ORT_DOMAIN),
        frozenset(one for domain, one in facts.loop_operators if domain),
        frozenset(one for domain, one in facts.operators if domain == ORT_LAYOUT_DOMAIN),
    )


def test_the_lists_are_what_is_written(
    nano: tuple[Path, Path], nano_f16: Path, nano_bf16: Path, tmp_path: Path
) -> None:
    found: dict[str, list[Operators]] = {"standard": [], **{form: [] for form in LOWERINGS}}
    older_bundle = with_single_pictures(nano[1], tmp_path / "older")
    for bundle in (nano[1], nano_f16, nano_bf16, older_bundle):
        contracts = Manifest.read(bundle).contracts
        for name, source in _graphs(bundle, tmp_path / bundle.name):
            require_own_graph(source, name, STANDARD)
            found["standard"].append(_operators(source))
            for form, lower in LOWERINGS.items():
                target = tmp_path / bundle.name / source.parent.name / form
                lower(source, contracts[name], target, 0, lambda count: None)
                require_own_graph(target / source.name, name, LOWERED[form])
                found[form].append(_operators(target / source.name))
    unions = {form: _union(all_of) for form, all_of in found.items()}
    # what the form for the CPU replaces is in CPU all the same: a bundle may have either form
    cpu = unions.pop("cpu")
    assert cpu.ort == CPU.ort and cpu.standard <= CPU.standard and cpu.loop == CPU.loop
    if not block_size():  # this processor has no blocked kernels: nobody writes for them
        blocked = replace(unions["fused-cpu"], layout=FUSED["cpu"].layout)
        unions["fused-cpu"] = replace(blocked, standard=blocked.standard | {"Sub"})
    older = unions.pop("decomposed-cpu")  # as "cpu": a bundle may hold ONNX Runtime's own products
    listed = LOWERED["decomposed-cpu"]
    assert older.ort == listed.ort and older.loop <= listed.loop and not older.loop_ort
    # older builds are loaded, too
    assert listed.loop - older.loop <= {"Constant", "Squeeze", "Unsqueeze"}
    assert older.standard <= listed.standard
    missing = listed.standard - older.standard
    assert missing <= STANDARD.standard, "what only this form writes is written"
    for form in ("fused-cpu", "fused-cuda"):  # they take bundles in either form, too
        fused, listed = unions.pop(form), LOWERED[form]
        assert fused.ort | CPU.ort == listed.ort and fused.loop_ort == listed.loop_ort, form
        assert fused.standard | CPU.standard == listed.standard, form
        assert fused.loop | CPU.loop == listed.loop, form
        assert fused.layout == listed.layout, form
    others = {k: v for k, v in LOWERED.items() if k == DENSE or k in ("native", "decomposed")}
    assert unions == {"standard": STANDARD, **others}


def test_what_the_optimizer_saves_is_listed(nano: tuple[Path, Path], tmp_path: Path) -> None:
    """Of the graphs that it is asked for, on this processor."""
    bundle = Path(shutil.copytree(nano[1], tmp_path / "bundle"))
    assert cli.main(["build", str(bundle), "--target", "cpu", "--graphs", *OPTIMIZED]) == 0
    for name in OPTIMIZED:
        form = Manifest.read(bundle).engines["cpu"][name].ort
        assert form is not None and form.optimized
        facts = graph_facts((bundle / f"engines/cpu/{name}.onnx").read_bytes())
        layout = {one for domain, one in facts.operators if domain == ORT_LAYOUT_DOMAIN}
        assert layout <= FUSED["cpu"].layout
        assert layout == FUSED["cpu"].layout or "x86" not in instruction_sets()[0]


def test_every_target_has_a_list() -> None:
    assert {form_of(target) for target in TARGETS.values()} <= LOWERED.keys()
    assert FUSED.keys() == {one.name for one in TARGETS.values() if one.library == "onnxruntime"}


def test_bundles_of_other_sizes_have_no_more(nano_7b: tuple[Path, Path]) -> None:
    for path in sorted((nano_7b[1] / "graphs").glob("*.onnx")):
        require_own_graph(path, path.stem, STANDARD)


def test_a_form_takes_no_operator_that_it_does_not_write(tmp_path: Path) -> None:
    path = write_small(tmp_path, lambda model: add_node(model, "TensorScatter"))
    require_own_graph(path, "small", LOWERED["native"])
    with pytest.raises(OmnijetError, match="operator TensorScatter"):
        require_own_graph(path, "small", LOWERED["decomposed"])

"""The commands that make what was planned, as a user types them."""

from __future__ import annotations

from omnijet.deployment.planner.model import Model
from omnijet.deployment.planner.plan import FLOATS
from omnijet.deployment.planner.ranking import Ranked
from omnijet.engines.targets.target import TARGETS, Target
from omnijet.runtime.bundle.contract import Precision
from omnijet.runtime.files.names import shell_quoted

EXPORTED: Precision = "f16"
"""What plans of a checkpoint are made for."""
HUB = {"3b": "Qwen/Qwen2.5-Omni-3B", "7b": "Qwen/Qwen2.5-Omni-7B"}


def commands(model: Model, best: Ranked, target: Target, recipe: str | None = None) -> list[str]:
    """Returns the lines that lead from the checkpoint to a conversation.

    Args:
        recipe: as the user named it, such as the file of a recipe.
    """
    plan, name = best.plan, model.title.rpartition("/")[2]
    lines = []
    source = f"{name}-bundle"
    if model.manifest is not None and model.folder is not None:
        source = str(model.folder)
    else:
        given = HUB.get(model.title.lower(), model.title)
        checkpoint = given if model.folder is None else str(model.folder)
        lines.append(
            f"omnijet export {shell_quoted(checkpoint)} {shell_quoted(source)} --dtype {EXPORTED}"
        )
    bundle = source
    if plan.recipe != FLOATS and (model.manifest is None or not model.manifest.quantization):
        bundle = f"{name}-{plan.recipe}"
        taken = shell_quoted(recipe or plan.recipe)
        lines.append(
            f"omnijet quantize {shell_quoted(source)} {shell_quoted(bundle)} --recipe {taken}"
        )
    build = f"omnijet build {shell_quoted(bundle)} --target {target.name}"
    if target.library != "onnxruntime":
        usual = TARGETS[target.name].memory_gb
        if target.memory_gb != usual:
            build += f" --memory {target.memory_gb:g}GB"
        if not best.own_context:
            build += f" --limit capacity={plan.context}"
        if best.cells is not None:
            build += f" --limit cells={best.cells}"
    talk = f"omnijet chat {shell_quoted(bundle)}"
    if target.library != "onnxruntime":
        talk += f" --engines {target.name}"
    elif target.flavour == "fused-cuda":
        talk += " --provider cuda"
    preset = f" --preset {plan.preset}" if plan.waits else " --no-speech"
    return [*lines, build, talk + preset]

"""Every command and option that a message names works on the machine that it is said on.

Messages that are the same everywhere are read from the source. Those that depend on the machine
(`omnijet.runtime.machine.ways`) are asked for on each machine of `tests/machines.py`.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

from omnijet import cli
from omnijet.engines.library import Installed, how_to_get, own_lack
from omnijet.engines.targets.found import target_here
from omnijet.runtime.machine import ways
from omnijet.runtime.machine.platform import Platform
from tests.layering import ROOT
from tests.machines import FAKES, PYTHONS, fake_machine

FOLDERS = (
    "omnijet", "runtime", "engines", "quantization", "export", "deployment", "nano/evaluation",
)  # fmt: skip
COMMAND = re.compile(r"`([^`\n]+)`")
BARE_PIP = re.compile(r"""pip install ("[^"]+"|'[^']+')""")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
PLACEHOLDER = "cpu"  # what a message fills in: a word that every option takes
OTHERS = frozenset({
    # options of other programs
    "--system-site-packages", "--user", "--python", "--break-system-packages", "--now", "--show",
    "--exclude", "--partial",
})  # fmt: skip

# Packages with wheels for these machines only, as of November 2026; all others have them for all.
# (architecture, least Python, largest Python); a version may be bounded by what is there.
WHEELS = {
    "onnxruntime-gpu": lambda p: p.python >= (3, 11) and not p.is_jetson,
    "tensorrt_rtx_cu13_libs": lambda p: p.arch == "x86_64",
    "tensorrt_rtx_cu13_bindings": lambda p: p.arch == "x86_64",
    "pocketsphinx": lambda p: p.arch == "x86_64",
}
NEWEST = {("onnxruntime", (3, 10)): "1.23.2", ("onnxruntime-gpu", (3, 10)): "1.23.2"}
DRIVER_12 = "12.9.4"
"""A cuda-python that the driver of JetPack 6, for CUDA 12, takes."""


IGNORED = (
    "runtime/doctor", "runtime/cluster", "runtime/profiling/style.py", "engines/polygraphy.py",
    "deployment/planner/plot.py", "deployment/deploy/remote/device.py",
)  # fmt: skip
"""What talks of other programs' options, or of styles; doctor's own tests try what it says."""


@cache
def extras() -> dict[str, list[Requirement]]:
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = {"": read["dependencies"], **read["optional-dependencies"]}
    return {extra: [Requirement(line) for line in of] for extra, of in lines.items()}


def platforms(folder: Path) -> Iterator[Platform]:
    """Yields the facts of each machine with the Python that its users have."""
    for name in FAKES:
        read = Platform.read(fake_machine(folder, name))
        python = PYTHONS.get(name.rpartition("-")[2])
        pythons = [(3, 10), (3, 11), (3, 12)] if python is None else [python, (3, 11)]
        yield from (replace(read, python=one) for one in pythons)


def requirements(extra: str, platform: Platform) -> Iterator[Requirement]:
    """Yields what pip installs for an extra on a platform."""
    facts = {
        "platform_machine": platform.arch, "sys_platform": "linux",
        "python_version": ".".join(map(str, platform.python)),
        "python_full_version": ".".join(map(str, (*platform.python, 3))),
    }  # fmt: skip
    for needed in extras()[extra]:
        if needed.marker is not None and not needed.marker.evaluate(facts):
            continue
        if needed.name == "omnijet":
            for inner in needed.extras:
                yield from requirements(inner, platform)
        else:
            yield needed


def lacking(needed: Requirement, platform: Platform) -> str | None:
    """Returns why a package cannot be had on a platform."""
    if not WHEELS.get(needed.name, lambda p: True)(platform):
        return f"{needed.name} has no wheel that works"
    newest = NEWEST.get((needed.name, platform.python))
    if newest is not None and newest not in needed.specifier:
        return f"{needed.name} has nothing newer than {newest}"
    if needed.name == "cuda-python" and (platform.jetpack or "").startswith("6"):
        if "13.4.4" in needed.specifier:
            return "cuda-python 13 would be taken, which the driver of JetPack 6 does not know"
        assert DRIVER_12 in needed.specifier
    return None


def pip_faults(words: list[str], platform: Platform) -> Iterator[str]:
    """Yields what is wrong with `pip install WORDS` on a platform."""
    for word in words:
        if word.startswith("-"):
            continue
        needed = Requirement(word)
        unknown = [extra for extra in needed.extras if extra not in extras()]
        if needed.name == "omnijet":
            yield from (f"there is no extra [{extra}]" for extra in unknown)
            for extra in ("", *(set(needed.extras) - set(unknown))):
                for one in requirements(extra, platform):
                    if said := lacking(one, platform):
                        yield said
        elif said := lacking(needed, platform):
            yield said


@cache
def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    importlib.import_module(cli.VERBS[verb].module).add_arguments(parser)
    return parser


def command_faults(command: str, platform: Platform) -> Iterator[str]:
    """Yields what is wrong with a command on a platform; nothing if it is no command."""
    words = shlex.split(command)
    program = Path(words[0]).name if words else ""
    if program == "pip" and words[1:2] == ["install"]:
        yield from pip_faults([word for word in words[2:] if word != "-U"], platform)
    elif program == "pip":
        if words[1:3] != ["uninstall", "-y"]:
            yield "pip without install asks"
    elif program == "python3":
        if words[1:4] != ["-m", "venv", "--system-site-packages"] or len(words) != 5:
            yield "not the way to make an environment"
    elif program == "sudo" and words[1:3] == ["apt", "install"]:
        if "nvidia-jetpack" in words and not platform.is_jetson:
            yield "only a Jetson has this package"
    elif program == "omnijet":
        yield from omnijet_faults(words[1:], platform)


def omnijet_faults(words: list[str], platform: Platform) -> Iterator[str]:
    if not words or words[0] == PLACEHOLDER:
        return
    if words[0] not in cli.VERBS:
        yield f"there is no command {words[0]}"
    elif words[1:] != ["--list"] and all(word.startswith("-") for word in words[1:]):
        known = parser_of(words[0]).format_help()  # options are named alone
        yield from (f"there is no {word}" for word in words[1:] if word not in known)
    else:
        try:
            parser_of(words[0]).parse_args(words[1:])
        except (argparse.ArgumentError, SystemExit) as error:
            yield f"not understood: {error}"
    if "auto" in words and target_here(platform) is None:
        yield "this machine has no target"


# -- messages that depend on the machine ----------------------------------------------


def said_on(platform: Platform) -> dict[str, str]:
    """Returns the messages of a platform by name: those that can be said there."""
    said = {
        "tensorrt": ways.tensorrt(platform),
        "tensorrt_rtx": ways.tensorrt_rtx(platform),
        "cuda_python": ways.cuda_python(platform),
    }
    said |= {f"provider {name}": ways.onnxruntime_gpu(platform, name)
             for name in ("cuda", "tensorrt", "nv_tensorrt_rtx")}  # fmt: skip
    said |= {f"get {name}": how_to_get(name, platform)
             for name in ("tensorrt", "tensorrt_rtx", "onnxruntime")}  # fmt: skip
    for library in ("tensorrt", "tensorrt_rtx"):
        said[f"lack {library}"] = own_lack(Installed(library, "x", "1", (), None), platform) or ""
    return said


def test_what_a_machine_is_told_to_type_works_there(tmp_path: Path) -> None:
    tried, faults = 0, []
    for platform in platforms(tmp_path):
        for name, text in said_on(platform).items():
            for command in COMMAND.findall(text):
                tried += 1
                faults += [
                    f"{platform.model or platform.gpu}, Python {platform.python}, {name}: "
                    f"{command}: {fault}"
                    for fault in command_faults(command, platform_of(command, platform))
                ]
    assert tried > 300
    assert not faults, "\n".join(dict.fromkeys(faults))


def platform_of(command: str, platform: Platform) -> Platform:
    """Returns the platform with the Python that the command runs in: an environment that a message
    tells to make has the system's.
    """
    if command.startswith(ways.ENVIRONMENT):
        jetpack = f"jp{(platform.jetpack or '7.2').replace('.', '')}"
        return replace(platform, python=PYTHONS.get(jetpack, (3, 12)))
    return platform


def test_no_jetson_is_told_of_the_cuda_provider(tmp_path: Path) -> None:
    """The wheel for aarch64 has code for no Jetson."""
    for platform in platforms(tmp_path):
        for name, text in said_on(platform).items():
            if platform.is_jetson:
                assert "--provider cuda" not in text and "onnxruntime-gpu[" not in text, name
            if "onnxruntime-gpu[" in text:
                assert ways.cuda_provider_runs(platform)


def test_who_can_use_the_cuda_provider(tmp_path: Path) -> None:
    able = {
        name for name in FAKES
        if ways.cuda_provider_runs(
            replace(Platform.read(fake_machine(tmp_path, name)), python=(3, 12))
        )
    }  # fmt: skip
    assert able == {"workstation", "rtx-3060", "rtx-5090", "t4", "a100", "h100", "dgx-spark"}


def test_every_message_of_a_target_finds_its_library(tmp_path: Path) -> None:
    for name in FAKES:
        platform = Platform.read(fake_machine(tmp_path, name))
        target = target_here(platform)
        assert target is not None
        if target.library == "tensorrt_rtx":
            assert ways.rtx_runs(platform), f"{name}: {target.name} has no wheel there"


# -- messages that are the same everywhere --------------------------------------------


@cache
def constants() -> tuple[tuple[str, str], ...]:
    """Returns (place, text) of every string that may be a message; what is filled in is a word."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = path.relative_to(ROOT)
            if (folder == "omnijet" and len(place.parts) > 2) or "worker" in path.name:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            documents = {
                id(node.body[0].value) for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and node.body and isinstance(node.body[0], ast.Expr)
            }  # fmt: skip
            inner = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
                for part in node.values
            }  # fmt: skip
            for node in ast.walk(tree):
                if id(node) in documents or id(node) in inner:
                    continue
                if (text := text_of(node)) is not None:
                    found.append((f"{place}:{getattr(node, 'lineno', 0)}", text))
    return tuple(found)


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER
            for part in node.values
        )
    return None


@cache
def options() -> frozenset[str]:
    """Returns the options of all commands."""
    every = " ".join(parser_of(verb).format_help() for verb in cli.VERBS)
    return frozenset(OPTION.findall(every)) | {"--help", "--version"}


def test_options_that_messages_name_exist() -> None:
    named = {
        (place, option) for place, text in constants() if " " in text
        for option in OPTION.findall(text)
        if option != f"--{PLACEHOLDER}" and not place.startswith(IGNORED)
    }  # fmt: skip
    assert len(named) > 60
    unknown = {one for one in named if one[1] not in options() | OTHERS}
    assert not unknown, "\n".join(f"{place}: {option}" for place, option in sorted(unknown))


def test_commands_that_messages_name_are_understood(tmp_path: Path) -> None:
    machines = list(platforms(tmp_path))
    workstation = next(one for one in machines if one.gpu and not one.is_jetson)
    faults, tried = [], 0
    for place, text in constants():
        for command in COMMAND.findall(text):
            if command.split()[0] == "omnijet" and not place.startswith(IGNORED):
                tried += 1
                faults += [f"{place}: {command}: {fault}"
                           for fault in command_faults(placed(command), workstation)]  # fmt: skip
    assert tried > 15
    assert not faults, "\n".join(faults)


def placed(command: str) -> str:
    """Returns a command whose FOLDERS, T and R are words that its options take."""
    return re.sub(r"\b(?:[A-Z]+_)?[A-Z]+\b", PLACEHOLDER, command).replace("...", "")


def test_extras_that_messages_name_install_everywhere(tmp_path: Path) -> None:
    """What only some machines can have is not told in the same words to all."""
    named = {
        word.strip("\"'") for place, text in constants() for word in BARE_PIP.findall(text)
        if PLACEHOLDER not in word and not place.startswith(("runtime/machine/", *IGNORED))
    }  # fmt: skip
    named |= {f"omnijet[{verb.extra}]" for verb in cli.VERBS.values() if verb.extra}
    assert len(named) >= 6
    for platform in platforms(tmp_path):
        for word in named:
            # the tracer's own needs are checked where it runs
            faults = list(pip_faults([word], platform))
            faults = [fault for fault in faults if not fault.startswith("onnxruntime ")]
            assert not faults, (word, platform, faults)


# -- extras --------------------------------------------------------------------------


def test_jetpack_6_gets_cuda_python_12(tmp_path: Path) -> None:
    old = replace(Platform.read(fake_machine(tmp_path, "orin-nano-jp62")), python=(3, 10))
    (needed,) = requirements("gpu", old)
    assert DRIVER_12 in needed.specifier and "13.0" not in needed.specifier
    (newer,) = requirements("gpu", replace(old, python=(3, 12)))
    assert "13.4.4" in newer.specifier


def test_one_extra_brings_tensorrt_rtx(tmp_path: Path) -> None:
    here = Platform.read(fake_machine(tmp_path, "workstation"))
    names = {one.name for one in requirements("rtx", here)}
    assert {"tensorrt_rtx_cu13_libs", "tensorrt_rtx_cu13_bindings", "cuda-python", "onnx"} <= names
    there = replace(here, arch="aarch64")
    assert not {one for one in requirements("rtx", there) if "tensorrt" in one.name}


@pytest.mark.parametrize("python", [(3, 11), (3, 12), (3, 13)])
def test_the_demo_sets_up_on_aarch64(tmp_path: Path, python: tuple[int, int]) -> None:
    """`make demo` installs `.[dev]`: nothing in it is without a wheel there."""
    spark = replace(Platform.read(fake_machine(tmp_path, "dgx-spark")), python=python)
    needed = [*requirements("", spark), *requirements("dev", spark)]
    assert len(needed) > 35
    assert not [said for one in needed if (said := lacking(one, spark))]
    assert "pocketsphinx" not in {one.name for one in needed}
    card = replace(Platform.read(fake_machine(tmp_path, "workstation")), python=python)
    assert "pocketsphinx" in {one.name for one in requirements("dev", card)}

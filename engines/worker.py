"""Parses and builds one graph with TensorRT or TensorRT-RTX, in a process of its own.

The job is JSON on stdin. The worker prints lines of JSON: progress, and last a verdict. It imports
only the bindings, so that they can live in another environment, and so that a build that runs out
of memory ends no other process.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import secrets
import stat
import sys
import time
from collections import Counter
from typing import Any

MODULES = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt_rtx_bindings", "tensorrt_rtx")}
"""Modules that may hold the bindings; the first that is installed counts."""

MOST_CACHE_BYTES = 1 << 30
SAID = 5  # errors that go into the verdict; the log has all


def main() -> None:
    """Runs one job. The last line is a verdict, whatever the library prints."""
    step_back()
    job = json.load(sys.stdin)
    bindings = None
    try:
        bindings = load(job["library"])
        verdict = {"probe": probe, "build": build, "inspect": inspect}[job["do"]](bindings, job)
    except Refused as error:
        version = getattr(bindings, "__version__", "?")
        verdict = {"done": False, "stage": error.stage, "said": error.said, "version": version}
    tell(verdict | {"verdict": True})


def step_back() -> None:
    """Makes the process the first that the kernel kills for memory."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


class Refused(Exception):
    """A stage that failed, and what the library said about it."""

    def __init__(self, stage: str, said: list[Any]) -> None:
        self.stage, self.said = stage, said
        super().__init__(stage)


def tell(fact: dict[str, Any]) -> None:
    print(json.dumps(fact), flush=True)


def load(library: str) -> Any:
    """Imports the bindings."""
    faults = []
    for name in MODULES[library]:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # installed, but a library that it needs is not
            faults.append(f"{name}: {error}")
    raise Refused("import", faults)


def probe(trt: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Returns the library's version and the compute capabilities that it builds for: `ahead`,
    without such a GPU; `here`, this machine's GPU.
    """
    names = [name for name in dir(getattr(trt, "ComputeCapability", None)) if name[:2] == "SM"]
    return {
        "done": True,
        "version": trt.__version__,
        "ahead": sorted(int(name[2:]) for name in names),
        "here": device_capability(),
    }


def device_capability() -> int | None:
    """Returns the compute capability of the first GPU times ten; None: no GPU or driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h
    asked = ((major, 75), (minor, 76))
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if any(driver.cuDeviceGetAttribute(ctypes.byref(to), what, device) for to, what in asked):
        return None
    return 10 * major.value + minor.value


def build(trt: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Builds the engine of a graph file.

    Args of the job:
    graph, engine, log: files; the engine's folder exists.
    profiles: for each profile and input, the smallest, usual and largest shape.
    compute_capability: times ten (87 for 8.7), for a library that builds ahead of time.
    timing_cache: a file to read and to write, or None.
    optimization_level: None: the library's own.
    """
    with open(job["log"], "w", encoding="utf-8") as log_file:
        log = logger(trt, log_file)
        start = time.monotonic()
        builder = trt.Builder(log)
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parse(trt, network, job["graph"], log)
        let_decompose(trt, network)
        parsed = time.monotonic() - start
        config = configured(trt, builder, job)
        cache = timing_cache(config, job["timing_cache"])
        add_profiles(builder, network, config, job["profiles"])
        if hasattr(trt, "IProgressMonitor"):
            config.progress_monitor = progress_monitor(trt)
        size = write_engine(trt, builder, network, config, job["engine"], log)
        if cache is not None:
            keep_cache(config, job["timing_cache"])
    return {
        "done": True,
        "version": trt.__version__,
        "inputs": boundary(network, "input"),
        "outputs": boundary(network, "output"),
        "layers": network.num_layers,
        "bytes": size,
        "parse_seconds": parsed,
        "seconds": time.monotonic() - start,
        "peak_bytes": peak_bytes(),
        "timing_cache": cache,
        "summary": summarized(network),
    }


def peak_bytes() -> int:
    """Returns the peak memory of this process. `getrusage` would include the parent's."""
    with open("/proc/self/status", encoding="ascii") as file:
        peak = next(line for line in file if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def logger(trt: Any, file: Any) -> Any:
    """Returns a logger that writes all but verbose messages and keeps errors in `.errors`."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)
            if severity <= trt.ILogger.Severity.INFO:
                file.write(f"{severity.name}: {message}\n")
                file.flush()

    return Log()


def parse(trt: Any, network: Any, graph: str, log: Any) -> None:
    tell({"progress": "parsing", "done": 0, "total": 1})
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise Refused("parser", [fault(error) for error in errors[:SAID]] or log.errors[:SAID])
    tell({"progress": "parsing", "done": 1, "total": 1})


def let_decompose(trt: Any, network: Any) -> None:
    """Lets attention become several layers where this GPU has no fused kernel for it.

    Otherwise such a build fails (seen with TensorRT-RTX 1.7 on SM90).
    """
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name == "ATTENTION_INPUT":
            layer.__class__ = trt.IAttentionInputLayer  # the API offers no cast
            layer.attention.decomposable = True


def fault(error: Any) -> dict[str, str]:
    """Returns an error of the parser: node, operator, reason."""
    return {
        "node": error.node_name() if hasattr(error, "node_name") else f"number {error.node()}",
        "operator": error.node_operator() if hasattr(error, "node_operator") else "",
        "reason": error.desc(),
    }


def configured(trt: Any, builder: Any, job: dict[str, Any]) -> Any:
    config = builder.create_builder_config()
    if hasattr(config, "set_compute_capability"):
        config.num_compute_capabilities = 1
        name = f"SM{job['compute_capability']}"
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    # an engine lists its layers and precisions only if it was built with them
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if job["optimization_level"] is not None:
        config.builder_optimization_level = job["optimization_level"]
    return config


def add_profiles(builder: Any, network: Any, config: Any, profiles: list[Any]) -> None:
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            name = network.get_input(index).name
            profile.set_shape(name, *[tuple(shape) for shape in shapes[name]])
        config.add_optimization_profile(profile)


def timing_cache(config: Any, path: str | None) -> str | None:
    """Loads the timing cache; returns "used", "damaged" or "new"."""
    if path is None or not hasattr(config, "create_timing_cache"):
        return None
    content, state = b"", "new"
    if os.path.lexists(path):
        content = read_cache(path)
        state = "used" if content else "damaged"
    try:
        cache = config.create_timing_cache(content)
        taken = cache is not None and config.set_timing_cache(cache, False)
    except (RuntimeError, TypeError):
        taken = False
    if not taken:
        state = "damaged"
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return state


def read_cache(path: str) -> bytes:
    """Reads a timing cache; nothing, if it is no regular file or too large to be one."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_CACHE_BYTES:
            return b""
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def keep_cache(config: Any, path: str) -> None:
    """Replaces the timing cache, be it a link. Without one, a build only takes longer."""
    cache = config.get_timing_cache()
    content = b"" if cache is None else bytes(cache.serialize())
    if not content:
        return
    beside = f"{path}.{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):
        try:
            # a worker imports nothing of the package: `omnijet.runtime.files.whole_file` does this
            new = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            with open(new, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)


def progress_monitor(trt: Any) -> Any:
    """Returns a monitor that reports the progress of the outermost phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.told: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.told[name] = steps
                tell({"progress": "building", "done": 0, "total": steps})

        def step_complete(self, name: str, step: int) -> bool:
            if name in self.told:
                tell({"progress": "building", "done": step, "total": self.told[name]})
            return True

        def phase_finish(self, name: str) -> None:
            if name in self.told:
                steps = self.told.pop(name)
                tell({"progress": "building", "done": steps, "total": steps})

    return Monitor()


def boundary(network: Any, side: str) -> list[Any]:
    """Returns (name, dtype, axes) of the network's inputs or outputs; -1 for a dynamic axis."""
    count, get = getattr(network, f"num_{side}s"), getattr(network, f"get_{side}")
    tensors = [get(index) for index in range(count)]
    return [(tensor.name, tensor.dtype.name, list(tensor.shape)) for tensor in tensors]


def summarized(network: Any) -> dict[str, Any]:
    """Counts the layers of a network by kind and by the type of their outputs."""
    kinds: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kinds[layer.type.name] += 1
        numbers.update(layer.get_output(at).dtype.name for at in range(layer.num_outputs))
    return described("network", kinds, numbers)


def described(of: str, kinds: Counter[str], numbers: Counter[str]) -> dict[str, Any]:
    """Returns the counts as JSON. `of` is the parsed network, or the engine with fused layers."""
    return {"of": of, "kinds": dict(kinds.most_common()), "numbers": dict(numbers.most_common())}


def write_engine(trt: Any, builder: Any, network: Any, config: Any, path: str, log: Any) -> int:
    """Writes the engine and returns its bytes.

    The library streams it if it can: the whole engine in memory beside its parts took 18.0 GB
    instead of 13.5 (3B Thinker, TensorRT-RTX 1.7).
    """
    try:
        with open(path, "wb") as file:
            if hasattr(builder, "build_serialized_network_to_stream"):
                sink = writer(trt, file)
                built = builder.build_serialized_network_to_stream(network, config, sink)
                if sink.fault is not None:  # the library ignores the fault and reports success
                    raise sink.fault
            else:
                plan = builder.build_serialized_network(network, config)
                built = plan is not None
                if built:
                    file.write(plan)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Refused("write", [error.strerror or str(error)]) from error
    if not built:
        raise Refused("builder", log.errors[:SAID])
    return os.path.getsize(path)


def writer(trt: Any, file: Any) -> Any:
    class Writer(trt.IStreamWriter):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IStreamWriter.__init__(self)
            self.fault: OSError | None = None

        def write(self, data: Any) -> int:
            if self.fault is not None:
                return 0
            try:
                return int(file.write(data))
            except OSError as error:
                self.fault = error
                return 0

    return Writer()


def inspect(trt: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Returns the fused layers of an engine file and their types; needs the engine's GPU."""
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    with open(job["engine"], "rb") as file:
        engine = runtime.deserialize_cuda_engine(file.read())
    if engine is None:
        raise Refused("load", ["the library does not load it"])
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    kinds: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    for layer in json.loads(text).get("Layers", []):
        if isinstance(layer, dict):  # only a name if the engine was built without details
            kinds[layer.get("LayerType", "?")] += 1
            numbers.update(out.get("Format/Datatype", "?") for out in layer.get("Outputs", []))
    return {"done": True, "summary": described("engine", kinds, numbers)}


if __name__ == "__main__":
    main()

"""An engine with buffers for fixed sizes, captured when it runs again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from omnijet.runtime.backends.device_call import device_call
from omnijet.runtime.backends.trt.buffers import Block, Inputs, Outputs
from omnijet.runtime.backends.trt.caches import Caches
from omnijet.runtime.backends.trt.engine import Engine
from omnijet.runtime.errors import OmnijetError

_log = logging.getLogger(__name__)

PLAIN_RUNS = 2
"""Runs before work is captured: a picture or a chunk of a prompt runs once, a decode step many
times."""


class Work:
    """One engine with its input and output buffers, and the runs that were captured.

    Buffers lie in page-locked memory of the host and are moved in the order of the engine's
    stream; `run` returns when everything is done.

    A decode step or a DiT evaluation is captured as a CUDA graph after its first runs. Copies
    stay outside the graph, because the inputs that changed differ from run to run.

    Args:
        profile: the number of the engine's profile that holds `sizes`.
        sides: how many sets of addresses the caches have; 0: the graph has no caches.

    Attributes:
        inputs, outputs: the buffers.
    """

    def __init__(self, engine: Engine, profile: int, sizes: Mapping[str, int], sides: int) -> None:
        contract = engine.contract
        self._engine, self._profile = engine, profile
        self._plain_runs = PLAIN_RUNS * max(sides, 1)
        carried = {pair.input for pair in contract.state}
        produced = {pair.output for pair in contract.state}
        inputs = [spec for spec in contract.inputs if spec.name not in carried]
        outputs = [spec for spec in contract.outputs if spec.name not in produced]
        self.inputs = Block(engine.device, inputs, sizes)
        self.outputs = Block(engine.device, outputs, sizes)
        self._shapes = {spec.name: spec.shape(sizes) for spec in contract.inputs}
        self._output_shapes = {spec.name: spec.shape(sizes) for spec in outputs}
        self._runs = 0
        # for each side of the caches, what launches the run, and the address it was captured with
        self._captured: dict[int, tuple[Callable[[], None], int]] = {}
        engine.works.add(self, contract.name)

    def run(self, inputs: Inputs, outputs: Outputs, caches: Caches | None) -> None:
        """Sends what changed, runs the engine, and brings what was asked for.

        Args:
            inputs, outputs: the arrays over the buffers.
            caches: the same caches at every run.

        Raises:
            OmnijetError: CUDA or the library fails.
        """
        engine = self._engine
        with device_call(), engine.lock:
            engine.require_open()
            self.inputs.send(inputs.touched, engine.stream)
            inputs.touched = 0
            side = 0 if caches is None else caches.side
            captured = self._captured.get(side)
            if captured is None:
                self._run_plainly(caches, side)
            else:
                launch, base = captured
                assert caches is None or caches.base(side) == base, "captured with other caches"
                launch()
            self.outputs.bring(outputs.taken, engine.stream)
            engine.stream.wait()
            engine.count_run()
            outputs.here, outputs.taken = outputs.taken, 0
            if caches is not None:
                caches.advance()

    def fetch(self, chosen: int) -> None:
        """Brings outputs that the run did not bring along."""
        with device_call(), self._engine.lock:
            self.outputs.bring(chosen, self._engine.stream)
            self._engine.stream.wait()

    def close(self) -> None:
        """Lets go of captured runs, whose contexts keep the engine alive."""
        self._captured.clear()

    def _run_plainly(self, caches: Caches | None, side: int) -> None:
        """Runs in the context that all work shares or, when capturing is worth it, in a context of
        its own, which is then captured.
        """
        engine = self._engine
        captures = self._runs >= self._plain_runs
        self._runs += 1
        if captures:
            context = engine.new_context(self._profile, captures=True)
        else:
            context = engine.shared_context(self._profile)
        engine.configure(context, self._shapes, self._addresses(caches, side), self._output_shapes)
        engine.execute(context)  # this run; what a context puts off is done before a capture, too
        if captures:
            base = 0 if caches is None else caches.base(side)
            self._captured[side] = (self._capture(context), base)

    def _capture(self, context: Any) -> Callable[[], None]:
        """Returns what runs the work again."""
        engine = self._engine

        def again() -> None:
            engine.execute(context)

        if engine.captures_itself:
            return again
        engine.stream.wait()
        try:
            engine.stream.begin_capture()
            engine.execute(context)
            captured = engine.stream.end_capture()
        except OmnijetError as error:
            engine.stream.drop_capture()
            _log.info("%s runs uncaptured: %s", engine.contract.name, error.got)
            return again

        def launch(kept: Any = context) -> None:  # a captured context has to stay as it was
            captured.launch()

        return launch

    def _addresses(self, caches: Caches | None, side: int) -> dict[str, int]:
        carried = {} if caches is None else caches.addresses(side)
        return {**self.inputs.addresses, **self.outputs.addresses, **carried}

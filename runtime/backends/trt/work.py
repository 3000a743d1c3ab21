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
"""Runs before work is captured: pictures and chunks of a prompt run once, steps go on."""


class Work:
    """Inputs and outputs lie in page-locked memory of the host and are moved in the order of the
    engine's stream; `run` returns when all is done.

    A decode step or a DiT evaluation is captured as a CUDA graph after its first runs. Copies
    stay outside of it: which inputs changed is another matter each time.

    Args:
        profile: of the engine, whose sizes `sizes` are within.
        turns: how many sets of addresses its caches have; 0: it has none.

    Attributes:
        sent, brought: buffers of inputs and outputs.
    """

    def __init__(self, engine: Engine, profile: int, sizes: Mapping[str, int], turns: int) -> None:
        contract = engine.contract
        self._engine, self._profile = engine, profile
        self._plain_runs = PLAIN_RUNS * max(turns, 1)
        inputs = {pair.input for pair in contract.state}
        outputs = {pair.output for pair in contract.state}
        sent = [spec for spec in contract.inputs if spec.name not in inputs]
        brought = [spec for spec in contract.outputs if spec.name not in outputs]
        self.sent = Block(engine.device, sent, sizes)
        self.brought = Block(engine.device, brought, sizes)
        self._shapes = {spec.name: spec.shape(sizes) for spec in contract.inputs}
        self._shapes_out = {spec.name: spec.shape(sizes) for spec in brought}
        self._runs = 0
        self._captured: dict[int, tuple[Callable[[], None], int]] = {}  # of each turn of the caches

    def run(self, inputs: Inputs, outputs: Outputs, caches: Caches | None) -> None:
        """Args:
            inputs, outputs: over `sent` and `brought`.
            caches: the same at every run.

        Raises:
            OmnijetError: CUDA or the library fails.
        """
        engine = self._engine
        with device_call(), engine.lock:
            self.sent.send(inputs.touched, engine.stream)
            inputs.touched = 0
            turn = 0 if caches is None else caches.turn
            captured = self._captured.get(turn)
            if captured is None:
                self._run_plainly(caches, turn)
            else:
                launch, base = captured
                assert caches is None or caches.base(turn) == base, "captured with other caches"
                launch()
            self.brought.bring(outputs.taken, engine.stream)
            engine.stream.wait()
            engine.ran()
            outputs.here, outputs.taken = outputs.taken, 0
            if caches is not None:
                caches.advance()

    def fetch(self, chosen: int) -> None:
        """Brings outputs that no run brought along."""
        with self._engine.lock:
            self.brought.bring(chosen, self._engine.stream)
            self._engine.stream.wait()

    def _run_plainly(self, caches: Caches | None, turn: int) -> None:
        """In the context that all share, or, when it is worth it, in one that is then captured."""
        engine = self._engine
        captures = self._runs >= self._plain_runs
        self._runs += 1
        if captures:
            context = engine.new_context(self._profile, captures=True)
        else:
            context = engine.shared_context(self._profile)
        engine.configure(context, self._shapes, self._addresses(caches, turn), self._shapes_out)
        engine.execute(context)  # this run; and what a context puts off is done before a capture
        if captures:
            base = 0 if caches is None else caches.base(turn)
            self._captured[turn] = (self._capture(context), base)

    def _capture(self, context: Any) -> Callable[[], None]:
        """What runs the work again."""
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

    def _addresses(self, caches: Caches | None, turn: int) -> dict[str, int]:
        carried = {} if caches is None else caches.addresses(turn)
        return {**self.sent.addresses, **self.brought.addresses, **carried}

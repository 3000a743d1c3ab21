"""An engine with buffers for fixed sizes, captured when it runs again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from runtime.errors import OmnijetError
from runtime.trt.buffers import Block, Inputs, Outputs
from runtime.trt.engine import Engine
from runtime.trt.state import EngineState

_log = logging.getLogger(__name__)

PLAIN_RUNS = 2
"""Runs before work is captured: pictures and chunks of a prompt run once, steps go on."""


class EngineBound:
    """Inputs and outputs lie in page-locked memory of the host and are moved in the order of the
    engine's stream; `run` returns when all is done.

    A decode step or a DiT evaluation is captured as a CUDA graph after its first runs. Copies
    stay outside of it: which inputs changed is another matter each time.

    Args:
        profile: of the engine, whose sizes `sizes` are within.
    """

    def __init__(
        self, engine: Engine, profile: int, sizes: Mapping[str, int], state: EngineState | None
    ) -> None:
        contract = engine.contract
        self._engine, self._profile, self._state = engine, profile, state
        inputs = {pair.input for pair in contract.state}
        outputs = {pair.output for pair in contract.state}
        sent = [spec for spec in contract.inputs if spec.name not in inputs]
        brought = [spec for spec in contract.outputs if spec.name not in outputs]
        self._sent = Block(engine.device, sent, sizes)
        self._brought = Block(engine.device, brought, sizes)
        self._shapes = {spec.name: spec.shape(sizes) for spec in contract.inputs}
        self._shapes_out = {spec.name: spec.shape(sizes) for spec in brought}
        self.inputs = Inputs(self._sent)
        self.outputs = Outputs(self._brought, partial(_fetch, engine, self._brought))
        self._runs = 0
        self._captured: dict[int, tuple[Callable[[], None], int]] = {}  # of each turn of the state

    def run(self) -> None:
        """Raises `OmnijetError` if CUDA or the library fails."""
        engine, inputs, outputs = self._engine, self.inputs, self.outputs
        with engine.lock:
            self._sent.send(inputs.touched, engine.stream)
            inputs.touched = 0
            state = self._state
            turn = 0 if state is None else state.turn
            captured = self._captured.get(turn)
            if captured is None:
                self._run_plainly(turn)
            else:
                launch, base = captured
                assert state is None or state.base(turn) == base, "captured with other caches"
                launch()
            self._brought.bring(outputs.taken, engine.stream)
            engine.stream.wait()
            engine.ran()
            outputs.here, outputs.taken = outputs.taken, 0
            if state is not None:
                state.advance()

    def _run_plainly(self, turn: int) -> None:
        """In the context that all share, or, when it is worth it, in one that is then captured."""
        engine, state = self._engine, self._state
        turns = 1 if state is None else state.turns
        captures = self._runs >= PLAIN_RUNS * turns
        self._runs += 1
        if captures:
            context = engine.new_context(self._profile, captures=True)
        else:
            context = engine.shared_context(self._profile)
        engine.configure(context, self._shapes, self._addresses(turn), self._shapes_out)
        engine.execute(context)  # this run; and what a context puts off is done before a capture
        if captures:
            self._captured[turn] = (self._capture(context), state.base(turn) if state else 0)

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

    def _addresses(self, turn: int) -> dict[str, int]:
        carried = {} if self._state is None else self._state.addresses(turn)
        return {**self._sent.addresses, **self._brought.addresses, **carried}


def _fetch(engine: Engine, block: Block, chosen: int) -> None:
    """Brings outputs that no run brought along. No method: what is bound to a graph would hold
    itself, and its memory until Python looks for such circles."""
    with engine.lock:
        block.bring(chosen, engine.stream)
        engine.stream.wait()

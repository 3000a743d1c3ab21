"""`python -m tools.gpu_check.peer`: transformers on this GPU at the dimensions of the 3B.

The program times the alternative to omnijet, for comparison with `omnijet bench`: decode steps at
512 rows of context, and DiT and vocoder for as many codes, with random weights (f16; speech modules
in f32, as in omnijet). It prints one line of JSON with the keys of `omnijet bench --format json`,
or the reason where torch with CUDA or transformers is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

from omnijet.export.synthetic.presets import preset

CONTEXT, CODES = 512, 100
WARM, STEPS, SPEECHES = 5, 30, 3
SPEAKER, REFERENCE_FRAMES = 192, 400


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check.peer", description=(__doc__ or "").partition("\n")[0]
    )
    return parser.parse_args(words)


def main() -> int:
    parsed(sys.argv[1:])
    try:
        import torch
        import transformers
    except ImportError as error:
        return _say({"said": f"left out: {error}"})
    if not torch.cuda.is_available():
        return _say({"said": f"left out: torch {torch.__version__} sees no GPU"})
    with torch.no_grad(), torch.device("cuda"):
        thinker, talker, speech = _models()
        steps = {
            "thinker_decode": {"total_us": 1e3 * _step_ms(*thinker)},
            "talker_decode": {"total_us": 1e3 * _step_ms(*talker)},
        }
        del thinker, talker
        stages = _speech_ms(speech)
    said = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return _say({"said": said, "steps": steps, "stages_ms": stages})


def _say(facts: dict[str, Any]) -> int:
    print(json.dumps(facts))
    return 0


def _models() -> Any:
    """Returns Thinker and Talker with their heads in f16, and DiT and vocoder in f32."""
    import torch
    from transformers.models.qwen2_5_omni import modeling_qwen2_5_omni as modeling
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniConfig

    config = Qwen2_5OmniConfig(**preset("3b"))
    text, talker = config.thinker_config.text_config, config.talker_config

    def decoder(make: Any, facts: Any) -> Any:
        facts._attn_implementation = "sdpa"
        torch.set_default_dtype(torch.float16)
        try:
            head = torch.nn.Linear(facts.hidden_size, facts.vocab_size, bias=False)
            return make(facts).eval(), head
        finally:
            torch.set_default_dtype(torch.float32)

    return (
        decoder(modeling.Qwen2_5OmniThinkerTextModel, text),
        decoder(modeling.Qwen2_5OmniTalkerModel, talker),
        modeling.Qwen2_5OmniToken2WavModel(config.token2wav_config).eval().float(),
    )


def _step_ms(model: Any, head: Any) -> float:
    """Returns the milliseconds until the host knows the next token."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    prompt = 0.02 * torch.randn(1, CONTEXT, model.config.hidden_size, dtype=torch.float16)
    model(inputs_embeds=prompt, past_key_values=cache, use_cache=True)

    def step() -> None:
        rows = model(inputs_embeds=prompt[:, :1], past_key_values=cache, use_cache=True)[0]
        head(rows).float().argmax().item()

    return _median_ms(step, STEPS)


def _speech_ms(model: Any) -> dict[str, float]:
    import torch

    codes = torch.randint(0, 8192, (1, CODES))
    speaker, mel = torch.randn(1, SPEAKER), torch.randn(1, REFERENCE_FRAMES, 80)
    dit = model.code2wav_dit_model
    made = dit.sample(speaker, mel, codes)
    return {
        "dit": _median_ms(lambda: dit.sample(speaker, mel, codes), SPEECHES),
        "vocoder": _median_ms(lambda: model.code2wav_bigvgan_model(made), SPEECHES),
    }


def _median_ms(work: Callable[[], object], count: int) -> float:
    import torch

    times = []
    for number in range(-WARM if count > WARM else -1, count):
        torch.cuda.synchronize()
        began = perf_counter()
        work()
        torch.cuda.synchronize()
        if number >= 0:
            times.append(1e3 * (perf_counter() - began))
    return median(times)


if __name__ == "__main__":
    sys.exit(main())

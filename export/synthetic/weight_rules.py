"""Rules for random weights with which a model behaves like a trained one.

Each kind of tensor has a rule: a gain over 1 / sqrt(fan in), or a mean and a standard
deviation of its own. At any depth and width, activations neither vanish nor overflow, logits
and attention are selective, gates are open, mel has the range of log-mel, and the waveform is
as loud as speech. A few outlier channels run through the residual stream, as in real language
models: they break careless 16-bit or quantized arithmetic.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from omnijet.runtime.bundle.dims import ModelDims

OUTLIER_GAIN = 30.0
OUTLIER_NORM = 0.2  # norms attenuate the outlier channels, as trained norms do
OUTLIER_EVERY = 512  # channels per outlier
MEL_MEAN = -4.0  # a typical mean of natural-log mel of speech


@dataclass(frozen=True, slots=True)
class Rule:
    """The distribution of the values of one tensor: mean + std * normal.

    Attributes:
        std: The standard deviation.
        mean: The mean.
        outliers: A factor for the rows (axis 0), or the entries of a vector, of the outlier
            channels.
    """

    std: float
    mean: float = 0.0
    outliers: float = 1.0


# (pattern, gain): the first match decides; the standard deviation is gain / sqrt(fan in)
GAINS: tuple[tuple[str, float], ...] = (
    # decoders: q and k make attention selective; branches add less than the residual stream holds
    (r"self_attn\.[qk]_proj\.weight$", 1.5),
    (r"self_attn\.(o_proj|out_proj)\.weight$", 0.6),
    (r"mlp\.(gate|up)_proj\.weight$", 1.4),
    (r"mlp\.down_proj\.weight$", 0.5),
    (r"lm_head\.weight$", 3.0),
    (r"codec_head\.weight$", 3.0),
    (r"thinker_to_talker_proj\.weight$", 0.8),
    # encoders
    (r"audio_tower\.conv2\.weight$", 1.4),
    (r"fc2\.weight$", 0.8),
    (r"audio_tower\.proj\.weight$", 0.6),
    (r"blocks\.\d+\.attn\.[qk]\.weight$", 1.5),
    (r"blocks\.\d+\.attn\.proj\.weight$", 0.6),
    (r"merger\.mlp\.2\.weight$", 0.9),
    # DiT
    (r"attn_norm\.linear\.weight$", 0.9),
    (r"norm_out\.linear\.weight$", 0.4),
    (r"attn\.to_[qk]\.weight$", 1.4),
    (r"code2wav_dit_model\.proj_out\.weight$", 1.2),
    (r"spk_encoder\..*\.weight$", 1.2),
    # vocoder
    (r"bigvgan_model\.conv_pre\.weight$", 1.8),
    (r"bigvgan_model\.ups\.", 1.2),
    (r"resblocks\.\d+\.convs[12]\.\d+\.weight$", 0.7),
    (r"bigvgan_model\.conv_post\.weight$", 0.035),
)

# (pattern, mean, standard deviation), independent of fan in
FIXED: tuple[tuple[str, float, float], ...] = (
    (r"embed_tokens\.weight$", 0.0, 0.6),
    (r"codec_embed\.weight$", 0.0, 1.0),
    (r"audio_bos_eos_token\.weight$", 0.0, 0.6),
    (r"\.act\.(alpha|beta)$", 0.0, 0.3),  # stored as logarithms
    (r"code2wav_dit_model\.proj_out\.bias$", MEL_MEAN, 0.5),
    (r"attn_norm\.linear\.bias$", 0.0, 0.2),
    (r"bigvgan_model\..*bias$", 0.0, 0.02),
    (r"code2wav_dit_model\..*bias$", 0.0, 0.1),
    (r"(q|k|v)(_proj)?\.bias$", 0.0, 0.3),
    (r"(norm|norm1|norm2|layernorm|ln_q|ln_post|layer_norm)\.weight$", 1.0, 0.2),
    (r"bias$", 0.0, 0.1),
)

_RESIDUAL_WRITERS = re.compile(r"thinker\.model\.layers\.[12]\.mlp\.down_proj\.weight$")
_RESIDUAL_READERS = re.compile(r"thinker\.model\.(layers\.\d+\..*layernorm|norm)\.weight$")


def rule(key: str, shape: tuple[int, ...]) -> Rule:
    """Returns the rule for one tensor of a checkpoint."""
    for pattern, mean, std in FIXED:
        if re.search(pattern, key):
            reads = _RESIDUAL_READERS.search(key)
            return Rule(std, mean, OUTLIER_NORM if reads else 1.0)
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, key)), 1.0)
    writes = _RESIDUAL_WRITERS.search(key)
    return Rule(gain / math.sqrt(_fan_in(key, shape)), 0.0, OUTLIER_GAIN if writes else 1.0)


def outlier_channels(hidden: int) -> list[int]:
    """Lists the channels of the Thinker's residual stream that are far larger than the others."""
    count = max(1, hidden // OUTLIER_EVERY)
    return [(2 * index + 1) * hidden // (2 * count) for index in range(count)]


def _fan_in(key: str, shape: tuple[int, ...]) -> float:
    if ".ups." in key:  # a transposed convolution, [in, out, kernel], with a strided output
        stride = max(1, shape[2] // 2)
        return shape[0] * shape[2] / stride
    return math.prod(shape[1:])


def dit_frequencies(dims: ModelDims) -> list[float]:
    """Computes the DiT's rotary frequencies, which a checkpoint holds rounded to bfloat16."""
    half = dims.dit.head_dim // 2
    return [10_000.0 ** (-index / half) for index in range(half)]

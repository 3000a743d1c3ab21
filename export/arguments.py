"""The options of `omnijet export`.

This module has no heavy imports, because `optimum-cli` reads the options at every start.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import get_args

from omnijet.runtime.bundle.contract import Precision


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="folder, or hub id such as Qwen/Qwen2.5-Omni-3B"
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder to write")
    parser.add_argument(
        "--dtype",
        choices=get_args(Precision),
        default="f32",
        help="dtype of Thinker, Talker and encoders (speech synthesis stays f32); default f32; "
        "bf16 runs on GPUs only",
    )
    parser.add_argument(
        "--dit",
        choices=("f32", "f16"),
        default="f32",
        help="what the products of the DiT multiply; f16 halves its weights and is for GPUs, whose "
        "16-bit products are twice as fast; all between the products stays f32; default f32",
    )
    parser.add_argument(
        "--base",
        metavar="CHECKPOINT",
        help="folder or hub id of the model that CHECKPOINT was tuned from: what is missing, such "
        "as the Talker, voices or the tokenizer, comes from there",
    )
    parser.add_argument(
        "--adapter",
        metavar="DIR",
        action="append",
        default=[],
        help="folder or hub id of a LoRA adapter, as PEFT saves it, to merge with the weights; "
        "may be repeated",
    )
    parser.add_argument(
        "--no-speech",
        action="store_true",
        help="leave out Talker, DiT and vocoder: the bundle hears, sees and writes, and takes less "
        "memory",
    )
    parser.add_argument("--force", action="store_true", help="replace BUNDLE if it exists")

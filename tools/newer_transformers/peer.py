"""Loads a checkpoint and saves it again; runs in an environment with transformers 5."""

from __future__ import annotations

import sys

import transformers


def main(source: str, target: str) -> None:
    transformers.utils.logging.set_verbosity_warning()
    model = transformers.Qwen2_5OmniForConditionalGeneration.from_pretrained(source, dtype="auto")
    model.save_pretrained(target)
    try:
        transformers.Qwen2_5OmniProcessor.from_pretrained(source).save_pretrained(target)
    except ImportError as error:  # the processor of clips needs torchvision, which needs CUDA
        print("the processor was not saved:", str(error).strip().splitlines()[0])
        transformers.AutoTokenizer.from_pretrained(source).save_pretrained(target)
    print("transformers", transformers.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])

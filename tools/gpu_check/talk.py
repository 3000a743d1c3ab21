"""`python -m tools.gpu_check.talk BUNDLE --engines T`: the questions of `make demo` on a GPU.

The program prints one line of JSON; the exit code is 1 if an answer is wrong or silent.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.omni import Omni
from tools.demo import QUESTIONS, ask


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_check.talk", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("bundle", type=Path)
    add_backend(parser)
    return parser.parse_args(words)


def main() -> int:
    args = parsed(sys.argv[1:])
    omni = Omni.open(args.bundle, provider=args.provider, engines=args.engines)
    replies = {question: ask(omni, question) for question in QUESTIONS}
    wrong = {q.name: reply.text for q, reply in replies.items() if reply.text != q.answer}
    silent = [q.name for q, reply in replies.items() if not reply.audio.std() > 1e-3]
    print(json.dumps({"right": len(QUESTIONS) - len(wrong), "wrong": wrong, "silent": silent}))
    return 1 if wrong or silent else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.bench.heard BUNDLE`: how well words are placed in time after a barge-in.

Omnijet-nano answers held-out questions aloud. The recogniser says when each word of an answer
ends; replies that it does not understand word for word are left out. Every reply is cut at every
20 ms, and the words that a session would remember are compared with those that had ended: once
with all speech made, and as if only the played part and half a second more had been made, with the
pace of the replies before it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import omnijet
from omnijet.nano.evaluation.heldout import open_set
from omnijet.nano.evaluation.recogniser import Recogniser
from omnijet.runtime.commands.console import whole_number
from omnijet.runtime.talk.heard import HOP, SpokenReply, loudness_of

STEP, AHEAD = 480, 12_000  # samples at 24 kHz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.heard", description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--items", type=whole_number(1), default=60, help="replies (60)")
    args = parser.parse_args()
    recogniser = Recogniser()
    whole: Counter[int] = Counter()
    growing: Counter[int] = Counter()
    replies, pace = 0, None
    with omnijet.load(args.bundle) as omni, open_set() as items:
        spoken = [item for item in items if item.skill == "speak"][: args.items]
        for item in track(spoken, "replies", console=Console(stderr=True)):
            reply = omni.generate(item.messages, voice=item.voice, seed=item.number)
            timed = recogniser.timed_words(reply.audio, reply.sample_rate_hz)
            if [word for word, _, _ in timed] != reply.text.split() or not timed:
                continue
            replies += 1
            ends = np.array([end for _, _, end in timed])
            loudness = loudness_of(reply.audio)
            made = SpokenReply(reply.text, loudness, True)
            for played in range(STEP, reply.audio.size, STEP):
                ended = int((ends <= played / reply.sample_rate_hz).sum())
                whole[len(made.heard_by(played).split()) - ended] += 1
                part = loudness[: (played + AHEAD) // HOP]
                partial = SpokenReply(reply.text, part, False)
                growing[len(partial.heard_by(played, pace).split()) - ended] += 1
            pace = made.letters_per_second
    table = Table("words too many", "all speech made", "speech still being made")
    for off in sorted({*whole, *growing}):
        table.add_row(f"{off:+d}", *(f"{100 * c[off] / c.total():.1f} %" for c in (whole, growing)))
    Console().print(f"{replies} of {len(spoken)} replies, {whole.total()} cuts", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

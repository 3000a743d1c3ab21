"""`omnijet run BUNDLE`: answers one user message with text and speech."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path
from typing import Any, TextIO

from omnijet.runtime.bundle.dims import no_voice
from omnijet.runtime.bundle.folder import Bundle
from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import print_json, say, stage_progress, whole_number
from omnijet.runtime.commands.opening import opened
from omnijet.runtime.commands.outcome import say_outcome
from omnijet.runtime.commands.parts import add_parts, check_parts, read_pipes, size_options
from omnijet.runtime.commands.sample_file import SampleFile
from omnijet.runtime.commands.sampling import add_sampling, sampling_options
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import for_reader, show
from omnijet.runtime.media.wav import pcm16, write_wav
from omnijet.runtime.prompt.chat import SPEECH_SYSTEM_PROMPT
from omnijet.runtime.speech.presets import PRESETS
from omnijet.runtime.talk.options import MAX_CODES, MAX_TEXT_TOKENS
from omnijet.runtime.talk.reply import Reply, TextDelta
from omnijet.runtime.talk.stream import Stream


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    add_parts(parser)
    parser.add_argument(
        "--no-audio-in-video", action="store_true", help="ignore the sound of videos"
    )
    parser.add_argument("--system", default=SPEECH_SYSTEM_PROMPT, metavar="S", help="system prompt")
    parser.add_argument("--voice", metavar="NAME", help="speaker; Chelsie by default")
    parser.add_argument("--no-speech", action="store_true", help="text only")
    parser.add_argument(
        "--seed", type=whole_number(0), metavar="N", help="seed of sampling and of the DiT's noise"
    )
    parser.add_argument(
        "--max-text-tokens", type=whole_number(1), default=MAX_TEXT_TOKENS, metavar="N",
        help="longest text",
    )  # fmt: skip
    parser.add_argument(
        "--max-codes", type=whole_number(1), default=MAX_CODES, metavar="N",
        help="longest speech, in codec tokens of 20 ms",
    )  # fmt: skip
    parser.add_argument(
        "--lookup", action=BooleanOptionalAction,
        help="guess words that came before and check several in one step: the same reply but for "
        "the rounding of sums; by default where measurements say that it comes sooner, and never "
        "with --seed",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="reply.wav", help="where to write the speech")
    parser.add_argument("--stream", action="store_true", help="text and speech as they arrive")
    parser.add_argument(
        "--pcm", metavar="FILE",
        help="with --stream: where 16-bit mono samples at 24 kHz go as they arrive; - is stdout",
    )  # fmt: skip
    parser.add_argument(
        "--preset", choices=PRESETS, help="with --stream: quality of the speech; exact by default"
    )
    parser.add_argument("--json", action="store_true", help="print one object instead of text")
    add_sampling(parser)
    add_backend(parser)


def run(args: Namespace) -> int:
    """Prints the reply, and writes the speech if `--out` names a file."""
    sampling = _check(args)
    with SampleFile(args.pcm) as pcm:
        return _answer(args, sampling, pcm)


def _answer(args: Namespace, sampling: dict[str, Any], pcm: SampleFile) -> int:
    omni = opened(args)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": args.system}]},
        {"role": "user", "content": read_pipes(args.parts)},
    ]
    options = {
        "voice": args.voice,
        "speech": _speech(args, omni.bundle),
        "use_audio_in_video": not args.no_audio_in_video,
        **sampling,
        **size_options(args),
        "seed": args.seed,
        "max_text_tokens": args.max_text_tokens,
        "max_codes": args.max_codes,
        "lookup": args.lookup,
    }
    # stdout belongs to the program or player that reads it
    words = sys.stderr if args.json or args.pcm == "-" else sys.stdout
    if args.stream:
        pcm.connect()
        preset = {} if args.preset is None else {"preset": args.preset}
        reply = _print_stream(omni.stream(messages, **preset, **options), words, pcm)
    else:
        with stage_progress() as report:
            reply = omni.generate(messages, report=report, **options)
    if args.out is not None and reply.audio.size:
        write_wav(args.out, reply.audio, reply.sample_rate_hz)
    if args.json:
        print_json(reply_facts(reply))
    elif not args.stream:
        print(for_reader(reply.text, sys.stdout))
    if args.out is not None and reply.audio.size and not args.json:
        seconds = reply.audio.size / reply.sample_rate_hz
        show(f"[{seconds:.2f} s of speech in {args.out}]", words)
    return say_outcome(reply, args.out or args.pcm)


def _speech(args: Namespace, bundle: Bundle) -> bool:
    """Returns whether the reply is spoken; says so if the bundle cannot.

    Raises:
        OmnijetError: sound is asked of a bundle without a voice.
    """
    if args.no_speech or bundle.speaks():
        return not args.no_speech
    asked = {"--out": args.out, "--pcm": args.pcm, "--voice": args.voice}
    given = ", ".join(name for name, value in asked.items() if value is not None)
    if given:
        raise no_voice(bundle.folder, given)
    say("this bundle has no voice: it answers in text only")
    return False


def _check(args: Namespace) -> dict[str, Any]:
    """Checks what is known before any work, and returns the options of sampling.

    Raises:
        OmnijetError: something contradicts or is missing.
    """
    check_parts(args)
    if not args.stream and (args.pcm or args.preset):
        given = "--pcm" if args.pcm else "--preset"
        raise OmnijetError(f"{given} works only with --stream", fix="add --stream")
    if args.json and args.pcm == "-":
        raise OmnijetError("--json and --pcm - both need stdout", fix="give --pcm a file or a pipe")
    if args.no_speech and (args.out is not None or args.pcm is not None):
        given = "--out" if args.out is not None else "--pcm"
        raise OmnijetError(
            f"{given} asks for speech, and --no-speech for none",
            fix=f"leave out {given} or --no-speech",
        )
    if args.out is not None:
        require_output(args.out)
    return sampling_options(args)


def _print_stream(stream: Stream, words: TextIO, pcm: SampleFile) -> Reply:
    """Prints text and writes samples as they arrive; returns the reply."""
    with stream:
        for event in stream:
            if isinstance(event, TextDelta):
                print(for_reader(event.text, words), end="", file=words, flush=True)
            else:
                pcm.write(pcm16(event.samples))
        print(file=words)
        return stream.reply


def reply_facts(reply: Reply) -> dict[str, Any]:
    """Returns the object that `--json` prints."""
    return {
        "text": reply.text,
        "text_ids": reply.text_ids,
        "codes": reply.codes,
        "samples": int(reply.audio.size),
        "sample_rate_hz": reply.sample_rate_hz,
        "prompt_tokens": reply.prompt_tokens,
        "finish_reason": reply.finish_reason,
        "tokens_per_step": round(reply.tokens_per_step, 3),
        "voice": reply.voice,
        "seed": reply.seed,
        "timings_ms": {stage: round(ms, 3) for stage, ms in reply.timings_ms.items()},
        "latency_ms": {what: round(ms, 3) for what, ms in reply.latency_ms.items()},
    }

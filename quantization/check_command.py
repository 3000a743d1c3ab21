"""`omnijet check BUNDLE`, and with `--fidelity` what quantization did to the bundle.

Modules that only `--fidelity` needs are imported when it is given.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnijet.runtime.bundle.folder import Bundle, check_files, left_out
from omnijet.runtime.bundle.signature import require_signature
from omnijet.runtime.commands import check
from omnijet.runtime.commands.backend_options import add_backend
from omnijet.runtime.commands.console import (
    byte_progress,
    print_json,
    print_table,
    stage_progress,
    whole_number,
)
from omnijet.runtime.commands.deep import add_deep, deep_trials, refuse_idle
from omnijet.runtime.commands.references import Compared, Way, compared, has_references
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.files.printable import one_line, show

if TYPE_CHECKING:
    from omnijet.nano.evaluation.heldout import HeldOutItem
    from omnijet.quantization.fidelity.measure import Fidelity

ITEMS = 4  # conversations for each skill


def add_arguments(parser: ArgumentParser) -> None:
    check.add_arguments(parser)
    group = parser.add_argument_group(
        "what runs here", "compares it with the references that the bundle brings: exit code 1 if "
        "it computes something else",
    )  # fmt: skip
    add_backend(group)
    group.add_argument(
        "--record-reference", action="store_true",
        help="first record the references that the bundle lacks, of graphs that ONNX Runtime runs "
        "on this machine's processor",
    )  # fmt: skip
    parser.add_argument(
        "--deep", action="store_true",
        help="also read all weights, none of which may be NaN or infinite, and run each graph once "
        "(needs omnijet[quantize])",
    )  # fmt: skip
    add_deep(parser)
    parser.add_argument(
        "--fidelity", action="store_true",
        help="compare a quantized bundle with the float one it was made from; "
        "exit code 1 if it is beyond the tolerances",
    )  # fmt: skip
    group = parser.add_argument_group("with --fidelity")
    group.add_argument(
        "--float", type=Path, metavar="BUNDLE", dest="float_bundle",
        help="the float bundle, if it has moved",
    )  # fmt: skip
    group.add_argument("--gate", type=Path, metavar="FILE", help="JSON file of tolerances")
    group.add_argument(
        "--data", type=Path, metavar="PATH",
        help="conversations (JSONL) or a folder of media, instead of Omnijet-nano's held-out set",
    )  # fmt: skip
    group.add_argument(
        "--items", type=whole_number(1), metavar="N",
        help=f"conversations for each skill (default {ITEMS}), or of the data (all); scores too",
    )  # fmt: skip
    group.add_argument(
        "--steps", type=whole_number(1), metavar="N",
        help="steps of Thinker and Talker in which their logits must stay finite",
    )  # fmt: skip
    group.add_argument(
        "--scores", action="store_true",
        help="also all scores of `omnijet eval` for both bundles (Omnijet-nano only, minutes)",
    )  # fmt: skip
    group.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")


def run(args: Namespace) -> int:
    """Checks a bundle. Exit codes: 0 passed, 1 beyond the tolerances, 2 a fault to repair."""
    if not args.fidelity:
        _refuse_options(args)
        if args.record_reference:
            _record(args.bundle)
        return check.run(args, _deep_check(args) if args.deep else None, _comparison(args))
    refuse_idle(args)
    _refuse_machine(args)
    if args.deep:
        raise OmnijetError(
            "--deep and --fidelity are two checks",
            got="both",
            fix="run `omnijet check` twice",
        )
    if args.require_signature is not None:
        require_signature(args.bundle, args.require_signature)
    return _run_fidelity(args)


def _comparison(args: Namespace) -> Callable[[Bundle], Compared | None] | None:
    """Returns what compares with references, if it was said what runs the bundle."""
    if args.provider is None and args.engines is None:
        return None
    way = Way(args.provider, args.engines)

    def compare(bundle: Bundle) -> Compared | None:
        if args.deep and not has_references(bundle):  # the graphs were run all the same
            return None
        with stage_progress() as report:
            return compared(bundle, way, seconds=args.deep_seconds, progress=report)

    return compare


def _record(folder: Path) -> None:
    """Records the references that a bundle lacks."""
    from omnijet.engines.references import record_lacking

    with stage_progress() as report:
        made = record_lacking(folder, report)
    show(f"recorded: {', '.join(made)}" if made else "the bundle has a reference of every graph")


def _refuse_machine(args: Namespace) -> None:
    """Refuses what says how a bundle runs: fidelity is measured on the graphs as they are."""
    options = {
        "--provider": args.provider, "--engines": args.engines,
        "--record-reference": args.record_reference or None,
    }  # fmt: skip
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise OmnijetError(
            "fidelity is measured on the graphs of the bundle, not on what was built of them",
            got=f"--fidelity and {', '.join(given)}",
            fix="run `omnijet check` twice",
        )


def _deep_check(args: Namespace) -> Callable[[Bundle], list[str]]:
    """Returns the check of all weights and graphs; raises now what it needs."""
    run_graphs = deep_trials(args)
    try:
        from omnijet.export.graphfile.odd_weights import odd_weights
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "omnijet":
            raise
        raise OmnijetError(
            "`omnijet check --deep` needs more than the runtime",
            expected="the extra [quantize]",
            got=f"no module named {error.name}",
            fix='pip install "omnijet[quantize]"',
        ) from error

    def deep(bundle: Bundle) -> list[str]:
        absent = set(left_out(bundle.folder, bundle.manifest).values())
        graphs = {k: entry for k, entry in bundle.manifest.graphs.items() if k not in absent}
        with byte_progress() as progress:
            total = sum(entry.weight_bytes for entry in graphs.values())
            task = progress.add_task("reading weights", total=total)
            faults = [
                f"{entry.weights}: {fault}"
                for name, entry in graphs.items()
                for fault in odd_weights(
                    bundle.graph(name), lambda count: progress.advance(task, count)
                )
            ]
        return faults + run_graphs(bundle)

    return deep


def _refuse_options(args: Namespace) -> None:
    """Refuses options that would do nothing."""
    refuse_idle(args)
    options = {
        "--float": args.float_bundle, "--gate": args.gate, "--data": args.data,
        "--items": args.items, "--steps": args.steps, "--scores": args.scores or None,
        "--html": args.html,
    }  # fmt: skip
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise OmnijetError(
            "options that need --fidelity",
            got=", ".join(given),
            fix="add --fidelity",
        )


def _run_fidelity(args: Namespace) -> int:
    from omnijet.quantization.fidelity.float_bundle import float_bundle
    from omnijet.quantization.fidelity.gate import default_gate, faults, judge, read_gate
    from omnijet.quantization.fidelity.report import html, tables, to_json
    from omnijet.runtime.bundle.output import require_output
    from omnijet.runtime.files.whole_file import write_whole

    # all mistakes are reported before the first long step
    gate = default_gate() if args.gate is None else read_gate(args.gate)
    if args.html is not None:
        require_output(args.html)
    quantized = Bundle.open(args.bundle)
    reference = float_bundle(quantized, args.float_bundle)
    _check_hashes(quantized)
    fidelity = _measured(reference, quantized, args)
    judgements = judge(fidelity, gate)
    found = faults(fidelity, judgements)
    if args.html is not None:
        write_whole(args.html, html(fidelity, judgements).encode("utf-8", "xmlcharrefreplace"))
    if args.format == "json":
        print_json(to_json(fidelity, judgements))
        return 1 if found else 0
    for table in tables(fidelity, judgements):
        print_table(table)
    for fault in found:
        show(f"FAILED {one_line(fault)}")
    show("FAILED" if found else "PASSED")
    return 1 if found else 0


def _check_hashes(bundle: Bundle) -> None:
    total = sum(entry.bytes for entry in bundle.manifest.files.values())
    with byte_progress() as progress:
        task = progress.add_task("hashing", total=total)
        faults = check_files(bundle, lambda count: progress.advance(task, count))
    if faults:
        raise OmnijetError(
            "files of the bundle differ from the manifest",
            where=bundle.folder,
            got="\n            ".join(faults),
            fix="copy the bundle again, or quantize again",
        )


def _measured(reference: Bundle, quantized: Bundle, args: Namespace) -> Fidelity:
    from dataclasses import replace

    from omnijet.nano.evaluation.heldout import open_set
    from omnijet.nano.evaluation.recogniser import Recogniser
    from omnijet.quantization.fidelity.measure import measure
    from omnijet.quantization.fidelity.scores import score_changes

    if args.scores and reference.manifest.dims.has_voice:
        Recogniser()  # reports now if it is not installed
    with stage_progress() as report:
        with _conversations(args) as conversations:
            fidelity = measure(reference, quantized, conversations, steps=args.steps, report=report)
        if args.scores:
            with open_set() as items:
                asked = _first(items, args.items or len(items))
                changes = score_changes(reference, quantized, asked, report)
            fidelity = replace(fidelity, scores=changes)
    return fidelity


@contextmanager
def _conversations(args: Namespace) -> Iterator[list[list[dict[str, Any]]]]:
    """Yields the conversations to compare on; their media exist inside the context."""
    if args.data is None:
        from omnijet.nano.evaluation.heldout import open_set

        with open_set() as items:
            yield [list(item.messages) for item in _first(items, args.items or ITEMS)]
        return
    from omnijet.quantization.calibration.conversations import open_conversations

    with open_conversations(args.data) as found:
        yield [item.messages for item in found.items[: args.items]]


def _first(items: Sequence[HeldOutItem], count: int) -> list[HeldOutItem]:
    """Returns the first `count` items of each skill."""
    return [item for item in items if item.number < count]

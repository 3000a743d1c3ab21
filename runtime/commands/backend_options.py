"""The options that name what runs a bundle: `--provider` and `--engines`."""

from __future__ import annotations

from argparse import ArgumentParser, _ArgumentGroup

from omnijet.runtime.backends.choose import BACKENDS, DEFAULT, PROVIDERS


def add_backend(parser: ArgumentParser | _ArgumentGroup) -> None:
    providers = [f"{row.name}: {row.title}" for row in BACKENDS if row.option == "provider"]
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--provider",
        choices=PROVIDERS,
        help=f"what runs the ONNX graphs ({', '.join(providers)}); {DEFAULT.name} by default",
    )
    group.add_argument(
        "--engines", metavar="TARGET", help="run what `omnijet build` made for this target"
    )

"""`optimum-cli export omnijet CHECKPOINT BUNDLE`: the same as `omnijet export`.

The wheel installs this file as `optimum/commands/register/register_omnijet.py`, where optimum
looks for sub-commands of other packages (`optimum.commands.optimum_cli`, optimum 2.1). It is
imported at every start of `optimum-cli`, and so imports nothing heavy.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

from omnijet import cli
from omnijet.export.arguments import add_arguments


class OmnijetExportCommand(BaseOptimumCLICommand):  # type: ignore[misc]  # optimum is not there
    COMMAND = CommandInfo(
        name="omnijet", help="Export Qwen2.5-Omni to ONNX graphs for TensorRT and ONNX Runtime."
    )

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        add_arguments(parser)

    def run(self) -> None:
        sys.exit(cli.run_verb("export", self.args))


REGISTER_COMMANDS = [(OmnijetExportCommand, ExportCommand)]

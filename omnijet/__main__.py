"""The `omnijet` command as a process: `omnijet`, and `python -m omnijet`."""

import sys

from omnijet.runtime.child.search_path import leave_current_folder

leave_current_folder()  # `python -m` has it on the path: what lies there must not be imported

from omnijet.process import fill_closed, heed_signals  # noqa: E402


def main() -> int:
    """Runs the command that the process was started for."""
    heed_signals()
    fill_closed()
    from omnijet.cli import main as command  # it takes a while

    return command()


if __name__ == "__main__":
    sys.exit(main())

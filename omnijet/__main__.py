"""`python -m omnijet` is the `omnijet` command."""

import sys

from omnijet.cli import main

sys.exit(main())

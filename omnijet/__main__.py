"""`python -m omnijet` is the `omnijet` command."""

import sys

from omnijet import main

sys.exit(main())

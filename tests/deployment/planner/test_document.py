"""The page "what fits where" is what the planner says."""

from __future__ import annotations

import re

from omnijet.deployment.planner.document import what_fits
from omnijet.engines.targets.target import TARGETS
from omnijet.quantization.recipes import RECIPES
from tools.what_fits import PAGE


def test_the_page_is_current() -> None:
    """`python -m tools.what_fits` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == what_fits()
    rows = re.findall(r"^\| `([\w-]+)` \|", page, re.M)
    assert rows == [*TARGETS, *TARGETS]
    header = next(line for line in page.splitlines() if line.startswith("| target"))
    assert all(f"`{recipe}`" in header for recipe in RECIPES)

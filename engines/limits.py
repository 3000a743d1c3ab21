"""Largest sizes of inputs by default, from a machine's memory."""

from __future__ import annotations

from collections.abc import Mapping


def limits_for(memory_gb: float | None) -> Mapping[str, int]:
    """Largest size of each symbol of `runtime.contract.AXES`."""
    capacity = 4096 if memory_gb is not None and memory_gb < 12 else 8192
    return {
        "rows": 512, "capacity": capacity, "cells": 1024, "windows": 81, "chunks": 15,
        "tokens": 750, "blocks": 16, "branches": 2, "frames": 400,
    }  # fmt: skip

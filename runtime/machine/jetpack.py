"""The version of JetPack, from that of Jetson Linux (L4T).

Sources: NVIDIA, JetPack archive and Jetson Linux archive; for 39.2 the updates of meta-tegra to
"JetPack 7.2 / L4T R39.2.0" and "JetPack 7.2.1 / L4T R39.2.1".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

JETPACKS: Mapping[str, str] = {
    "32.7": "4.6",
    "35.1": "5.0",
    "35.2": "5.1",
    "35.3": "5.1",
    "35.4": "5.1",
    "35.5": "5.1",
    "35.6": "5.1",
    "36.2": "6.0",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2",
    "36.4.7": "6.2",
    "36.5": "6.2",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
"""Jetson Linux -> JetPack. A row of two numbers holds for its later patches, too."""

_RELEASE = re.compile(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")


def parse_release(text: str) -> str | None:
    """Returns the version of Jetson Linux, such as "36.4.3"; None: the text names none.

    Args:
        text: of /etc/nv_tegra_release: "# R36 (release), REVISION: 4.3, GCID: ...".
    """
    found = _RELEASE.search(text)
    return f"{found.group(1)}.{found.group(2)}" if found else None


def jetpack_of(l4t: str) -> str | None:
    """Returns the major and minor version of JetPack, such as "6.2"; None: unknown."""
    return JETPACKS.get(l4t) or JETPACKS.get(".".join(l4t.split(".")[:2]))

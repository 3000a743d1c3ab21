"""Writes the report of a deployment, as JSON and as a page."""

from __future__ import annotations

from omnijet.deployment.deploy.folder import Folder
from omnijet.deployment.deploy.page import html
from omnijet.deployment.deploy.report import Report
from omnijet.runtime.files.printable import json_shown
from omnijet.runtime.files.whole_file import write_whole


def write_report(report: Report, folder: Folder) -> None:
    """Writes both files whole. Raises `OSError` if the disk fails."""
    data = f"{json_shown(report.to_json())}\n".encode("utf-8", "backslashreplace")
    write_whole(folder.report, data, follow_link=False)
    page = html(report).encode("utf-8", "xmlcharrefreplace")
    write_whole(folder.page, page, follow_link=False)

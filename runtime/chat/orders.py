"""What the orders of a chat do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnijet.runtime.bundle.output import require_output
from omnijet.runtime.chat.dialog import Dialog
from omnijet.runtime.chat.pictures import picture_parts
from omnijet.runtime.chat.slash import Order
from omnijet.runtime.chat.view import View
from omnijet.runtime.errors import OmnijetError

Parts = list[dict[str, Any]]


class Orders:
    """Carries out orders. What a user did wrong is told, and ends nothing.

    Args:
        dialog: the conversation.
        view: where faults and results are told.
        clip: makes the parts of a message of a clip.
        help_lines: what `/help` shows.

    Attributes:
        has_quit: whether `/quit` was given.
    """

    def __init__(
        self, dialog: Dialog, view: View, clip: Callable[[Path], Parts], help_lines: list[str]
    ) -> None:
        self.has_quit = False
        self._dialog, self._view, self._clip, self._lines = dialog, view, clip, help_lines

    def carry_out(self, order: Order) -> None:
        """Does what was ordered."""
        try:
            getattr(self, f"_{order.name}")(order.argument)
        except OmnijetError as error:
            self._view.tell(str(error))
        except OSError as error:
            self._view.tell(f"{error.filename or order.argument}: {error.strerror or error}")

    def _image(self, argument: str) -> None:
        self._show(argument, picture_parts)

    def _video(self, argument: str) -> None:
        self._show(argument, self._clip)

    def _show(self, argument: str, read: Callable[[Path], Parts]) -> None:
        path = Path(argument).expanduser()
        self._dialog.show(read(path), f"({path.name})")
        self._view.tell(f"shown: {argument}")

    def _voice(self, argument: str) -> None:
        self._dialog.use_voice(argument)

    def _reset(self, argument: str) -> None:
        self._dialog.reset()
        self._view.tell("a new conversation")

    def _save(self, argument: str) -> None:
        path = Path(argument).expanduser()
        if path.suffix.lower() == ".wav":  # that is the sound's name
            path = path.with_suffix(".json")
        require_output(path)
        for written in self._dialog.record.save(path):
            self._view.tell(f"written: {written}")

    def _help(self, argument: str) -> None:
        for line in self._lines:
            self._view.tell(line)

    def _quit(self, argument: str) -> None:
        self.has_quit = True

"""Shows a chat on a terminal: what was said, and below it what goes on now."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from omnijet.runtime.chat.view import Phase
from omnijet.runtime.files.printable import one_line, printable

_COLOURS = {
    Phase.READY: "green",
    Phase.LISTENING: "green",
    Phase.HEARING: "cyan",
    Phase.THINKING: "yellow",
    Phase.SPEAKING: "magenta",
}
_HINT = "/help"


class Screen:
    """A `View` whose last lines are written again and again: a reply that grows, status, typing."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._phase = Phase.READY
        self._reply, self._typed, self._note = "", "", ""
        self._live = Live(
            self._below(), console=self._console, auto_refresh=False, transient=True,
            redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop",
        )  # fmt: skip
        self._live.start(refresh=True)

    def phase(self, phase: Phase) -> None:
        """See `View.phase`."""
        if phase is not self._phase:
            self._phase = phase
            self._draw()

    def question(self, text: str) -> None:
        """See `View.question`."""
        self._line("you", "bold cyan", text)

    def answer(self, text: str) -> None:
        """See `View.answer`."""
        self._reply += text
        self._draw()

    def answered(self, note: str | None) -> None:
        """See `View.answered`."""
        reply, self._reply = self._reply, ""
        if reply:
            self._line("reply", "bold magenta", f"{reply} [{note}]" if note else reply)
        self._draw()

    def latency(self, milliseconds: float) -> None:
        """See `View.latency`."""
        self._note = f"answered after {milliseconds:.0f} ms"
        self._draw()

    def tell(self, text: str) -> None:
        """See `View.tell`."""
        self._live.console.print(Text(printable(text), style="dim"))

    def typing(self, text: str) -> None:
        """See `View.typing`."""
        self._typed = text
        self._draw()

    def close(self) -> None:
        """See `View.close`."""
        if self._reply:
            self.answered(None)
        self._live.stop()

    def _line(self, who: str, style: str, text: str) -> None:
        self._live.console.print(Text.assemble((f"{who}: ", style), printable(text)))

    def _draw(self) -> None:
        self._live.update(self._below(), refresh=True)

    def _below(self) -> Group:
        status = Text.assemble(
            ("● ", _COLOURS[self._phase]), self._phase.value,
            (f"   {one_line(self._note)}" if self._note else "", "dim"), (f"   {_HINT}", "dim"),
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        typed = Text(f"> {one_line(self._typed)}▏", no_wrap=True, overflow="ellipsis")
        rows = [Text.assemble(("reply: ", "bold magenta"), printable(self._reply))]
        return Group(*(rows if self._reply else []), status, typed)

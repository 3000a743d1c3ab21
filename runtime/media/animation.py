"""Animated pictures as clips: GIF, APNG, WebP and AVIF, read by Pillow.

FFmpeg reads only some of them, and shows what is transparent in any colour.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from omnijet.runtime.cancel import Check
from omnijet.runtime.media.clip_times import Mark, Stamps, stamps_of
from omnijet.runtime.media.film import require_frame_size
from omnijet.runtime.media.source import opened

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
TICK_SECONDS = 0.001
# browsers show a frame for a tenth of a second if it is to last no longer than a hundredth
SHORTEST_SECONDS, USUAL_SECONDS = 0.01, 0.1


def is_picture(source: Path | bytes) -> bool:
    """Returns whether a source is a picture that may move."""
    try:
        with _quiet(), Image.open(opened(source), formats=FORMATS):
            return True
    except Exception:  # whatever a parser runs into: it is none
        return False


@dataclass(slots=True)
class Animation:
    """A picture that moves, or a clip of one frame.

    Attributes:
        damage: what went wrong when frames were read, and how often.
    """

    source: Path | bytes
    where: object
    check: Check
    damage: dict[str, int] = field(default_factory=dict)

    def stamps(self) -> Stamps:
        """Reads how long each frame stays.

        Raises:
            ValueError: there is no frame.
            OmnijetError: a frame is larger than can be decoded here.
        """
        marks = [mark for mark, _ in self.frames()]
        if not marks:
            raise ValueError(next(iter(self.damage), "it has no frame"))
        lasts = {mark.lasts for mark in marks}
        return stamps_of(marks, TICK_SECONDS, 1 / lasts.pop() if len(lasts) == 1 else None)

    def frames(self) -> Iterator[tuple[Mark, Callable[[], Image.Image]]]:
        """Decodes the frames in the order of display, up to the first that is damaged."""
        self.damage.clear()
        shown, number = 0.0, 0
        with _quiet(), Image.open(opened(self.source), formats=FORMATS) as image:
            require_frame_size(image.width, image.height, self.where)
            if image.info.get("default_image"):  # of an APNG, for readers that know no animation
                number = 1
            while self._reach(image, number):
                self.check()
                lasts = float(image.info.get("duration") or 0) / 1000
                lasts = lasts if SHORTEST_SECONDS < lasts < float("inf") else USUAL_SECONDS
                yield Mark(shown, shown, lasts), lambda: on_white(image)
                shown += lasts
                number += 1

    def _reach(self, image: Image.Image, number: int) -> bool:
        try:
            image.seek(number)
            image.load()
        except EOFError:
            return False
        except Exception as error:  # on a damaged file, Pillow raises whatever it runs into
            words = f"{type(error).__name__}: {error}"
            self.damage[words] = self.damage.get(words, 0) + 1
            return False
        return True


def on_white(image: Image.Image) -> Image.Image:
    """Returns an RGB copy of a picture; white shows where it is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

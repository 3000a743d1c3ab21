"""Animated pictures as clips: GIF, APNG, WebP and AVIF, read by Pillow.

FFmpeg reads only some of them, and shows what is transparent in any colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from omnijet.runtime.cancel import Check
from omnijet.runtime.errors import OmnijetError
from omnijet.runtime.media.allowed import ANIMATIONS, SURE_PICTURES
from omnijet.runtime.media.clip_times import Mark, Stamps, stamps_of
from omnijet.runtime.media.film import require_frame_size
from omnijet.runtime.media.image import load_image
from omnijet.runtime.media.picture_file import picture_format, picture_of, quiet_pillow

MOST_PIXELS = 1 << 34
"""Of all frames: a few bytes make a frame of any size, and each takes its time."""
TICK_SECONDS = 0.001
# browsers show a frame for a tenth of a second if it is to last no longer than a hundredth
SHORTEST_SECONDS, USUAL_SECONDS = 0.01, 0.1


def is_picture(source: Path | bytes) -> bool:
    """Returns whether a source is a picture that may move."""
    return picture_format(source, SURE_PICTURES) is not None


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
        shown, number, pixels = 0.0, 0, 0
        with ExitStack() as stack:
            with quiet_pillow():
                image = stack.enter_context(picture_of(self.source, self.where, SURE_PICTURES))
            if image.format not in ANIMATIONS:
                require_frame_size(image.width, image.height, self.where)
                yield Mark(0.0, 0.0, USUAL_SECONDS), lambda: load_image(self.source, self.where)
                return
            if image.info.get("default_image"):  # of an APNG, for readers that know no animation
                number = 1
            while True:
                require_frame_size(image.width, image.height, self.where)
                pixels += image.width * image.height
                self._require_end(pixels)
                if not self._reach(image, number):
                    return
                self.check()
                lasts = float(image.info.get("duration") or 0) / 1000
                lasts = lasts if SHORTEST_SECONDS < lasts < float("inf") else USUAL_SECONDS
                yield Mark(shown, shown, lasts), lambda: on_white(image)
                shown += lasts
                number += 1

    def _require_end(self, pixels: int) -> None:
        if pixels > MOST_PIXELS:
            raise OmnijetError(
                "the animation is too long, or too large",
                where=self.where,
                expected=f"at most {MOST_PIXELS // 10**6:,} megapixels in all its frames",
                got="more",
                fix="make a clip of it, for example: ffmpeg -i FILE -vf scale=640:-2 out.mp4",
            )

    def _reach(self, image: Image.Image, number: int) -> bool:
        try:
            with quiet_pillow():
                image.seek(number)
                image.load()
        except EOFError:
            return False
        except MemoryError:
            raise
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

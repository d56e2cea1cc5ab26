"""Pictures of text: words of a published list, in fonts of a published wheel, seeded."""

from __future__ import annotations

import dataclasses
import functools
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from packages import Package
from pictures import photographs
from word_pairs import words

MATPLOTLIB = Package(
    "matplotlib",
    "3.11.2",
    "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
)
FOLDER = "matplotlib/mpl-data/fonts/ttf"
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
MARGIN = 6
PAGE = 640


@dataclasses.dataclass(frozen=True)
class Line:
    """A picture of one line, RGB, and what is written on it."""

    text: str
    picture: Image.Image


def lines(count: int, *, seed: int, longest: int) -> list[Line]:
    """Return pictures of single lines of at most that many characters.

    Words and numbers in five fonts, sizes from 28 to 44, dark on light in any tint, a little
    blurred and noisy.
    """
    random = np.random.default_rng(seed)
    return [_line(phrase(random, longest), random) for _ in range(count)]


def pages(count: int, *, seed: int) -> list[Image.Image]:
    """Return pages of 640x640 with several lines each, every second one on a photograph."""
    random = np.random.default_rng(seed)
    photos = photographs()
    return [
        _page(random, photos[index // 2 % len(photos)] if index % 2 else None)
        for index in range(count)
    ]


def phrase(random: np.random.Generator, longest: int) -> str:
    """Return one to three words, sometimes with a number, of at most that many characters."""
    known = [word for word in words() if len(word) <= longest]
    text = _word(known, random)
    for _ in range(int(random.integers(0, 3))):
        number = str(random.integers(0, 10_000))
        longer = f"{text} {number if random.random() < 0.3 else _word(known, random)}"
        text = longer if len(longer) <= longest else text
    return text


@functools.cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of the wheel."""
    return ImageFont.truetype(io.BytesIO(MATPLOTLIB.read(f"{FOLDER}/{name}.ttf")), size)


def any_font(random: np.random.Generator, low: int, high: int) -> ImageFont.FreeTypeFont:
    """Return one of the fonts, in a size of that range."""
    return font(str(random.choice(FONTS)), int(random.integers(low, high)))


def _word(known: list[str], random: np.random.Generator) -> str:
    word = str(random.choice(known))
    return (word.lower(), word.capitalize(), word.upper())[int(random.integers(0, 3))]


def _line(text: str, random: np.random.Generator) -> Line:
    face = any_font(random, 28, 45)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(text))
    size = (right - left + 2 * MARGIN, bottom - top + 2 * MARGIN)
    picture = Image.new("RGB", size, _tint(random, 190, 256))
    place = (MARGIN - left, MARGIN - top)
    ImageDraw.Draw(picture).text(place, text, font=face, fill=_tint(random, 0, 90))
    return Line(text, _worn(picture, random))


def _page(random: np.random.Generator, photo: Image.Image | None) -> Image.Image:
    page = Image.new("RGB", (PAGE, PAGE), _tint(random, 200, 256))
    if photo is not None:
        page = photo.resize((PAGE, PAGE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(page)
    top = int(random.integers(10, 60))
    while top < PAGE - 60:
        face = any_font(random, 16, 45)
        fill = _tint(random, 0, 90) if photo is None else _tint(random, 200, 256)
        place = (int(random.integers(10, PAGE // 3)), top)
        draw.text(place, phrase(random, 24), font=face, fill=fill)
        top += int(face.size * random.uniform(1.3, 2.5))
    return _worn(page, random)


def _tint(random: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in random.integers(low, high, 3))
    return red, green, blue


def _worn(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Blur a picture and add noise."""
    blurred = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))
    pixels = np.asarray(blurred, np.float32)
    noise = random.normal(0, random.uniform(0, 6), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))

"""ddddocr's detector of characters in captchas: a YOLOX, SiLU, 416x416.

Its inputs are synthesised: letters and signs of all colours, turned, on pieces of photographs.
They are prepared as the package does it: blue, green, red, bytes as floats.
"""

from __future__ import annotations

import numpy as np
import onnx
from PIL import Image, ImageDraw

from benchmark_model import Sample
from packages import Package
from pictures import pieces
from text_pictures import any_font

PACKAGE = Package(
    "ddddocr", "1.6.1", "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935"
)
MEMBER = "ddddocr/common_det.onnx"
SIDE = 416
SIGNS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghijmnqrty23456789"
TEST_SEED, CALIBRATION_SEED = 0, 1


def captcha_detector() -> onnx.ModelProto:
    """Return the model: `images` 1x3x416x416 to `output` 1x3549x6."""
    return onnx.load_from_string(PACKAGE.read(MEMBER))


def captcha_samples(count: int, *, seed: int = TEST_SEED) -> list[Sample]:
    """Return captchas as the model takes them."""
    random = np.random.default_rng(seed)
    pictures = [_captcha(piece, random) for piece in pieces(count)]
    return [{"images": _pixels(picture)[None]} for picture in pictures]


def _captcha(piece: Image.Image, random: np.random.Generator) -> Image.Image:
    picture = piece.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    for _ in range(int(random.integers(3, 7))):
        sign = _sign(random)
        left, top = (int(random.integers(0, SIDE - length)) for length in sign.size)
        picture.paste(sign, (left, top), sign)
    return picture


def _sign(random: np.random.Generator) -> Image.Image:
    """Return a character of any colour, turned, on a transparent ground."""
    face = any_font(random, 48, 80)
    side = 2 * int(face.size)
    picture = Image.new("RGBA", (side, side))
    red, green, blue = (int(channel) for channel in random.integers(0, 256, 3))
    text = str(random.choice(list(SIGNS)))
    middle = (side // 2, side // 2)
    ImageDraw.Draw(picture).text(middle, text, (red, green, blue), font=face, anchor="mm")
    turned = picture.rotate(random.uniform(-45, 45), Image.Resampling.BICUBIC)
    return turned.crop(turned.getbbox())


def _pixels(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(picture, np.float32)[..., ::-1].transpose(2, 0, 1).copy()

"""Pictures out of published wheels: labelled ones to test with, others to calibrate."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from packages import Package

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

FOOLBOX = Package(
    "foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
)
SCIKIT_IMAGE = Package(
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)
SCIKIT_LEARN = Package(
    "scikit-learn",
    "1.9.1",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
)
PHOTOGRAPHS = (
    "skimage/data/astronaut.png",
    "skimage/data/brick.png",
    "skimage/data/camera.png",
    "skimage/data/chelsea.png",
    "skimage/data/coffee.png",
    "skimage/data/coins.png",
    "skimage/data/grass.png",
    "skimage/data/gravel.png",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/moon.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/motorcycle_right.png",
    "skimage/data/retina.jpg",
    "skimage/data/rocket.jpg",
)
"""Of scikit-image's pictures, the photographs; the rest is drawings and text."""

SHORT_SIDE, CROP = 256, 224
MEAN, STD = 0.498, 0.502
SEED = 0


def imagenet() -> tuple[Floats, Labels]:
    """Return foolbox's 20 ImageNet photos, 20x3x224x224, with their classes."""
    pictures, labels = _labelled("imagenet")
    centre = (0.5, 0.5)
    return np.stack([_imagenet_input(picture, centre) for picture in pictures]), labels


def cifar10() -> tuple[Floats, Labels]:
    """Return foolbox's 20 CIFAR-10 pictures, 20x32x32x3, with their classes."""
    pictures, labels = _labelled("cifar10")
    return np.stack([_cifar_input(picture) for picture in pictures]), labels


def imagenet_like(count: int) -> Floats:
    """Return pieces of photographs as an ImageNet model takes them, count x3x224x224."""
    random = np.random.default_rng(SEED)
    photos = photographs()
    inputs = [
        _imagenet_input(photos[index % len(photos)], tuple(random.random(2)))
        for index in range(count)
    ]
    return np.stack(inputs)


def cifar_like(count: int) -> Floats:
    """Return pieces of photographs as a CIFAR-10 model takes them, count x32x32x3."""
    size = (32, 32)
    inputs = [
        _cifar_input(piece.resize(size, Image.Resampling.BICUBIC)) for piece in pieces(count)
    ]
    return np.stack(inputs)


def pieces(count: int) -> list[Image.Image]:
    """Return squares out of photographs, of random sizes."""
    random = np.random.default_rng(SEED)
    photos = photographs()
    found = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * random.uniform(0.25, 1))
        found.append(_crop(photo, side, tuple(random.random(2))))
    return found


def imagenet_photos() -> list[Image.Image]:
    """Return foolbox's 20 ImageNet photos as they are stored."""
    return _labelled("imagenet")[0]


def photographs() -> list[Image.Image]:
    """Return photographs that no labelled set here holds."""
    found = [SCIKIT_IMAGE.read(name) for name in PHOTOGRAPHS]
    names = SCIKIT_LEARN.members("sklearn/datasets/images/")
    found += [SCIKIT_LEARN.read(name) for name in names if name.endswith(".jpg")]
    return [_decode(data) for data in found]


PICTURES: Mapping[str, Callable[[], int]] = {
    "imagenet": lambda: len(imagenet()[0]),
    "cifar10": lambda: len(cifar10()[0]),
    "photographs": lambda: len(photographs()),
}
"""What can be fetched, by name; each answers how many pictures there are."""


def _labelled(data_set: str) -> tuple[list[Image.Image], Labels]:
    """Return pictures whose file names end in the class: `cifar10_07_6.png`."""
    names = FOOLBOX.members(f"foolbox/data/{data_set}_")
    labels = [int(name.rsplit("_", 1)[1].split(".")[0]) for name in names]
    return [_decode(FOOLBOX.read(name)) for name in names], np.array(labels, np.int64)


def _decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _crop(picture: Image.Image, side: int, place: tuple[float, ...]) -> Image.Image:
    """Cut a square out; place (0.5, 0.5) is the centre."""
    left, top = (
        int((length - side) * share) for length, share in zip(picture.size, place, strict=True)
    )
    return picture.crop((left, top, left + side, top + side))


def _imagenet_input(picture: Image.Image, place: tuple[float, ...]) -> Floats:
    factor = SHORT_SIDE / min(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    square = _crop(picture.resize(size, Image.Resampling.BICUBIC), CROP, place)
    pixels = np.asarray(square, np.float32) / 255
    return np.asarray((pixels - MEAN) / STD, np.float32).transpose(2, 0, 1)


def _cifar_input(picture: Image.Image) -> Floats:
    """Return the picture as ResNet-8 was trained: each byte less 128, over 128."""
    pixels = np.asarray(picture, np.float32)
    return np.asarray((pixels - 128) / 128, np.float32)

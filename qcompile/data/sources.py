"""Where samples come from: an .npz file, a folder of files, a Python iterable."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qcompile.data.npy import (
    Array,
    Stored,
    check_size,
    naming_damage,
    read_elements,
    read_header,
    read_npy,
)
from qcompile.errors import CompileError

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm"})
SAMPLES = IMAGES | {".npy"}
"""What a folder of samples is looked through for."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The arrays of one sample as they were stored, without an axis of samples.

    Attributes:
        where: What to call it in an error.
        arrays: By name.
        is_image: Whether they are pictures: height, width, channels.
    """

    where: str
    arrays: Mapping[str, Array]
    is_image: bool = False


class Source(Protocol):
    """Gives the samples in order, each time from the first."""

    @property
    def count(self) -> int | None:
        """The number of samples, None where only a pass over them tells."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """Read them one at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class NpzSource:
    """Arrays in a zip archive, read a sample at a time.

    An array in Fortran order is held in memory whole: its samples are interleaved.

    Attributes:
        path: The archive.
        names: The arrays to read.
        stored: What the archive says of every array that it holds.
    """

    path: Path
    names: tuple[str, ...]
    stored: Mapping[str, Stored]

    @classmethod
    def open(cls, path: Path, names: Sequence[str]) -> NpzSource:
        """Read the headers, and nothing else.

        Raises:
            CompileError: Not an archive, damaged, an array that needs unpickling.
        """
        with naming_damage(path), zipfile.ZipFile(path) as archive:
            stored = {}
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    name = entry.filename.removesuffix(".npy")
                    with archive.open(entry) as stream:
                        stored[name] = read_header(stream, f"{path}: array {name!r}")
                    check_size(stored[name], entry.file_size, f"{path}: array {name!r}")
        return cls(path, tuple(names), stored)

    @property
    def count(self) -> int:
        """The length of the first axis, 0 where there is none."""
        return (*self.stored[self.names[0]].shape, 0)[0]

    def __iter__(self) -> Iterator[Sample]:
        """Read them one at a time."""
        with naming_damage(self.path), zipfile.ZipFile(self.path) as archive:
            rows = {name: self._rows(archive, name) for name in self.names}
            for index in range(self.count):
                arrays = {name: next(row) for name, row in rows.items()}
                yield Sample(f"{self.path}: sample {index}", arrays)

    def _rows(self, archive: zipfile.ZipFile, name: str) -> Iterator[Array]:
        stored = self.stored[name]
        with archive.open(f"{name}.npy") as stream:
            stream.read(stored.offset)
            if stored.fortran:
                yield from read_elements(stream, stored.shape[::-1], stored.dtype).T
                return
            for _ in range(stored.shape[0]):
                yield read_elements(stream, stored.shape[1:], stored.dtype)
            stream.read(1)  # reaching the end is what checks the CRC


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """One sample a file: `.npy` arrays or images, in the order of their names.

    Attributes:
        paths: The files.
        name: The model's only input.
        channels: Channels that images are converted to: 1, 3 or 4.
    """

    paths: tuple[Path, ...]
    name: str
    channels: int

    @classmethod
    def open(cls, folder: Path, name: str, channels: int) -> FolderSource:
        """List the folder; other files than arrays and images are not looked at.

        Raises:
            CompileError: It holds both arrays and images.
        """
        with naming_damage(folder):
            files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        arrays = [path for path in files if path.suffix.lower() == ".npy"]
        images = [path for path in files if path.suffix.lower() in IMAGES]
        if arrays and images:
            raise CompileError(
                f"both arrays ({arrays[0].name}) and images ({images[0].name})",
                where=str(folder),
                hint="give a folder of one kind",
            )
        return cls(tuple(arrays or images), name, channels)

    @property
    def count(self) -> int:
        """The number of files."""
        return len(self.paths)

    def __iter__(self) -> Iterator[Sample]:
        """Read them one at a time."""
        for path in self.paths:
            is_image = path.suffix.lower() in IMAGES
            with naming_damage(path):
                array = read_image(path, self.channels) if is_image else read_npy(path)
            yield Sample(str(path), {self.name: array}, is_image)


@dataclasses.dataclass
class IterableSource:
    """A Python iterable of `{name: array}`; an iterator among them can be used once.

    Attributes:
        items: The iterable.
        ranks: The rank of one sample of each name; an array of one axis more holds several.
        used: Whether a pass was begun.
    """

    items: Iterable[Mapping[str, npt.ArrayLike]]
    ranks: Mapping[str, int]
    used: bool = False

    @property
    def count(self) -> None:
        """Unknown: an item may hold several samples."""
        return

    def __iter__(self) -> Iterator[Sample]:
        """Take the items one at a time and cut them into samples."""
        if self.used and iter(self.items) is self.items:
            raise CompileError(
                "the iterator is used up",
                where="data",
                hint="give a list, or a new generator",
            )
        self.used = True
        for index, item in enumerate(self.items):
            where = f"item {index} of the data"
            if not isinstance(item, Mapping):
                raise CompileError(
                    f"is {type(item).__name__}, not {{name: array}}",
                    where=where,
                    hint=f"give {{{next(iter(self.ranks))!r}: array}}",
                )
            yield from self._cut(item, where)

    def _cut(self, item: Mapping[str, npt.ArrayLike], where: str) -> Iterator[Sample]:
        missing = next((name for name in self.ranks if name not in item), None)
        if missing is not None:
            raise missing_array(missing, item, where)
        try:
            arrays = {name: np.asarray(item[name]) for name in self.ranks}
        except ValueError as error:
            raise CompileError(f"not arrays: {error}", where=where) from error
        if all(arrays[name].ndim == rank for name, rank in self.ranks.items()):
            yield Sample(where, arrays)
            return
        lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise differing_lengths(lengths, where)
        for index in range(next(iter(lengths.values()))):
            yield Sample(
                f"{where}, sample {index}",
                {name: array[index] for name, array in arrays.items()},
            )


def read_image(path: Path, channels: int) -> Array:
    """Read an image as uint8[height, width, channels]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    except (Image.DecompressionBombError, SyntaxError) as error:  # Pillow's for a broken PNG
        raise ValueError(str(error)) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def missing_array(name: str, there: Iterable[str], where: str) -> CompileError:
    """Return the error for data without an array of that name."""
    names = ", ".join(repr(key) for key in there) or "nothing"
    return CompileError(
        f"no array {name!r}",
        where=where,
        hint=f"it holds {names}; arrays are named as the model's inputs",
    )


def differing_lengths(lengths: Mapping[str, int], where: str) -> CompileError:
    """Return the error for arrays whose numbers of samples differ."""
    told = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
    return CompileError(
        f"the arrays hold different numbers of samples: {told}",
        where=where,
        hint="the first axis of every array is the sample",
    )

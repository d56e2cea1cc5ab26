"""Calibration and validation data: samples one at a time, as the model wants them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.data.preprocess import InputSpec, Preprocess, check_dtype, convert, fit_axes
from qcompile.data.sources import (
    FolderSource,
    IterableSource,
    NpzSource,
    Source,
    differing_lengths,
    missing_array,
)
from qcompile.errors import CompileError

__all__ = ["Data", "Dataset", "InputSpec", "Preprocess", "input_specs", "load_data"]

Array = npt.NDArray[np.generic]
Data = str | Path | Iterable[Mapping[str, npt.ArrayLike]] | Mapping[str, npt.ArrayLike]
"""What a user may give: a file, a folder, `{name: array}`, or an iterable of those."""

CHANNELS = (3, 1, 4)
"""Channels an image can have; where a shape fits several, the first."""


class Dataset:
    """Samples that can be gone through again and again, one in memory at a time.

    A model whose inputs all have the same first axis takes that many samples a run; one
    whose inputs have not takes one sample, of the whole shape.

    Attributes:
        inputs: What the model takes.
        batch: Samples a run, None where the inputs have no batch axis in common.
        count: The number of samples; None for an iterable before its first whole pass.
        digest: SHA-256 of the samples as the model gets them; "" before a whole pass.
        first_batch: The first run of `batches`, kept for later, when an iterator may be used
            up; None before one was begun.
    """

    def __init__(
        self,
        source: Source,
        inputs: Sequence[InputSpec],
        *,
        preprocess: Preprocess | None = None,
        label_key: str | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.batch = batch_of(self.inputs)
        self.count = source.count
        self.digest = ""
        self.first_batch: dict[str, Array] | None = None
        self._source = source
        self._preprocess = preprocess or Preprocess()
        self._label_key = label_key
        self._labels: list[int] = []

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The label of each sample, None where no key was given; after a whole pass."""
        return None if self._label_key is None else np.array(self._labels, np.int64)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Give each sample with a batch axis of 1.

        Raises:
            CompileError: A sample does not fit or is not finite, or there is none.
        """
        digest = hashlib.sha256()
        labels = []
        count = 0
        for sample in self._source:
            layout = "nhwc" if sample.is_image else None
            arrays = {}
            for spec in self.inputs:
                where = f"{sample.where}: array {spec.name!r}"
                shape = sample_shape(spec, self.batch)
                array = sample.arrays[spec.name]
                if array.shape == (1, *shape):
                    array = array[0]
                with _saying_batch(spec, self.batch):
                    fit_axes(array.shape, shape, layout or self._preprocess.layout, where)
                array = convert(
                    array, spec, shape, self._preprocess, where=where, layout=layout
                )
                digest.update(array.tobytes())
                arrays[spec.name] = array if self.batch is None else array[np.newaxis]
            if self._label_key is not None:
                labels.append(_label(sample.arrays[self._label_key], sample.where))
            count += 1
            yield arrays
        if not count:
            raise no_samples("data")
        self.count, self.digest, self._labels = count, digest.hexdigest(), labels

    def batches(self, size: int | None = None) -> Iterator[tuple[dict[str, Array], int]]:
        """Give the samples as the model takes them, and how many of each run count.

        The last run is filled up with its own first samples.

        Args:
            size: Samples a run; by default what the model's inputs say.
        """
        size = 1 if self.batch is None else size or self.batch
        waiting: list[dict[str, Array]] = []
        for sample in self:
            waiting.append(sample)
            if len(waiting) == size:
                yield self._run_of(waiting, size), size
                waiting = []
        if waiting:
            yield self._run_of(waiting, size), len(waiting)

    def _run_of(self, samples: Sequence[dict[str, Array]], size: int) -> dict[str, Array]:
        arrays = _join(samples, size)
        if self.first_batch is None:
            self.first_batch = {name: array.copy() for name, array in arrays.items()}
        return arrays


def load_data(
    source: Data,
    inputs: Sequence[InputSpec],
    *,
    labels: str | None = None,
    preprocess: Preprocess | None = None,
) -> Dataset:
    """Return the data a user named; files are opened and checked, not read.

    Args:
        source: An .npz file, a folder of .npy files or images, `{name: array}`, or an
            iterable of such; each array with or without an axis of samples.
        inputs: What the model takes.
        labels: The array that holds the labels.
        preprocess: How stored numbers become what the model wants.

    Raises:
        CompileError: It does not exist, is damaged, empty, or does not fit the model.
    """
    preprocess = preprocess or Preprocess()
    if not inputs:
        raise CompileError("the model has no inputs", where="data", hint="it needs no data")
    opened: Source
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            opened = _open_folder(path, inputs, labels)
        else:
            opened = _open_npz(path, inputs, labels, preprocess)
    else:
        opened = _open_iterable(source, inputs, labels)
    return Dataset(opened, inputs, preprocess=preprocess, label_key=labels)


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """Return what the inputs of a model with static shapes take."""
    return tuple(InputSpec.of(value) for value in model.graph.inputs)


def batch_of(inputs: Sequence[InputSpec]) -> int | None:
    """Return the first axis that all inputs have in common."""
    firsts = {spec.shape[:1] for spec in inputs}
    first = firsts.pop() if len(firsts) == 1 else ()
    return first[0] if first else None


def sample_shape(spec: InputSpec, batch: int | None) -> tuple[int, ...]:
    """Return the shape of one sample."""
    return spec.shape if batch is None else spec.shape[1:]


@contextlib.contextmanager
def _saying_batch(spec: InputSpec, batch: int | None) -> Iterator[None]:
    """Add to the error about a sample's shape how the model's batch was understood."""
    try:
        yield
    except CompileError as error:
        if batch is None or batch == 1:
            raise
        problem = (
            f"{error.problem}: the first axis of its {list(spec.shape)} is read as a batch "
            f"of {batch} samples"
        )
        raise CompileError(problem, where=error.where, hint=error.hint) from error


def no_samples(where: str) -> CompileError:
    """Return the error for data without a sample."""
    return CompileError("holds no samples", where=where, hint="give at least one, better 100")


def _open_npz(
    path: Path, inputs: Sequence[InputSpec], labels: str | None, preprocess: Preprocess
) -> NpzSource:
    if not path.exists():
        raise CompileError("no such file or folder", where=str(path))
    names = [spec.name for spec in inputs]
    source = NpzSource.open(path, names if labels is None else [*names, labels])
    for name in source.names:
        if name not in source.stored:
            raise missing_array(name, source.stored, str(path))
    lengths = {name: (*source.stored[name].shape, 0)[0] for name in source.names}
    if len(set(lengths.values())) > 1:
        raise differing_lengths(lengths, str(path))
    if source.count < 1:
        raise no_samples(str(path))
    batch = batch_of(inputs)
    for spec in inputs:
        stored, wanted = source.stored[spec.name], sample_shape(spec, batch)
        where = f"{path}: array {spec.name!r}"
        check_dtype(stored.dtype, spec, where)
        if stored.shape[1:] != (1, *wanted):
            with _saying_batch(spec, batch):
                fit_axes(stored.shape[1:], wanted, preprocess.layout, where)
    if labels is not None:
        stored = source.stored[labels]
        _check_label(stored.shape[1:], stored.dtype, f"{path}: array {labels!r}")
    return source


def _open_folder(path: Path, inputs: Sequence[InputSpec], labels: str | None) -> FolderSource:
    if len(inputs) > 1:
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise CompileError(
            f"a folder is for models with one input, this one has {names}",
            where=str(path),
            hint="write an .npz with one array an input",
        )
    if labels is not None:
        raise CompileError(
            "a folder holds no labels", where=str(path), hint="write an .npz with both"
        )
    shape = sample_shape(inputs[0], batch_of(inputs))
    ends = (shape[0], shape[-1]) if len(shape) == 3 else (1,)
    channels = next((size for size in CHANNELS if size in ends), 3)
    source = FolderSource.open(path, inputs[0].name, channels)
    if not source.paths:
        raise CompileError(
            "no .npy files and no images in this folder",
            where=str(path),
            hint="one file a sample; folders within are not searched",
        )
    return source


def _open_iterable(
    source: Iterable[Mapping[str, npt.ArrayLike]] | Mapping[str, npt.ArrayLike],
    inputs: Sequence[InputSpec],
    labels: str | None,
) -> IterableSource:
    if isinstance(source, Mapping):
        source = [source]
    if isinstance(source, np.ndarray) or not isinstance(source, Iterable):
        raise CompileError(
            f"is {type(source).__name__}, not a path or an iterable of {{name: array}}",
            where="data",
            hint=f"give [{{{inputs[0].name!r}: array}}]",
        )
    batch = batch_of(inputs)
    ranks = {spec.name: len(sample_shape(spec, batch)) for spec in inputs}
    return IterableSource(source, ranks if labels is None else {**ranks, labels: 0})


def _join(samples: Sequence[dict[str, Array]], size: int) -> dict[str, Array]:
    if size == 1:
        return samples[0]
    filled = [samples[index % len(samples)] for index in range(size)]
    return {name: np.concatenate([s[name] for s in filled]) for name in samples[0]}


def _label(array: Array, where: str) -> int:
    _check_label(array.shape, array.dtype, f"{where}: the label")
    return int(array[()])


def _check_label(shape: tuple[int, ...], dtype: np.dtype[np.generic], where: str) -> None:
    if shape != () or dtype.kind not in "iu":
        raise CompileError(
            f"labels are {dtype} of shape {list(shape)} a sample, not one integer",
            where=where,
            hint="give the number of the class",
        )

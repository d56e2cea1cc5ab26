"""Validate a compiled model on data: against the oracle, the float model and the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.validation.accuracy import Accuracy, accuracy
from qcompile.validation.deviation import Deviation
from qcompile.validation.oracle_check import OracleCheck, OracleResult, gives_golden

if TYPE_CHECKING:
    from qcompile.data.dataset import Dataset
    from qcompile.model import CompiledModel
    from qcompile.validation.reference import FloatReference

ORACLE_SAMPLES = 32

Array = npt.NDArray[np.generic]
Classes = npt.NDArray[np.int64]


class OutputFigures(TypedDict):
    """How far one output lies from the float model's.

    `sqnr_db` is 200 where they are identical. `not_finite` counts values that are NaN or
    infinite in one of them only; where there is one, `sqnr_db` is -200 and `cosine` 0.
    """

    sqnr_db: float
    cosine: float
    max_abs_error: float
    not_finite: int


class _Required(TypedDict):
    samples: int
    sqnr_db: float | None
    cosine: float | None
    max_abs_error: float | None
    oracle: OracleResult
    golden: bool
    outputs: dict[str, OutputFigures]
    reference: str | None


class Validation(_Required, total=False):
    """What `validate --json` prints.

    The three figures are the worst output's; they are null where no reference was given, and
    `reference` (the reference's sha256) then is null too. `golden` says whether the artifact
    still gives the answers that it gave where it was compiled. `accuracy` is there with
    labels; `device` and `emulated` where it ran on a device.
    """

    accuracy: Accuracy
    device: str
    emulated: bool


def validate(
    model: CompiledModel,
    data: Dataset,
    *,
    reference: FloatReference | None = None,
    oracle_samples: int = ORACLE_SAMPLES,
    layers: bool = False,
) -> Validation:
    """Run all samples and return the figures.

    Args:
        model: The compiled model.
        data: The samples, with labels or without.
        reference: The float model that it was compiled from.
        oracle_samples: How many samples, from the first on, the oracle runs too.
        layers: Judge every node of those, not only the outputs.

    Raises:
        CompileError: The reference is another model, or a label is no class of the output.
    """
    if reference is not None:
        check_reference(model, reference)
    check = OracleCheck(model, layers=layers)
    deviations = {name: Deviation() for name in model.output_names}
    batch = data.batch or 1
    main = model.output_names[0]
    classes: list[Classes] = []
    float_classes: list[Classes] = []
    samples = 0
    for inputs, valid in data.batches():
        outputs = model.run(inputs)
        if samples < oracle_samples:
            check.see(inputs, outputs, min(valid, oracle_samples - samples))
        samples += valid
        classes.append(top1(outputs[main], batch)[:valid])
        if reference is not None:
            expected = reference(inputs)
            float_classes.append(top1(expected[main], batch)[:valid])
            for name, deviation in deviations.items():
                pair = (expected[name], outputs[name])
                deviation.add(*(rows(array, batch)[:valid] for array in pair))
    figures = {
        name: OutputFigures(
            sqnr_db=each.sqnr_db,
            cosine=each.cosine,
            max_abs_error=each.max_abs_error,
            not_finite=each.not_finite,
        )
        for name, each in deviations.items()
        if reference is not None
    }
    result: Validation = {
        "samples": samples,
        "sqnr_db": min((each["sqnr_db"] for each in figures.values()), default=None),
        "cosine": min((each["cosine"] for each in figures.values()), default=None),
        "max_abs_error": max(
            (each["max_abs_error"] for each in figures.values()), default=None
        ),
        "oracle": check.result(),
        "golden": gives_golden(model),
        "outputs": figures,
        "reference": reference.sha256 if reference is not None else None,
    }
    if model.device is not None:
        result["device"] = model.device.url
        result["emulated"] = model.device.facts["emulated"]
    if data.labels is not None:
        answers = np.concatenate(classes)
        wanted = rows(model.golden.outputs[main], batch).shape[1]
        labels = checked_labels(data.labels, answers, wanted, where=f"output {main!r}")
        paired = np.concatenate(float_classes) if reference is not None else None
        result["accuracy"] = accuracy(labels, answers, paired)
    return result


def check_reference(model: CompiledModel, reference: FloatReference) -> None:
    """Refuse a reference that is not the model that was compiled.

    Raises:
        CompileError: Its hash is another one.
    """
    wanted = model.manifest["reference_sha256"]
    if reference.sha256 != wanted:
        raise CompileError(
            f"not the model that was compiled: sha256 {reference.sha256[:12]}..., "
            f"the artifact's is {wanted[:12]}...",
            where="--reference",
            hint="give the very file that `qcompile compile` read",
        )


def rows(array: Array, batch: int) -> Array:
    """Return one row a sample; an output without a batch axis is one row."""
    has_batch = array.ndim > 0 and array.shape[0] == batch
    return array.reshape(batch if has_batch else 1, -1)


def top1(output: Array, batch: int) -> Classes:
    """Return the class of each sample; an output of one integer a sample is the class."""
    answers = rows(output, batch)
    if answers.shape[1] == 1 and answers.dtype.kind in "iu":
        return answers[:, 0].astype(np.int64)
    classes: Classes = np.argmax(answers, axis=1).astype(np.int64)
    return classes


def checked_labels(labels: Classes, answers: Classes, classes: int, *, where: str) -> Classes:
    """Return the labels, one an answer.

    Raises:
        CompileError: Another number of them, or one that is no class of the output.
    """
    if len(labels) != len(answers):
        raise CompileError(
            f"{len(labels)} labels for {len(answers)} answers",
            where=where,
            hint="labels need one class a sample, and the first output one row a sample",
        )
    wrong = (labels < 0) | ((labels >= classes) & (classes > 1))
    if wrong.any():
        sample = int(np.argmax(wrong))
        raise CompileError(
            f"label {labels[sample]} of sample {sample} is none of its {classes} classes",
            where=where,
            hint="labels count classes from 0",
        )
    return labels

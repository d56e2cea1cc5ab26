"""The greatest magnitude of every channel of some values, in one pass over the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.calibration.runs import observed_runs
from qcompile.data.dataset import Dataset
from qcompile.errors import CompileError

Floats = npt.NDArray[np.float64]


def channel_maxima(
    observed: ir.Model, samples: Dataset, values: Sequence[str], *, progress: bool = False
) -> dict[str, Floats]:
    """Return max |x[..., j]| of each value by name, [C], C being its last axis.

    The memory is that of one run. Args and errors are those of `calibrate`.
    """
    maxima: dict[str, Floats] = {}
    for arrays, _ in observed_runs(observed, samples, values, progress=progress):
        for name, array in arrays.items():
            rows = np.abs(array.reshape(-1, array.shape[-1]))
            greatest = rows.max(axis=0, initial=0.0).astype(np.float64)
            if not np.isfinite(greatest).all():
                raise CompileError(
                    "it holds NaN or infinity on the calibration data",
                    where=f"value {name!r}",
                    hint="the float model itself gives that: check the data's scale",
                )
            maxima[name] = np.maximum(maxima.get(name, 0.0), greatest)
    return maxima

"""A compiled model: run it, validate it, measure it, save it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile import artifact
from qcompile.artifact import Artifact, Golden
from qcompile.artifact.manifest import Manifest
from qcompile.data.run_inputs import check_inputs
from qcompile.device import Device, check_fits
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.importer.opset import one_line
from qcompile.report import CompileReport, compile_report
from qcompile.target import Arrays, Lowering, Runner, Target
from qcompile.tensors import Tensor
from qcompile.tuning import replayed

if TYPE_CHECKING:
    from qcompile.benchmark.bench import BenchReport
    from qcompile.bundle.export import Bundle
    from qcompile.data.dataset import Data
    from qcompile.data.preprocess import Preprocess
    from qcompile.explanation import Explanation
    from qcompile.validation.validate import Validation


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModel:
    """An integer graph and the library that was built from it.

    Attributes:
        target: What it runs on.
        integer_graph: What every integer means; `qcompile.oracle` executes it.
        qdq_graph: The same schemes as standard ONNX.
        library: The built library.
        manifest: What it was made from.
        golden: One run on the machine that compiled it.
        seconds: How long each step of the compile took; empty for a loaded artifact.
        warnings: What the ranges leave out of the calibration data; likewise.
        device: Where it runs; None is this process.
    """

    target: Target
    integer_graph: ir.Model
    qdq_graph: ir.Model
    library: bytes
    manifest: Manifest
    golden: Golden
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    device: Device | None = None

    @classmethod
    def from_artifact(cls, contents: Artifact, target: Target) -> CompiledModel:
        """Return the model that a loaded artifact holds."""
        return cls(target=target, **vars(contents))

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """What a run takes."""
        return tuple(self.integer_graph.graph.inputs)

    @property
    def lowering(self) -> Lowering:
        """The target's, with the tile sizes that this model was built with."""
        return replayed(self.target.lowering, self.manifest["tuning"])

    @property
    def output_names(self) -> tuple[str, ...]:
        """What a run gives, in the model's order."""
        return tuple(str(value.name) for value in self.integer_graph.graph.outputs)

    @cached_property
    def report(self) -> CompileReport:
        """Operators, multiply-accumulates, float islands, size, seconds."""
        size = len(artifact.pack(self._contents))
        graph = self.integer_graph.graph
        recipe = self.manifest["recipe"]
        return compile_report(
            self.target.name, recipe, graph, size, self.seconds, self.warnings
        )

    def on(self, device: Device | None) -> CompiledModel:
        """Return the same model on another device; None is this process.

        Raises:
            CompileError: The device cannot run it; says what it lacks.
        """
        if device is not None:
            needs = (self.target.name, self.target.arch, self.target.features)
            check_fits(*needs, device.facts, where=device.url)
        return dataclasses.replace(self, device=device)

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """Run once.

        Args:
            inputs: An array for every input, in its exact shape and type.

        Raises:
            CompileError: A wrong name, shape or type, or a float that is not finite.
        """
        check_inputs(self._input_tensors, inputs)
        return self._runner(inputs)

    def validate(
        self,
        data: Data,
        *,
        reference: Path | str | None = None,
        labels: str | None = None,
        preprocess: Preprocess | None = None,
        oracle_samples: int | None = None,
        layers: bool = False,
    ) -> Validation:
        """Compare with the oracle, the float model and the labels.

        Args:
            data: An .npz, a folder, or an iterable of {name: array}.
            reference: The ONNX file that was compiled; the float figures need it.
            labels: Key of the labels in the data.
            preprocess: What turns stored numbers into what the model wants.
            oracle_samples: How many samples the oracle runs; 32 unless told.
            layers: Judge every node, not only the outputs.
        """
        from qcompile.data.dataset import input_specs, load_data
        from qcompile.validation.reference import FloatReference
        from qcompile.validation.validate import ORACLE_SAMPLES, validate

        float_model = FloatReference(Path(reference)) if reference is not None else None
        inputs = input_specs(self.integer_graph)
        samples = load_data(data, inputs, labels=labels, preprocess=preprocess)
        count = ORACLE_SAMPLES if oracle_samples is None else oracle_samples
        return validate(
            self, samples, reference=float_model, oracle_samples=count, layers=layers
        )

    def bench(
        self,
        *,
        threads: int | None = None,
        against: Sequence[str] = (),
        runs: int | None = None,
        reference: Path | str | None = None,
    ) -> BenchReport:
        """Measure the latency, in turn with peers; see `qcompile.benchmark.bench`."""
        from qcompile.benchmark.bench import RUNS, bench

        path = Path(reference) if reference is not None else None
        return bench(self, threads=threads, against=against, runs=runs or RUNS, reference=path)

    def explain(self, *, threads: int | None = None, runs: int | None = None) -> Explanation:
        """Time every kernel call on the golden inputs; see `qcompile.explanation`."""
        from qcompile.explanation import RUNS, explain

        return explain(self, threads=threads, runs=runs or RUNS)

    def save(self, path: Path | str) -> int:
        """Write the .qcm file atomically and return its size."""
        return artifact.save(self._contents, Path(path))

    def export_c(self, path: Path | str) -> Bundle:
        """Write a folder of C and object code that needs no runtime on the device.

        Raises:
            CompileError: The target's kernels cannot be called from C, or the folder cannot
                be written or holds files that are not of an earlier export.
        """
        from qcompile.bundle.export import export_c

        return export_c(self, Path(path))

    def load_library(self, library: bytes, *, every_value: bool = False) -> Runner:
        """Load a library that was built from the integer graph, where this model runs.

        Raises:
            CompileError: The device, or this machine, cannot run it; says what it lacks.
        """
        if self.device is not None:
            return self.device.load(
                self.target, library, self.integer_graph, every_value=every_value
            )
        artifact.check_host(
            self.manifest, where="run", arch=host_arch(), features=host_features()
        )
        with tempfile.TemporaryDirectory(prefix="qcompile-") as folder:
            path = Path(folder) / artifact.LIBRARY
            path.write_bytes(library)
            try:
                return self.target.lowering.load(
                    path, self.integer_graph, every_value=every_value
                )
            except (RuntimeError, OSError, AttributeError) as error:
                raise CompileError(
                    f"cannot be loaded: {one_line(error)}",
                    where=artifact.LIBRARY,
                    hint="compile the model again",
                ) from error

    @cached_property
    def _input_tensors(self) -> tuple[Tensor, ...]:
        return tuple(map(Tensor.of, self.inputs))

    @property
    def _contents(self) -> Artifact:
        return Artifact(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Artifact)}
        )

    @cached_property
    def _runner(self) -> Runner:
        return self.load_library(self.library)

"""What a target is: the operators it runs, under which schemes, and how it lowers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.errors import UnsupportedOpError
from qcompile.quant import QuantSpec
from qcompile.speeds import Speeds
from qcompile.tuning_log import Record

Arrays = Mapping[str, npt.NDArray[np.generic]]
"""Named arrays: the inputs or the outputs of one run."""


class Limit(Protocol):
    """A condition on a node beyond its operator's name."""

    def __call__(self, node: ir.Node, /) -> str | None:
        """Return why the node cannot run in integers, or None where it can."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpSupport:
    """One operator and the schemes its kernels take, best first.

    Attributes:
        op_type: The ONNX operator.
        activation: Specs for the data input and the output.
        weight: Specs for the constant input; empty where there is none.
        shared_scale: Whether all inputs and the output must share one scale.
        limits: Conditions on the node (see `qcompile.limits`), checked in order.
    """

    op_type: str
    activation: tuple[QuantSpec, ...]
    weight: tuple[QuantSpec, ...] = ()
    shared_scale: bool = False
    limits: tuple[Limit, ...] = ()


@dataclasses.dataclass(frozen=True)
class KernelInfo:
    """One kernel call of a lowered model, for the manifest and the report.

    Attributes:
        node: Name of the graph node it computes; empty for a layout change. A float kernel
            may compute several: their names, with commas.
        kernel: Name of the template; "Float" for one that TVM made.
        tile: The template's tile sizes, in words; the operators of a float kernel.
        macs: Multiply-accumulates of one run.
        bytes: Of what it reads and writes, constants included.
    """

    node: str
    kernel: str
    tile: str = ""
    macs: int = 0
    bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Built:
    """A lowered and built model: a shared library and what is in it.

    Attributes:
        library: The library.
        kernels: Its kernel calls, in order.
        tuning: The records of tuning logs that chose tile sizes.
    """

    library: bytes
    kernels: tuple[KernelInfo, ...]
    tuning: tuple[Record, ...] = ()


class Runner(Protocol):
    """A loaded library, ready to run; takes and gives arrays in the graph's own shapes."""

    def __call__(self, inputs: Arrays, /) -> dict[str, npt.NDArray[np.generic]]:
        """Run once; inputs are checked by the caller."""
        ...


class Lowering(Protocol):
    """Turns an integer graph into a library that the target runs, and loads it."""

    def build(self, model: ir.Model, *, every_value: bool = False) -> Built:
        """Compile the integer graph.

        Args:
            model: Integer graph with static shapes.
            every_value: Give out the value of every node, not only the graph outputs; for
                finding the first node that differs.

        Raises:
            CompileError: A node that no kernel takes, or a missing tool chain.
        """
        ...

    def load(self, library: Path, model: ir.Model, *, every_value: bool = False) -> Runner:
        """Load a built library; `model` names its inputs and outputs."""
        ...


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How an accumulator becomes an output integer (see `qcompile.numerics`)."""

    rescale: str = "float32"
    rounding: str = "half_to_even"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A piece of hardware, described as data; `lowering` is its only behaviour.

    Attributes:
        name: What `--target` takes.
        about: One line for `qcompile targets`.
        arch: Machine architecture as `platform.machine()` names it, e.g. "x86_64".
        features: CPU feature flags that the code needs, as /proc/cpuinfo names them.
        ops: What it runs in integers.
        lowering: Builds and loads the library.
        numerics: The rescale rule that graph, oracle and kernels share.
        extra_passes: Passes over the integer graph before it is lowered.
        speeds: What operators take in integers and in float; None where that is not known,
            and nothing stays float for its speed.
    """

    name: str
    about: str
    arch: str
    features: tuple[str, ...]
    ops: tuple[OpSupport, ...]
    lowering: Lowering
    numerics: Numerics = Numerics()
    extra_passes: tuple[ir.passes.PassBase, ...] = ()
    speeds: Speeds | None = None

    def __post_init__(self) -> None:
        names = [op.op_type for op in self.ops]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"target {self.name!r} lists {', '.join(twice)} twice")

    def row(self, op_type: str) -> OpSupport | None:
        """Return the row of that operator, if there is one."""
        return next((op for op in self.ops if op.op_type == op_type), None)

    def why_float(self, node: ir.Node) -> str | None:
        """Return why this node cannot run in integers here, or None where it can."""
        standard = node.domain in ("", "ai.onnx")
        row = self.row(node.op_type) if standard else None
        if row is None:
            name = node.op_type if standard else f"{node.domain}.{node.op_type}"
            return f"{self.name} has no integer kernel for {name}"
        reasons: Sequence[str | None] = [limit(node) for limit in row.limits]
        return next((reason for reason in reasons if reason), None)

    def support(self, node: ir.Node) -> OpSupport:
        """Return what the target says of this node's operator.

        Raises:
            UnsupportedOpError: The operator has no row, or the node is beyond its limits.
        """
        row = self.row(node.op_type)
        reason = self.why_float(node)
        if row is None or reason is not None:
            raise UnsupportedOpError(
                reason or "",
                where=f"node {node.name or node.outputs[0].name!r}",
                hint=f"it has kernels for {', '.join(sorted(op.op_type for op in self.ops))}",
            )
        return row

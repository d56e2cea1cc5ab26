"""Where the time of a compiled model goes: a row for every kernel call and every node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir

from qcompile import ops
from qcompile.errors import CompileError
from qcompile.measuring import Measure, measure_on, timed
from qcompile.peaks import Peaks
from qcompile.report import is_float, node_name
from qcompile.target import KernelInfo
from qcompile.threads import using

if TYPE_CHECKING:
    from qcompile.model import CompiledModel

RUNS = 30
NO_REASON = "it computes between float operators"
FREE = "none"
"""Stands for the kernel of a node that costs nothing: another kernel reads through it."""


@runtime_checkable
class Calibrated(Protocol):
    """A lowering that can say how fast a machine is at most."""

    def peaks(self, measure: Measure, /) -> Peaks:
        """Return the peaks of the machine where `measure` runs a library."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel call, or a node that needs none.

    Attributes:
        node: The nodes that it computes; "before NODE" for a change of layout.
        kernel: The template; "Float" for a kernel that TVM made.
        tile: Its tile sizes; the operators of a float kernel.
        ms: Median time.
        macs: Multiply-accumulates.
        gmacs_per_second: Their rate.
        arithmetic: Share of the arithmetic floor: macs at the peak of the dot or, in float, of
            the fused multiply-add, over the time.
        bandwidth: Share of the bandwidth floor: bytes at the speed of a copy, over the time.
            More than 1 where they lay in a nearer cache than a copy of that size.
        float_reason: Why it computes in float; None where it does not.
    """

    node: str
    kernel: str
    tile: str = ""
    ms: float = 0.0
    macs: int = 0
    gmacs_per_second: float = 0.0
    arithmetic: float | None = None
    bandwidth: float | None = None
    float_reason: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where the time goes.

    Attributes:
        threads: That the kernels could use.
        runs: That each median is of.
        total_ms: Of all kernel calls.
        float_ms: Of those that compute in float.
        peaks: What the machine can do at most; None where that cannot be measured.
        rows: The slowest first.
    """

    threads: int
    runs: int
    total_ms: float
    float_ms: float
    peaks: Peaks | None
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)


_PEAKS: dict[tuple[str, str, int], Peaks] = {}
"""By target, device and threads: measured once a process."""


def explain(
    model: CompiledModel, *, threads: int | None = None, runs: int = RUNS
) -> Explanation:
    """Time every kernel call of a model on its golden inputs, where the model runs.

    Args:
        model: The compiled model.
        threads: Threads that the kernels may use; None takes what this process uses.
        runs: Timed runs.

    Raises:
        CompileError: The target's libraries do not time their kernels, or cannot run here.
    """
    with using(threads) as count:
        runner = timed(model.load_library(model.library), model.target)
        seconds = np.median(runner.measure(model.golden.inputs, runs), axis=0).tolist()
        peaks = find_peaks(model, count)
    infos = [KernelInfo(**each) for each in model.manifest["kernels"]]
    if len(infos) != len(seconds):
        raise CompileError(
            f"its manifest lists {len(infos)} kernels, its library calls {len(seconds)}",
            where="explain",
            hint="compile the model again",
        )
    nodes = {node_name(node): node for node in model.integer_graph.graph}
    rows = list(explained(infos, seconds, nodes, peaks))
    floats = (row.ms for row in rows if row.float_reason is not None)
    return Explanation(
        threads=count,
        runs=runs,
        total_ms=sum(row.ms for row in rows),
        float_ms=sum(floats),
        peaks=peaks,
        rows=tuple(sorted(rows, key=lambda row: -row.ms)),
    )


def find_peaks(model: CompiledModel, threads: int) -> Peaks | None:
    """Return the peaks of the machine that the model runs on, with so many threads."""
    lowering = model.target.lowering
    if not isinstance(lowering, Calibrated):
        return None
    key = (model.target.name, model.device.url if model.device else "", threads)
    if key not in _PEAKS:
        _PEAKS[key] = lowering.peaks(measure_on(model.target, model.device, threads))
    return _PEAKS[key]


def explained(
    infos: Sequence[KernelInfo],
    seconds: Sequence[float],
    nodes: Mapping[str, ir.Node],
    peaks: Peaks | None,
) -> Iterable[Row]:
    """Yield a row for every call, in order, and for every node that has none."""
    named: set[str] = set()
    following = ""
    rows = []
    for info, spent in reversed(list(zip(infos, seconds, strict=True))):
        own = [name for name in (info.node, *info.node.split(", ")) if name in nodes]
        named.update(own)
        following = info.node or following
        reason = why_float([nodes[name] for name in own])
        rows.append(
            Row(
                node=info.node or (f"before {following}" if following else "outputs"),
                kernel=info.kernel,
                tile=info.tile,
                ms=spent * 1e3,
                macs=info.macs,
                gmacs_per_second=info.macs / spent / 1e9 if spent else 0.0,
                arithmetic=share(
                    peaks.arithmetic_seconds(info.macs, real=reason is not None), spent
                )
                if peaks
                else None,
                bandwidth=share(peaks.memory_seconds(info.bytes), spent) if peaks else None,
                float_reason=reason,
            )
        )
    yield from reversed(rows)
    for name, node in nodes.items():
        if name not in named:
            yield Row(node=name, kernel=FREE, float_reason=why_float([node]))


def share(floor: float, spent: float) -> float | None:
    """Return how much of the time the floor is; None where there is nothing to compare."""
    return floor / spent if floor and spent else None


def why_float(nodes: Iterable[ir.Node]) -> str | None:
    """Return why some nodes are float, None where none is."""
    floats = [node for node in nodes if is_float(node)]
    if not floats:
        return None
    reasons = [node.metadata_props.get(ops.FLOAT_REASON) for node in floats]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or NO_REASON

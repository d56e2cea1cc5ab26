"""Which tensors must share one scale: connected components over the rows that ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from qcompile.config import ACTIVATIONS, CompileConfig, Override
from qcompile.errors import ConfigError
from qcompile.quant import QuantSpec
from qcompile.regions import Region, data_inputs, data_uses, is_arithmetic, is_constant
from qcompile.schemes.claims import Use
from qcompile.schemes.placement import Placement
from qcompile.target import OpSupport, Target

Tensor = ir.Value | Use
"""An activation; or what one node alone reads on that scale: a constant, or a copy."""


@dataclasses.dataclass(frozen=True)
class ScaleGroup:
    """Tensors with one scale, one zero point and one type.

    Attributes:
        tensors: The activations and uses, in graph order.
        spec: The scheme that all the operators around them take, if there is one.
    """

    tensors: tuple[Tensor, ...]
    spec: QuantSpec


def scale_groups(
    placement: Placement, target: Target, config: CompileConfig
) -> list[ScaleGroup]:
    """Return the tensors that are stored in 8 bits, grouped, each with its scheme.

    Raises:
        ConfigError: The config asks for a scheme that no kernel around the tensor takes.
    """
    tied = {r: target.support(r.anchor).shared_scale for r in placement.regions}
    moved = {r.output: r.inputs[0] for r in placement.regions if tied[r] and _is_move(r)}
    reads = {r: _reads(r, moved, tied=tied[r]) for r in placement.regions}
    # What is only read in copies stays float, unless its own node can give nothing but 8 bits.
    stored = {tensor for tensors in reads.values() for tensor in tensors}
    stored |= {r.output for r in placement.regions if not is_arithmetic(r.anchor)}
    parent: dict[Tensor, Tensor] = {v: v for v in placement.quantized if v in stored}
    around: dict[Tensor, list[Region]] = {}
    for region in placement.regions:
        tensors = [*reads[region], *([region.output] if region.output in parent else [])]
        for tensor in tensors:
            parent.setdefault(tensor, tensor)
            around.setdefault(tensor, []).append(region)
        if tied[region]:
            for tensor in tensors[1:]:
                parent[_root(parent, tensor)] = _root(parent, tensors[0])
    members: dict[Tensor, list[Tensor]] = {}
    for tensor in parent:
        members.setdefault(_root(parent, tensor), []).append(tensor)
    return [_group(tensors, around, target, config) for tensors in members.values()]


def overrides(tensor: Tensor, regions: Iterable[Region], config: CompileConfig) -> Override:
    """Return what the config says of a tensor: its producer first, then its readers."""
    producer = tensor.producer() if isinstance(tensor, ir.Value) else None
    regions = sorted(regions, key=lambda region: region.output is not tensor)
    nodes = [producer, *(node for region in regions for node in region.nodes)]
    merged = Override()
    for node in nodes:
        if node is not None:
            merged = merged.over(config.override(node))
    return merged


def _is_move(region: Region) -> bool:
    return len(data_inputs(region.anchor)) == len(region.inputs) == 1


def _reads(region: Region, moved: Mapping[ir.Value, ir.Value], *, tied: bool) -> list[Tensor]:
    """Return what a region reads as data.

    Where the region ties several tensors to one scale, one that has other readers keeps its
    own, for their sake; this region reads a copy.
    """
    anchor = region.anchor
    several = tied and len(data_inputs(anchor)) > 1
    read: list[Tensor] = [
        Use(anchor, index)
        if is_constant(value) or (several and _has_other_readers(value, anchor, moved))
        else value
        for index, value in data_uses(anchor)
    ]
    return read if region.residual is None else [*read, region.residual]


def _has_other_readers(
    value: ir.Value, reader: ir.Node, moved: Mapping[ir.Value, ir.Value]
) -> bool:
    """Whether anything else reads a value, or a value that it is a move of."""
    if value.is_graph_output() or any(use.node is not reader for use in value.uses()):
        return True
    source, mover = moved.get(value), value.producer()
    return (
        source is not None and mover is not None and _has_other_readers(source, mover, moved)
    )


def _root(parent: dict[Tensor, Tensor], tensor: Tensor) -> Tensor:
    while parent[tensor] is not tensor:
        parent[tensor] = parent[parent[tensor]]
        tensor = parent[tensor]
    return tensor


def _group(
    tensors: Sequence[Tensor],
    around: dict[Tensor, list[Region]],
    target: Target,
    config: CompileConfig,
) -> ScaleGroup:
    asked = Override()
    rows: dict[str, OpSupport] = {}
    for tensor in tensors:
        asked = asked.over(overrides(tensor, around[tensor], config))
        for region in around[tensor]:
            rows[region.anchor.op_type] = target.support(region.anchor)
    specs = [spec for row in rows.values() for spec in row.activation]
    if asked.symmetric is not None:
        specs = [
            dataclasses.replace(spec, symmetric=asked.symmetric)
            for spec in specs
            if asked.symmetric or not spec.symmetric
        ]
    if asked.activation is not None:
        specs = [spec for spec in specs if spec.dtype == ACTIVATIONS[asked.activation]]
    if not specs:
        raise _refusal(tensors[0], asked, rows, target)
    # The first that most operators take; where one does not, a table requantizes before it.
    return ScaleGroup(
        tuple(tensors),
        max(specs, key=lambda spec: sum(_takes(row, spec) for row in rows.values())),
    )


def _takes(row: OpSupport, spec: QuantSpec) -> bool:
    return any(
        spec.dtype == own.dtype and spec.symmetric >= own.symmetric for own in row.activation
    )


def _refusal(
    tensor: Tensor, asked: Override, rows: dict[str, OpSupport], target: Target
) -> ConfigError:
    value = tensor if isinstance(tensor, ir.Value) else tensor.value
    wishes = {"activation": asked.activation, "symmetric": asked.symmetric}
    wish = ", ".join(f"{key} = {wish!r}" for key, wish in wishes.items() if wish is not None)
    known = {
        f"{'symmetric ' * spec.symmetric}{spec.dtype.name}"
        for row in rows.values()
        for spec in row.activation
    }
    return ConfigError(
        f"{target.name} has no {' or '.join(sorted(rows))} kernel for {wish}",
        where=f"value {value.name!r}",
        hint=f"its activations are {' or '.join(sorted(known))}",
    )

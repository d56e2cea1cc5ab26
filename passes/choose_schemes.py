"""Choose scale, zero point and type of every tensor that the target stores in 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.calibration.calibrators import CALIBRATORS, GUARDED, Observation
from qcompile.config import CompileConfig
from qcompile.errors import CompileError, ConfigError
from qcompile.graphs.qdq import real_constant
from qcompile.ops import FLOAT_REASON
from qcompile.quant import LEAST_SCALE, QParams, QuantSpec
from qcompile.regions import Region, Role, is_weighted, role
from qcompile.schemes.claims import Schemes, Use
from qcompile.schemes.placement import Placement, output_axis, place
from qcompile.schemes.scale_groups import ScaleGroup, Tensor, overrides, scale_groups
from qcompile.schemes.weight_scheme import bias_scale, vanishes, weight_qparams
from qcompile.target import Target
from qcompile.unary import chain_function, live_range


def observed_values(graph: ir.Graph, target: Target, config: CompileConfig) -> list[str]:
    """Return the names of the activations whose range ChooseSchemes needs, in order."""
    return [str(value.name) for value in place(graph, target, config).quantized]


@dataclasses.dataclass(frozen=True)
class ChooseSchemes(ir.passes.InPlacePass):
    """Write `meta["qparams"]` on values, and why a node stays float on the node.

    An activation has parameters where an integer step reads it, or where a move, a table or
    a softmax gives it; what an arithmetic step gives to float nodes only has none. Tensors
    that a row ties together (`shared_scale`) get one range, the union of theirs; what a
    Concat ties that others read too keeps its own, and `meta["input_qparams"]` of the Concat
    has the union's. Constants get theirs from their values; one that is read on two scales
    becomes two. What a range leaves out is written into `meta["outliers"]`.

    Kept: sub-graphs stay float; nothing observes their values.

    What calibration saw comes from InsertObservers and a data set:

        names = observed_values(model.graph, target, config)
        observed = InsertObservers(frozenset(names))(model.clone()).model
        ChooseSchemes(target, calibrate(observed, data, names), config)(model)

    Attributes:
        target: Says what runs in integers and under which schemes.
        observations: What calibration saw, by value name (see `observed_values`).
        config: The user's choices.
    """

    target: Target
    observations: Mapping[str, Observation]
    config: CompileConfig

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any scheme or reason changed.

        Raises:
            CompileError: An activation was not observed, or no scheme holds a constant.
            ConfigError: The config asks for a scheme that no kernel takes.
        """
        placement = place(model.graph, self.target, self.config)
        schemes = Schemes()
        for group in scale_groups(placement, self.target, self.config):
            qparams = self._activation_qparams(group, placement, schemes)
            for tensor in group.tensors:
                if isinstance(tensor, Use):
                    schemes.claim(tensor, qparams)
                else:
                    schemes.activations[tensor] = qparams
        for region in placement.regions:
            if is_weighted(region.anchor):
                x = schemes.activations[region.inputs[0]]
                schemes.claim(Use(region.anchor, 1), self._weight_qparams(region, x))
        modified = schemes.write(model)
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            inside = None if node.graph is model.graph else "it is inside a sub-graph"
            modified |= _explain(node, placement.float_reasons.get(node, inside))
        return ir.passes.PassResult(model, modified)

    def _activation_qparams(
        self, group: ScaleGroup, placement: Placement, schemes: Schemes
    ) -> QParams:
        ranges = [
            self._range(tensor, group.spec, placement, schemes) for tensor in group.tensors
        ]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        qparams = QParams.from_range(group.spec, low, high)
        if low < high and float(qparams.scale) <= LEAST_SCALE:
            tensor = group.tensors[0]
            value = tensor.value if isinstance(tensor, Use) else tensor
            raise CompileError(
                f"its numbers, {low:.3g} to {high:.3g}, are too small to quantize",
                where=f"value {value.name!r}",
                hint="scale the data, or keep what reads it in float: --float-ops",
            )
        return qparams

    def _range(
        self, tensor: Tensor, spec: QuantSpec, placement: Placement, schemes: Schemes
    ) -> tuple[float, float]:
        """Return the range of one tensor, within the Relu or Clip before it."""
        if isinstance(tensor, Use):
            array = real_constant(tensor.value)
            if array is not None:
                return float(array.min(initial=0.0)), float(array.max(initial=0.0))
            tensor = tensor.value
        observation = self.observations.get(str(tensor.name))
        if observation is None or observation.count == 0:
            raise CompileError(
                "no calibration data reached it",
                where=f"value {tensor.name!r}",
                hint="calibrate the values that observed_values names",
            )
        around = [
            r for r in placement.regions if r.output is tensor or tensor in r.activations
        ]
        name = overrides(tensor, around, self.config).calibrator or self.config.calibrator
        low, high = CALIBRATORS[name](observation, spec)
        outliers = observation.outliers if name in GUARDED else None
        if outliers is not None:
            schemes.outliers[tensor] = outliers
        for region in around:
            if region.output is tensor:
                low, high = (
                    float(np.clip(end, region.low, region.high)) for end in (low, high)
                )
        return _seen_by_tables(tensor, around, low, high)

    def _weight_qparams(self, region: Region, x: QParams) -> QParams:
        anchor = region.anchor
        weight, bias = real_constant(anchor.inputs[1]), _bias(region)
        assert weight is not None
        spec = self._weight_spec(region)
        with np.errstate(over="ignore"):
            qparams = weight_qparams(weight, bias, spec, output_axis(anchor), x)
            fits = np.isfinite(bias_scale(x, qparams)).all()
        if not fits or (bias is not None and not np.isfinite(bias).all()):
            raise CompileError(
                "its weight or bias is too large to quantize",
                where=f"node {anchor.name!r}",
                hint=f"keep it in float: --float-ops {anchor.op_type}",
            )
        if vanishes(weight, x):
            raise CompileError(
                "its weight is too small to quantize",
                where=f"node {anchor.name!r}",
                hint=f"keep it in float: --float-ops {anchor.op_type}",
            )
        return qparams

    def _weight_spec(self, region: Region) -> QuantSpec:
        """Return the target's best weight scheme, of the kind that the config asks for."""
        specs = self.target.support(region.anchor).weight
        per_channel = self.config.override(region.anchor).per_channel
        if per_channel is None:
            return specs[0]
        if not per_channel:  # a kernel of many scales takes equal ones
            return dataclasses.replace(specs[0], per_channel=False)
        for spec in specs:
            if spec.per_channel:
                return spec
        raise ConfigError(
            f"{self.target.name} takes one scale for the weights of {region.anchor.op_type}",
            where=f"node {region.anchor.name!r}",
            hint="leave out per_channel = true",
        )


def _seen_by_tables(
    value: ir.Value, around: Sequence[Region], low: float, high: float
) -> tuple[float, float]:
    """Return the part of a range outside which no table that reads the value changes.

    A HardSwish is 0 below -3: integers for numbers there would be wasted. The range stays as
    it is where anything else reads the value.
    """
    tables = [
        region
        for region in around
        if role(region.anchor) is Role.TABLE and region.inputs == (value,)
    ]
    nodes = {node for region in tables for node in region.nodes}
    if value.is_graph_output() or any(use.node not in nodes for use in value.uses()):
        return low, high
    functions = [chain_function(region.nodes, value) for region in tables]
    ends = [live_range(each, low, high) for each in functions if each is not None]
    if not ends or len(ends) < len(functions):
        return low, high
    return min(low for low, _ in ends), max(high for _, high in ends)


def _bias(region: Region) -> npt.NDArray[np.float64] | None:
    inputs = region.anchor.inputs
    own = inputs[2] if len(inputs) > 2 else None
    return real_constant(own if own is not None else region.bias)


def _explain(node: ir.Node, reason: str | None) -> bool:
    """Write why a node stays float, or that it does not; return whether that is news."""
    if node.metadata_props.get(FLOAT_REASON) == reason:
        return False
    if reason is None:
        del node.metadata_props[FLOAT_REASON]
    else:
        node.metadata_props[FLOAT_REASON] = reason
    return True

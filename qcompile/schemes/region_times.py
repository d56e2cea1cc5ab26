"""How long a region takes in integers and in float, by a target's table of speeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet

import onnx_ir as ir

from qcompile.regions import Region, Role, is_arithmetic, role
from qcompile.report import count_macs
from qcompile.speeds import Speeds

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""They cost nothing: what is behind them reads through."""

JOINING = frozenset({"LayerNormalization", "Softmax"})
"""Their float kernels store what a QuantizeLinear behind them gives, too."""

MEASURED_TAPS = 9
"""Of the windows of the table's pools."""


@dataclasses.dataclass(frozen=True)
class Times:
    """Nanoseconds of a region, with the borders that it makes necessary.

    Attributes:
        integer: In integers.
        real: In float.
    """

    integer: float
    real: float

    @property
    def gain(self) -> float:
        """What float saves."""
        return self.integer - self.real


@dataclasses.dataclass(frozen=True)
class Model:
    """The cost model of one graph.

    Attributes:
        speeds: What operators take.
        producers: The region that gives each value, of all that could be integers.
        owners: The region of each node, likewise.
    """

    speeds: Speeds
    producers: Mapping[ir.Value, Region]
    owners: Mapping[ir.Node, Region]

    @classmethod
    def of(cls, regions: Iterable[Region], speeds: Speeds) -> Model:
        """Return the model of the regions of a graph."""
        found = list(regions)
        owners = {node: region for region in found for node in region.nodes}
        return cls(speeds, {region.output: region for region in found}, owners)

    def times(self, group: Collection[Region], integers: AbstractSet[Region]) -> Times:
        """Return the times of some regions, the others being as they are.

        Args:
            group: The regions, together.
            integers: The regions that are integers now, the group among them.
        """
        values = dict.fromkeys(
            value for region in group for value in (*region.activations, region.output)
        )
        without = integers - set(group)
        inside = sum(self.integer(region) for region in group)
        outside = sum(self.real(region) for region in group)
        return Times(
            inside + sum(self.border(value, integers) for value in values),
            outside + sum(self.border(value, without) for value in values),
        )

    def integer(self, region: Region) -> float:
        """Return the time of a region in integers."""
        speeds = self.speeds
        if region.anchor.op_type in VIEWS:
            return 0.0
        macs = count_macs(region.anchor) if _multiplies(region) else 0
        each, _ = speeds.of(region.anchor.op_type)
        return speeds.launch + macs / speeds.dots + each * work(region)

    def real(self, region: Region) -> float:
        """Return the time of its nodes in float; of a product, one kernel does them all."""
        speeds = self.speeds
        if region.anchor.op_type in VIEWS:
            return 0.0
        if _multiplies(region):
            each = speeds.of(region.anchor.op_type)[1]
            macs = count_macs(region.anchor) / speeds.fmas
            return speeds.launch + macs + each * work(region)
        return sum(
            speeds.launch + speeds.of(node.op_type)[1] * work(region) for node in region.nodes
        )

    def border(self, value: ir.Value, integers: AbstractSet[Region]) -> float:
        """Return the time of the QuantizeLinear or DequantizeLinear that a value needs."""
        speeds, producer = self.speeds, self.producers.get(value)
        read = [self.owners.get(use.node) in integers for use in value.uses()]
        if producer is None or producer not in integers:
            node = value.producer()
            joins = node is not None and node.op_type in JOINING
            costs = any(read) and not joins
            return speeds.launch + speeds.quantize * elements(value) if costs else 0.0
        stored = any(read) or not is_arithmetic(producer.anchor)
        costs = stored and (value.is_graph_output() or not all(read))
        return speeds.launch + speeds.dequantize * elements(value) if costs else 0.0


def work(region: Region) -> float:
    """Return how many elements a region works on: the greatest of its tensors."""
    most = max(elements(value) for value in (*region.activations, region.output))
    window = region.anchor.attributes.get_ints("kernel_shape")
    return (
        most * math.prod(window) / MEASURED_TAPS
        if window and not _multiplies(region)
        else most
    )


def elements(value: ir.Value) -> int:
    """Return the elements of a value with a static shape."""
    assert value.shape is not None
    return math.prod(int(size) for size in value.shape.numpy())


def has_sizes(region: Region) -> bool:
    """Whether all its tensors have static shapes, without which there is no model."""
    values = (*region.activations, region.output)
    return all(value.shape is not None and value.shape.is_static() for value in values)


def _multiplies(region: Region) -> bool:
    return role(region.anchor) in (Role.WEIGHTED, Role.PRODUCT)

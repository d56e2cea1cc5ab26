"""Which regions are faster in float: their borders cost more than integers save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from qcompile.regions import Region, Role, role
from qcompile.schemes.region_times import Model, Times, has_sizes
from qcompile.speeds import Speeds

PRODUCTS = (Role.WEIGHTED, Role.PRODUCT)

LEAST_GAIN = 0.1
"""Share of the time that float must save; less is within the error of the model."""

LEAST_NANOSECONDS = 200.0
"""And how much at least."""


def faster_float(
    regions: Sequence[Region], free: Sequence[Region], speeds: Speeds
) -> dict[Region, str]:
    """Return the regions that had better stay float, and why.

    A region by itself, or several that follow each other, stays float where the modelled time
    of its integer kernels with the Quantize- and DequantizeLinears that they need is greater
    than that of its float kernels with those that these need. A product is asked only where
    floats stand on both sides of it; else it is what the integers are for.

    Args:
        regions: Those that would be integers.
        free: Those of them that may stay float.
        speeds: What operators take on the target.
    """
    known = [region for region in regions if has_sizes(region)]
    model = Model.of(known, speeds)
    integers, reasons = set(known), dict[Region, str]()
    changed = True
    while changed:
        changed = False
        for group in _groups([r for r in free if r in integers], integers, model):
            if not integers.issuperset(group):
                continue
            times = model.times(group, integers)
            if times.gain > max(LEAST_NANOSECONDS, LEAST_GAIN * times.integer):
                integers.difference_update(group)
                reasons.update(dict.fromkeys(group, reason(times)))
                changed = True
    return reasons


def reason(times: Times) -> str:
    """Return why a region of those times stays float."""
    integer, real = (nanoseconds / 1e6 for nanoseconds in (times.integer, times.real))
    return (
        f"by the cost model {real:.4f} ms: int8 would take {integer:.4f} ms, its borders cost "
        "more than it saves"
    )


def _groups(
    free: Sequence[Region], integers: AbstractSet[Region], model: Model
) -> Iterator[tuple[Region, ...]]:
    """Yield what may be changed: each region alone, then those that hang together."""
    others = [region for region in free if role(region.anchor) not in PRODUCTS]
    for region in free:
        if role(region.anchor) not in PRODUCTS or _between_floats(region, integers, model):
            yield (region,)
    for group in _connected(others, model):
        if len(group) > 1:
            yield group


def _connected(regions: Sequence[Region], model: Model) -> list[tuple[Region, ...]]:
    """Return the regions in groups, in each of which one reads what another gives."""
    group_of = {region: [region] for region in regions}
    for region in regions:
        for value in region.activations:
            before = model.producers.get(value)
            if before is None or before not in group_of:
                continue
            first, second = group_of[before], group_of[region]
            if first is not second:
                first += second
                group_of.update(dict.fromkeys(second, first))
    return [tuple(group) for group in {id(g): g for g in group_of.values()}.values()]


def _between_floats(region: Region, integers: AbstractSet[Region], model: Model) -> bool:
    """Whether float nodes give all that a region reads, and read all that it gives."""
    if any(model.producers.get(value) in integers for value in region.activations):
        return False
    if any(value.producer() is None for value in region.activations):
        return False
    readers = [use.node for use in region.output.uses()]
    return bool(readers) and not any(model.owners.get(node) in integers for node in readers)

"""What a tuning log says of a kernel: its key, and the tile sizes that measured best."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from qcompile.targets.isa import Isa
from qcompile.targets.tuning.version import template_version
from qcompile.tuning_log import Key, Record, canonical

NOT_TIME = frozenset({"isa", "tile", "parallel", "zero_point", "r_zero_point", "lo", "hi"})
"""Fields that do not change how long a kernel takes, or that stand in the key themselves."""


class Tile(Protocol):
    """Tile sizes; `block` is what must fit the registers."""

    @property
    def block(self) -> tuple[int, int]:
        """Which accumulators a tile has."""
        ...


class Tunable(Protocol):
    """A template with tile sizes to choose."""

    @property
    def isa(self) -> Isa:
        """The instruction set."""
        ...

    @property
    def tile(self) -> Any:
        """The tile sizes that it has now."""
        ...

    def tile_choices(self) -> list[Any]:
        """Return the tiles that fit, the most promising first."""
        ...

    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        ...


Kernel = TypeVar("Kernel", bound=Tunable)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Tile sizes from logs.

    Attributes:
        records: Of the user's log; the last of equal ones counts.
        shipped: Of the log in the package: they give way to `records`.
        caches: Of the machine that is compiled for, as in `Record`; empty where unknown.
    """

    records: tuple[Record, ...] = ()
    shipped: tuple[Record, ...] = ()
    caches: tuple[int, ...] = ()

    def find(self, template: Tunable) -> Record | None:
        """Return the record for a template, if there is one that fits it.

        In the user's log one of a machine with these caches comes first, then any; the
        package's must be of these caches where they are known.
        """
        key = key_of(template)
        own = [record for record in self.records if record.key == key]
        same = [record for record in own if record.caches == self.caches]
        known = [record for record in self.shipped if record.key == key]
        if self.caches:
            known = [record for record in known if record.caches == self.caches]
        for record in (*reversed(same), *reversed(own), *reversed(known)):
            if tile_of(template, record) is not None:
                return record
        return None

    def apply(self, template: Kernel, record: Record) -> Kernel:
        """Return the template with a record's tile sizes."""
        tile = tile_of(template, record)
        return dataclasses.replace(template, tile=tile)  # type: ignore[type-var]


def key_of(template: Tunable) -> Key:
    """Return a template's key in the log."""
    kernel = type(template).__name__
    return template.isa.name, kernel, template_version(template), shape_of(template)


def shape_of(template: Any) -> str:
    """Return everything but the tile that a template's time hangs on, as canonical JSON."""
    return canonical(_plain(template))


def tile_of(template: Tunable, record: Record) -> Any | None:
    """Return a record's tile; None where it is none of the template's."""
    fields = dict(record.tile)
    if set(fields) != {field.name for field in dataclasses.fields(template.tile)}:
        return None
    tile = type(template.tile)(**fields)
    return tile if tile.block in blocks(template.tile_choices()) else None


def blocks(tiles: Iterable[Tile]) -> set[tuple[int, int]]:
    """Return which accumulators some tiles have."""
    return {tile.block for tile in tiles}


def sizes(tile: Any) -> tuple[tuple[str, int], ...]:
    """Return a tile's sizes as a record holds them."""
    found: Mapping[str, int] = dataclasses.asdict(tile)
    return tuple(sorted(found.items()))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name not in NOT_TIME
        }
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    simple = value is None or isinstance(value, bool | int | float | str)
    return value if simple else type(value).__name__

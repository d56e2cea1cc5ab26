"""What the user asks of a compile beyond the defaults: recipe, calibrator, overrides."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import functools
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from qcompile.calibration.calibrators import CALIBRATORS
from qcompile.errors import ConfigError

RECIPES = ("auto", "static-int8", "dynamic-int8", "float")
FEW = 8
"""How many names a hint lists."""

ACTIVATIONS = {"u8": ir.DataType.UINT8, "s8": ir.DataType.INT8}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Override:
    """What the config says of some nodes; None leaves the choice to the target.

    A value takes its scheme from the node that produces it, and where that node is not
    named, from the first one that reads it.

    Attributes:
        float: Keep the nodes in float (true), or in integers against the default (false).
        calibrator: Name of the calibrator of their values.
        activation: "u8" or "s8", the type of their values.
        symmetric: Whether the zero point of their values is fixed at the middle.
        per_channel: Whether each output channel of their weights has a scale of its own.
    """

    float: bool | None = None
    calibrator: str | None = None
    activation: str | None = None
    symmetric: bool | None = None
    per_channel: bool | None = None

    def __post_init__(self) -> None:
        for key in ("float", "symmetric", "per_channel"):
            if not isinstance(getattr(self, key), bool | None):
                raise ConfigError(f"{key} must be true or false, got {getattr(self, key)!r}")
        if self.calibrator is not None:
            _check_name(self.calibrator, CALIBRATORS, "calibrator")
        if self.activation is not None:
            _check_name(self.activation, ACTIVATIONS, "activation")

    def over(self, other: Override) -> Override:
        """Return this override, with the other's choices where this one makes none."""
        own = {key: value for key, value in vars(self).items() if value is not None}
        return dataclasses.replace(other, **own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileConfig:
    """The user's choices; the defaults suit most models.

    Attributes:
        recipe: "auto", "static-int8" for all that the target can, "dynamic-int8" for matrix
            products by ranges found at run time, or "float" for nothing.
        calibrator: Where no override names another one.
        smooth: The alpha of SmoothQuant, from 0 to 1 (see `passes/smooth_activations.py`);
            None for none, unless the recipe is "auto" and finds that it helps.
        float_ops: Operators to keep in float.
        ops: Overrides by operator.
        nodes: Overrides by pattern of the node's name (`*/head/*`); they win over `ops`, and
            a later pattern wins over an earlier one.
    """

    recipe: str = "auto"
    calibrator: str = "mse"
    smooth: float | None = None
    float_ops: tuple[str, ...] = ()
    ops: Mapping[str, Override] = dataclasses.field(default_factory=dict)
    nodes: Mapping[str, Override] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.recipe, RECIPES, "recipe")
        _check_name(self.calibrator, CALIBRATORS, "calibrator")
        _check_share(self.smooth, "smooth")
        for op_type in (*self.float_ops, *self.ops):
            _check_name(op_type, _onnx_operators(), "operator")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CompileConfig:
        """Return the config that nested plain data describes.

        Raises:
            ConfigError: An unknown key or name, or a value of the wrong type.
        """
        fields = dict(data)
        _check_keys(fields, cls, "")
        float_ops = fields.get("float_ops", [])
        if not isinstance(float_ops, list | tuple):
            raise ConfigError(f"float_ops must be a list of operators, got {float_ops!r}")
        fields["float_ops"] = tuple(float_ops)
        for table in ("ops", "nodes"):
            fields[table] = _overrides(fields.get(table, {}), table)
        return cls(**fields)

    @classmethod
    def from_toml(cls, path: Path | str) -> CompileConfig:
        """Return the config in a TOML file.

        Raises:
            ConfigError: The file cannot be read, is not TOML, or says what cannot be.
        """
        try:
            return cls.from_dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"cannot read it: {error.strerror}", where=str(path)) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not TOML: {error}", where=str(path)) from error
        except ConfigError as error:
            where = f"{path}: {error.where}" if error.where else str(path)
            raise ConfigError(error.problem, where=where, hint=error.hint) from error

    def check_patterns(self, graph: ir.Graph) -> None:
        """Refuse a pattern that no node of the model matches: it would do nothing.

        Raises:
            ConfigError: Names the pattern and the nearest node.
        """
        nodes = list(ir.traversal.RecursiveGraphIterator(graph))
        for pattern in self.nodes:
            if not any(_matches(node, pattern) for node in nodes):
                names = [node.name for node in nodes if node.name]
                near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)
                raise ConfigError(
                    "no node has such a name",
                    where=f'nodes."{pattern}"',
                    hint=f"the nearest is {near[0]!r}" if near else "the model has no nodes",
                )

    def override(self, node: ir.Node) -> Override:
        """Return what the config says of a node, all that matches merged."""
        merged = self.ops.get(node.op_type, Override())
        for pattern, override in self.nodes.items():
            if _matches(node, pattern):
                merged = override.over(merged)
        return merged

    def reason(self, node: ir.Node) -> str | None:
        """Return why the config keeps a node in float, or None where it does not."""
        if self.recipe == "float":
            return "the recipe is float"
        choice = self.override(node).float
        if choice is False or (choice is None and node.op_type not in self.float_ops):
            return None
        for pattern, override in self.nodes.items():
            if override.float and _matches(node, pattern):
                return f"the config keeps nodes {pattern!r} in float"
        return f"the config keeps {node.op_type} in float"


def _check_share(number: object, what: str) -> None:
    plain = isinstance(number, int | float) and not isinstance(number, bool)
    if number is not None and not (plain and 0.0 <= float(str(number)) <= 1.0):
        raise ConfigError(f"{what} must be a number from 0 to 1, got {number!r}")


def _matches(node: ir.Node, pattern: str) -> bool:
    name = node.name or ""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _overrides(tables: object, where: str) -> dict[str, Override]:
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{where} must be a table of tables, got {tables!r}")
    result = {}
    for name, fields in tables.items():
        here = f"{where}.{name}" if where == "ops" else f'{where}."{name}"'
        if not isinstance(fields, Mapping):
            raise ConfigError(f"must be a table, got {fields!r}", where=here)
        _check_keys(fields, Override, here)
        try:
            result[name] = Override(**fields)
        except ConfigError as error:
            raise ConfigError(error.problem, where=here, hint=error.hint) from error
    return result


def _check_keys(fields: Mapping[str, Any], kind: type, where: str) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    for key in fields:
        if key not in known:
            raise ConfigError(f"unknown key {key!r}", where=where, hint=_nearest(key, known))


def _check_name(name: object, known: Collection[str], what: str) -> None:
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"unknown {what} {name!r}", hint=_nearest(str(name), known))


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    few = sorted(known)[:FEW]
    return f"there are {', '.join(few)}{', ...' if len(known) > FEW else ''}"


@functools.cache
def _onnx_operators() -> frozenset[str]:
    import onnx  # only where the config names an operator

    return frozenset(
        schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""
    )

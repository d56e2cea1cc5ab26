"""One thing that the doctor has to say of a model."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator

import onnx_ir as ir


class Severity(enum.StrEnum):
    """How much it matters."""

    ERROR = "error"
    """It computes something else than meant, somewhere or everywhere."""
    WARNING = "warning"
    """It costs accuracy or speed, or some runtimes compute something else."""
    INFO = "info"
    """Worth knowing."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: How much it matters.
        code: What kind it is; the same for all of its kind.
        where: The node.
        what: The problem, with its numbers.
        hint: What to do.
        fixable: Whether `--fix` repairs it.
    """

    severity: Severity
    code: str
    where: str
    what: str
    hint: str = ""
    fixable: bool = False

    def __str__(self) -> str:
        mark = " (fixable)" if self.fixable else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.severity} {self.code}{mark}: {self.where}: {self.what}{hint}"


Check = Callable[[ir.Graph], Iterator[Finding]]
"""Looks at a graph, sub-graphs included, and changes nothing."""


def where(node: ir.Node) -> str:
    """Return how a node is named to people."""
    return f"node {node.name or node.outputs[0].name!r} ({node.op_type})"
